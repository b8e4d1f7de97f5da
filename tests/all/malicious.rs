//! Malicious HTTP/2 servers: those that violate a rule of RFC 9113 that a client can check (one for each MUST), and those that
//! stall, flood or
//! disconnect. The client always gets an error status in time, never a response that looks complete, and other clients are
//! unaffected.
//!
//! A server is the bytes that it sends upon the first request on a connection. All are behind one proxy, each as its own upstream.

mod fields;
mod floods;
mod frames;
mod hpack;
mod messages;
mod settings;
mod streams;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln_tests::client::get;
use kiln_tests::frames::{self as h2, Frames, block, frame};
use kiln_tests::proxy::{Proxy, build_text};

/// A malicious server, described by its reaction to a request.
struct Case {
    name: String,
    /// The bytes in place of its SETTINGS and of the acknowledgement of the proxy's.
    opening: Option<Vec<u8>>,
    /// The bytes after that.
    bytes: Vec<u8>,
    then: Then,
    expected: Expected,
}

/// The server's action after all bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Waits until the proxy closes the connection.
    Waits,
    Closes,
    /// Closes the connection with a reset.
    Resets,
    /// Sends the same bytes again, until the proxy closes the connection.
    Repeats,
}

/// The response that the client must get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// A 502 or 503.
    Refused,
    /// A 504, after a time-out.
    Late,
    /// An error status; or, if the head was forwarded before the violation, an incomplete response.
    Broken,
}

/// A server that sends these bytes, then waits.
fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Case {
    let (name, bytes) = (name.into(), bytes.into());
    Case { name, opening: None, bytes, then: Then::Waits, expected: Expected::Refused }
}

impl Case {
    fn opening(self, bytes: impl Into<Vec<u8>>) -> Case {
        Case { opening: Some(bytes.into()), ..self }
    }

    fn then(self, then: Then) -> Case {
        Case { then, ..self }
    }

    fn expected(self, expected: Expected) -> Case {
        Case { expected, ..self }
    }
}

/// A head without a body.
fn only_head(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 1, &block(fields))
}

/// A head that is followed by a body.
fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(h2::HEADERS, h2::END_HEADERS, 1, &block(fields))
}

fn data(bytes: &[u8]) -> Vec<u8> {
    frame(h2::DATA, 0, 1, bytes)
}

fn last_data(bytes: &[u8]) -> Vec<u8> {
    frame(h2::DATA, h2::END_STREAM, 1, bytes)
}

/// A valid response, which must not be used after a violation.
fn ok() -> Vec<u8> {
    [head(&[(":status", "200")]), last_data(b"ok")].concat()
}

/// The bytes, then a valid response.
fn and_ok(bytes: impl Into<Vec<u8>>) -> Vec<u8> {
    [bytes.into(), ok()].concat()
}

fn all() -> Vec<Case> {
    [
        fields::cases(),
        floods::cases(),
        frames::cases(),
        hpack::cases(),
        messages::cases(),
        settings::cases(),
        streams::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Starts a server and returns its address; each connection has its own thread.
fn serve(case: &'static Case) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || converse(stream, case));
        }
    });
    address
}

fn converse(stream: TcpStream, case: &Case) -> Option<()> {
    let mut frames = Frames::silent(stream)?;
    // The proxy sends its request before it has received anything; so even the opening can be a response to it.
    while frames.any_frame()?.kind != h2::HEADERS {}
    let usual = || [frame(h2::SETTINGS, 0, 0, &[]), frame(h2::SETTINGS, h2::ACK, 0, &[])].concat();
    let opening = case.opening.clone().unwrap_or_else(usual);
    // All in one write: the proxy sees everything before it forwards the head.
    frames.send_bytes(&[&opening[..], &case.bytes].concat());
    match case.then {
        Then::Waits => while frames.any_frame().is_some() {},
        Then::Closes => {
            let _ = frames.stream().shutdown(Shutdown::Both);
        }
        Then::Resets => socket2::SockRef::from(frames.stream()).set_linger(Some(Duration::ZERO)).ok()?,
        Then::Repeats => while frames.send_bytes(&case.bytes) {},
    }
    Some(())
}

/// A response to an HTTP/1.1 client.
#[derive(Debug)]
struct Got {
    status: u16,
    /// The response is complete.
    whole: bool,
}

/// How long the client waits: longer than the sum of the site's time-outs.
const BOUND: Duration = Duration::from_secs(15);

fn ask(address: &str, path: &str) -> Option<Got> {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(BOUND)).expect("a time-out");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n").expect("sent");
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
        Ok(_) | Err(_) => {}
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    let mut said = &*said;
    // Interim responses are passed on.
    while let Some((_, rest)) = said.split_once("\r\n\r\n").filter(|_| said.starts_with("HTTP/1.1 1")) {
        said = rest;
    }
    let status = said.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or((said, ""));
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let whole = match length {
        Some(length) => body.len() == length,
        None => !head.contains("transfer-encoding") || body.ends_with("0\r\n\r\n"),
    };
    Some(Got { status, whole: whole && status != 0 })
}

fn flaw(case: &Case, got: Option<&Got>) -> Option<String> {
    let Some(got) = got else { return Some("hangs".to_owned()) };
    let fits = match case.expected {
        Expected::Refused => matches!(got.status, 502 | 503) && got.whole,
        Expected::Late => got.status == 504 && got.whole,
        Expected::Broken => matches!(got.status, 502 | 503) || got.status == 200 && !got.whole,
    };
    (!fits).then(|| format!("{:?} expected, {got:?}", case.expected))
}

/// The minimum number of servers.
const KINDS: usize = 146;

#[test]
fn every_one_is_an_error_in_time() {
    let cases: &'static [Case] = all().leak();
    assert!(cases.len() >= KINDS, "{} kinds", cases.len());
    let mut names = HashMap::new();
    for case in cases {
        assert_eq!(names.insert(&case.name, ()), None, "{} twice", case.name);
    }
    let mut site = "param listen type=addr\nparam good type=addr\nprocess {\n workers 2\n}\nlog access format=json\n\
        listen (param)listen\nupstream good {\n server (param)good\n http h2\n}\n"
        .to_owned();
    let mut routes = " route \"/good\" {\n proxy good\n }\n".to_owned();
    for at in 0..cases.len() {
        let _ = write!(site, "param c{at} type=addr\nupstream c{at} {{\n server (param)c{at}\n http h2\n}}\n");
        let _ = write!(routes, " route \"/{at}\" {{\n proxy c{at}\n }}\n");
    }
    let _ = write!(
        site,
        "site site.test {{\n timeouts connect=\"2s\" response=\"1s\" idle=\"1s\" total=\"8s\"\n{routes}}}\n"
    );
    let good = kiln_tests::proxy::address();
    let listener = TcpListener::bind(&good).expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let Some(mut frames) = Frames::from(stream, &[]) else { return };
                while let Some(request) = frames.next_of(h2::HEADERS) {
                    frames.head(request.stream, false, &[(":status", "200")]);
                    frames.send(h2::DATA, h2::END_STREAM, request.stream, b"good");
                }
            });
        }
    });
    let names: Vec<(String, String)> = (0..cases.len()).map(|at| (format!("c{at}"), serve(&cases[at]))).collect();
    let mut given: Vec<(&str, &str)> = names.iter().map(|(name, address)| (&**name, &**address)).collect();
    given.push(("good", &good));
    let proxy = Proxy::start(&build_text("malicious", &site), &site, &given);
    let address = proxy.address("listen");
    let (next, flaws) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while let Some((at, case)) = cases.iter().enumerate().nth(next.fetch_add(1, Ordering::SeqCst)) {
                    let began = Instant::now();
                    let got = ask(address, &format!("/{at}"));
                    if let Some(flaw) = flaw(case, got.as_ref()) {
                        flaws.lock().expect("flaws").push(format!("{}: {flaw} after {:?}", case.name, began.elapsed()));
                    }
                    assert_eq!(get(address, "site.test", "/good").text(), "good", "after {}", case.name);
                }
            });
        }
    });
    let flaws = flaws.into_inner().expect("flaws");
    assert!(flaws.is_empty(), "{} of {}:\n{}", flaws.len(), cases.len(), flaws.join("\n"));
    // Each failed request has a reason in the log.
    let logged = proxy.logged();
    let unexplained: Vec<_> =
        logged.iter().filter(|line| !line.contains("/good") && !line.contains("\"reason\":\"")).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}
