//! Requests that are sent again: those that a server has not processed, whatever their method (RFC 9113 sections 6.8 and 8.7);
//! failed gRPC
//! calls; and idempotent requests with a body on an idle connection that turns out to be closed.
//!
//! Long but flat: servers that refuse in different ways, and one test for each.

use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use kiln_tests::client::{Answer, Client, ask};
use kiln_tests::frames::{self, Frame, Frames};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, build_text};

const SITE: &str = r#"
param listen type=addr
param first type=addr default="127.0.0.1:1"
param second type=addr default="127.0.0.1:1"
param old type=addr default="127.0.0.1:1"
process {
    workers 1
}
log access format=json
limits body="1MiB"
upstream one {
    server (param)first
    http h2
}
upstream both {
    server (param)first
    server (param)second
    http h2
    balance first
}
upstream old {
    server (param)old
}
listen (param)listen {
    http h1 h2
}
site site.test {
    timeouts connect="5s" response="10s"
    route "/both/*" {
        proxy both
    }
    route "/retry/*" {
        retry 2 body="100KiB" {
            on grpc-unavailable 503
            methods POST non-idempotent=#true
        }
        proxy both
    }
    route "/hard/*" {
        retry 3 {
            on reset grpc-unavailable
            methods POST non-idempotent=#true
        }
        proxy both
    }
    route "/watched/*" {
        block watched body-prefix="1KiB" {
            body "nothing of this"
        }
        proxy one
    }
    route "/old/*" {
        proxy old
    }
    route "/*" {
        proxy one
    }
}
"#;

fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build_text("resend", SITE))
}

fn proxy(given: &[(&str, &str)]) -> Proxy {
    Proxy::start(binary(), SITE, given)
}

const REFUSED_STREAM: u32 = 7;

/// An HTTP/2 server made of raw frames; `serve` gets each connection with its number.
struct Server {
    address: String,
    connections: Arc<AtomicUsize>,
    /// The requests that were answered.
    answered: Arc<Mutex<Vec<Call>>>,
}

/// A complete request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    connection: usize,
    body: Vec<u8>,
    trailers: bool,
}

/// A server's reaction to a complete request, or to the head of one.
enum Does {
    /// Responds, once the request is complete.
    Answer,
    /// Resets the stream with a code.
    Reset(u32),
    /// Sends a GOAWAY with this code: this request and later ones were not processed. Closes after the earlier ones.
    GoAway(u32),
    /// Closes the connection.
    Close,
    /// Fails the call with a response of only a head, once the request is complete.
    Fail(&'static str),
    /// Fails the call after a message.
    FailLate,
}

impl Server {
    /// `does` is called for each request, with the number of its connection, its number on that, and whether it is complete.
    fn new(
        settings: &'static [(u16, u32)],
        does: impl Fn(usize, usize, bool) -> Option<Does> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("an address").to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let answered = Arc::new(Mutex::new(Vec::new()));
        let server = Server { address, connections: Arc::clone(&connections), answered: Arc::clone(&answered) };
        let does = Arc::new(does);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (does, answered) = (Arc::clone(&does), Arc::clone(&answered));
                let number = connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    if let Some(frames) = Frames::from(stream, settings) {
                        converse(frames, number, &*does, &answered);
                    }
                });
            }
        });
        server
    }

    /// A server that responds to everything.
    fn well() -> Server {
        Server::new(&[], |_, _, whole| whole.then_some(Does::Answer))
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn answered(&self) -> Vec<Call> {
        self.answered.lock().expect("calls").clone()
    }
}

/// A request in progress.
struct Open {
    number: usize,
    body: Vec<u8>,
    heads: usize,
    over: bool,
}

fn converse(
    mut frames: Frames,
    connection: usize,
    does: &dyn Fn(usize, usize, bool) -> Option<Does>,
    answered: &Mutex<Vec<Call>>,
) {
    let mut open: HashMap<u32, Open> = HashMap::new();
    let (mut count, mut last) = (0, u32::MAX);
    while let Some(Frame { kind, flags, stream, payload }) = frames.frame() {
        match kind {
            _ if stream > last => continue,
            frames::HEADERS => {
                let request = open.entry(stream).or_insert_with(|| {
                    count += 1;
                    Open { number: count - 1, body: Vec::new(), heads: 0, over: false }
                });
                request.heads += 1;
            }
            frames::DATA => {
                if let Some(request) = open.get_mut(&stream) {
                    request.body.extend_from_slice(&payload);
                }
                // Restores the windows of the stream and of the connection.
                let len = payload.len() as u32;
                if len > 0 {
                    frames.send(8, 0, stream, &len.to_be_bytes());
                    frames.send(8, 0, 0, &len.to_be_bytes());
                }
            }
            _ => continue,
        }
        let Some(request) = open.get_mut(&stream).filter(|request| !request.over) else { continue };
        let whole = flags & frames::END_STREAM != 0;
        let Some(what) = does(connection, request.number, whole) else { continue };
        request.over = true;
        let call = Call { connection, body: request.body.clone(), trailers: request.heads > 1 };
        let ok = [(":status", "200"), ("content-type", "application/grpc")];
        match what {
            Does::Answer => {
                answered.lock().expect("calls").push(call);
                frames.head(stream, false, &ok);
                frames.send(frames::DATA, 0, stream, b"fine");
                frames.head(stream, true, &[("grpc-status", "0")]);
            }
            Does::Reset(code) => frames.reset(stream, code),
            Does::GoAway(code) => {
                last = stream.saturating_sub(2);
                frames.goaway(last, code);
            }
            Does::Close => return,
            Does::Fail(status) => {
                answered.lock().expect("calls").push(call);
                frames.head(stream, true, &[&ok[..], &[("grpc-status", status)]].concat());
            }
            Does::FailLate => {
                answered.lock().expect("calls").push(call);
                frames.head(stream, false, &ok);
                frames.send(frames::DATA, 0, stream, b"fine");
                frames.head(stream, true, &[("grpc-status", "14")]);
            }
        }
    }
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

/// Returns the status of a call, from the head or else from the trailers; and its message.
async fn outcome(response: Response<h2::RecvStream>) -> (String, String) {
    let text =
        |headers: &http::HeaderMap| headers.get("grpc-status").map(|value| value.to_str().expect("text").to_owned());
    let early = text(response.headers());
    let mut body = response.into_body();
    let mut message = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        message.extend_from_slice(&data);
    }
    let late = body.trailers().await.ok().flatten().as_ref().and_then(text);
    (early.or(late).unwrap_or_default(), String::from_utf8_lossy(&message).into_owned())
}

/// A gRPC call with a body of this size, sent in pieces, and with trailers if wanted.
async fn call(client: &mut SendRequest<Bytes>, path: &str, size: usize, trailers: bool) -> (String, String) {
    let request = Request::post(format!("http://site.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (response, mut body) = client.send_request(request.body(()).expect("a request"), false).expect("sent");
    let mut left = size;
    while left > 0 {
        body.reserve_capacity(left.min(10_000));
        // After an early refusal there is no more capacity.
        let Some(Ok(room)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else { break };
        let piece: Vec<u8> = (0..room.min(left)).map(|at| b'a' + ((size - left + at) % 23) as u8).collect();
        left -= piece.len();
        if body.send_data(piece.into(), left == 0 && !trailers).is_err() {
            break;
        }
    }
    if trailers || size == 0 {
        let more = [("x-sum".parse().expect("a name"), "1".parse().expect("a value"))].into_iter().collect();
        let _ = if trailers { body.send_trailers(more) } else { body.send_data(Bytes::new(), true) };
    }
    outcome(response.await.expect("a response")).await
}

fn body_of(size: usize) -> Vec<u8> {
    (0..size).map(|at| b'a' + (at % 23) as u8).collect()
}

fn fine() -> (String, String) {
    ("0".to_owned(), "fine".to_owned())
}

/// Refused streams are sent again with their complete bodies, whatever the method.
#[test]
fn refused_streams() {
    // Refuses the very first request when it is complete, and the fourth one by its head.
    let seen = AtomicUsize::new(0);
    let server = Server::new(&[], move |_, _, whole| match seen.load(Ordering::SeqCst) {
        0 if !whole => None,
        at => {
            seen.fetch_add(1, Ordering::SeqCst);
            match at {
                0 | 3 => Some(Does::Reset(REFUSED_STREAM)),
                _ if whole => Some(Does::Answer),
                _ => {
                    seen.fetch_sub(1, Ordering::SeqCst);
                    None
                }
            }
        }
    });
    let proxy = proxy(&[("first", &server.address)]);
    let address = proxy.address("listen").to_owned();
    run(async {
        let mut client = client(&address).await;
        for (size, trailers) in [(30_000, true), (5, false), (0, false), (60_000, false)] {
            assert_eq!(call(&mut client, "/t.T/Call", size, trailers).await, fine(), "{size}");
        }
    });
    let answered = server.answered();
    let found: Vec<_> = answered.iter().map(|call| (call.body == body_of(call.body.len()), call.body.len())).collect();
    assert_eq!(found, [(true, 30_000), (true, 5), (true, 0), (true, 60_000)]);
    assert_eq!(answered.iter().map(|call| call.trailers).collect::<Vec<_>>(), [true, false, false, false]);
}

/// The same for HTTP/1.1 clients, whose bodies are chunked or have a length.
#[test]
fn refused_streams_of_http1_clients() {
    // Refuses every second request, when its head arrives.
    let seen = AtomicUsize::new(0);
    let server = Server::new(&[], move |_, _, whole| {
        let refuses = || seen.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        whole.then(|| if refuses() { Does::Reset(REFUSED_STREAM) } else { Does::Answer })
    });
    let proxy = proxy(&[("first", &server.address)]);
    for (size, chunked) in [(0, false), (5, false), (60_000, false), (5, true), (60_000, true)] {
        let body = String::from_utf8(body_of(size)).expect("text");
        let (framing, body) = match chunked {
            true => ("Transfer-Encoding: chunked".to_owned(), format!("{size:x}\r\n{body}\r\n0\r\nX-Sum: 1\r\n\r\n")),
            false => (format!("Content-Length: {size}"), body),
        };
        let request = format!("POST / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{framing}\r\n\r\n{body}");
        assert_eq!(ask(proxy.address("listen"), &request).text(), "fine", "{size} {chunked}");
        let call = server.answered().pop().expect("a call");
        assert!(call.body == body_of(size) && call.trailers == chunked, "{size} {chunked}");
    }
    // A body that was inspected by a rule is sent again as well.
    let watched = "POST /watched/ HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 30000\r\n\r\n";
    let request = [watched.as_bytes(), &body_of(30_000)].concat();
    let mut client = Client::to(proxy.address("listen"));
    assert_eq!(client.send(request).answer().text(), "fine");
    assert!(server.answered().pop().expect("a call").body == body_of(30_000));
}

/// The number of attempts is limited, and resets with other codes are final.
#[test]
fn attempts_are_limited() {
    let seen = Arc::new(AtomicUsize::new(0));
    let refusing = |code: u32, seen: &Arc<AtomicUsize>| {
        let seen = Arc::clone(seen);
        Server::new(&[], move |_, _, _| {
            seen.fetch_add(1, Ordering::SeqCst);
            Some(Does::Reset(code))
        })
    };
    let server = refusing(REFUSED_STREAM, &seen);
    let proxy_to = proxy(&[("first", &server.address)]);
    run(async {
        let mut client = client(proxy_to.address("listen")).await;
        assert_eq!(call(&mut client, "/t.T/Call", 5, false).await.0, "14");
    });
    assert_eq!(seen.swap(0, Ordering::SeqCst), 4, "one server: three times more");
    proxy_to.log("\"reason\":\"upstream-reset\"");
    // Another server may accept the request.
    let second = Server::well();
    let proxy_to_both = proxy(&[("first", &server.address), ("second", &second.address)]);
    run(async {
        let mut client = client(proxy_to_both.address("listen")).await;
        assert_eq!(call(&mut client, "/both/t.T/Call", 5, false).await, fine());
    });
    assert_eq!(seen.swap(0, Ordering::SeqCst), 1);
    // INTERNAL_ERROR, CANCEL, NO_ERROR: the server may have processed the request.
    for code in [2, 8, 0] {
        let server = refusing(code, &seen);
        let proxy = proxy(&[("first", &server.address)]);
        run(async {
            let mut client = client(proxy.address("listen")).await;
            assert_eq!(call(&mut client, "/t.T/Call", 5, false).await.0, "14", "{code}");
        });
        assert_eq!(seen.swap(0, Ordering::SeqCst), 1, "{code}");
    }
}

/// A connection that refuses all new streams without a GOAWAY is abandoned.
#[test]
fn connections_that_refuse() {
    let server = Server::new(&[], |_, at, whole| match at {
        0..3 => whole.then_some(Does::Answer),
        _ => Some(Does::Reset(REFUSED_STREAM)),
    });
    let proxy = proxy(&[("first", &server.address)]);
    run(async {
        let mut client = client(proxy.address("listen")).await;
        for at in 0..10 {
            assert_eq!(call(&mut client, "/t.T/Call", 500, false).await, fine(), "{at}");
        }
    });
    assert_eq!(server.connections(), 4);
}

/// More concurrent calls than a connection allows, before its settings are known: none fails.
#[test]
fn more_at_once_than_a_connection_takes() {
    // The settings allow four; further streams are refused.
    let open: Mutex<HashMap<usize, HashSet<usize>>> = Mutex::default();
    let server = Server::new(&[(3, 4)], move |connection, at, whole| {
        let mut all = open.lock().expect("counts");
        let open = all.entry(connection).or_default();
        if whole {
            open.remove(&at);
            return Some(Does::Answer);
        }
        (open.len() == 4 && !open.contains(&at)).then_some(Does::Reset(REFUSED_STREAM)).or_else(|| {
            open.insert(at);
            None
        })
    });
    let proxy = proxy(&[("first", &server.address)]);
    run(async {
        let client = client(proxy.address("listen")).await;
        let calls: Vec<_> = (0..40)
            .map(|_| {
                let mut client = client.clone();
                tokio::spawn(async move { call(&mut client, "/t.T/Call", 500, false).await })
            })
            .collect();
        for made in calls {
            assert_eq!(made.await.expect("made"), fine());
        }
    });
    assert_eq!(server.answered().len(), 40);
}

/// Requests that a server did not process before its GOAWAY are sent again on another connection or to another server.
#[test]
fn connections_that_go_away() {
    for code in [0, 2, 11] {
        // Each connection answers two requests, and closes upon the third.
        let server = Server::new(&[], move |_, at, whole| match at {
            0 | 1 => whole.then_some(Does::Answer),
            _ => Some(Does::GoAway(code)),
        });
        let proxy = proxy(&[("first", &server.address)]);
        let address = proxy.address("listen").to_owned();
        run(async {
            let mut client = client(&address).await;
            for at in 0..7 {
                assert_eq!(call(&mut client, "/t.T/Call", 20_000, false).await, fine(), "{at} {code}");
            }
        });
        assert_eq!(server.answered().len(), 7);
        assert!(server.answered().iter().all(|call| call.body == body_of(20_000)));
        assert_eq!(server.connections(), 4);
    }
    // A server that closes every connection immediately.
    let leaving = Server::new(&[], |_, _, _| Some(Does::GoAway(0)));
    let second = Server::well();
    let proxy = proxy(&[("first", &leaving.address), ("second", &second.address)]);
    let address = proxy.address("listen").to_owned();
    run(async {
        let mut client = client(&address).await;
        for _ in 0..3 {
            assert_eq!(call(&mut client, "/both/t.T/Call", 5, false).await, fine());
        }
        assert_eq!(call(&mut client, "/t.T/Call", 5, false).await.0, "14");
    });
    // A server that closes without GOAWAY may have processed the request.
    let closing = Server::new(&[], |_, _, whole| whole.then_some(Does::Close));
    let proxy = self::proxy(&[("first", &closing.address)]);
    run(async {
        let mut client = client(proxy.address("listen")).await;
        assert_eq!(call(&mut client, "/t.T/Call", 5, false).await.0, "14");
    });
    assert_eq!(closing.connections(), 1);
}

/// A body that is too large to be buffered can't be sent again.
#[test]
fn large_bodies() {
    let server = Server::new(&[], |connection, _, whole| {
        whole.then_some(if connection == 0 { Does::Reset(REFUSED_STREAM) } else { Does::Answer })
    });
    let proxy = proxy(&[("first", &server.address)]);
    run(async {
        let mut client = client(proxy.address("listen")).await;
        assert_eq!(call(&mut client, "/t.T/Call", 200_000, false).await.0, "14");
        // Without a retry, all of it is sent, though the server reads it slowly: each byte counts once.
        assert_eq!(call(&mut client, "/t.T/Call", 900_000, true).await, fine());
    });
    assert!(server.answered()[0].body == body_of(900_000));
}

/// A server that restarts repeatedly during a burst of calls: none fails.
#[test]
fn restarts_lose_nothing() {
    // Each connection answers some dozens of requests, and closes while others are in progress.
    let server = Server::new(&[(3, 20)], |connection, at, whole| match at {
        at if at >= 30 + connection % 7 => Some(Does::GoAway(0)),
        _ => whole.then_some(Does::Answer),
    });
    let second = Server::new(&[(3, 20)], |connection, at, whole| match at {
        at if at >= 40 + connection % 5 => Some(Does::GoAway(0)),
        _ => whole.then_some(Does::Answer),
    });
    let proxy = proxy(&[("first", &server.address), ("second", &second.address)]);
    let address = proxy.address("listen").to_owned();
    for path in ["/t.T/Call", "/both/t.T/Call"] {
        run(async {
            let client = client(&address).await;
            for _ in 0..10 {
                let calls: Vec<_> = (0..60)
                    .map(|_| {
                        let mut client = client.clone();
                        tokio::spawn(async move { call(&mut client, path, 2000, false).await })
                    })
                    .collect();
                for made in calls {
                    assert_eq!(made.await.expect("made"), fine());
                }
            }
        });
    }
    let answered = [server.answered(), second.answered()].concat();
    assert_eq!(answered.len(), 1200, "each call is processed once");
    assert!(answered.iter().all(|call| call.body == body_of(2000)));
    assert!(server.connections() > 10);
}

/// `retry` with a gRPC status: applies to responses of only a head, and to no others.
#[test]
fn calls_that_have_failed() {
    let check = |does: fn() -> Does, size: usize, expected: &str, at_second: usize| {
        let first = Server::new(&[], move |_, _, whole| whole.then(does));
        let second = Server::well();
        let proxy = proxy(&[("first", &first.address), ("second", &second.address)]);
        run(async {
            let mut client = client(proxy.address("listen")).await;
            assert_eq!(call(&mut client, "/retry/t.T/Call", size, size == 10).await.0, expected);
        });
        assert_eq!(second.answered().len(), at_second);
        if at_second == 1 {
            assert!(second.answered()[0].body == body_of(size));
            assert_eq!(second.answered()[0].trailers, size == 10);
        }
    };
    check(|| Does::Fail("14"), 5, "0", 1);
    check(|| Does::Fail("14"), 10, "0", 1);
    check(|| Does::Fail("14"), 90_000, "0", 1);
    check(|| Does::Fail("14"), 150_000, "14", 0);
    check(|| Does::Fail("13"), 5, "13", 0);
    check(|| Does::Fail("0"), 5, "0", 0);
    check(|| Does::FailLate, 5, "14", 0);
    // Resets are not in the list.
    check(|| Does::Reset(2), 5, "14", 0);
    // One failure of each kind, then a success with the same body.
    let first = Server::new(&[], |_, at, whole| whole.then_some(if at == 0 { Does::Fail("14") } else { Does::Answer }));
    let second = Server::new(&[], |_, _, whole| whole.then_some(Does::Reset(2)));
    let proxy = proxy(&[("first", &first.address), ("second", &second.address)]);
    run(async {
        let mut client = client(proxy.address("listen")).await;
        assert_eq!(call(&mut client, "/hard/t.T/Call", 30_000, true).await, fine());
    });
    let calls = first.answered();
    assert!(calls.len() == 2 && calls.iter().all(|call| call.body == body_of(30_000) && call.trailers));
    // If all attempts fail, the client gets the last failure.
    let failing = || Server::new(&[], |_, _, whole| whole.then_some(Does::Fail("14")));
    let (first, second) = (failing(), failing());
    let proxy = self::proxy(&[("first", &first.address), ("second", &second.address)]);
    run(async {
        let mut client = client(proxy.address("listen")).await;
        assert_eq!(call(&mut client, "/retry/t.T/Call", 5, false).await.0, "14");
    });
    assert_eq!(first.answered().len() + second.answered().len(), 3);
}

/// HTTP/1.1: an idempotent request with a body is sent again on a new connection when the reused one closes; not if its
/// body is too large to be buffered, or if it is not idempotent.
#[test]
fn kept_connections_that_close() {
    let origin = Origin::new(|mut connection, number| {
        let mut first = true;
        while let Some(mut request) = connection.head() {
            let chunked = request.to_lowercase().contains("chunked");
            let length: usize = request
                .to_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            let head = request.len();
            while if chunked { !request.ends_with("0\r\n\r\n") } else { request.len() < head + length } {
                match connection.bytes() {
                    bytes if bytes.is_empty() => return,
                    bytes => request += &String::from_utf8_lossy(&bytes),
                }
            }
            // Accepts the second request of each connection, and never responds.
            if !std::mem::replace(&mut first, false) {
                return;
            }
            let found = format!("{number} {}", request.len() - head);
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{found}", found.len()));
        }
    });
    let proxy = proxy(&[("old", &origin.address)]);
    let send = |method: &str, size: usize, chunked: bool| -> Answer {
        let body = String::from_utf8(body_of(size)).expect("text");
        let (framing, body) = match chunked {
            true => ("Transfer-Encoding: chunked".to_owned(), format!("{size:x}\r\n{body}\r\n0\r\n\r\n")),
            false => (format!("Content-Length: {size}"), body),
        };
        ask(
            proxy.address("listen"),
            &format!("{method} /old/ HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{framing}\r\n\r\n{body}"),
        )
    };
    // Each request reuses the connection of the one before, which closes, and is answered on a new one.
    for (number, (method, size, chunked)) in
        [("GET", 0, false), ("PUT", 5, false), ("PUT", 50_000, false), ("DELETE", 5000, true), ("PUT", 5, true)]
            .into_iter()
            .enumerate()
    {
        let answer = send(method, size, chunked);
        assert_eq!(answer.status, 200, "{method} {size}");
        assert!(answer.text().starts_with(&format!("{number} ")), "{}", answer.text());
    }
    assert_eq!(send("POST", 5, false).status, 502);
    assert_eq!(send("GET", 0, false).status, 200);
    assert_eq!(send("PUT", 200_000, false).status, 502);
    proxy.log("\"reason\":\"upstream-reset\"");
}
