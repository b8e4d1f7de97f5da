//! Floods of useless HTTP/2 frames (RFC 9113 section 10.5): the connection ends with `ENHANCE_YOUR_CALM` and a line
//! in the log. Large amounts of legitimate frames, and hundreds of cancelled calls, are no flood.

use std::path::PathBuf;
use std::sync::OnceLock;

use kiln_tests::client::get;
use kiln_tests::frames::{self, Frames, block, frame};
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{Proxy, build};

const SITE: &str = r#"
param listen type=addr
param origin type=addr default="127.0.0.1:1"
process {
    workers 1
}
log access format=json
listen (param)listen {
    http h1 h2
}
site site.test {
    route "/page" {
        respond 200 file="page"
    }
    route "/small" {
        respond 200 "small"
    }
    route "/*" {
        proxy (param)origin
    }
}
"#;

const PAGE: usize = 500_000;

/// A proxy with an origin that never responds.
fn proxy() -> (Proxy, Origin) {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        let folder = scratch("floods");
        std::fs::write(folder.join("page"), "x".repeat(PAGE)).expect("written");
        std::fs::write(folder.join("site.kdl"), SITE).expect("written");
        build(&folder.join("site.kdl"))
    });
    let origin = Origin::new(|mut connection, _| while !connection.bytes().is_empty() {});
    (Proxy::start(binary, SITE, &[("origin", &origin.address)]), origin)
}

/// HEADERS with a request for a path.
fn request(stream: u32, flags: u8, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "site.test"),
        (":path", path),
        ("content-type", "application/grpc"),
    ];
    frame(frames::HEADERS, frames::END_HEADERS | flags, stream, &block(&fields))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(frames::RST_STREAM, 0, stream, &[0, 0, 0, 8])
}

const ENHANCE_YOUR_CALM: u32 = 11;

/// The maximum number of frames in a flood.
const FLOOD: u32 = 200_000;

#[test]
fn floods_end_the_connection() {
    let (proxy, _origin) = proxy();
    let address = proxy.address("listen");
    // `next` returns the frames of a flood, for the number of an unused stream.
    let flood = |what: &str, next: &dyn Fn(u32) -> Vec<u8>| {
        let before = floods(&proxy);
        let mut client = Frames::to(address);
        client.send_bytes(&request(1, 0, "/stuck"));
        for part in (0..FLOOD).step_by(1000) {
            let frames: Vec<u8> = (part..part + 1000).flat_map(|at| next(2 * at + 3)).collect();
            if !client.send_bytes(&frames) {
                break;
            }
        }
        assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM), "{what}");
        proxy.log("\"reason\":\"frame-flood\"");
        while floods(&proxy) == before {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(get(address, "site.test", "/small").text(), "small", "{what}");
    };
    let same = |kind: u8, flags: u8, stream: u32, payload: &'static [u8]| move |_| frame(kind, flags, stream, payload);
    flood("SETTINGS", &same(frames::SETTINGS, 0, 0, &[]));
    flood("SETTINGS with a parameter", &same(frames::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]));
    flood("PING", &same(frames::PING, 0, 0, &[0; 8]));
    flood("answers to PING", &same(frames::PING, frames::ACK, 0, &[0; 8]));
    flood("PRIORITY", &same(frames::PRIORITY, 0, 1, &[0, 0, 0, 0, 9]));
    flood("PRIORITY of streams that are not there", &|stream| frame(frames::PRIORITY, 0, stream, &[0, 0, 0, 0, 9]));
    flood("windows of the connection", &same(frames::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
    flood("windows of a stream", &same(frames::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
    flood("unknown frames", &same(0x42, 0, 0, &[]));
    flood("unknown frames of a stream", &same(0x42, 0, 1, b"something"));
    flood("empty DATA", &same(frames::DATA, 0, 1, &[]));
    flood("DATA of padding", &same(frames::DATA, frames::PADDED, 1, &[3, 0, 0, 0]));
    flood("resets of a stream that is over", &|_| reset(1));
    flood("streams that are reset", &|stream| [request(stream, frames::END_STREAM, "/stuck"), reset(stream)].concat());
    flood("streams that are refused", &|stream| request(stream, frames::END_STREAM, "/stuck"));
    flood("CONTINUATION", &|stream| match stream {
        3 => frame(frames::HEADERS, 0, 3, &[]),
        _ => frame(frames::CONTINUATION, 0, 3, &[]),
    });
}

fn floods(proxy: &Proxy) -> usize {
    proxy.logged().iter().filter(|line| line.contains("\"reason\":\"frame-flood\"")).count()
}

/// The first byte of the head of the response on a stream.
fn response(client: &mut Frames, stream: u32) -> Option<u8> {
    loop {
        let head = client.next_of(frames::HEADERS)?;
        if head.stream == stream {
            return head.payload.first().copied();
        }
    }
}

/// 200, as an index into HPACK's table.
const OK: Option<u8> = Some(0x88);

/// Calls that the client cancels together: before the proxy reads them, and while they are processed.
#[test]
fn cancelled_calls_are_no_flood() {
    let (proxy, _origin) = proxy();
    let mut client = Frames::to(proxy.address("listen"));
    let stream = |at: u32| 2 * at + 1;
    let call = |at: u32| [request(stream(at), 0, "/stuck"), frame(frames::DATA, 0, stream(at), b"hello")].concat();
    let at_once: Vec<u8> = (0..300).flat_map(|at| [call(at), reset(stream(at))].concat()).collect();
    client.send_bytes(&at_once);
    client.send_bytes(&request(stream(300), frames::END_STREAM, "/small"));
    assert_eq!(response(&mut client, stream(300)), OK);
    // Three times the maximum number of concurrent streams.
    for round in 0..3 {
        let from = 301 + 101 * round;
        client.send_bytes(&(from..from + 100).flat_map(call).collect::<Vec<u8>>());
        client.send_bytes(&(from..from + 100).flat_map(|at| reset(stream(at))).collect::<Vec<u8>>());
        client.send_bytes(&request(stream(from + 100), frames::END_STREAM, "/small"));
        assert_eq!(response(&mut client, stream(from + 100)), OK, "{round}");
    }
    assert_eq!(floods(&proxy), 0);
}

/// A window update for stream and connection, and a PING, for each frame of a hundred bytes.
#[test]
fn window_updates_for_data_are_no_flood() {
    const PIECE: u32 = 100;
    let (proxy, _origin) = proxy();
    let mut client = Frames::to(proxy.address("listen"));
    client.send(frames::SETTINGS, 0, 0, &frames::parameters(&[(4, PIECE)]));
    client.send_bytes(&request(1, frames::END_STREAM, "/page"));
    assert_eq!(response(&mut client, 1), OK);
    let mut got = 0;
    while got < PAGE {
        let data = client.next_of(frames::DATA).expect("data");
        got += data.payload.len();
        let more = (data.payload.len() as u32).to_be_bytes();
        let answers = [
            frame(frames::WINDOW_UPDATE, 0, 0, &more),
            frame(frames::WINDOW_UPDATE, 0, 1, &more),
            frame(frames::PING, 0, 0, &[0; 8]),
        ];
        client.send_bytes(&answers.concat());
    }
    client.send_bytes(&request(3, frames::END_STREAM, "/small"));
    assert_eq!(response(&mut client, 3), OK);
    assert_eq!(floods(&proxy), 0);
}
