//! Clients that send requests until they are stopped, and say what was lost ([`Load`]): for what must lose nothing, as a takeover.
//!
//! A client has a kind: a function that makes one exchange, and returns what went wrong. A connection that ends in order between two exchanges is not an error;
//! one that ends within is.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::proxy::PATIENCE;

/// Clients that send requests until they are stopped.
#[derive(Default)]
pub struct Load {
    stopped: Arc<AtomicBool>,
    clients: Vec<RunningClient>,
}

struct RunningClient {
    kind: &'static str,
    answered: Arc<AtomicUsize>,
    /// Returns what went wrong.
    thread: JoinHandle<Vec<String>>,
}

/// What has become of the requests.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many exchanges of each kind were complete.
    pub answered: BTreeMap<&'static str, usize>,
    /// What went wrong with the others.
    pub lost: Vec<String>,
}

impl Load {
    /// Adds a client, which pauses between exchanges so that it makes no more than one in each `interval`.
    pub fn add(
        &mut self,
        kind: &'static str,
        interval: Duration,
        mut exchange: impl FnMut() -> io::Result<()> + Send + 'static,
    ) {
        let (stopped, answered) = (Arc::clone(&self.stopped), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&answered);
        let thread = std::thread::spawn(move || {
            let mut lost = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                match exchange() {
                    Ok(()) => drop(counted.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => lost.push(format!("{kind}: {error}")),
                }
                std::thread::sleep(interval.saturating_sub(began.elapsed()));
            }
            lost
        });
        self.clients.push(RunningClient { kind, answered, thread });
    }

    /// Stops all clients.
    ///
    /// # Panics
    /// A client has panicked.
    pub fn end(self) -> Outcome {
        self.stopped.store(true, Ordering::Relaxed);
        let mut outcome = Outcome::default();
        for RunningClient { kind, answered, thread } in self.clients {
            outcome.lost.extend(thread.join().expect("no panic"));
            *outcome.answered.entry(kind).or_default() += answered.load(Ordering::Relaxed);
        }
        outcome
    }
}

/// Opens a connection whose waits end.
///
/// # Errors
/// It is refused.
pub fn tcp(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The request of a path, for the site `a.test`.
fn get(path: &str, fields: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n").into_bytes()
}

/// Sends a request on a new connection.
///
/// # Errors
/// There is no complete response with the status 200.
pub fn once<S: Read + Write>(connect: impl Fn() -> io::Result<S>) -> io::Result<()> {
    let mut stream = connect()?;
    stream.write_all(&get("/", "Connection: close\r\n"))?;
    response(&mut stream).map(drop)
}

/// Sends a request on a kept connection, which is opened if there is none, and dropped if the response says so.
///
/// # Errors
/// There is no complete response with the status 200.
pub fn over_kept<S: Read + Write>(kept: &mut Option<S>, connect: impl Fn() -> io::Result<S>) -> io::Result<()> {
    let mut stream = kept.take().map_or_else(connect, Ok)?;
    stream.write_all(&get("/", ""))?;
    if !response(&mut stream)?.contains("connection: close") {
        *kept = Some(stream);
    }
    Ok(())
}

/// Receives a long response, which is read slowly.
///
/// # Errors
/// There is no complete response with the status 200.
pub fn download(address: &str, path: &str) -> io::Result<()> {
    response(&mut Slow(tcp(address)?, Some(get(path, "Connection: close\r\n")))).map(drop)
}

/// A connection that is read slowly, after the request was sent.
struct Slow(TcpStream, Option<Vec<u8>>);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(request) = self.1.take() {
            self.0.write_all(&request)?;
        }
        std::thread::sleep(Duration::from_millis(2));
        self.0.read(buffer)
    }
}

/// Reads a response of known length; returns its head.
fn response(stream: &mut impl Read) -> io::Result<String> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    let mut whole = None;
    while whole.is_none_or(|whole| bytes.len() < whole) {
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::other(format!("it ends after {} bytes", bytes.len()))),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
        if whole.is_none()
            && let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let length = length.filter(|_| head.starts_with("http/1.1 200 "));
            whole = Some(end + 4 + length.ok_or_else(|| io::Error::other(head))?);
        }
    }
    Ok(String::from_utf8_lossy(&bytes[..whole.unwrap_or(0).min(512)]).to_lowercase())
}

/// A client of TLS that opens a connection for each request, and resumes its session.
pub struct Resuming {
    config: Arc<ClientConfig>,
    address: String,
    /// How many sessions were resumed.
    pub resumed: Arc<AtomicUsize>,
}

impl Resuming {
    /// Creates a client that trusts the authority of a file.
    ///
    /// # Panics
    /// The file has no certificate.
    pub fn new(address: &str, authority: &str) -> Resuming {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).expect("a certificate")).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        Resuming { config: Arc::new(config), address: address.to_owned(), resumed: Arc::default() }
    }

    /// Sends a request to a host.
    ///
    /// # Errors
    /// There is no complete response with the status 200.
    pub fn exchange(&self, host: &'static str) -> io::Result<()> {
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, tcp(&self.address)?);
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
        response(&mut stream)?;
        if stream.conn.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.resumed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A client of HTTP/2 with concurrent requests, which opens another connection when the server wants no more of them.
pub struct Http2 {
    runtime: tokio::runtime::Runtime,
    open: Option<h2::client::SendRequest<Bytes>>,
    /// How many requests were sent again, as a GOAWAY said that they were not processed (RFC 9113 section 6.8). The library acknowledges the server's
    /// first GOAWAY before it sends what it has queued.
    pub again: Arc<AtomicUsize>,
}

impl Default for Http2 {
    fn default() -> Http2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Http2 { runtime, open: None, again: Arc::default() }
    }
}

impl Http2 {
    /// Sends a few requests at once.
    ///
    /// # Errors
    /// One of them has no complete response with the status 200.
    pub fn exchange(&mut self, address: &str) -> io::Result<()> {
        let Http2 { runtime, open, again } = self;
        let exchange = async {
            let (mut responses, mut sent) = (Vec::new(), 0);
            while sent < STREAMS || !responses.is_empty() {
                if sent == STREAMS {
                    let response: h2::client::ResponseFuture = responses.remove(0);
                    match response.await {
                        Ok(response) => whole(response).await?,
                        Err(error) if error.is_go_away() && error.is_remote() => {
                            again.fetch_add(1, Ordering::Relaxed);
                            sent -= 1;
                        }
                        Err(error) => return Err(io::Error::other(error)),
                    }
                    continue;
                }
                let sender = match open.take() {
                    Some(sender) => sender,
                    None => connected(address).await?,
                };
                // It fails if the server has said that it goes away: then nothing was sent, and another connection is needed.
                let Ok(mut sender) = sender.ready().await else { continue };
                let request = http::Request::get("http://a.test/").body(()).map_err(io::Error::other)?;
                if let Ok((response, _)) = sender.send_request(request, true) {
                    responses.push(response);
                    sent += 1;
                    *open = Some(sender);
                }
            }
            Ok(())
        };
        runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange).await? })
    }
}

/// How many requests [`Http2`] sends at once.
const STREAMS: usize = 8;

/// Reads a response with the status 200 to its end.
async fn whole(response: http::Response<h2::RecvStream>) -> io::Result<()> {
    if response.status() != 200 {
        return Err(io::Error::other(response.status().to_string()));
    }
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let data = data.map_err(io::Error::other)?;
        body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
    }
    Ok(())
}

async fn connected(address: &str) -> io::Result<h2::client::SendRequest<Bytes>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    // What ends a connection ends its requests, which tell.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// A Close frame with the status 1001, and a client's, whose masking key is 0.
const GOING_AWAY: [u8; 4] = [0x88, 2, 3, 0xE9];
const CLIENT_CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 3, 0xE9];

/// A server for [`WebSocket`]: sends back what it gets, until a Close frame comes.
pub fn echo() -> crate::origin::Origin {
    crate::origin::Origin::new(|mut connection, _| {
        if connection.head().is_none() {
            return;
        }
        connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        loop {
            let bytes = connection.bytes();
            if bytes.is_empty() || bytes.ends_with(&CLIENT_CLOSE) {
                return;
            }
            connection.send(bytes);
        }
    })
}

/// A WebSocket through which frames are sent to [`echo`] and back.
#[derive(Default)]
pub struct WebSocket {
    open: Option<TcpStream>,
    /// How often a Close frame said that the proxy goes away.
    pub told: Arc<AtomicUsize>,
}

impl WebSocket {
    /// Sends a frame and waits for it; opens the WebSocket before, if there is none.
    ///
    /// # Errors
    /// It does not come back, and no Close frame comes instead.
    pub fn exchange(&mut self, address: &str) -> io::Result<()> {
        let mut stream = match self.open.take() {
            Some(stream) => stream,
            None => upgraded(address)?,
        };
        // A masking key of 0 leaves the payload as it is.
        let frame = [&[0x82, 0x80 | 100, 0, 0, 0, 0][..], &[b'x'; 100]].concat();
        stream.write_all(&frame)?;
        let mut got = vec![0; 4];
        stream.read_exact(&mut got)?;
        if got == GOING_AWAY {
            stream.write_all(&CLIENT_CLOSE)?;
            self.told.fetch_add(1, Ordering::Relaxed);
            let end = stream.read(&mut [0; 100])?;
            return if end == 0 { Ok(()) } else { Err(io::Error::other("data after a Close frame")) };
        }
        got.resize(frame.len(), 0);
        stream.read_exact(&mut got[4..])?;
        if got != frame {
            return Err(io::Error::other(format!("a frame has changed: {got:?}")));
        }
        self.open = Some(stream);
        Ok(())
    }
}

fn upgraded(address: &str) -> io::Result<TcpStream> {
    let mut stream = tcp(address)?;
    stream.write_all(&get("/live", "Connection: upgrade\r\nUpgrade: websocket\r\n"))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        Ok(stream)
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()))
    }
}
