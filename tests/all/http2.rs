//! HTTP/2 over real sockets: with independent clients (curl, nghttp, h2load and Python's grpcio), and with frames that no
//! sane client sends.

mod priorities;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use kiln_tests::client::get;
use kiln_tests::kiln::{scratch, stdout};
use kiln_tests::origin::{Origin, websocket_accept};
use kiln_tests::proxy::{PATIENCE, Proxy, build_text};

fn proxy(name: &str, site: &str, given: &[(&str, &str)]) -> Proxy {
    Proxy::start(&build_text(name, site), site, given)
}

const ECHO: &str = "param listen type=addr\nlog access format=json\nlisten (param)listen {\n http h1 h2\n}\n\
    site a.test {\n route \"/one\" {\n protocol http1\n respond 200 \"one\"\n }\n\
    route \"/one\" {\n protocol http2\n respond 200 \"two\"\n }\n route \"/*\" {\n echo\n }\n}\n";

/// Looks for a command; if it is missing, the test prints that and ends.
fn there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

fn curl(address: &str, path: &str, more: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--http2-prior-knowledge"])
        .args(more)
        // The first `Host` counts.
        .args(["-H", "Host: a.test"])
        .arg(format!("http://{address}{path}"))
        .output()
        .expect("curl runs");
    stdout(&output) + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn requests() {
    let proxy = proxy("h2-requests", ECHO, &[]);
    let address = proxy.address("listen");
    assert_eq!(curl(address, "/one", &[]), "two");
    assert_eq!(get(address, "a.test", "/one").text(), "one");
    let said = curl(address, "/a/../b?c=d", &["-H", "Cookie: a=1", "-H", "TE: trailers", "-d", "hello"]);
    for expected in [
        "\"path\":\"/b\"",
        "\"query\":\"c=d\"",
        "\"protocol\":\"HTTP/2.0\"",
        "\"cookie\":\"a=1\"",
        "\"body\":\"hello\"",
    ] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    assert_eq!(curl(address, "/%2fx", &["-o", "/dev/null", "-w", "%{http_code}"]), "400");
    assert_eq!(curl(address, "/", &["--head", "-w", "%{http_code}", "-o", "/dev/null"]), "200");
    assert_eq!(curl(address, "/", &["-H", "Host: other.test", "-o", "/dev/null", "-w", "%{http_code}"]), "421");
    proxy.log("\"reason\":\"unknown-host\"");
}

/// A client in this process.
async fn client(address: &str) -> h2::client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.expect("ready")
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

async fn whole(response: Response<h2::RecvStream>) -> (u16, String, Option<http::HeaderMap>) {
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("data");
        let _ = body.flow_control().release_capacity(data.len());
        text.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.expect("trailers");
    (status, String::from_utf8_lossy(&text).into_owned(), trailers)
}

#[test]
fn differences_from_http1() {
    let proxy = proxy("h2-otherwise", ECHO, &[]);
    let address = proxy.address("listen").to_owned();
    run(async move {
        let mut client = client(&address).await;
        let mut ask = |build: http::request::Builder| {
            let (response, _) = client.send_request(build.body(()).expect("a request"), true).expect("sent");
            async move { whole(response.await.expect("an answer")).await }
        };
        // Split `cookie` fields are joined (RFC 9113 section 8.2.3).
        let crumbs = Request::get("http://a.test/").header("cookie", "a=1").header("cookie", "b=2");
        assert!(ask(crumbs).await.1.contains("\"cookie\":\"a=1; b=2\""));
        // Authority and host (section 8.3.1).
        let same = Request::get("http://a.test/").header("host", "A.test");
        assert_eq!(ask(same).await.0, 200);
        let other = Request::get("http://a.test/").header("host", "b.test");
        assert_eq!(ask(other).await.0, 400);
        assert_eq!(ask(Request::get("http://a@a.test/")).await.0, 400);
        // A reverse proxy does not support CONNECT.
        assert_eq!(ask(Request::connect("a.test:443")).await.0, 405);
        // Too many fields, and too large ones.
        let many = (0..101).fold(Request::get("http://a.test/"), |build, at| build.header(format!("x-{at}"), "y"));
        assert_eq!(ask(many).await.0, 431);
        let large = Request::get("http://a.test/").header("x", "y".repeat(20_000));
        assert_eq!(ask(large).await.0, 431);
        // All on one connection, which stays open.
        assert_eq!(ask(Request::get("http://a.test/one")).await.1, "two");
        // Trailers, and a streamed body.
        let request = Request::post("http://a.test/").body(()).expect("a request");
        let (response, mut body) = client.send_request(request, false).expect("sent");
        body.send_data("first ".into(), false).expect("sent");
        body.send_data("second".into(), false).expect("sent");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "3".parse().expect("a value"));
        body.send_trailers(trailers).expect("sent");
        let (_, said, _) = whole(response.await.expect("an answer")).await;
        assert!(said.contains("\"trailers\":{\"x-sum\":\"3\"}") && said.contains("first second"), "{said}");
        // `Expect: 100-continue`.
        let request = Request::post("http://a.test/").header("expect", "100-continue").body(()).expect("a request");
        let (mut response, mut body) = client.send_request(request, false).expect("sent");
        let asked =
            std::future::poll_fn(|cx| response.poll_informational(cx)).await.expect("asked").expect("an answer");
        assert_eq!(asked.status(), 100);
        body.send_data("late".into(), true).expect("sent");
        assert!(whole(response.await.expect("an answer")).await.1.contains("late"));
    });
}

/// Bodies, trailers and interim responses, in both directions, between all versions of HTTP.
#[test]
fn through_to_servers() {
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            if request.contains("/early") {
                connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
            }
            if request.contains("/upload") {
                let mut length = 0;
                while !String::from_utf8_lossy(&connection.bytes()).ends_with("0\r\n\r\n") {
                    length += 1;
                }
                assert!(length < 1_000_000);
            }
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\nKeep-Alive: 5\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n");
        }
    });
    // A proxy in front of a proxy: HTTP/2 in, HTTP/2 between them, and HTTP/1.1 to the origin.
    let inner = "param listen type=addr\nparam origin type=addr\nlisten (param)listen {\n http h2\n}\n\
        site a.test {\n proxy (param)origin\n}\n";
    let outer = "param listen type=addr\nparam inner type=addr\nlisten (param)listen {\n http h1 h2\n}\n\
        upstream inner {\n server (param)inner\n http h2\n}\nsite a.test {\n proxy inner\n}\n";
    let inner = proxy("h2-inner", inner, &[("origin", &origin.address)]);
    let outer = proxy("h2-outer", outer, &[("inner", inner.address("listen"))]);
    let address = outer.address("listen").to_owned();
    run(async move {
        let mut client = client(&address).await;
        let request = Request::get("http://a.test/early").body(()).expect("a request");
        let (mut response, _) = client.send_request(request, true).expect("sent");
        let early = std::future::poll_fn(|cx| response.poll_informational(cx)).await.expect("early").expect("hints");
        assert_eq!(
            (early.status().as_u16(), &early.headers()["link"]),
            (103, &"</a.css>; rel=preload".parse().unwrap())
        );
        let response = response.await.expect("an answer");
        assert!(!response.headers().contains_key("keep-alive"));
        let (status, text, trailers) = whole(response).await;
        assert_eq!((status, &*text), (200, "hello"));
        assert_eq!(trailers.expect("trailers")["x-sum"], "7");
        // A body without a declared length, larger than any window.
        let request = Request::post("http://a.test/upload").body(()).expect("a request");
        let (response, mut body) = client.send_request(request, false).expect("sent");
        let mut left = 3_000_000;
        while left > 0 {
            body.reserve_capacity(left.min(16_384));
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.expect("open").expect("room");
            body.send_data(vec![b'x'; room.min(left)].into(), false).expect("sent");
            left -= room.min(left);
        }
        body.send_data(Bytes::new(), true).expect("sent");
        assert_eq!(whole(response.await.expect("an answer")).await.0, 200);
    });
    assert_eq!(origin.connections(), 1, "connections are reused");
    assert_eq!(get(outer.address("listen"), "a.test", "/").text(), "hello");
}

/// RFC 8441: a WebSocket handshake is a CONNECT in HTTP/2.
#[test]
fn websocket_over_http2() {
    let origin = Origin::new(|mut connection, _| {
        let Some(request) = connection.head() else { return };
        let lower = request.to_ascii_lowercase();
        assert!(lower.starts_with("get /chat http/1.1") && lower.contains("upgrade: websocket"), "{request}");
        let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key");
        assert_eq!(key.len(), 24, "{request}");
        connection.send(format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: chat\r\n\r\nwelcome", websocket_accept(key)));
        loop {
            match connection.bytes() {
                bytes if bytes.is_empty() => return,
                bytes => connection.send(bytes),
            }
        }
    });
    let proxy = proxy("h2-websocket", CHAT, &[("origin", &origin.address)]);
    let address = proxy.address("listen").to_owned();
    run(async move {
        let (mut up, response) = chat(&address).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
        assert!(!response.headers().contains_key("sec-websocket-accept"));
        let mut down = response.into_body();
        assert_eq!(down.data().await.expect("open").expect("data"), "welcome");
        up.send_data("ping".into(), false).expect("sent");
        assert_eq!(down.data().await.expect("open").expect("data"), "ping");
        up.send_data(Bytes::new(), true).expect("sent");
        assert!(down.data().await.is_none_or(|data| data.expect("data").is_empty()));
    });
}

const CHAT: &str = "param listen type=addr\nparam origin type=addr\nprocess {\n drain timeout=\"6s\"\n}\nlisten (param)listen {\n http h2\n}\n\
    site a.test {\n route \"/chat\" {\n protocol websocket\n proxy (param)origin\n }\n route \"/*\" {\n respond 404\n }\n}\n";

/// Opens a WebSocket.
async fn chat(address: &str) -> (h2::SendStream<Bytes>, http::Response<h2::RecvStream>) {
    extended_connect(address, "websocket").await
}

/// Sends an extended CONNECT for a protocol.
async fn extended_connect(
    address: &str,
    protocol: &'static str,
) -> (h2::SendStream<Bytes>, http::Response<h2::RecvStream>) {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let (client, connection) = h2::client::handshake::<_>(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut client = client.ready().await.expect("ready");
    // The client needs the server's settings first.
    while !client.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut request =
        Request::connect("http://a.test/chat").header("sec-websocket-version", "13").body(()).expect("a request");
    request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
    let (response, up) = client.send_request(request, false).expect("sent");
    (up, response.await.expect("an answer"))
}

/// RFC 9220 section 3, which RFC 8441 leaves open: another protocol is not implemented.
#[test]
fn other_protocols_than_websocket() {
    let proxy = proxy("h2-connect-udp", CHAT, &[("origin", "127.0.0.1:9")]);
    let address = proxy.address("listen").to_owned();
    run(async move {
        let (_, response) = extended_connect(&address, "connect-udp").await;
        assert_eq!(response.status(), 501);
    });
}

/// When the proxy stops, the client gets a Close frame (RFC 6455 section 7.4.1), and the stream ends in order.
#[test]
fn websockets_end_with_a_close_frame() {
    let origin = Origin::new(|mut connection, _| {
        let Some(request) = connection.head() else { return };
        let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key");
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ";
        connection.send([format!("{head}{}\r\n\r\n", websocket_accept(key)).as_bytes(), b"\x81\x05hello"].concat());
        // What the client answers to the Close frame.
        assert_eq!(connection.bytes(), b"\x88\x82\0\0\0\0\x03\xE9");
        connection.send(b"\x88\x02\x03\xE9");
    });
    let mut proxy = proxy("h2-going-away", CHAT, &[("origin", &origin.address)]);
    let (address, pid) = (proxy.address("listen").to_owned(), proxy.pid().to_string());
    run(async move {
        let (mut up, response) = chat(&address).await;
        let mut down = response.into_body();
        assert_eq!(down.data().await.expect("open").expect("data"), b"\x81\x05hello".as_slice());
        assert!(Command::new("kill").args(["-TERM", &pid]).status().is_ok_and(|status| status.success()));
        assert_eq!(down.data().await.expect("open").expect("data"), b"\x88\x02\x03\xE9".as_slice());
        up.send_data(Bytes::from_static(b"\x88\x82\0\0\0\0\x03\xE9"), false).expect("sent");
        assert!(down.data().await.is_none_or(|data| data.expect("an orderly end").is_empty()));
    });
    assert!(proxy.wait().success());
}

/// A raw connection that writes frames.
struct Raw(TcpStream);

impl Raw {
    fn to(address: &str) -> Raw {
        let mut raw = Raw(TcpStream::connect(address).expect("connected"));
        raw.0.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        raw.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
        raw.frame(4, 0, 0, &[])
    }

    fn frame(mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Raw {
        let _ = self.0.write_all(&bytes(kind, flags, stream, payload));
        self
    }

    /// Returns the error code of the GOAWAY that ends the connection.
    fn goaway(mut self) -> Option<u32> {
        let mut all = Vec::new();
        let _ = self.0.read_to_end(&mut all);
        let mut rest = &all[..];
        while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if *kind == 7 {
                return Some(u32::from_be_bytes(after[4..8].try_into().expect("four bytes")));
            }
            rest = after.get(length..)?;
        }
        None
    }
}

fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET http://a.test/` in HPACK.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 6, b'a', b'.', b't', b'e', b's', b't'];

#[test]
fn frames_that_no_sane_client_sends() {
    let proxy = proxy("h2-frames", ECHO, &[]);
    let address = proxy.address("listen");
    let connect = || Raw::to(address);
    // RFC 9113 section 7. In some cases the library sends PROTOCOL_ERROR instead of FRAME_SIZE_ERROR or
    // COMPRESSION_ERROR.
    let (protocol, size, compression, flow, calm) = (1, 6, 9, 3, 11);
    let check = |what: &str, raw: Raw, expected: u32| {
        let found = raw.goaway();
        let fits = found == Some(expected) || found == Some(1) && [size, compression].contains(&expected);
        assert!(fits, "{what}: {found:?}");
    };
    check("DATA on no stream", connect().frame(0, 0, 0, b"x"), protocol);
    check("DATA on a stream that never was", connect().frame(0, 0, 1, b"x"), protocol);
    check("HEADERS with a number of the server's", connect().frame(1, 5, 2, GET), protocol);
    check("a block that is none", connect().frame(1, 5, 1, &[0xFF; 20]), compression);
    check("SETTINGS of five bytes", connect().frame(4, 0, 0, &[0; 5]), size);
    check("a PING of seven bytes", connect().frame(6, 0, 0, &[0; 7]), size);
    check("a window that grows by nothing", connect().frame(8, 0, 0, &[0; 4]), protocol);
    check("a window beyond all bounds", connect().frame(8, 0, 0, &[0x7F, 255, 255, 255]), flow);
    check("CONTINUATION of nothing", connect().frame(9, 4, 1, GET), protocol);
    check(
        "something between HEADERS and CONTINUATION",
        connect().frame(1, 1, 1, GET).frame(6, 0, 0, &[0; 8]),
        protocol,
    );
    check("a frame that is too long", connect().frame(0, 0, 1, &[0; 20_000]), size);
    // CVE-2023-44487: streams that are reset immediately.
    let mut raw = connect();
    let many: Vec<u8> = (0..20_000_u32)
        .flat_map(|at| [bytes(1, 5, 2 * at + 1, GET), bytes(3, 0, 2 * at + 1, &[0, 0, 0, 8])].concat())
        .collect();
    let _ = raw.0.write_all(&many);
    check("streams reset by the thousand", raw, calm);
    // CVE-2024-27316 and similar ones: an endless field block.
    let mut raw = connect().frame(1, 1, 1, GET);
    for _ in 0..200 {
        raw = raw.frame(9, 0, 1, &[&[0x40, 1, b'x', 0x7F, 0x81, 0x7E][..], &[b'y'; 16_000]].concat());
    }
    assert!(matches!(raw.goaway(), Some(code) if code != 0), "an endless field block");
    // Other clients are unaffected, and the memory is freed.
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).expect("a process");
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    assert!(resident.is_some_and(|kib| kib < 64 << 10), "{resident:?} KiB");
    assert_eq!(curl(address, "/one", &[]), "two");
}

#[test]
fn tiny_windows_and_slow_readers() {
    let site = "param listen type=addr\nlog access format=json\ntimeouts idle=\"500ms\"\nlisten (param)listen {\n http h2\n}\n\
        site a.test {\n respond 200 file=\"page\"\n}\n";
    let dir = scratch("h2-windows");
    std::fs::write(dir.join("page"), "x".repeat(100_000)).expect("written");
    std::fs::write(dir.join("site.kdl"), site).expect("written");
    let proxy = Proxy::of(&dir.join("site.kdl"), &[]);
    let address = proxy.address("listen");
    // A window of one byte that is never increased: the response is abandoned, and the connection closed.
    let raw = Raw::to(address).frame(4, 0, 0, &[0, 4, 0, 0, 0, 1]).frame(1, 5, 1, GET);
    let began = Instant::now();
    assert_eq!(raw.goaway(), Some(0));
    assert!(began.elapsed() < PATIENCE);
    proxy.log("\"reason\":\"client-disconnected\"");
}

#[test]
fn the_drain_lets_streams_end() {
    let origin = Origin::new(|mut connection, _| {
        while connection.request().is_some() {
            std::thread::sleep(Duration::from_millis(300));
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let site = "param listen type=addr\nparam origin type=addr\nlog access format=json\nlisten (param)listen {\n http h2\n}\n\
        site a.test {\n proxy (param)origin\n}\n";
    let mut proxy = proxy("h2-drain", site, &[("origin", &origin.address)]);
    let address = proxy.address("listen").to_owned();
    let slow = std::thread::spawn(move || curl(&address, "/", &[]));
    while origin.connections() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    proxy.signal("TERM");
    assert_eq!(slow.join().expect("an answer"), "ok");
    assert!(proxy.wait().success());
}

#[test]
fn with_nghttp_and_h2load() {
    if !there("h2load") || !there("nghttp") {
        return;
    }
    let proxy = proxy("h2-load", ECHO, &[]);
    let url = format!("http://{}/one", proxy.address("listen"));
    let said = stdout(
        &Command::new("h2load")
            .args(["-n", "2000", "-c", "4", "-m", "32", "-H", ":authority: a.test", &url])
            .output()
            .expect("h2load runs"),
    );
    assert!(said.contains("2000 succeeded, 0 failed, 0 errored"), "{said}");
    assert!(said.contains("2000 2xx"), "{said}");
    let said =
        stdout(&Command::new("nghttp").args(["-v", "-H", ":authority: a.test", &url]).output().expect("nghttp runs"));
    assert!(said.contains(":status: 200") && said.contains("\ntwo"), "{said}");
}

/// A server and a client in Python's grpcio.
const GRPC: &str = include_str!("grpc.py");

#[test]
fn grpc() {
    let grpcio = Command::new("python3").args(["-c", "import grpc"]).output();
    if !grpcio.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: Python's grpcio is not installed");
        return;
    }
    let server = kiln_tests::proxy::address();
    let site = "param listen type=addr\nparam server type=addr\nparam nobody type=addr\nlog access format=json\nlisten (param)listen {\n http h2\n}\n\
        upstream greeter {\n server (param)server\n http h2\n\
        health-check grpc service=\"t.T\" interval=\"100ms\" fall=1\n}\n\
        upstream failing {\n server (param)server\n http h2\n health-check grpc interval=\"100ms\" fall=1\n}\nupstream nobody {\n server (param)nobody\n http h2\n}\n\
        site a.test {\n route \"/t.T/*\" {\n protocol grpc\n proxy greeter\n }\n route \"/gone.T/*\" {\n proxy nobody\n }\n route \"/failing.T/*\" {\n proxy failing\n }\n}\n";
    let proxy = proxy("h2-grpc", site, &[("server", &server)]);
    let output =
        Command::new("python3").args(["-c", GRPC, &server, proxy.address("listen")]).output().expect("python runs");
    let said = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.ends_with("all is healthy\n"), "{said}");
    proxy.notice("healthy again");
    // Both were unhealthy before the server ran. One service reports SERVING, the server as a whole does not.
    let healthy = |upstream: &str| {
        let noticed = proxy.noticed();
        noticed.iter().any(|line| line.contains(&format!("upstream `{upstream}`")) && line.contains("healthy again"))
    };
    assert!(healthy("greeter") && !healthy("failing"), "{:?}", proxy.noticed());
}
