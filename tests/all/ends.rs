//! How exchanges end: broken responses, clients that disconnect, bodies that were not requested, and clients that trickle. In
//! both
//! versions of HTTP, on either side, with and without transformations of the response. One site serves all tests here.

mod broken;
mod leaving;
mod persistence;
mod proceed;
mod slow;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use http::HeaderMap;
use kiln_tests::kiln::scratch;
use kiln_tests::proxy::{PATIENCE, Proxy, build};

const SITE: &str = r#"
param listen type=addr
param one type=addr default="127.0.0.1:1"
param two type=addr default="127.0.0.1:1"
param three type=addr default="127.0.0.1:1"
param four type=addr default="127.0.0.1:1"
process {
    workers 1
}
log access format=json {
    fields method path protocol status bytes reason attempts
}
listen (param)listen {
    http h1 h2
}
cache-store main memory="4MiB"
upstream one {
    server (param)one
}
upstream two {
    server (param)two
    http h2
}
upstream watched {
    server (param)one
    outlier consecutive-5xx=1 eject="10m" max-ejected-percent=100
}
upstream both {
    server (param)one
    server (param)three
}
upstream four {
    server (param)four
    http h2
}
preset cached {
    cache main {
        ttl default="1m"
    }
}
preset compressed {
    compress gzip min-size="0B"
}
preset replaced {
    response-body {
        replace "hello world" "other"
        types "text/*"
    }
}
site a.test {
    route "/1/plain/*" {
        proxy one
    }
    route "/1/cached/*" {
        use cached
        proxy one
    }
    route "/1/compressed/*" {
        use compressed
        proxy one
    }
    route "/1/replaced/*" {
        use replaced
        proxy one
    }
    route "/1/all/*" {
        use cached
        use compressed
        use replaced
        proxy one
    }
    route "/1/page/*" {
        error-page 502 "sorry.html"
        response-headers {
            set X-Route "page"
        }
        proxy one
    }
    route "/1/half/*" {
        limits half-close=#true
        proxy one
    }
    route "/1/watched/*" {
        proxy watched
    }
    route "/1/kept/*" {
        retry 1 {
            on reset
            methods PUT
        }
        proxy watched
    }
    route "/1/asks/*" {
        timeouts continue="300ms"
        proxy one continue=upstream
    }
    route "/1/asks/retry/*" {
        retry 1 {
            on 503
            methods PUT
        }
        timeouts continue="10s"
        proxy both continue=upstream
    }
    route "/1/asks/split/*" {
        timeouts continue="10s"
        split continue=upstream {
            to one
            to four weight=0
        }
    }
    route "/1/rated/*" {
        limits body=unlimited min-rate="64KiB/s"
        proxy one
    }
    route "/2/asks/*" {
        timeouts continue="10s"
        proxy two continue=upstream
    }
    route "/2/refuses/*" {
        proxy four continue=upstream
    }
    route "/2/plain/*" {
        proxy two
    }
    route "/2/cached/*" {
        use cached
        proxy two
    }
    route "/2/compressed/*" {
        use compressed
        proxy two
    }
    route "/2/replaced/*" {
        use replaced
        proxy two
    }
    route "/2/all/*" {
        use cached
        use compressed
        use replaced
        proxy two
    }
    route "/echo" {
        echo
    }
    route "/own" {
        respond 200 "own\n"
    }
}
"#;

/// The transformations of a response.
const CHANGES: [&str; 5] = ["plain", "cached", "compressed", "replaced", "all"];

fn proxy(given: &[(&str, &str)]) -> Proxy {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        let folder = scratch("ends");
        std::fs::write(folder.join("sorry.html"), "sorry\n").expect("written");
        std::fs::write(folder.join("site.kdl"), SITE).expect("written");
        build(&folder.join("site.kdl"))
    });
    Proxy::start(binary, SITE, given)
}

/// A line of the log about a path, which must contain all of `said`.
fn logged(proxy: &Proxy, path: &str, said: &[&str]) {
    let line = proxy.log(&format!("\"path\":\"{path}\""));
    for said in said {
        assert!(line.contains(said), "{said} in {line}");
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// An HTTP/2 client.
async fn client(address: &str) -> h2::client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.expect("ready")
}

/// The result of a request over HTTP/2.
struct Got {
    status: u16,
    fields: HeaderMap,
    body: Vec<u8>,
    /// The statuses of interim responses.
    interim: Vec<u16>,
    /// The code of the stream's reset.
    reset: Option<h2::Reason>,
}

/// Requests a path over HTTP/2.
async fn get(client: &mut h2::client::SendRequest<Bytes>, path: &str) -> Got {
    let request = http::Request::get(format!("http://a.test{path}")).header("accept-encoding", "gzip");
    let (response, _) = client.send_request(request.body(()).expect("a request"), true).expect("sent");
    received(response).await
}

async fn received(mut response: h2::client::ResponseFuture) -> Got {
    let mut got = Got { status: 0, fields: HeaderMap::new(), body: Vec::new(), interim: Vec::new(), reset: None };
    let answer = std::future::poll_fn(|cx| {
        while let std::task::Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            got.interim.push(interim.status().as_u16());
        }
        std::pin::Pin::new(&mut response).poll(cx)
    });
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(error) => {
            got.reset = error.reason();
            return got;
        }
    };
    (got.status, got.fields) = (answer.status().as_u16(), answer.headers().clone());
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                let _ = body.flow_control().release_capacity(data.len());
                got.body.extend_from_slice(&data);
            }
            Err(error) => {
                got.reset = error.reason();
                break;
            }
        }
    }
    got
}

/// An HTTP/2 server that responds with raw frames; returns its address. `answer` gets the number of the stream, and writes the
/// frames.
fn frames(answer: impl Fn(u32, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("an address").to_string();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = std::sync::Arc::clone(&answer);
            std::thread::spawn(move || -> Option<()> {
                stream.read_exact(&mut [0; 24]).ok()?;
                stream.write_all(&frame(4, 0, 0, &[])).ok()?;
                loop {
                    let mut head = [0; 9];
                    stream.read_exact(&mut head).ok()?;
                    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                    let mut payload = vec![0; length as usize];
                    stream.read_exact(&mut payload).ok()?;
                    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    match head[3] {
                        1 => answer(number, &mut stream),
                        4 if head[4] & 1 == 0 => stream.write_all(&frame(4, 1, 0, &[])).ok()?,
                        _ => {}
                    }
                }
            });
        }
    });
    address
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// HEADERS with a status and fields (RFC 7541 section 6.2.2, literal without indexing).
fn headers(stream: u32, end: bool, status: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":status", status)].iter().chain(fields) {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.bytes());
        }
    }
    frame(1, if end { 5 } else { 4 }, stream, &block)
}
