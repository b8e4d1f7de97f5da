//! Bounds on memory, and isolation between clients: HTTP/2 over real sockets, with one binary that is
//! front and origin at once. The memory is measured by the kernel.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use kiln_tests::client::{Client, get};
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, address, build};

const SITE: &str = r#"
param listen type=addr
param back type=addr
param admin type=addr
param origin type=addr default="127.0.0.1:9"
param other type=addr default="127.0.0.1:9"
param one type=addr default="127.0.0.1:9"
param memory type=size default="10MiB"
param streams type=number default="100"
param folder type=string
param headers type=size default="16KiB"
param uri type=size default="8KiB"
param store type=size default="64MiB"
param kept type=size default="8MiB"
param patience type=duration default="60s"
param resident type=size default="1TiB"
param keepalive type=duration default="1m"
log off
process {
    workers 2
    memory-limit (param)resident
}
http2 {
    max-streams (param)streams
}
limits memory=(param)memory connections=1000 headers=(param)headers uri=(param)uri
timeouts connect=(param)patience request=(param)patience response=(param)patience idle=(param)patience total=off
listen front (param)listen {
    http h1 h2
}
listen back (param)back {
    http h1 h2
}
admin (param)admin
cache-store main memory=(param)store
upstream one {
    server (param)one
    pool idle-timeout=(param)patience max-age=(param)patience tcp-keepalive=(param)keepalive
}
upstream two {
    server (param)one
    http h2
}
site a.test {
    listen front
    route "/small" {
        respond 200 "small"
    }
    route "/embedded/*" {
        files "page" embed=#true
    }
    route "/disk/*" {
        files (param)folder
    }
    route "/cached/*" {
        cache main {
            ttl default="1h"
        }
        rewrite strip-prefix="/cached"
        proxy one
    }
    route "/h1/*" {
        rewrite strip-prefix="/h1"
        proxy one
    }
    route "/h2/*" {
        rewrite strip-prefix="/h2"
        proxy two
    }
    route "/long/{name}" {
        respond 200 "{name}"
    }
    route "/stuck" {
        proxy (param)origin
    }
    route "/fine" {
        proxy (param)other
    }
    route "/kept" {
        retry 1 body=(param)kept per-try=(param)patience
        proxy (param)other
    }
    route "/seen" {
        log access format=json
        block seen body-prefix="512KiB" {
            body "bad thing"
        }
        proxy (param)other
    }
}
site * {
    listen back
    route "/small" {
        respond 200 "small"
    }
    route "/slow" {
        fault delay="30ms"
        respond 200 "slow"
    }
    route "/embedded/*" {
        files "page" embed=#true
    }
}
"#;

/// The binary, and the folder that it serves.
fn built() -> &'static (PathBuf, PathBuf) {
    static BUILT: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = scratch("memory");
        let page = folder.join("page");
        std::fs::create_dir_all(&page).expect("a folder");
        // Incompressible: the file has no compressed form.
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        std::fs::write(page.join("large"), noise.take(2 << 20).collect::<Vec<_>>()).expect("written");
        std::fs::write(folder.join("site.kdl"), SITE).expect("written");
        (build(&folder.join("site.kdl")), page)
    })
}

fn start(given: &[(&str, &str)]) -> Proxy {
    let (binary, page) = built();
    let folder = page.to_str().expect("a path").to_owned();
    let mut all = vec![("folder", folder.as_str())];
    all.extend(given);
    Proxy::start(binary, SITE, &all)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

async fn client(address: &str) -> h2::client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.expect("ready")
}

fn request(path: &str) -> Request<()> {
    Request::get(format!("http://a.test{path}")).body(()).expect("a request")
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Opens a connection with a request on each of `streams` streams, and reads nothing.
fn attack(address: &str, path: &str, streams: u32, window: u32) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connected");
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend(frame(4, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat()));
    if window > 1 {
        out.extend(frame(8, 0, 0, &0x7FFE_0000_u32.to_be_bytes()));
    }
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([&[0x41, 6][..], b"a.test"].concat());
    out.extend((0..streams).flat_map(|at| frame(1, 5, 2 * at + 1, &block)));
    stream.write_all(&out).expect("sent");
    stream
}

/// The resident memory of a process, in KiB.
fn resident(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    line.expect("a number")
}

/// Opens a hundred connections that read nothing: they take less than 40 MB, and others are served meanwhile.
fn hundred(front: &Proxy, path: &str, window: u32) -> Vec<TcpStream> {
    let (listen, before) = (front.address("listen"), resident(front));
    let attackers: Vec<_> = (0..100).map(|_| attack(listen, path, 100, window)).collect();
    let (until, mut most) = (Instant::now() + Duration::from_secs(1), 0);
    while Instant::now() < until {
        for small in ["/small", "/h2/small"] {
            assert_eq!(get(listen, "a.test", small).status, 200, "{path}, window {window}");
        }
        most = most.max(resident(front));
    }
    assert!(most < before + 40_000, "{path}, window {window}: from {before} to {most} KiB");
    attackers
}

/// A front that has served these paths, as if it had been running for a while.
fn warm(paths: &[&str]) -> (Proxy, Proxy) {
    let origin = start(&[]);
    let front = start(&[("one", origin.address("back"))]);
    let listen = front.address("listen");
    drop((0..20).map(|_| attack(listen, "/small", 10, 65_535)).collect::<Vec<_>>());
    for path in paths {
        drop((0..20).map(|_| attack(listen, path, 5, 65_535)).collect::<Vec<_>>());
        assert_eq!(get(listen, "a.test", path).status, 200, "{path}");
    }
    (front, origin)
}

/// For any kind of response, and any announced window.
#[test]
fn clients_that_read_nothing() {
    let paths =
        ["/embedded/large", "/disk/large", "/cached/embedded/large", "/h1/embedded/large", "/h2/embedded/large"];
    let (front, _origin) = warm(&paths);
    for path in paths {
        for window in [0, 1, 0x7FFF_0000] {
            drop(hundred(&front, path, window));
        }
    }
}

/// The memory is returned to the system after the clients disconnect.
#[test]
fn memory_is_returned_to_the_system() {
    for path in ["/disk/large", "/h2/embedded/large"] {
        let (front, _origin) = warm(&[path]);
        let idle = resident(&front);
        drop(hundred(&front, path, 0x7FFF_0000));
        let left = Instant::now();
        // One MiB more: a process as small as this is mostly its own code, and an attack touches some of it for the first
        // time.
        while resident(&front) > idle + idle / 5 + 1024 {
            let now = resident(&front);
            assert!(left.elapsed() < Duration::from_secs(10), "{path}: {idle} KiB before, {now} KiB ten seconds after");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Back-pressure on connections to servers applies to each stream separately.
#[test]
fn a_slow_reader_delays_no_other_stream() {
    let origin = start(&[]);
    let front = start(&[("one", origin.address("back"))]);
    let listen = front.address("listen").to_owned();
    let slow: Vec<_> = (0..20).map(|_| attack(&listen, "/h2/embedded/large", 4, 0x7FFF_0000)).collect();
    let mut slow_h1 = Client::to(&listen);
    slow_h1.send("GET /h2/embedded/large HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(get(&listen, "a.test", "/h2/small").text(), "small");
        assert_eq!(get(&listen, "a.test", "/h2/embedded/large").body.len(), 2 << 20);
    }
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    drop(slow);
}

/// And so on clients' connections: an upload to a server that does not read delays no upload to another server.
#[test]
fn a_slow_server_delays_no_other_upload() {
    let stuck = Origin::new(|_connection, _| std::thread::sleep(PATIENCE));
    let fine = Origin::always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let front = start(&[("origin", &stuck.address), ("other", &fine.address)]);
    let listen = front.address("listen").to_owned();
    run(async move {
        let mut client = client(&listen).await;
        let post = |path: &str, length: usize| {
            Request::post(format!("http://a.test{path}")).header("content-length", length).body(()).expect("a request")
        };
        let mut uploads = Vec::new();
        for _ in 0..6 {
            let (response, mut body) = client.send_request(post("/stuck", 16_000_000), false).expect("sent");
            body.send_data(vec![b'x'; 16_000_000].into(), true).expect("sent");
            uploads.push((response, body));
        }
        // The uploads have sent all they can: into the sockets, and up to their windows.
        for _ in 0..5 {
            let (response, mut body) = client.send_request(post("/fine", 700_000), false).expect("sent");
            body.send_data(vec![b'x'; 700_000].into(), true).expect("sent");
            assert_eq!(response.await.expect("a response").status(), 200);
        }
    });
}

/// A server's limit of concurrent streams is respected from the first request on, and no request fails because of it.
#[test]
fn no_more_streams_than_the_server_allows() {
    for limit in ["1", "3", "10", "1000"] {
        let origin = start(&[("streams", limit)]);
        let front = start(&[("one", origin.address("back")), ("streams", "200")]);
        let listen = front.address("listen").to_owned();
        let back = origin.address("back").to_owned();
        run(async move {
            let direct = client(&back).await;
            while direct.current_max_send_streams().to_string() != limit {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut client = client(&listen).await;
            let asked: Vec<_> =
                (0..100).map(|_| client.send_request(request("/h2/slow"), true).expect("sent").0).collect();
            for response in asked {
                assert_eq!(response.await.expect("a response").status(), 200, "a limit of {limit}");
            }
        });
    }
}

/// Heads count, too: if there is not enough memory, the stream is refused as unprocessed, and the connection stays
/// open.
#[test]
fn large_heads_are_bounded() {
    let stuck = Origin::new(|_connection, _| std::thread::sleep(PATIENCE));
    let front = start(&[("origin", &stuck.address), ("memory", "1MiB"), ("streams", "500")]);
    let listen = front.address("listen").to_owned();
    run(async move {
        let mut client = client(&listen).await;
        while client.current_max_send_streams() != 500 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut waiting = Vec::new();
        let large = || {
            let fields = (0..10).fold(Request::get("http://a.test/stuck"), |request, at| {
                request.header(format!("x-{at}"), "y".repeat(1200))
            });
            fields.body(()).expect("a request")
        };
        for _ in 0..200 {
            waiting.push(client.send_request(large(), true).expect("sent").0);
        }
        let refused = waiting.pop().expect("one").await.expect_err("there is no memory for it");
        assert_eq!(refused.reason(), Some(h2::Reason::REFUSED_STREAM));
        drop(waiting);
        let mut small = client.send_request(request("/small"), true).expect("sent").0.await;
        while small.is_err() {
            small = client.send_request(request("/small"), true).expect("sent").0.await;
        }
        assert_eq!(small.expect("a response").status(), 200);
    });
}

/// Buffered bodies count: if there is no memory, a body is streamed unbuffered, or refused if it has to be inspected.
#[test]
fn kept_bodies_are_bounded() {
    let fine = Origin::always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let front = start(&[("other", &fine.address), ("memory", "1MiB")]);
    let listen = front.address("listen");
    let post =
        |path: &str, length: usize| format!("PUT {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n");
    let body = vec![b'x'; 3 << 20];
    let whole = |path: &str, length: usize| {
        let mut client = Client::to(listen);
        client.send(post(path, length));
        let _ = client.try_send(&body[..length]);
        client.answer().status
    };
    assert_eq!(whole("/kept", 500_000), 200);
    assert_eq!(whole("/kept", 3 << 20), 200);
    assert_eq!(whole("/seen", 50_000), 200);
    // One request waits with most of the memory; it counts once the requests before have released theirs.
    let until = Instant::now() + PATIENCE;
    let mut half = loop {
        let mut half = Client::to(listen);
        half.send(post("/kept", 1_000_000)).send(&body[..990_000]);
        if (0..100).any(|_| whole("/seen", 60_000) == 503) {
            break half;
        }
        assert!(Instant::now() < until, "the body is not counted");
    };
    front.log("\"reason\":\"memory-full\"");
    half.send(&body[..10_000]);
    assert_eq!(half.answer().status, 200);
    // The client may have its response before the proxy releases the body.
    while whole("/seen", 60_000) != 200 {
        assert!(Instant::now() < until, "the memory is not released");
    }
}

/// While the process uses more than `memory-limit`, it refuses requests, and accepts them again once it uses less.
#[test]
fn the_whole_process_is_bounded() {
    let fine = Origin::always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let front = start(&[("other", &fine.address), ("memory", "1GiB"), ("resident", "96MiB")]);
    let listen = front.address("listen");
    front.notice("`cache-store memory=` and `limits memory` allow 1088MiB together, and the process 96MiB");
    let ready = || get(front.address("admin"), "localhost", "/readyz");
    assert_eq!((get(listen, "a.test", "/small").status, ready().status), (200, 200));
    let body = vec![b'x'; 7 << 20];
    let halves: Vec<_> = (0..16)
        .map(|_| {
            let mut half = Client::to(listen);
            half.send(format!("PUT /kept HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len() + 1));
            half.try_send(&body);
            half
        })
        .collect();
    let until = Instant::now() + PATIENCE;
    let refused = loop {
        let answer = get(listen, "a.test", "/small");
        if answer.status != 200 {
            break answer;
        }
        assert!(Instant::now() < until, "the memory is not measured");
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    front.notice("of memory are in use, and 96MiB allowed: requests are refused");
    let answer = ready();
    assert_eq!(answer.status, 503);
    assert!(answer.text().ends_with("requests are refused, as too much memory is in use\n"), "{}", answer.text());
    drop(halves);
    while get(listen, "a.test", "/small").status != 200 {
        assert!(Instant::now() < until, "the memory is not released");
    }
    front.notice("memory is available again: requests are accepted");
    assert_eq!(ready().status, 200);
}

/// Parameters at start have the same bounds as the settings they are used for; the start fails with the line that declares
/// the parameter.
#[test]
fn parameters_have_bounds() {
    let (binary, page) = built();
    let refused = |given: &str| {
        let output = Command::new(binary)
            .args(["listen", "back", "admin"].map(|param| format!("--{param}={}", address())))
            .args([format!("--folder={}", page.display()), given.to_owned()])
            .output()
            .expect("it runs");
        assert!(!output.status.success(), "{given}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let memory = refused("--memory=1KiB");
    assert!(memory.contains("site.kdl:8: the parameter `memory` is `1KiB`: 1MiB to 1TiB is allowed"), "{memory}");
    let streams = refused("--streams=0");
    assert!(streams.contains("site.kdl:9: the parameter `streams` is `0`: 1 to 1000 is allowed"), "{streams}");
    assert!(refused("--streams=1001").contains("site.kdl:9: "));
    assert!(refused("--memory=2TiB").contains("site.kdl:8: "));
}

/// The largest and the smallest allowed values work: no accepted value fails in use.
#[test]
fn values_at_their_bounds() {
    let fine = Origin::always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let origin = start(&[]);
    let largest: &[_] = &[
        ("memory", "1TiB"),
        ("streams", "1000"),
        ("headers", "1MiB"),
        ("uri", "1MiB"),
        ("store", "1TiB"),
        ("kept", "64MiB"),
        ("patience", "365d"),
    ];
    let smallest: &[_] = &[("memory", "1MiB"), ("streams", "1"), ("store", "1MiB"), ("kept", "0B"), ("uri", "25B")];
    for values in [largest, smallest] {
        let mut given = vec![("one", origin.address("back")), ("other", fine.address.as_str())];
        given.extend(values);
        let front = start(&given);
        let listen = front.address("listen").to_owned();
        for path in ["/small", "/cached/embedded/large", "/h1/small", "/h2/small"] {
            assert_eq!(get(&listen, "a.test", path).status, 200, "{path} {values:?}");
        }
        let mut client = Client::to(&listen);
        client.send("PUT /kept HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.answer().status, 200, "{values:?}");
        run(async move {
            let small = self::client(&listen).await.send_request(request("/small"), true).expect("sent").0;
            assert_eq!(small.await.expect("a response").status(), 200);
        });
    }
    // The value that a pattern captures is as long as the target.
    let front = start(largest);
    let name = "x".repeat(60_000);
    let listen = front.address("listen").to_owned();
    assert_eq!(get(&listen, "a.test", &format!("/long/{name}")).text(), name);
    let longer = "x".repeat(200_000);
    assert_eq!(get(&listen, "a.test", &format!("/long/{longer}")).text(), longer);
    let strict = start(&[]);
    assert_eq!(get(strict.address("listen"), "a.test", &format!("/long/{}", "x".repeat(9_000))).status, 414);
    run(async move {
        let (response, _) = client(&listen).await.send_request(request(&format!("/long/{name}")), true).expect("sent");
        let mut body = response.await.expect("a response").into_body();
        let mut length = 0;
        while let Some(data) = body.data().await {
            length += data.expect("data").len();
        }
        assert_eq!(length, name.len());
    });
}

/// Sizes of every magnitude: a site that compiles is within the bound.
#[test]
fn sizes_are_bounded_when_built() {
    let check = |place: &str, least: u64, most: u64| {
        for size in (0..64).flat_map(|shift| [1_u64 << shift, (1 << shift) + 1, (1 << shift) - 1]) {
            let site = format!("listen \":80\" {{\n http h2\n}}\n{}", place.replace("SIZE", &format!("\"{size}B\"")));
            let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", &site);
            let said = compiled.diagnostics(false);
            assert_eq!(compiled.model.is_some(), (least..=most).contains(&size), "{size} {site} {said}");
        }
    };
    let (site, upstream) = ("site a.test {\n respond 200\n}\n", "upstream app {\n server \"127.0.0.1:1\"\n}\n");
    check(&format!("limits headers=SIZE\n{site}"), 1, 1 << 20);
    check(&format!("limits uri=SIZE\n{site}"), 1, 1 << 20);
    check(&format!("limits memory=SIZE\n{site}"), 1 << 20, 1 << 40);
    check("site a.test {\n compress min-size=SIZE\n respond 200 \"x\"\n}\n", 0, 1 << 40);
    check(&format!("{upstream}site a.test {{\n retry 1 body=SIZE\n proxy app\n}}\n"), 0, 64 << 20);
    let mirror = "upstream next {\n server \"127.0.0.1:2\"\n}\n";
    check(&format!("{upstream}{mirror}site a.test {{\n mirror next body=SIZE\n proxy app\n}}\n"), 0, 64 << 20);
    let cached = format!("{upstream}site a.test {{\n cache {{\n ttl default=\"1m\"\n }}\n proxy app\n}}\n");
    check(&format!("cache-store main memory=SIZE\n{cached}"), 1 << 20, 1 << 40);
}

/// A whole response, read slowly, through a window of a few bytes.
#[test]
fn a_tiny_window_gets_everything() {
    let front = start(&[]);
    let mut stream = attack(front.address("listen"), "/disk/large", 1, 1000);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let (mut received, mut head) = (0, [0; 9]);
    while received < 2 << 20 {
        stream.read_exact(&mut head).expect("a frame");
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).expect("its payload");
        assert!(!matches!(head[3], 3 | 7), "{head:?}");
        if head[3] == 0 && length > 0 {
            received += length;
            stream.write_all(&frame(8, 0, 1, &(length as u32).to_be_bytes())).expect("sent");
        }
    }
    assert_eq!(received, 2 << 20);
}
