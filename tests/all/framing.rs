//! Message boundaries: the proxy forwards requests that every parser reads as exactly one request, and the rest
//! of a message never becomes the next message.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use kiln_tests::client::Client;
use kiln_tests::origin::{Connection, Origin};
use kiln_tests::proxy::{Proxy, build_text};
use proptest::prelude::*;

const SITE: &str = r#"
param listen type=addr
param origin type=addr default="127.0.0.1:1"
process {
    workers 1
}
log access
site site.test {
    listen (param)listen
    limits half-close=#true
    route "/own" {
        respond 200 "own\n"
    }
    route "/small" {
        limits body="10B"
        proxy (param)origin
    }
    route "/*" {
        proxy (param)origin
    }
}
"#;

fn proxy_to(origin: &Origin) -> Proxy {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    Proxy::start(BINARY.get_or_init(|| build_text("framing", SITE)), SITE, &[("origin", &origin.address)])
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The unread rest of a body: a small one is read, for a large one the connection is closed.
#[test]
fn bodies_that_nobody_reads() {
    let origin = Origin::always(OK);
    let proxy = proxy_to(&origin);
    let check = |head: &str, body: &str, goes_on: bool| {
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("POST /own HTTP/1.1\r\nHost: site.test\r\n{head}\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, (!goes_on).then_some("close")), "{head:?}");
        if goes_on {
            client.send(format!("{body}GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"));
            assert_eq!(client.answer().text(), "ok", "{head:?}");
        } else {
            assert!(client.closed(), "{head:?}");
        }
    };
    check("Content-Length: 5\r\n", "hello", true);
    check("Content-Length: 33\r\n", "GET /x HTTP/1.1\r\nHost: evil.t\r\n\r\n", true);
    check("Content-Length: 1000000\r\n", "", false);
    check("Transfer-Encoding: chunked\r\n", "", false);
    check("Expect: 100-continue\r\nContent-Length: 5\r\n", "", false);
    check("Connection: close\r\n", "", false);
}

/// An origin may respond before it has received the whole request; the rest of the request is dropped.
#[test]
fn early_answers() {
    let origin = Origin::new(|mut connection, _| {
        while connection.head().is_some() {
            connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let proxy = proxy_to(&origin);
    let mut client = Client::to(proxy.address("listen"));
    client.send("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 1000000\r\n\r\n");
    assert_eq!(client.answer().status, 403);
    client.try_send("x".repeat(1000));
    assert!(client.closed());
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert_eq!(client.answer().text(), "no");
    assert_eq!(origin.connections(), 2, "a connection with an incomplete request is not reused");
}

/// Interim responses are forwarded, except to HTTP/1.0 clients; `100 Continue` is sent by the proxy itself.
#[test]
fn interim_answers() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x\r\nX: 1\r\n\r\n";
    let answer = format!("HTTP/1.1 100 Continue\r\n\r\n{hints}{hints}{OK}");
    let origin = Origin::always(answer);
    let proxy = proxy_to(&origin);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    for _ in 0..2 {
        assert_eq!(client.head(), "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
    }
    assert_eq!(client.answer().text(), "ok");
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET / HTTP/1.0\r\nHost: site.test\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 OK"));
    // An endless sequence of interim responses is an error.
    let endless = Origin::new(|mut connection, _| {
        let _ = connection.head();
        for _ in 0..1000 {
            connection.send("HTTP/1.1 102 Processing\r\n\r\n");
        }
    });
    let proxy = proxy_to(&endless);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert_eq!(client.answer().status, 502);
}

/// Line ends without CR, which parsers interpret in different ways.
#[test]
fn bare_line_feeds() {
    let origin = Origin::always(OK);
    let proxy = proxy_to(&origin);
    for request in [
        "GET / HTTP/1.1\nHost: site.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: site.test\n\r\n",
        "GET / HTTP/1.1\r\nHost: site.test\nX: y\r\n\r\n",
        "GET / HTTP/1.1\nHost: site.test\n\n",
        "GET / HTTP/1.1\r\nHost: site.test\r\n\n",
    ] {
        let mut client = Client::to(proxy.address("listen"));
        client.send(request);
        assert_eq!(client.answer().status, 400, "{request:?}");
    }
    // From servers they are accepted, except where they are ambiguous.
    for (answer, status) in [
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200),
        ("HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\r\nok", 502),
    ] {
        let answering = Origin::always(answer);
        let proxy = proxy_to(&answering);
        let mut client = Client::to(proxy.address("listen"));
        client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
        assert_eq!(client.answer().status, status, "{answer:?}");
    }
}

fn more(connection: &mut Connection, bytes: &mut Vec<u8>) -> bool {
    let new = connection.bytes();
    bytes.extend_from_slice(&new);
    !new.is_empty()
}

/// A strict parser of requests that shares no code with the proxy's: records the requests, or why they can't be parsed.
fn read_strictly(connection: &mut Connection, seen: &Mutex<Vec<Result<String, String>>>) {
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        let end = loop {
            match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if more(connection, &mut bytes) => {}
                None => return,
            }
        };
        let head = String::from_utf8_lossy(&bytes.drain(..end).collect::<Vec<u8>>()).into_owned();
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect::<Vec<_>>()
        };
        let (lengths, codings) = (field("content-length"), field("transfer-encoding"));
        let first = head.lines().next().unwrap_or_default().to_owned();
        if lengths.len() + codings.len() > 1 || first.split(' ').count() != 3 || !first.ends_with(" HTTP/1.1") {
            seen.lock().expect("a lock").push(Err(head));
            return;
        }
        if codings.is_empty() {
            let length: usize = lengths.first().map_or(0, |length| length.parse().expect("a number"));
            while bytes.len() < length {
                if !more(connection, &mut bytes) {
                    return;
                }
            }
            bytes.drain(..length);
        } else {
            loop {
                let Some(at) = bytes.windows(2).position(|window| window == b"\r\n") else {
                    if more(connection, &mut bytes) {
                        continue;
                    }
                    return;
                };
                let line = String::from_utf8_lossy(&bytes[..at]).into_owned();
                let Ok(size) = usize::from_str_radix(&line, 16) else {
                    seen.lock().expect("a lock").push(Err(format!("no chunk: {line:?}")));
                    return;
                };
                while bytes.len() < at + 2 + size + 2 {
                    if !more(connection, &mut bytes) {
                        return;
                    }
                }
                bytes.drain(..at + 2 + size);
                if bytes.drain(..2).collect::<Vec<u8>>() != b"\r\n" {
                    seen.lock().expect("a lock").push(Err(format!("behind a chunk of {size}")));
                    return;
                }
                if size == 0 {
                    break;
                }
            }
        }
        seen.lock().expect("a lock").push(Ok(first));
        connection.send("HTTP/1.1 200 OK\r\nX-Origin: 1\r\nContent-Length: 2\r\n\r\nok");
    }
}

/// Requests that are composed of parts that parsers disagree about.
fn odd_requests() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec![
        "Content-Length: 5",
        "Content-Length: 0",
        "Content-Length: 6",
        "content-length:5",
        "Content-Length : 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 05",
        "Content-Length:\t5",
        "Content-Length: 5\n",
        "X: y\rContent-Length: 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity",
        " Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "Transfer-Encoding\0: chunked",
        "Transfer_Encoding: chunked",
        "Connection: Content-Length",
        "Connection: Transfer-Encoding, Host",
        "Connection: close",
        "Upgrade: h2c",
        "Expect: 100-continue",
        "X: y",
    ]);
    let body = prop::sample::select(vec![
        "",
        "hello",
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "05\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "-1\r\n",
        "ffffffffffffffff\r\nx",
        "0\r\nContent-Length: 5\r\n\r\n",
        "GET /evil HTTP/1.1\r\nHost: site.test\r\n\r\n",
        "0\r\n\r\nGET /evil HTTP/1.1\r\nHost: site.test\r\n\r\n",
    ]);
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "HEAD", "get"]);
    let version = prop::sample::select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2"]);
    let one =
        (method, version, prop::collection::vec(field, 0..3), body).prop_map(|(method, version, fields, body)| {
            let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
            format!("{method} / {version}\r\nHost: site.test\r\n{fields}\r\n{body}")
        });
    prop::collection::vec(one, 1..3).prop_map(|requests| requests.concat())
}

/// For any bytes: the origin can parse the proxy's requests in one way only, and receives exactly the requests that the
/// client gets responses for.
#[test]
fn nothing_is_smuggled() {
    let seen: Arc<Mutex<Vec<Result<String, String>>>> = Arc::default();
    let records = Arc::clone(&seen);
    let origin = Origin::new(move |mut connection, _| read_strictly(&mut connection, &records));
    let proxy = proxy_to(&origin);
    proptest!(crate::kiln_config(400), |(bytes in odd_requests())| {
        seen.lock().expect("a lock").clear();
        let mut client = Client::to(proxy.address("listen"));
        client.try_send(&bytes);
        client.half_close();
        let answers = String::from_utf8_lossy(&client.rest()).into_owned();
        let seen = seen.lock().expect("a lock");
        let unreadable: Vec<_> = seen.iter().filter(|seen| seen.is_err()).collect();
        prop_assert!(unreadable.is_empty(), "{bytes:?} became {unreadable:?}");
        let answered = answers.matches("X-Origin: 1").count();
        prop_assert_eq!(seen.len(), answered, "{:?} became {:?}, answered {:?}", bytes, &*seen, answers);
    });
}
