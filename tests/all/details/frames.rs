//! Messages that HTTP/2 does not allow, or expresses otherwise than HTTP/1.1.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Request, Response, StatusCode};
use kiln_tests::frames::{self, Frames};
use kiln_tests::origin::websocket_accept;
use kiln_tests::proxy::PATIENCE;

use super::*;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

async fn client(address: &str) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.expect("ready")
}

async fn whole(response: Response<h2::RecvStream>) -> (http::response::Parts, String) {
    let (parts, mut body) = response.into_parts();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        text.extend_from_slice(&data.expect("data"));
        let _ = body.flow_control().release_capacity(text.len());
    }
    (parts, String::from_utf8_lossy(&text).into_owned())
}

async fn ask(client: &mut SendRequest<Bytes>, request: http::request::Builder) -> (http::response::Parts, String) {
    let (response, _) = client.send_request(request.body(()).expect("a request"), true).expect("sent");
    whole(response.await.expect("a response")).await
}

/// A head, a body, and trailers.
type Said = (Response<()>, &'static str, Option<http::HeaderMap>);

/// An HTTP/2 server that responds to a path with `answer`.
fn server(answer: fn(&str) -> Said) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("an address").to_string();
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let (response, body, trailers) = answer(request.uri().path());
                        let Ok(mut stream) = respond.send_response(response, false) else { continue };
                        let _ = stream.send_data(body.into(), trailers.is_none());
                        if let Some(trailers) = trailers {
                            let _ = stream.send_trailers(trailers);
                        }
                    }
                });
            }
        });
    });
    address
}

const BLANKS: [&str; 6] = [" x", "x ", "\tx", "x\t", " ", " \t "];

/// RFC 9113 section 8.2.1: a value neither begins nor ends with a blank. HTTP/1.1 would strip blanks after the proxy has
/// compared values.
#[test]
fn blanks_around_values() {
    let origin = mirror();
    let proxy = proxy_to(&origin.address);
    let address = proxy.address("listen").to_owned();
    run(async move {
        let mut client = client(&address).await;
        for value in BLANKS {
            for name in ["x", "cookie", "content-type", "user-agent"] {
                let request = Request::get("http://site.test/").header(name, value);
                assert_eq!(ask(&mut client, request).await.0.status, 400, "{name}: {value:?}");
            }
            // After a body: the origin does not receive a complete request.
            let request = Request::post("http://site.test/").body(()).expect("a request");
            let (response, mut body) = client.send_request(request, false).expect("sent");
            body.send_data("hello".into(), false).expect("sent");
            let trailers = [("x-sum".parse().expect("a name"), HeaderValue::from_static(value))].into_iter().collect();
            body.send_trailers(trailers).expect("sent");
            assert_eq!(response.await.expect("a response").status(), 400, "{value:?} in trailers");
        }
        let within = Request::get("http://site.test/").header("x", "a \tb").header("y", "");
        assert_eq!(ask(&mut client, within).await.0.status, 200);
        let odd =
            Request::get("http://site.test/").header("x", HeaderValue::from_bytes(b"\xa0x\x85").expect("a value"));
        assert_eq!(ask(&mut client, odd).await.0.status, 200);
    });
    proxy.log("\"reason\":\"bad-request\"");
}

/// The same in responses.
#[test]
fn blanks_in_responses() {
    let origin = server(|path| {
        let value = |at: &str| HeaderValue::from_static(BLANKS[at.parse::<usize>().expect("a number")]);
        let mut response = Response::new(());
        match path.strip_prefix("/h2/").and_then(|path| path.split_once('/')) {
            Some(("head", at)) => {
                response.headers_mut().insert("x", value(at));
                (response, "ok", None)
            }
            Some(("trailers", at)) => {
                let trailers = [("x".parse().expect("a name"), value(at))].into_iter().collect();
                (response, "ok", Some(trailers))
            }
            _ => (response, "ok", None),
        }
    });
    let proxy = proxy_to(&origin);
    let address = proxy.address("listen");
    assert_eq!(get(address, "site.test", "/h2/x").text(), "ok");
    for (at, value) in BLANKS.iter().enumerate() {
        assert_eq!(get(address, "site.test", &format!("/h2/head/{at}")).status, 502, "{value:?}");
        // The head may have been sent already: then the body is incomplete.
        let mut client = Client::to(address);
        client.send(format!("GET /h2/trailers/{at} HTTP/1.1\r\nHost: site.test\r\n\r\n"));
        let said = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(!said.ends_with("0\r\n\r\n") && !said.contains("\r\nx:"), "{said}");
    }
    proxy.log("\"reason\":\"upstream-invalid\"");
}

/// RFC 9113 section 8.6: HTTP/2 has no 101, and an HTTP/1.1 client would take it for an upgrade.
#[test]
fn no_101_over_http2() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Some(mut frames) = Frames::from(stream, &[]) else { continue };
            while let Some(frame) = frames.next_of(frames::HEADERS) {
                frames.head(frame.stream, false, &[(":status", "101")]);
                frames.head(frame.stream, true, &[(":status", "200")]);
            }
        }
    });
    let proxy = proxy_to(&address);
    let request = "GET /h2/x HTTP/1.1\r\nHost: site.test\r\nConnection: close, upgrade\r\nUpgrade: foo\r\n\r\n";
    assert_eq!(super::ask(proxy.address("listen"), request).status, 502);
    proxy.log("\"reason\":\"upstream-invalid\"");
}

/// Requests that must not be forwarded: a 400, a reset stream or the end of the connection.
#[test]
fn malformed_requests() {
    let origin = mirror();
    let proxy = proxy_to(&origin.address);
    let usual = [(":method", "GET"), (":scheme", "http"), (":authority", "site.test"), (":path", "/")];
    let check = |what: &str, fields: &[(&str, &str)]| {
        let mut connection = Frames::to(proxy.address("listen"));
        connection.head(1, true, fields);
        let refused = loop {
            match connection.frame() {
                // 400 is the twelfth entry of HPACK's static table.
                Some(frame) if frame.kind == frames::HEADERS => break frame.payload.first() == Some(&0x8c),
                Some(frame) if frame.kind == frames::RST_STREAM => break frame.payload == [0, 0, 0, 1],
                Some(frame) if frame.kind == frames::GOAWAY => break frame.payload[4..8] != [0; 4],
                Some(_) => {}
                None => break false,
            }
        };
        assert!(refused, "{what}");
    };
    let with = |more: &[(&'static str, &'static str)]| [&usual[..], more].concat();
    let path = |path: &'static str| [usual[0], usual[1], usual[2], (":path", path)];
    let authority = |authority: &'static str| [usual[0], usual[1], (":authority", authority), usual[3]];
    check("a name in upper case", &with(&[("X-Upper", "y")]));
    check("a quote in a name", &with(&[("x\"y", "y")]));
    check("no name", &with(&[("", "y")]));
    check("a name with a colon", &with(&[("x:y", "z")]));
    check("a name with a blank", &with(&[("x y", "z")]));
    for field in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        check(field, &with(&[(field, "x")]));
    }
    check("te", &with(&[("te", "gzip")]));
    check("te with more", &with(&[("te", "trailers, gzip")]));
    check("a line end in a value", &with(&[("x", "a\r\nb: c")]));
    check("a nul in a value", &with(&[("x", "a\0b")]));
    check("a blank before a value", &with(&[("x", " y")]));
    check("a method behind all", &with(&[(":method", "GET")]));
    for at in 0..usual.len() {
        let twice = [&usual[..=at], &usual[at..]].concat();
        check(&format!("{} twice", usual[at].0), &twice);
        let mut without = usual.to_vec();
        without.remove(at);
        check(&format!("no {}", usual[at].0), &without);
        let mut late = without.clone();
        late.extend([("x", "y"), usual[at]]);
        check(&format!("{} behind a field", usual[at].0), &late);
    }
    check("an unknown pseudo-header", &[&[(":x", "y")], &usual[..]].concat());
    check("the pseudo-header of responses", &[&[(":status", "200")], &usual[..]].concat());
    for target in ["", "x", "http://site.test/", "*", " /", "/ x", "?x", "/\u{1}"] {
        check(&format!("the path {target:?}"), &path(target));
    }
    for host in ["", "u@site.test", "u:p@site.test", "site.test:x", "site test", "site.test/", "site.test, site.test"] {
        check(&format!("the authority {host:?}"), &authority(host));
    }
    check("another host", &with(&[("host", "other.test")]));
    check("two hosts", &[usual[0], usual[1], usual[3], ("host", "site.test"), ("host", "site.test")]);
    check(
        "a URL for a path of a CONNECT",
        &[(":method", "CONNECT"), (":protocol", "websocket"), usual[1], usual[2], (":path", "http://site.test/")],
    );
    assert_eq!(origin.connections(), 0, "no request reaches the origin");
    // Valid requests.
    let mut connection = Frames::to(proxy.address("listen"));
    connection.head(1, true, &with(&[("te", "trailers"), ("host", "Site.test")]));
    assert_eq!(connection.next_of(frames::HEADERS).expect("a response").payload.first(), Some(&0x88));
}

/// RFC 9113 section 8.1: trailers have no pseudo-header fields. No origin receives a complete request.
#[test]
fn pseudo_header_fields_in_trailers() {
    let origin = Origin::new(|mut connection, _| {
        while connection.head().is_some() {
            let mut body = Vec::new();
            while !body.windows(3).any(|end| end == b"0\r\n") || !body.ends_with(b"\r\n\r\n") {
                match connection.bytes() {
                    bytes if bytes.is_empty() => return,
                    bytes => body.extend(bytes),
                }
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = proxy_to(&origin.address);
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "site.test"), (":path", "/")];
    // 200 and 400 are the eighth and the twelfth entry of HPACK's static table.
    let (ok, refused) = ((frames::HEADERS, Some(0x88)), (frames::HEADERS, Some(0x8c)));
    let check = |trailers: &[(&str, &str)], expected: (u8, Option<u8>)| {
        let mut connection = Frames::to(proxy.address("listen"));
        connection.head(1, false, &fields);
        connection.send(frames::DATA, 0, 1, b"hello");
        connection.head(1, true, trailers);
        let said = loop {
            let frame = connection.frame().expect("a response");
            match frame.kind {
                frames::HEADERS => break (frame.kind, frame.payload.first().copied()),
                frames::RST_STREAM => break (frame.kind, frame.payload.last().copied()),
                _ => {}
            }
        };
        assert_eq!(said, expected, "{trailers:?}");
    };
    check(&[("x-sum", "1")], ok);
    for (name, value) in
        [(":path", "/"), (":method", "GET"), (":status", "200"), (":authority", "x"), (":scheme", "http")]
    {
        check(&[(name, value)], refused);
        // PROTOCOL_ERROR: detected by the library.
        check(&[("x-sum", "1"), (name, value)], (frames::RST_STREAM, Some(1)));
    }
    proxy.log("\"reason\":\"bad-framing\"");
}

#[test]
fn differences_to_http1() {
    let origin = mirror();
    let proxy = proxy_to(&origin.address);
    let address = proxy.address("listen").to_owned();
    run(async move {
        let mut client = client(&address).await;
        // `https` URLs need a secure connection (RFC 9110 section 7.4).
        assert_eq!(ask(&mut client, Request::get("https://site.test/")).await.0.status, 421);
        // `OPTIONS *` (RFC 9113 section 8.3.1).
        let star = Request::options(
            http::Uri::builder().scheme("http").authority("site.test").path_and_query("*").build().expect("a URI"),
        );
        let (parts, _) = ask(&mut client, star).await;
        assert_eq!(
            (parts.status.as_u16(), parts.headers["allow"].to_str().expect("text").contains("OPTIONS")),
            (204, true)
        );
        let last = Request::options("http://site.test/a").header("max-forwards", "0");
        assert_eq!(ask(&mut client, last).await.0.status, 204);
        let next = Request::options("http://site.test/a").header("max-forwards", "7");
        assert!(ask(&mut client, next).await.1.contains("max-forwards: 6\r\n"));
        // What HTTP/1.1 needs to be told, as the end of the stream is not there any more (RFC 9110 section 8.6).
        let nothing = Request::post("http://site.test/a").header("content-length", "0");
        assert!(ask(&mut client, nothing).await.1.contains("content-length: 0\r\n"));
        let (parts, text) = ask(&mut client, Request::get("http://site.test/own")).await;
        assert_eq!((parts.status.as_u16(), &*text, &parts.headers["content-length"]), (205, "", &HeaderValue::from(0)));
    });
}

/// Hop-by-hop fields are not sent to HTTP/2 clients, and request fields are not sent in responses.
#[test]
fn fields_of_a_connection_stay_behind() {
    let origin = Origin::always(
        "HTTP/1.1 426 What\r\nConnection: upgrade\r\nUpgrade: foo/2\r\nTE: trailers\r\nContent-Length: 2\r\n\r\nno",
    );
    let proxy = proxy_to(&origin.address);
    let address = proxy.address("listen").to_owned();
    run(async move {
        let (parts, text) = ask(&mut client(&address).await, Request::get("http://site.test/")).await;
        assert_eq!((parts.status.as_u16(), &*text), (426, "no"));
        for name in ["upgrade", "connection", "te"] {
            assert!(!parts.headers.contains_key(name), "{name}");
        }
    });
}

/// Opens a tunnel (RFC 8441), and writes to it at once. Returns the response, with its body if it is an error.
fn connect(address: &str, url: &'static str, protocol: &'static str) -> (StatusCode, Option<http::HeaderMap>, String) {
    let mut connected = None;
    run(async {
        let mut client = client(address).await;
        while !client.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let mut request = Request::connect(url).body(()).expect("a request");
        request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
        let (response, mut up) = client.send_request(request, false).expect("sent");
        up.send_data("frames".into(), false).expect("sent");
        let response = response.await.expect("a response");
        let status = response.status();
        connected = Some(if status.is_success() {
            (status, None, String::new())
        } else {
            let (parts, text) = whole(response).await;
            (status, Some(parts.headers), text)
        });
    });
    connected.expect("a response")
}

/// RFC 8441 section 4: a 2xx means that there is a tunnel, so there is none without one. Other statuses are the origin's; over
/// HTTP/1.1, which has no tunnel without a 101, all are.
#[test]
fn no_success_without_a_tunnel() {
    let check = |status: u16, expected: u16| {
        let body = if matches!(status, 204 | 205 | 304) { "" } else { "said" };
        let origin = Origin::always(format!(
            "HTTP/1.1 {status} X\r\nContent-Type: text/x\r\nLocation: /x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let proxy = proxy_to(&origin.address);
        let address = proxy.address("listen");
        let (found, headers, text) = connect(address, "http://site.test/live", "websocket");
        assert_eq!(found.as_u16(), expected, "{status}");
        if expected == status {
            let typed = headers.and_then(|headers| headers.get("content-type").cloned());
            assert_eq!((&*text, typed.as_ref().map(HeaderValue::as_bytes)), (body, Some(&b"text/x"[..])), "{status}");
        } else {
            assert!(text.starts_with("502 "), "{status}: {text:?}");
            proxy.log("\"reason\":\"not-upgraded\"");
        }
        let request =
            "GET /live HTTP/1.1\r\nHost: site.test\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\n\r\n";
        let answer = super::ask(address, request);
        assert_eq!(
            (answer.status, &*answer.text(), answer.header("upgrade")),
            (status, body, None),
            "HTTP/1.1: {status}"
        );
    };
    for status in [200, 201, 202, 203, 204, 205, 206, 226, 299] {
        check(status, 502);
    }
    for status in [300, 301, 302, 304, 307, 400, 401, 403, 404, 426, 429, 500, 502, 503, 504, 599] {
        check(status, status);
    }
}

/// The same for origins with HTTP/2, which do not receive requests for tunnels; for responses of the proxy; and for unknown
/// protocols.
#[test]
fn no_tunnel_elsewhere() {
    let origin = server(|path| (Response::new(()), if path == "/live2" { "ok" } else { "" }, None));
    let proxy = proxy_to(&origin);
    let address = proxy.address("listen");
    assert_eq!(connect(address, "http://site.test/live2", "websocket").0, 502);
    let line = proxy.log("/live2");
    assert!(line.contains("\"reason\":\"not-upgraded\"") && line.contains("\"status\":502"), "{line}");
    assert_eq!(connect(address, "http://site.test/own", "websocket").0, 502);
    let status = connect(address, "http://site.test/live", "connect-udp").0;
    assert!(status.is_client_error() || status.is_server_error(), "{status}");
}

/// RFC 6455 section 4.1: a server must prove with the key that it has understood the request.
#[test]
fn websockets_are_accepted_by_their_key() {
    let check = |accept: &'static str, status: u16| {
        let origin = Origin::new(move |mut connection, _| {
            let Some(head) = connection.head() else { return };
            let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key").to_owned();
            let right = websocket_accept(&key);
            let fields = accept.replace("RIGHT", &right).replace("KEY", &key);
            connection.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{fields}\r\n"
            ));
            while !connection.bytes().is_empty() {}
        });
        let proxy = proxy_to(&origin.address);
        let address = proxy.address("listen").to_owned();
        let connected = connect(&address, "http://site.test/live", "websocket");
        assert_eq!(connected.0.as_u16(), status, "{accept:?}");
        if status == 502 {
            proxy.log("\"reason\":\"upstream-invalid\"");
        }
    };
    check("Sec-WebSocket-Accept: RIGHT\r\n", 200);
    check("", 502);
    check("Sec-WebSocket-Accept: \r\n", 502);
    check("Sec-WebSocket-Accept: KEY\r\n", 502);
    check("Sec-WebSocket-Accept: RIGHT=\r\n", 502);
    check("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", 502);
    check("Sec-WebSocket-Accept: RIGHT\r\nSec-WebSocket-Accept: RIGHT\r\n", 502);
}

/// The time that a client takes for its head is not the server's.
#[test]
fn slow_heads() {
    let origin = mirror();
    let proxy = proxy_to(&origin.address);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET /prompt HTTP/1.1\r\nHost: site.test\r\n");
    std::thread::sleep(std::time::Duration::from_millis(2200));
    assert_eq!(client.send("\r\n").answer().status, 200);
}

/// Nor is a call's own time-out, which is over before there is a connection.
#[test]
fn calls_without_time() {
    let proxy = proxy_to(&server(|_| (Response::new(()), "", None)));
    let address = proxy.address("listen").to_owned();
    run(async move {
        let call = Request::post("http://site.test/h2/t.T/Call").header("content-type", "application/grpc");
        let (parts, _) = ask(&mut client(&address).await, call.header("grpc-timeout", "1n")).await;
        assert_eq!((parts.status.as_u16(), parts.headers["grpc-status"].as_bytes()), (200, &b"4"[..]));
    });
    proxy.log("\"reason\":\"total-timeout\"");
}

/// A call with an expired time-out may have been processed, so it does not count as unprocessed.
#[test]
fn calls_that_take_too_long() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                if let Some(mut frames) = Frames::from(stream, &[]) {
                    while frames.frame().is_some() {}
                }
            });
        }
    });
    let proxy = proxy_to(&address);
    let address = proxy.address("listen").to_owned();
    run(async move {
        let call = Request::post("http://site.test/h2/t.T/Call").header("content-type", "application/grpc");
        let (parts, _) = ask(&mut client(&address).await, call).await;
        assert_eq!((parts.status.as_u16(), parts.headers["grpc-status"].as_bytes()), (200, &b"4"[..]));
    });
    proxy.log("\"reason\":\"response-timeout\"");
}
