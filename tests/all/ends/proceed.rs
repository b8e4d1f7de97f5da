//! `Expect: 100-continue` that is forwarded to the server (`continue=upstream`; RFC 9110 section 10.1.1).

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use kiln_tests::client::Client;
use kiln_tests::origin::{Connection, Origin};

use super::*;

/// A server that does what the path says before it has read the body, then reads it and reports what it received.
fn server() -> (Origin, Receiver<String>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let origin = Origin::new(move |mut connection: Connection, _| {
        while let Some(head) = connection.head() {
            let lower = head.to_ascii_lowercase();
            let send = |text: String| tell.lock().expect("a lock").send(text).expect("a receiver");
            send(format!("expect {}", lower.contains("\r\nexpect: 100-continue\r\n")));
            if head.contains("/refused") {
                connection.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
                // From here on the connection ends; there is no body.
                send(format!("after {:?}", String::from_utf8_lossy(&connection.bytes())));
                return;
            }
            if head.contains("/wanted") {
                connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            }
            let mut body = Vec::new();
            while body.len() < 5 {
                let bytes = connection.bytes();
                if bytes.is_empty() {
                    return;
                }
                body.extend(bytes);
            }
            send(String::from_utf8_lossy(&body).into_owned());
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (origin, told)
}

const ASK: &str = "HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[test]
fn over_http1() {
    let (one, told) = server();
    let proxy = proxy(&[("one", &one.address)]);
    let hear = || told.recv_timeout(PATIENCE).expect("told");
    let ask = |path: &str| {
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("PUT {path} {ASK}"));
        assert_eq!(hear(), "expect true", "{path}");
        client
    };
    // The server sends a 100, or nothing for a while: the client gets exactly one 100.
    for path in ["/1/asks/wanted", "/1/asks/silent", "/1/asks/retry/wanted", "/1/asks/split/wanted"] {
        let mut client = ask(path);
        assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n", "{path}");
        client.send("hello");
        assert_eq!(hear(), "hello", "{path}");
        assert_eq!(client.answer().text(), "ok", "{path}");
        // The connection stays open.
        client.send("GET /own HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.answer().text(), "own\n");
    }
    // A client that sends its body immediately: the proxy holds it back.
    let mut client = Client::to(proxy.address("listen"));
    client.send(format!("PUT /1/asks/wanted {ASK}hello"));
    assert_eq!((hear(), hear()), ("expect true".to_owned(), "hello".to_owned()));
    assert_eq!(client.answer().text(), "ok");
    // The server rejects the request: the client gets no 100, and its connection can't be reused.
    let mut client = ask("/1/asks/refused");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 401 ") && head.contains("\r\nconnection: close\r\n"), "{head}");
    assert_eq!(client.exactly(2), b"no");
    assert_eq!(hear(), "after \"\"");
    assert!(client.closed());
    // With `continue` in the proxy, the server gets no `Expect`.
    let mut client = Client::to(proxy.address("listen"));
    client.send(format!("PUT /1/plain/wanted {ASK}"));
    assert_eq!(hear(), "expect false");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    assert_eq!((client.answer().text(), hear()), ("ok".to_owned(), "hello".to_owned()));
    // HTTP/1.0 has no `100 Continue`.
    let mut client = Client::to(proxy.address("listen"));
    client
        .send("PUT /1/asks/silent HTTP/1.0\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((hear(), hear()), ("expect false".to_owned(), "hello".to_owned()));
    assert_eq!(client.answer().text(), "ok");
}

/// Bodies that were not requested yet can be sent to another server: after a server that can't be reached, and after a
/// rejection.
#[test]
fn retries() {
    let (two, told) = server();
    let one = Origin::new(|mut connection, _| {
        while connection.head().is_some() {
            connection.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        }
    });
    for first in [&*one.address, "127.0.0.1:1"] {
        let proxy = proxy(&[("one", first), ("three", &two.address)]);
        let hear = || told.recv_timeout(PATIENCE).expect("told");
        for _ in 0..2 {
            let mut client = Client::to(proxy.address("listen"));
            client.send(format!("PUT /1/asks/retry/wanted {ASK}"));
            assert_eq!(hear(), "expect true");
            assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
            client.send("hello");
            assert_eq!(client.answer().text(), "ok");
            assert_eq!(hear(), "hello");
        }
    }
}

/// HTTP/2 on either side, and on both.
#[test]
fn over_http2() {
    let (one, told) = server();
    let two = frames(|stream, out| {
        // The server receives the head, and sends a 100; it responds when the stream ends.
        out.write_all(&headers(stream, false, "100", &[])).expect("sent");
        let mut body = Vec::new();
        loop {
            let mut head = [0; 9];
            out.read_exact(&mut head).expect("a frame");
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            out.read_exact(&mut payload).expect("a frame");
            if head[3] == 0 {
                body.extend(payload);
                if head[4] & 1 == 1 {
                    break;
                }
            }
        }
        assert_eq!(body, b"hello");
        out.write_all(&headers(stream, true, "204", &[])).expect("sent");
    });
    let refuses = frames(|stream, out| out.write_all(&headers(stream, true, "401", &[])).expect("sent"));
    let proxy = proxy(&[("one", &one.address), ("two", &two), ("four", &refuses)]);
    let mut client = Client::to(proxy.address("listen"));
    client.send(format!("PUT /2/asks/x {ASK}"));
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    assert_eq!(client.answer().status, 204);
    let mut client = Client::to(proxy.address("listen"));
    client.send(format!("PUT /2/refuses/x {ASK}"));
    assert!(client.head().starts_with("HTTP/1.1 401 "));
    run(async {
        let mut client = super::client(proxy.address("listen")).await;
        for (path, expected, asked) in [
            ("/1/asks/wanted", 200, true),
            ("/1/asks/refused", 401, false),
            ("/2/asks/x", 204, true),
            ("/2/refuses/x", 401, false),
        ] {
            let request = http::Request::put(format!("http://a.test{path}"))
                .header("expect", "100-continue")
                .header("content-length", 5)
                .body(())
                .expect("a request");
            let (mut response, mut up) = client.send_request(request, false).expect("sent");
            if asked {
                let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
                assert_eq!(interim.expect("an interim response").expect("whole").status(), 100, "{path}");
                up.send_data("hello".into(), true).expect("sent");
            }
            let got = received(response).await;
            assert_eq!((got.status, got.interim.len()), (expected, 0), "{path}");
        }
    });
    let all: Vec<String> = told.try_iter().collect();
    assert_eq!(all[..2], ["expect true", "hello"], "{all:?}");
}
