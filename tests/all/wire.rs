//! The wire format of HTTP/1.1: valid and invalid messages of clients and servers, and their results.
//!
//! One site serves all tests here; origins are functions of a connection. Tests list cases
//! with their bytes; time-outs and the ends of connections are in `ends`.

mod ends;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kiln_tests::client::{Client, ask, get};
use kiln_tests::origin::{Connection, Origin};
use kiln_tests::proxy::{PATIENCE, Proxy, build_text};

const SITE: &str = r#"
param listen type=addr
param origin type=addr default="127.0.0.1:1"
param second type=addr default="127.0.0.1:1"
param patience type=duration default="20s"
param silence type=duration default="20s"
param whole type=duration default="1h"
param crowd type=number default="1000"
param most type=number default="1000"
process {
    workers 1
    drain timeout="2s"
}
log access
limits connections=(param)most per-client=(param)crowd
timeouts request=(param)patience idle=(param)silence
upstream origins {
    server (param)origin
}
upstream both {
    server (param)origin
    server (param)second
}
upstream named {
    server "does-not-resolve.invalid:80"
}
site site.test {
    listen (param)listen
    timeouts response=(param)silence connect="5s" total=(param)whole
    route "/both" {
        proxy both
    }
    route "/named" {
        proxy named
    }
    route "/small" {
        limits body="10B"
        proxy origins
    }
    route "/hello" {
        respond 200 "hello\n"
    }
    route "/echo" {
        echo
    }
    route "/*" {
        limits body=unlimited
        proxy origins
    }
}
"#;

fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build_text("wire", SITE))
}

fn proxy(given: &[(&str, &str)]) -> Proxy {
    Proxy::start(binary(), SITE, given)
}

fn proxy_to(origin: &Origin) -> Proxy {
    proxy(&[("origin", &origin.address)])
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Requests that must be refused, with the status and (if there is a head) the reason in the log.
#[test]
fn bad_requests() {
    let origin = Origin::always(OK);
    let proxy = proxy_to(&origin);
    let check = |request: &str, status: u16| {
        let mut client = Client::to(proxy.address("listen"));
        client.try_send(request);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{request:?}");
        // The connection can only be reused if the request was complete and correctly framed.
        if request.contains("\r\nX: end\r\n\r\n") {
            client.send("GET /hello HTTP/1.1\r\nHost: site.test\r\n\r\n");
            assert_eq!(client.answer().status, 200, "after {request:?}");
        } else {
            assert!(client.closed(), "{request:?} leaves the connection open");
        }
    };
    // Request smuggling (RFC 9112 sections 6.1 to 6.3).
    check(
        "POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    );
    check(
        "POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    );
    check("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400);
    check("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400);
    check("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5, 5\r\n\r\nhello", 400);
    check("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: +5\r\n\r\nhello", 400);
    check("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: -1\r\n\r\n", 400);
    check("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 0x5\r\n\r\nhello", 400);
    check("POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: gzip\r\n\r\n", 400);
    check("POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400);
    check("POST / HTTP/1.0\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    check("POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: site.test\r\nX: a\r\n b\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: site.test\r\nX : a\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: site.test\r\n X: a\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: site.test\r\nX: a\0b\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: site.test\r\nX: a\rb\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: site.test\r\nX\0: a\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: site.test\r\nno colon\r\n\r\n", 400);
    check("GET / HTTP/2.0\r\nHost: site.test\r\n\r\n", 505);
    check("GET /a b HTTP/1.1\r\nHost: site.test\r\n\r\n", 400);
    check("garbage\r\n\r\n", 400);
    check("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\r\n\r\n", 400);
    // Hosts (RFC 9112 section 3.2).
    check("GET / HTTP/1.1\r\nX: end\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: site.test\r\nHost: site.test\r\nX: end\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: site.test/x\r\nX: end\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: other.test\r\nX: end\r\n\r\n", 421);
    check("CONNECT site.test:80 HTTP/1.1\r\nHost: site.test:80\r\nX: end\r\n\r\n", 405);
    // Sizes.
    check(&format!("GET / HTTP/1.1\r\nHost: site.test\r\nX: {}\r\n\r\n", "x".repeat(20_000)), 431);
    check(&format!("GET / HTTP/1.1\r\nHost: site.test\r\n{}\r\n", "X: y\r\n".repeat(101)), 431);
    check(&format!("GET /{} HTTP/1.1\r\nHost: site.test\r\nX: end\r\n\r\n", "x".repeat(9000)), 414);
    check("POST /small HTTP/1.1\r\nHost: site.test\r\nContent-Length: 11\r\n\r\nhello world", 413);
    proxy.log("\"status\":400,\"bytes\":16,");
    proxy.log("\"reason\":\"bad-framing\"");
    proxy.log("\"reason\":\"bad-request\"");
    proxy.log("\"reason\":\"headers-too-large\"");
    proxy.log("\"reason\":\"body-too-large\"");
    assert_eq!(get(proxy.address("listen"), "site.test", "/hello").text(), "hello\n", "the worker continues");
}

/// A malformed body of the client shows while it is forwarded: the status is 400, not 502.
#[test]
fn bad_bodies() {
    let origin = Origin::new(|mut connection, _| while !connection.bytes().is_empty() {});
    let proxy = proxy_to(&origin);
    let check = |path: &str, body: &str, status: u16, reason: &str| {
        let mut client = Client::to(proxy.address("listen"));
        client.try_send(format!("POST {path} HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n"));
        client.try_send(body);
        assert_eq!(client.answer().status, status, "{body:?}");
        assert!(client.closed(), "{body:?} leaves the connection open");
        proxy.log(&format!("\"reason\":\"{reason}\""));
    };
    for body in [
        "x\r\n",
        "5\r\nhelloworld\r\n",
        "-5\r\nhello\r\n",
        "10000000000000000\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "\r\n\r\n",
    ] {
        check("/", body, 400, "bad-framing");
    }
    check("/small", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", 413, "body-too-large");
}

/// Malformed and ambiguous responses: 502.
#[test]
fn bad_answers() {
    let check = |answer: &str, reason: &str| {
        let origin = Origin::always(answer);
        let proxy = proxy_to(&origin);
        let found = get(proxy.address("listen"), "site.test", "/");
        assert_eq!(found.status, 502, "{answer:?}");
        proxy.log(&format!("\"reason\":\"{reason}\""));
    };
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "upstream-invalid",
    );
    check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", "upstream-invalid");
    check("HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok!", "upstream-invalid");
    check("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", "upstream-invalid");
    check("HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok", "upstream-invalid");
    check("SSH-2.0-OpenSSH\r\n\r\n", "upstream-invalid");
    check("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "upstream-invalid");
}

/// A truncated response is passed on as incomplete; surplus bytes after a response never become part of another one.
#[test]
fn truncated_and_extra() {
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            match path.as_str() {
                "/short" => return connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"),
                "/chunks" => {
                    return connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n");
                }
                "/close" => return connection.send("HTTP/1.1 200 OK\r\n\r\nuntil the end"),
                "/extra" => connection.send(
                    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
                ),
                "/head" => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
                "/204" => connection.send("HTTP/1.1 204 No Content\r\n\r\n"),
                "/304" => connection.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: \"x\"\r\n\r\n"),
                "/103" => connection.send(
                    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                ),
                _ => connection.send(OK),
            }
        }
    });
    let proxy = proxy_to(&origin);
    let send = |path: &str| {
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n"));
        client
    };
    // The response is a 502, or incomplete if some of it was already forwarded (see `ends`).
    let refused = |text: &str| text.starts_with("HTTP/1.1 502 ") && text.ends_with("\r\n\r\n502 Bad Gateway\n");
    let short = String::from_utf8(send("/short").rest()).expect("text");
    assert!(refused(&short) || (short.contains("content-length: 10") && short.ends_with("short")), "{short}");
    let chunks = String::from_utf8(send("/chunks").rest()).expect("text");
    assert!(refused(&chunks) || chunks.ends_with("5\r\nshort\r\n"), "no last chunk: {chunks}");
    proxy.log("\"reason\":\"upstream-truncated\"");
    assert_eq!(send("/close").answer().text(), "until the end");
    // Surplus bytes are discarded with their connection.
    for _ in 0..5 {
        assert_eq!(send("/extra").answer().text(), "ok");
        assert_eq!(send("/after").answer().text(), "ok");
    }
    // After responses without a body, the connections can be reused.
    let mut client = Client::to(proxy.address("listen"));
    for _ in 0..3 {
        client.send("HEAD /head HTTP/1.1\r\nHost: site.test\r\n\r\n");
        let answer = client.answer_to("HEAD");
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("100")));
        client.send("GET /204 HTTP/1.1\r\nHost: site.test\r\n\r\n");
        assert_eq!(client.answer().status, 204);
        client.send("GET /304 HTTP/1.1\r\nHost: site.test\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("etag")), (304, Some("\"x\"")));
        client.send("GET /103 HTTP/1.1\r\nHost: site.test\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
        client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
    }
}

/// Connections to the origin are reused after any kind of framing, and replaced silently if they were closed in
/// between.
#[test]
fn kept_connections() {
    let origin = Origin::always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let proxy = proxy_to(&origin);
    for _ in 0..10 {
        assert_eq!(get(proxy.address("listen"), "site.test", "/").text(), "ok");
        let post = ask(
            proxy.address("listen"),
            "POST / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
        );
        assert_eq!(post.text(), "ok");
    }
    assert_eq!(origin.connections(), 1);

    // Closes each connection after one response, without `Connection: close`.
    let closing = Origin::new(|mut connection, _| {
        if connection.request().is_some() {
            connection.send(OK);
        }
    });
    let proxy = proxy_to(&closing);
    for _ in 0..50 {
        assert_eq!(get(proxy.address("listen"), "site.test", "/").text(), "ok");
        let post = ask(
            proxy.address("listen"),
            "POST / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
        );
        // A request that was not sent yet is sent again; a POST may lose the race with the origin's close.
        assert!(matches!(post.status, 200 | 502), "{post:?}");
    }

    // Accepts a second request and closes the connection: a GET is sent again on a new one, a POST is not.
    let resetting = Origin::new(|mut connection, _| {
        if connection.request().is_some() {
            connection.send(OK);
            let _ = connection.request();
        }
    });
    let proxy = proxy_to(&resetting);
    assert_eq!(get(proxy.address("listen"), "site.test", "/").status, 200);
    assert_eq!(get(proxy.address("listen"), "site.test", "/").status, 200);
    let post = ask(
        proxy.address("listen"),
        "POST / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
    );
    assert_eq!(post.status, 502);
    proxy.log("\"reason\":\"upstream-reset\"");
}

#[test]
fn unreachable_servers() {
    let origin = Origin::always(OK);
    let proxy = proxy(&[("second", &origin.address)]);
    // The first server is down: every request is sent to the second, whatever its method.
    for _ in 0..4 {
        assert_eq!(get(proxy.address("listen"), "site.test", "/both").text(), "ok");
        let post = ask(
            proxy.address("listen"),
            "POST /both HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
        );
        assert_eq!(post.text(), "ok");
    }
    assert_eq!(get(proxy.address("listen"), "site.test", "/").status, 502);
    proxy.log("\"reason\":\"connect-failed\"");
    // A name that does not resolve does not prevent the start.
    assert_eq!(get(proxy.address("listen"), "site.test", "/named").status, 503);
    proxy.log("\"reason\":\"dns-failure\"");
    proxy.notice("`does-not-resolve.invalid` does not resolve, the server gets no requests");
}

#[test]
fn bodies_stream_both_ways() {
    const SIZE: usize = 64 << 20;
    let origin = Origin::new(|mut connection, _| {
        let _ = connection.head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
        let mut left = SIZE;
        while left > 0 {
            let bytes = connection.bytes();
            if bytes.is_empty() {
                return;
            }
            left = left.saturating_sub(bytes.len());
            connection.send(&bytes);
        }
    });
    let proxy = proxy_to(&origin);
    let before = resident(proxy.pid());
    let mut client = Client::to(proxy.address("listen"));
    client.send(format!("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: {SIZE}\r\n\r\n"));
    let mut writer = client.stream().try_clone().expect("a clone");
    let sender = std::thread::spawn(move || {
        let block: Vec<u8> = (0..1 << 16).map(|n| n as u8).collect();
        for _ in 0..SIZE / block.len() {
            writer.write_all(&block).expect("sent");
        }
    });
    assert!(client.head().starts_with("HTTP/1.1 200"));
    for _ in 0..SIZE >> 16 {
        let block = client.exactly(1 << 16);
        assert!(block.iter().enumerate().all(|(n, &byte)| byte == n as u8));
    }
    sender.join().expect("sent");
    let grown = resident(proxy.pid()).saturating_sub(before);
    assert!(grown < 8 << 20, "64 MiB each way took {grown} bytes more");
}

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") << 10
}

/// A client that does not read slows the origin down.
#[test]
fn back_pressure() {
    let (sent, progress) = std::sync::mpsc::channel();
    let origin = Origin::new(move |mut connection, _| {
        let _ = connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
        for _ in 0..1 << 14 {
            connection.send(vec![0; 1 << 16]);
            if sent.send(1 << 16).is_err() {
                return;
            }
        }
    });
    let proxy = proxy_to(&origin);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200"));
    let mut total: usize = 0;
    // Waits until no more bytes are accepted: only those in sockets and some buffers are in flight.
    while let Ok(bytes) = progress.recv_timeout(Duration::from_secs(1)) {
        total += bytes;
    }
    assert!(total < 64 << 20, "{total} bytes were accepted from the origin");
}

#[test]
fn trailers_pass() {
    let origin = Origin::new(|mut connection, _| {
        let mut request = connection.head().unwrap_or_default();
        while !request.ends_with("X-Checksum: abc\r\n\r\n") && !request.ends_with("x-checksum: abc\r\n\r\n") {
            let bytes = connection.bytes();
            if bytes.is_empty() {
                return;
            }
            request += &String::from_utf8_lossy(&bytes);
        }
        connection.send(
            "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: def\r\n\r\n",
        );
    });
    let proxy = proxy_to(&origin);
    let mut client = Client::to(proxy.address("listen"));
    client.send("POST / HTTP/1.1\r\nHost: site.test\r\nTE: trailers\r\nTrailer: X-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "def".to_owned())]);
}

/// Bodies are forwarded for any method (RFC 9110 section 9.3.1 leaves their meaning open, not their framing).
#[test]
fn bodies_of_unusual_methods_pass() {
    let origin = Origin::new(|mut connection, _| {
        let mut request = connection.head().unwrap_or_default();
        while !request.ends_with("0\r\n\r\n") {
            let bytes = connection.bytes();
            assert!(!bytes.is_empty(), "{request}");
            request += &String::from_utf8_lossy(&bytes);
        }
        assert!(request.contains("transfer-encoding: chunked\r\n") && request.contains("\r\nhello\r\n"), "{request}");
        connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxy = proxy_to(&origin);
    for method in ["GET", "DELETE", "OPTIONS", "PROPFIND"] {
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        assert_eq!(ask(proxy.address("listen"), &request).text(), "ok", "{method}");
    }
}

/// After a reset by the client, the exchange with the origin is abandoned.
#[test]
fn resets_drop_the_exchange() {
    let (left, has_left) = std::sync::mpsc::channel();
    let (arrived, has_arrived) = std::sync::mpsc::channel();
    let origin = Origin::new(move |mut connection, _| {
        let _ = connection.head();
        let _ = arrived.send(());
        while !connection.bytes().is_empty() {}
        let _ = left.send(());
    });
    let proxy = proxy_to(&origin);
    for request in [
        "GET / HTTP/1.1\r\nHost: site.test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10\r\n\r\nhalf",
    ] {
        let mut client = Client::to(proxy.address("listen"));
        client.send(request);
        has_arrived.recv_timeout(PATIENCE).expect("the origin has it");
        client.reset();
        has_left.recv_timeout(PATIENCE).expect("the origin is let go");
    }
    assert_eq!(get(proxy.address("listen"), "site.test", "/hello").text(), "hello\n", "the worker goes on");
}

#[test]
fn continue_is_sent_once() {
    let origin = Origin::always(OK);
    let proxy = proxy_to(&origin);
    let mut client = Client::to(proxy.address("listen"));
    client.send("POST / HTTP/1.1\r\nHost: site.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 100"), "continue");
    client.send("hello");
    assert!(client.head().starts_with("HTTP/1.1 200"));
    // Refused before the body: no `100 Continue`.
    let mut client = Client::to(proxy.address("listen"));
    client.send("POST /small HTTP/1.1\r\nHost: site.test\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 413"));
}

#[test]
fn old_and_odd_clients() {
    let origin = Origin::always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let proxy = proxy_to(&origin);
    let address = proxy.address("listen");
    // HTTP/1.0 has no chunked encoding: the response ends with the connection.
    let mut client = Client::to(address);
    client.send("GET / HTTP/1.0\r\nHost: site.test\r\n\r\n");
    let answer = String::from_utf8(client.rest()).expect("text");
    assert!(answer.ends_with("\r\n\r\nok") && !answer.contains("chunked"), "{answer}");
    // HTTP/1.0 with keep-alive.
    let mut client = Client::to(address);
    for _ in 0..2 {
        client.send("GET /hello HTTP/1.0\r\nHost: site.test\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.answer().text(), "hello\n");
    }
    // A half-closed client still gets responses that need no wait.
    let mut client = Client::to(address);
    client.send("GET /hello HTTP/1.1\r\nHost: site.test\r\n\r\n").half_close();
    assert_eq!(client.answer().text(), "hello\n");
    // Pipelined requests are answered in order.
    let mut client = Client::to(address);
    client.send("GET /hello HTTP/1.1\r\nHost: site.test\r\n\r\nPOST /echo HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert_eq!(client.answer().text(), "hello\n");
    assert!(client.answer().text().contains("\"body\":\"abc\""));
    assert_eq!(client.answer().text(), "ok");
    // Byte by byte.
    let mut client = Client::to(address);
    for byte in
        "\r\nPOST /echo HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".bytes()
    {
        client.send([byte]);
    }
    assert!(client.answer().text().contains("\"body\":\"abc\""));
}

#[test]
fn upgrades_become_tunnels() {
    let origin = Origin::new(|mut connection, _| {
        let head = connection.head().unwrap_or_default().to_lowercase();
        assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
        // Data right after the head belongs to the tunnel.
        connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nfirst");
        loop {
            let bytes = connection.bytes();
            if bytes.is_empty() {
                return;
            }
            connection.send(bytes);
        }
    });
    let proxy = proxy_to(&origin);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET /live HTTP/1.1\r\nHost: site.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: y\r\n\r\nearly");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.header("upgrade"), answer.header("sec-websocket-accept")),
        (101, Some("websocket"), Some("x"))
    );
    let both = client.exactly(10);
    assert!(both == b"firstearly", "{:?}", String::from_utf8_lossy(&both));
    for _ in 0..100 {
        let looks_like_http = b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(looks_like_http);
        assert_eq!(client.exactly(looks_like_http.len()), looks_like_http);
    }
    client.half_close();
    assert!(client.closed());
    proxy.log("\"status\":101");
    // If the origin declines an upgrade, its response is an ordinary one.
    let origin = Origin::always(
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nno",
    );
    let proxy = proxy_to(&origin);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET /live HTTP/1.1\r\nHost: site.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.answer().status, 426);
    client.send("GET /hello HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert_eq!(client.answer().text(), "hello\n");
}
