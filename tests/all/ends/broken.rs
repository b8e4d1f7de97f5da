//! Broken responses: before any of it is sent, the client gets a 502; afterwards the client gets everything that was
//! received, and an incomplete response.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use kiln_tests::client::Client;
use kiln_tests::origin::Origin;

use super::*;

/// The first packet of HTTP/1.1 servers, by the last part of the path, and the reason in the log.
const AT_ONCE: [(&str, &str, &str); 6] = [
    ("no-chunk", "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "upstream-invalid"),
    ("second-chunk", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n", "upstream-invalid"),
    ("chunks-end", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "upstream-truncated"),
    ("no-body", "Content-Length: 10\r\n\r\n", "upstream-truncated"),
    ("short", "Content-Length: 10\r\n\r\nhello", "upstream-truncated"),
    ("trailers", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nbad trailer\r\n\r\n", "upstream-invalid"),
];

fn last(path: &str) -> &str {
    path.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default()
}

/// An HTTP/1.1 server that sends broken responses, each up to its end in one packet, and some of them after a 103.
fn broken() -> Origin {
    Origin::new(|mut connection, _| {
        let Some(request) = connection.request() else { return };
        let name = last(&request);
        let hints = if request.contains("/hints-") { "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" } else { "" };
        let name = name.trim_start_matches("hints-");
        let (_, rest, _) = AT_ONCE.iter().find(|(known, ..)| *known == name).expect("a path that is known");
        connection.send_last(format!("{hints}HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"x\"\r\n{rest}"));
    })
}

/// The first bytes of HTTP/2 servers (RFC 9113 section 8.1.1).
fn malformed() -> String {
    frames(|stream, out| {
        let (typed, data) = (("content-type", "text/plain"), |flags, bytes: &[u8]| frame(0, flags, stream, bytes));
        let headers = |end, fields: &[_]| headers(stream, end, "200", &[&[typed], fields].concat());
        // The paths are in the order of the streams.
        let parts = match (stream / 2) % 7 {
            0 => vec![headers(false, &[("content-length", "10")]), data(1, b"hello")],
            1 => vec![headers(false, &[("content-length", "3")]), data(1, b"hello")],
            2 => vec![headers(true, &[("content-length", "10")])],
            3 => vec![headers(false, &[]), frame(3, 0, stream, &[0, 0, 0, 2])],
            4 => vec![headers(false, &[]), data(0, b"hello"), frame(3, 0, stream, &[0, 0, 0, 2])],
            5 => vec![headers(false, &[("content-length", "5")]), data(0, b"hell"), data(1, b"")],
            _ => vec![
                super::headers(stream, false, "103", &[("link", "</a>")]),
                headers(false, &[("content-length", "10")]),
                data(1, b"hello"),
            ],
        };
        out.write_all(&parts.concat()).expect("sent");
    })
}

#[test]
fn broken_before_the_head_is_sent_over_http1() {
    let (one, two) = (broken(), malformed());
    let proxy = proxy(&[("one", &one.address), ("two", &two)]);
    let mut client = Client::to(proxy.address("listen"));
    let mut check = |path: &str, reason: &str, hints: bool| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n"));
        if hints {
            assert!(client.head().starts_with("HTTP/1.1 103 "), "{path}");
        }
        // The client's connection stays open.
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("etag")), (502, None), "{path}");
        if answer.header("content-encoding").is_none() {
            assert_eq!(answer.text(), "502 Bad Gateway\n", "{path}");
        }
        let bytes = format!("\"bytes\":{}", answer.body.len());
        logged(&proxy, path, &["\"status\":502", &bytes, &format!("\"reason\":\"{reason}\"")]);
    };
    for change in CHANGES {
        for (name, _, reason) in AT_ONCE {
            check(&format!("/1/{change}/{name}"), reason, false);
        }
        check(&format!("/1/{change}/hints-short"), "upstream-truncated", true);
        for (at, reason) in MALFORMED.iter().enumerate() {
            check(&format!("/2/{change}/{at}"), reason, at == 6);
        }
    }
    // HTTP/1.0: a body without a length would end with the connection.
    let mut old = Client::to(proxy.address("listen"));
    old.send("GET /1/plain/old/second-chunk HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!(old.answer().status, 502);
}

/// The reasons, in the order of [`malformed`].
const MALFORMED: [&str; 7] = [
    "upstream-invalid",
    "upstream-invalid",
    "upstream-invalid",
    "upstream-truncated",
    "upstream-truncated",
    "upstream-invalid",
    "upstream-invalid",
];

#[test]
fn broken_before_the_head_is_sent_over_http2() {
    let (one, two) = (broken(), malformed());
    let proxy = proxy(&[("one", &one.address), ("two", &two)]);
    run(async {
        let mut client = client(proxy.address("listen")).await;
        let mut paths = Vec::new();
        for change in CHANGES {
            paths.extend(AT_ONCE.map(|(name, _, reason)| (format!("/1/{change}/{name}"), reason, false)));
            paths.push((format!("/1/{change}/hints-short"), "upstream-truncated", true));
            let malformed = MALFORMED.iter().enumerate();
            paths.extend(malformed.map(|(at, reason)| (format!("/2/{change}/{at}"), *reason, at == 6)));
        }
        for (path, reason, hints) in paths {
            let got = get(&mut client, &path).await;
            assert_eq!((got.status, got.reset), (502, None), "{path}");
            assert_eq!((got.interim.len(), got.fields.get("etag")), (usize::from(hints), None), "{path}");
            if !got.fields.contains_key("content-encoding") {
                assert_eq!(got.body, b"502 Bad Gateway\n", "{path}");
            }
            let bytes = format!("\"bytes\":{}", got.body.len());
            logged(&proxy, &path, &["\"status\":502", &bytes, &format!("\"reason\":\"{reason}\"")]);
        }
    });
}

/// The 502 in place of the response is the route's: with its error page and header fields.
#[test]
fn pages_and_fields_of_the_route() {
    let one = broken();
    let proxy = proxy(&[("one", &one.address)]);
    let answer = kiln_tests::client::get(proxy.address("listen"), "a.test", "/1/page/short");
    assert_eq!((answer.status, answer.text()), (502, "sorry\n".to_owned()));
    assert_eq!(answer.header("x-route"), Some("page"));
}

/// A response that breaks when `go` returns, after its head and the first part of its body were sent.
fn breaks_later(go: impl Fn() + Send + Sync + 'static) -> Origin {
    Origin::new(move |mut connection, _| {
        let Some(request) = connection.request() else { return };
        let typed = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
        match last(&request) {
            "chunks" => connection.send(format!("{typed}Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n")),
            "length" => connection.send(format!("{typed}Content-Length: 10\r\n\r\nhello ")),
            _ => connection.send(format!("{typed}Content-Length: 10\r\n\r\n")),
        }
        go();
        // Data that arrives together with the failure is passed on, too.
        match last(&request) {
            "chunks" => connection.send_last("3\r\nwor\r\nxyz\r\n"),
            "length" => connection.send_last("wor"),
            _ => connection.send_last(""),
        }
    })
}

/// Holds a server until the test lets it continue.
fn gate() -> (impl Fn(), impl Fn() + Send + Sync + 'static) {
    let (go, wait) = channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    (move || go.send(()).expect("a receiver"), move || wait.lock().expect("a lock").recv().expect("told"))
}

/// Everything that was received is passed on, and the client can tell that the response is incomplete.
#[test]
fn broken_bodies_are_passed_on_over_http1() {
    let (go, wait) = gate();
    let one = breaks_later(wait);
    let proxy = proxy(&[("one", &one.address)]);
    let check = |path: &str, version: &str, first: &str, rest: &str, bytes: u64| {
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("GET {path} HTTP/{version}\r\nHost: a.test\r\n\r\n"));
        assert!(client.head().starts_with("HTTP/1.1 200 "), "{path}");
        assert_eq!(String::from_utf8_lossy(&client.exactly(first.len())), first, "{path}");
        go();
        assert_eq!(String::from_utf8_lossy(&client.rest()), rest, "{path}");
        let reason = if path.ends_with("chunks") { "upstream-invalid" } else { "upstream-truncated" };
        logged(&proxy, path, &["\"status\":200", &format!("\"bytes\":{bytes},"), &format!("\"reason\":\"{reason}\"")]);
    };
    check("/1/plain/chunks", "1.1", "6\r\nhello \r\n", "3\r\nwor\r\n", 9);
    check("/1/cached/chunks", "1.1", "6\r\nhello \r\n", "3\r\nwor\r\n", 9);
    check("/1/plain/length", "1.1", "hello ", "wor", 9);
    check("/1/cached/length", "1.1", "hello ", "wor", 9);
    check("/1/plain/head", "1.1", "", "", 0);
    // Text that was held back as the possible start of a match is released.
    check("/1/replaced/chunks", "1.1", "", "9\r\nhello wor\r\n", 9);
    check("/1/plain/old/chunks", "1.0", "hello ", "wor", 9);
}

#[test]
fn broken_bodies_are_passed_on_over_http2() {
    let (go, wait) = gate();
    let one = breaks_later(wait);
    let proxy = proxy(&[("one", &one.address)]);
    run(async {
        let mut client = client(proxy.address("listen")).await;
        for path in ["/1/plain/chunks", "/1/cached/chunks", "/1/plain/length", "/1/cached/length", "/1/replaced/chunks"]
        {
            let request = http::Request::get(format!("http://a.test{path}")).body(()).expect("a request");
            let (response, _) = client.send_request(request, true).expect("sent");
            let response = response.await.expect("an answer");
            assert_eq!(response.status(), 200);
            let mut body = response.into_body();
            if !path.contains("replaced") {
                assert_eq!(body.data().await.expect("open").expect("data"), "hello ", "{path}");
            }
            go();
            let expected = if path.contains("replaced") { "hello wor" } else { "wor" };
            assert_eq!(body.data().await.expect("open").expect("data"), expected, "{path}");
            let end = body.data().await.expect("an end").expect_err("a reset");
            assert!(end.is_remote() && end.reason() == Some(h2::Reason::INTERNAL_ERROR), "{path}: {end:?}");
            logged(&proxy, path, &["\"status\":200", "\"bytes\":9,", "\"reason\":\"upstream-"]);
        }
    });
}

/// In HTTP/1.0, only the end of the connection ends a body: a reset marks an incomplete one.
#[test]
fn old_clients_get_a_reset() {
    let (go, wait) = gate();
    let one = breaks_later(wait);
    let proxy = proxy(&[("one", &one.address)]);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET /1/plain/chunks HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(client.exactly(6), b"hello ");
    go();
    let mut rest = Vec::new();
    let end = client.stream().read_to_end(&mut rest);
    assert_eq!(end.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset, "{rest:?}");
}

/// The head of a response with a slow body is sent immediately, and so is each piece of the body.
#[test]
fn streams_are_not_held_back() {
    let (go, wait) = gate();
    let one = Origin::new(move |mut connection, _| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
            wait();
            connection.send("1\r\na\r\n");
            wait();
            connection.send("1\r\nb\r\n0\r\n\r\n");
        }
    });
    let proxy = proxy(&[("one", &one.address)]);
    let mut client = Client::to(proxy.address("listen"));
    for change in ["plain", "cached"] {
        client.send(format!("GET /1/{change}/stream HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        go();
        assert_eq!(client.exactly(6), b"1\r\na\r\n");
        go();
        assert_eq!(client.exactly(11), b"1\r\nb\r\n0\r\n\r\n");
    }
    run(async {
        let mut client = super::client(proxy.address("listen")).await;
        let request = http::Request::get("http://a.test/1/plain/stream").body(()).expect("a request");
        let (response, _) = client.send_request(request, true).expect("sent");
        let mut body = response.await.expect("an answer").into_body();
        go();
        assert_eq!(body.data().await.expect("open").expect("data"), "a");
        go();
        assert_eq!(body.data().await.expect("open").expect("data"), "b");
    });
}
