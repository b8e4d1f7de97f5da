//! Oversized heads and trailers in HTTP/2 (RFC 9113 section 10.5.1): of requests and responses, for browsers and for gRPC.
//! Each has its reason in the log, and only extreme sizes end the connection.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request};
use kiln_tests::client::get;
use kiln_tests::frames::{self, Frames, block, literal, string};
use kiln_tests::proxy::{PATIENCE, Proxy, build_text};

const SITE: &str = r#"
param listen type=addr
param server type=addr default="127.0.0.1:1"
process {
    workers 1
}
log access format=json
listen (param)listen {
    http h1 h2
}
upstream server {
    server (param)server
    http h2
}
site site.test {
    limits headers="20KiB"
    route "/own/*" {
        respond 200 "own"
    }
    route "/echo/*" {
        echo
    }
    route "/*" {
        proxy server
    }
}
"#;

fn proxy(server: &str) -> Proxy {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    Proxy::start(BINARY.get_or_init(|| build_text("heads", SITE)), SITE, &[("server", server)])
}

/// Fields of a total size, in three ways: one long value, many fields, and one entry of HPACK's table many times.
fn large(bytes: usize) -> [HeaderMap; 3] {
    let value = |length: usize| HeaderValue::from_bytes(&vec![b'y'; length]).expect("a value");
    let mut same = HeaderMap::new();
    for _ in 0..bytes / 1033 {
        same.append("x", value(1000));
    }
    [
        [("x".parse().expect("a name"), value(bytes - 33))].into_iter().collect(),
        (0..bytes / 1000).map(|at| (format!("x-{at:02}").parse().expect("a name"), value(964))).collect(),
        same,
    ]
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
}

async fn client(address: &str) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.expect("ready")
}

/// Returns the head of the response to a request with these fields, and with trailers if given.
async fn ask(
    client: &mut SendRequest<Bytes>,
    path: &str,
    fields: HeaderMap,
    trailers: Option<HeaderMap>,
) -> http::response::Parts {
    let mut request = Request::post(format!("http://site.test{path}")).body(()).expect("a request");
    *request.headers_mut() = fields;
    let (response, mut body) = client.send_request(request, trailers.is_none()).expect("sent");
    if let Some(trailers) = trailers {
        body.send_data("hello".into(), false).expect("sent");
        body.send_trailers(trailers).expect("sent");
    }
    response.await.expect("a response").into_parts().0
}

/// Waits for a number of lines in the log that contain all of `what`.
fn logged(proxy: &Proxy, count: usize, what: &[&str]) {
    let fits = |line: &String| what.iter().all(|what| line.contains(what));
    let until = Instant::now() + PATIENCE;
    while proxy.logged().iter().filter(|line| fits(line)).count() < count {
        assert!(Instant::now() < until, "{count} lines with {what:?}: {:#?}", proxy.logged());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All requests here share one connection.
#[test]
fn large_heads_of_requests() {
    let proxy = proxy("127.0.0.1:1");
    let address = proxy.address("listen").to_owned();
    let mut refused = 0;
    run(async {
        let mut client = client(&address).await;
        let [value, ..] = large(19_000);
        assert_eq!(ask(&mut client, "/own/fits", value, None).await.status, 200);
        for size in [21_000, 30_000, 45_000] {
            for (at, fields) in large(size).into_iter().enumerate() {
                for body in [false, true] {
                    let path = format!("/own/{size}-{at}-{body}");
                    let trailers = body.then(HeaderMap::new);
                    assert_eq!(ask(&mut client, &path, fields.clone(), trailers).await.status, 431, "{path}");
                    refused += 1;
                }
            }
        }
        assert_eq!(ask(&mut client, "/own/last", HeaderMap::new(), None).await.status, 200);
    });
    logged(&proxy, refused, &["\"status\":431", "\"reason\":\"headers-too-large\""]);
}

/// The response is `RESOURCE_EXHAUSTED`, in a head without anything after it.
#[test]
fn large_heads_of_grpc_calls() {
    let proxy = proxy("127.0.0.1:1");
    let address = proxy.address("listen").to_owned();
    run(async {
        let mut client = client(&address).await;
        for mut fields in large(30_000) {
            fields.insert("content-type", HeaderValue::from_static("application/grpc"));
            let head = ask(&mut client, "/own/call", fields, None).await;
            assert_eq!((head.status.as_u16(), &head.headers["grpc-status"]), (200, &HeaderValue::from_static("8")));
        }
    });
    logged(&proxy, 3, &["\"status\":200", "\"reason\":\"headers-too-large\""]);
}

/// The pseudo-header fields of a request.
fn request() -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "site.test"), (":path", "/own/x")])
}

/// Splits a block into frames.
fn in_frames(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    let mut parts = block.chunks(16_000).peekable();
    let ends = |last: bool| if last { frames::END_HEADERS } else { 0 };
    let first = parts.next().unwrap_or_default();
    let mut all = frames::frame(frames::HEADERS, flags | ends(parts.peek().is_none()), stream, first);
    while let Some(part) = parts.next() {
        all.extend(frames::frame(frames::CONTINUATION, ends(parts.peek().is_none()), stream, part));
    }
    all
}

/// Blocks of an extreme size once decoded, though some are small on the wire.
fn far_too_large() -> [(&'static str, Vec<u8>); 4] {
    let entry = [&[0x40][..], &string(b"x"), &string(&[b'y'; 3000])].concat();
    let many = (0..10_000).flat_map(|at| literal(format!("x{at}").as_bytes(), b"")).collect();
    [
        ("a value", literal(b"x", &vec![b'y'; 1 << 20])),
        ("many fields", many),
        ("one entry of the table", [entry, vec![0xbe; 1000]].concat()),
        ("a name", literal(&vec![b'x'; 300_000], b"y")),
    ]
}

const ENHANCE_YOUR_CALM: u32 = 11;

/// The stream ends with an RST_STREAM, which gRPC clients report as `RESOURCE_EXHAUSTED`, and the connection with a
/// GOAWAY.
#[test]
fn huge_heads_of_requests() {
    let proxy = proxy("127.0.0.1:1");
    for (at, (what, large)) in far_too_large().into_iter().enumerate() {
        let mut client = Frames::to(proxy.address("listen"));
        client.send_bytes(&in_frames(frames::END_STREAM, 1, &request()));
        client.next_of(frames::DATA).expect("a response");
        client.send_bytes(&in_frames(frames::END_STREAM, 3, &[request(), large].concat()));
        let reset = client.next_of(frames::RST_STREAM).expect("a reset");
        let code = ENHANCE_YOUR_CALM.to_be_bytes();
        assert_eq!((reset.stream, &reset.payload[..]), (3, &code[..]), "{what}");
        assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM), "{what}");
        logged(&proxy, at + 1, &["\"reason\":\"headers-too-large\""]);
    }
    assert_eq!(get(proxy.address("listen"), "site.test", "/own/y").text(), "own");
}

/// A server that responds with these bytes on its n-th connection, and reports how the connection ends.
fn server(responses: Vec<Vec<u8>>) -> (String, Receiver<Option<u32>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("an address").to_string();
    let (told, ends) = channel();
    std::thread::spawn(move || {
        let mut responses = responses.into_iter().cycle();
        for stream in listener.incoming().map_while(Result::ok) {
            let (bytes, told) = (responses.next().expect("a response"), told.clone());
            std::thread::spawn(move || {
                let mut client = Frames::from(stream, &[])?;
                client.next_of(frames::HEADERS)?;
                client.send_bytes(&bytes);
                told.send(client.end()).ok()
            });
        }
    });
    (address, ends)
}

/// Oversized trailers are not truncated: the response, or the request, fails.
#[test]
fn large_trailers() {
    let large = literal(b"x", &vec![b'y'; 70_000]);
    let whole = [
        in_frames(0, 1, &[0x88]),
        frames::frame(frames::DATA, 0, 1, b"hello"),
        in_frames(frames::END_STREAM, 1, &large),
    ];
    let (server, _ends) = server(vec![whole.concat()]);
    let proxy = proxy(&server);
    let address = proxy.address("listen").to_owned();
    run(async {
        let request = Request::get("http://site.test/trailers").body(()).expect("a request");
        let (response, _) = client(&address).await.send_request(request, true).expect("sent");
        let Ok(response) = response.await else { return };
        let status = response.status();
        let mut body = response.into_body();
        let mut broken = false;
        while let Some(data) = body.data().await {
            broken |= data.is_err();
        }
        assert!(status == 502 || status == 200 && broken, "{status}");
    });
    let line = proxy.log("/trailers");
    assert!(line.contains("\"reason\":\"upstream-head-too-large\""), "{line}");
    run(async {
        let mut client = client(&address).await;
        for (at, trailers) in self::large(40_000).into_iter().enumerate() {
            let head = ask(&mut client, &format!("/echo/{at}"), HeaderMap::new(), Some(trailers)).await;
            assert_eq!(head.status, 400);
        }
    });
}

#[test]
fn huge_heads_of_responses() {
    let heads = far_too_large().map(|(_, large)| in_frames(frames::END_STREAM, 1, &[&[0x88][..], &large].concat()));
    let count = heads.len();
    let (server, ends) = server(heads.to_vec());
    let proxy = proxy(&server);
    let address = proxy.address("listen").to_owned();
    for at in 0..count {
        assert_eq!(get(&address, "site.test", &format!("/plain-{at}")).status, 502);
        assert_eq!(ends.recv_timeout(PATIENCE), Ok(Some(ENHANCE_YOUR_CALM)));
        let line = proxy.log(&format!("/plain-{at}"));
        assert!(line.contains("\"reason\":\"upstream-head-too-large\""), "{line}");
    }
}

/// gRPC clients get `RESOURCE_EXHAUSTED`, for oversized heads and for those of an extreme size.
#[test]
fn large_heads_of_grpc_responses() {
    let [value, ..] = far_too_large().map(|(_, large)| large);
    let larger = literal(b"x", &vec![b'y'; 70_000]);
    let heads = [value, larger].map(|large| in_frames(frames::END_STREAM, 1, &[&[0x88][..], &large].concat()));
    let (server, _ends) = server(heads.to_vec());
    for (at, what) in ["by far", "too large"].into_iter().enumerate() {
        let proxy = proxy(&server);
        let address = proxy.address("listen").to_owned();
        let grpc = [("content-type".parse().expect("a name"), HeaderValue::from_static("application/grpc"))];
        let head = run(async { ask(&mut client(&address).await, "/call", grpc.into_iter().collect(), None).await });
        assert_eq!(
            (head.status.as_u16(), &head.headers["grpc-status"]),
            (200, &HeaderValue::from_static("8")),
            "{at}: {what}"
        );
        let line = proxy.log("/call");
        assert!(line.contains("\"reason\":\"upstream-head-too-large\""), "{line}");
    }
}
