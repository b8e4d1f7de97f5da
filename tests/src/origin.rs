//! Servers for tests: each connection is handled by a function.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::proxy::PATIENCE;

/// A server with its own address.
pub struct Origin {
    /// The address that it listens on.
    pub address: String,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    /// Calls `serve` for each connection, with its number (from 0), on a new thread.
    pub fn new(serve: impl Fn(Connection, usize) + Send + Sync + 'static) -> Origin {
        Origin::on("127.0.0.1:0", serve)
    }

    /// The same on a given address.
    pub fn on(address: &str, serve: impl Fn(Connection, usize) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind(address).expect("an address");
        let address = listener.local_addr().expect("an address").to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(Connection::from(stream), number));
            }
        });
        Origin { address, connections }
    }

    /// Responds to every request with these bytes.
    pub fn always(answer: impl Into<Vec<u8>>) -> Origin {
        let answer = answer.into();
        Origin::new(move |mut connection, _| {
            while connection.request().is_some() {
                connection.send(&answer);
            }
        })
    }

    /// Waits until there have been this many connections; more are an error. A client that is connected may not be counted yet.
    pub fn has_connections(&self, count: usize) {
        let until = Instant::now() + PATIENCE;
        while self.connections() < count {
            assert!(Instant::now() < until, "{} of {count} connections", self.connections());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.connections(), count);
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// The server's side of a connection.
pub struct Connection {
    stream: std::net::TcpStream,
    read: Vec<u8>,
}

impl From<std::net::TcpStream> for Connection {
    fn from(stream: std::net::TcpStream) -> Connection {
        stream.set_read_timeout(Some(crate::proxy::PATIENCE)).expect("a time-out");
        Connection { stream, read: Vec::new() }
    }
}

impl Connection {
    /// Returns the head of the next request, and its body according to `Content-Length`; `None` at the end.
    pub fn request(&mut self) -> Option<String> {
        let head = self.head()?;
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|value| value.trim().to_owned())
        });
        let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        while self.read.len() < length {
            self.more()?;
        }
        let body: Vec<u8> = self.read.drain(..length).collect();
        Some(head + &String::from_utf8_lossy(&body))
    }

    /// Returns only the head of the next request.
    pub fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..at + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            self.more()?;
        }
    }

    /// Returns the next bytes; empty at the end.
    pub fn bytes(&mut self) -> Vec<u8> {
        if self.read.is_empty() && self.more().is_none() {
            return Vec::new();
        }
        std::mem::take(&mut self.read)
    }

    /// Sends bytes; the other side may be gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        use std::io::Write as _;
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends bytes and closes, in one packet: the other side sees both at the same time.
    pub fn send_last(self, bytes: impl AsRef<[u8]>) {
        use std::io::Write as _;
        let _ = socket2::SockRef::from(&self.stream).set_tcp_cork(true);
        let _ = (&self.stream).write_all(bytes.as_ref());
    }

    /// Returns whether the other side has closed; does not wait.
    pub fn closed_by_peer(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let closed = match self.stream.peek(&mut [0]) {
            Ok(n) => n == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        };
        self.stream.set_nonblocking(false).expect("a socket");
        closed
    }

    fn more(&mut self) -> Option<()> {
        use std::io::Read as _;
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(n @ 1..) => {
                self.read.extend_from_slice(&buffer[..n]);
                Some(())
            }
            _ => None,
        }
    }
}

/// Returns the `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
pub fn websocket_accept(key: &str) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut sha1 = Command::new("sha1sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha1sum, which every Linux has");
    let mut input = sha1.stdin.take().expect("piped");
    write!(input, "{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").expect("written");
    drop(input);
    let output = sha1.wait_with_output().expect("a digest").stdout;
    let bits: Vec<u8> = output[..40]
        .iter()
        .flat_map(|&digit| {
            let value = (digit as char).to_digit(16).expect("a digit");
            (0..4).rev().map(move |bit| (value >> bit & 1) as u8)
        })
        .collect();
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit =
        |six: &[u8]| DIGITS[(0..6).fold(0, |value, at| value << 1 | usize::from(six.get(at).copied().unwrap_or(0)))];
    let text: Vec<u8> = bits.chunks(6).map(digit).collect();
    format!("{}=", String::from_utf8_lossy(&text))
}
