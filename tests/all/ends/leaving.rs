//! Clients that disconnect: in the middle of a request, and while the proxy waits for a server.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use kiln_tests::client::{self, Client};
use kiln_tests::origin::Origin;

use super::*;

/// A slow server, which reports when it has received a request, and when the proxy has closed the connection.
fn slow(told: Sender<&'static str>) -> Origin {
    let told = Mutex::new(told);
    Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            if request.contains("/quick") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                continue;
            }
            if request.contains("/begun") {
                connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
            }
            let tell = |word| told.lock().expect("a lock").send(word).expect("a receiver");
            tell("asked");
            if connection.bytes().is_empty() {
                tell("left");
                return;
            }
        }
    })
}

/// A client that closes its sending side after its request has left: the request to the server is abandoned.
#[test]
fn while_a_server_is_waited_for() {
    let (told, hears) = channel();
    let one = slow(told);
    let proxy = proxy(&[("one", &one.address)]);
    let hear = || hears.recv_timeout(PATIENCE).expect("told");
    for path in ["/1/plain/wait", "/1/cached/wait", "/1/plain/begun", "/1/compressed/begun"] {
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        assert_eq!(hear(), "asked", "{path}");
        if path.ends_with("begun") {
            client.head();
        }
        client.half_close();
        assert_eq!(hear(), "left", "{path}");
        client.rest();
        let line = proxy.log(&format!("\"path\":\"{path}\""));
        assert!(line.contains("\"reason\":\"client-disconnected\""), "{line}");
        assert_eq!(line.contains("\"status\":200"), path.ends_with("begun"), "{line}");
    }
    // FIN together with the request, and after other pipelined requests: those are answered.
    let mut client = Client::to(proxy.address("listen"));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.send([get("/1/plain/quick"), get("/own"), get("/1/plain/last")].concat()).half_close();
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(client.answer().text(), "own\n");
    assert!(client.closed());
    assert!(!proxy.log("\"path\":\"/1/plain/last\"").contains("\"status\""));
    // A response of the proxy itself involves no wait.
    let mut client = Client::to(proxy.address("listen"));
    client.send(get("/own")).half_close();
    assert_eq!(client.answer().text(), "own\n");
}

/// `half-close`: clients that close their sending side after the request still get the response.
#[test]
fn clients_that_half_close() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let (told, hears) = channel();
    let told = Mutex::new(told);
    let one = Origin::new(move |mut connection, _| {
        while connection.request().is_some() {
            told.lock().expect("a lock").send(()).expect("a receiver");
            wait.lock().expect("a lock").recv().expect("told");
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = proxy(&[("one", &one.address)]);
    for version in ["1.1", "1.0"] {
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("GET /1/half/x HTTP/{version}\r\nHost: a.test\r\n\r\n")).half_close();
        hears.recv_timeout(PATIENCE).expect("asked");
        go.send(()).expect("the server waits");
        assert_eq!(client.answer().text(), "ok");
        assert!(client.closed());
    }
}

/// A body that is cut off is a bad request, and does not count against the server, which gets further requests.
#[test]
fn in_the_middle_of_a_body() {
    let one = Origin::new(|mut connection, _| {
        let Some(head) = connection.head() else { return };
        if head.contains("/quick") {
            return connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        while !connection.bytes().is_empty() {}
    });
    let proxy = proxy(&[("one", &one.address)]);
    let said = &["\"status\":400", "\"reason\":\"request-truncated\""];
    for (at, framing) in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo"]
        .into_iter()
        .enumerate()
    {
        for place in ["watched", "kept"] {
            let path = format!("/1/{place}/{at}");
            let mut client = Client::to(proxy.address("listen"));
            client.send(format!("PUT {path} HTTP/1.1\r\nHost: a.test\r\n{framing}")).half_close();
            let answer = client.answer();
            assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{path}");
            assert!(client.closed());
            logged(&proxy, &path, said);
            // After a reset, nobody receives the response.
            let path = format!("/1/{place}/reset-{at}");
            let mut client = Client::to(proxy.address("listen"));
            client.send(format!("PUT {path} HTTP/1.1\r\nHost: a.test\r\n{framing}"));
            client.reset();
            logged(&proxy, &path, said);
        }
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("POST /echo HTTP/1.1\r\nHost: a.test\r\n{framing}")).half_close();
        assert_eq!(client.answer().status, 400);
    }
    run(async {
        let mut client = super::client(proxy.address("listen")).await;
        for (path, length) in [("/1/watched/h2", None), ("/1/watched/h2-length", Some(10)), ("/1/kept/h2", Some(10))] {
            let mut request = http::Request::put(format!("http://a.test{path}"));
            if let Some(length) = length {
                request = request.header("content-length", length);
            }
            let (response, mut up) = client.send_request(request.body(()).expect("a request"), false).expect("sent");
            up.send_data("hello".into(), false).expect("sent");
            // A request in between, so that the first one is processed before its end.
            get(&mut client, "/own").await;
            up.send_reset(h2::Reason::CANCEL);
            drop(response);
            // The reset has to be sent, too.
            get(&mut client, "/own").await;
            logged(&proxy, path, said);
        }
    });
    let answer = client::get(proxy.address("listen"), "a.test", "/1/watched/quick");
    assert_eq!(answer.text(), "ok", "the server is not ejected");
    assert!(proxy.noticed().iter().all(|line| !line.contains("ejected")), "{:?}", proxy.noticed());
}

/// The reset of a stream that waits for a server abandons the request to the server.
#[test]
fn streams_that_are_reset() {
    let (told, hears) = channel();
    let one = slow(told);
    let proxy = proxy(&[("one", &one.address)]);
    run(async {
        let mut client = super::client(proxy.address("listen")).await;
        let request = http::Request::get("http://a.test/1/plain/wait").body(()).expect("a request");
        let (response, mut up) = client.send_request(request, true).expect("sent");
        let hears = tokio::task::spawn_blocking(move || {
            assert_eq!(hears.recv_timeout(PATIENCE).expect("told"), "asked");
            hears
        });
        let hears = hears.await.expect("told");
        up.send_reset(h2::Reason::CANCEL);
        drop(response);
        get(&mut client, "/own").await;
        let left = tokio::task::spawn_blocking(move || hears.recv_timeout(PATIENCE).expect("told"));
        assert_eq!(left.await.expect("told"), "left");
        logged(&proxy, "/1/plain/wait", &["\"reason\":\"client-disconnected\""]);
    });
}

/// The same for all streams of a closed connection.
#[test]
fn connections_with_streams() {
    let (told, hears) = channel();
    let one = slow(told);
    let proxy = proxy(&[("one", &one.address)]);
    run(async {
        let mut client = super::client(proxy.address("listen")).await;
        let mut streams = Vec::new();
        for path in ["/1/plain/wait", "/1/plain/begun"] {
            let request = http::Request::get(format!("http://a.test{path}")).body(()).expect("a request");
            streams.push(client.send_request(request, true).expect("sent"));
            while hears.try_recv().is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    });
    for _ in 0..2 {
        assert_eq!(hears.recv_timeout(PATIENCE).expect("told"), "left");
    }
}
