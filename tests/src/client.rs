//! A client that sends arbitrary bytes, and returns what it receives.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::proxy::PATIENCE;

/// A parsed response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with chunks decoded.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// Returns the first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn to(address: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        Client::on(stream)
    }

    /// Wraps an existing connection.
    pub fn on(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Client { stream, read: Vec::new() }
    }

    /// Connects from a local address, as in `127.1.0.1`.
    pub fn from(source: &str, address: &str) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let at = |address: &str| address.parse::<std::net::SocketAddr>().expect("an address").into();
        socket.bind(&at(&format!("{source}:0"))).expect("bound");
        socket.connect(&at(address)).unwrap_or_else(|error| panic!("{address}: {error}"));
        Client::on(TcpStream::from(socket))
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.stream.write_all(bytes.as_ref()).expect("sent");
        self
    }

    /// Sends bytes; returns whether that succeeded, as the other side may have closed the connection.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Closes the sending side.
    pub fn half_close(&mut self) -> &mut Client {
        self.stream.shutdown(Shutdown::Write).expect("shut down");
        self
    }

    /// Returns the underlying stream.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Closes with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
    }

    /// Waits until the other side closes the connection, if its response says that it will: what it counted of the request,
    /// as for a concurrency limit, is given back then.
    pub fn end(&mut self, answer: &Answer) {
        if answer.header("connection") == Some("close") {
            self.rest();
        }
    }

    /// Returns the bytes up to the end of the connection, or up to a reset.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.read);
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return rest,
                Ok(n) => rest.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// Returns whether the other side closes the connection without sending another byte.
    pub fn closed(&mut self) -> bool {
        self.rest().is_empty()
    }

    /// Returns the head of the next message, with its blank line.
    pub fn head(&mut self) -> String {
        let head = self.until(b"\r\n\r\n");
        String::from_utf8_lossy(&head).into_owned()
    }

    /// Returns the next response to a GET; 1xx are skipped.
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The same; `None` if the other side closes the connection without a byte.
    pub fn try_answer_to(&mut self, method: &str) -> Option<Answer> {
        let mut buffer = [0; 1];
        match self.stream.peek(&mut buffer) {
            Ok(1) => Some(self.answer_to(method)),
            _ => None,
        }
    }

    /// Returns the next response to a request with this method.
    pub fn answer_to(&mut self, method: &str) -> Answer {
        let head = self.head();
        let mut lines = head.lines();
        let status: u16 = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .unwrap_or_else(|| panic!("no answer: {head:?}"));
        if (100..200).contains(&status) && status != 101 {
            return self.answer_to(method);
        }
        let headers = fields(lines);
        let mut answer = Answer { status, headers, body: Vec::new(), trailers: Vec::new() };
        if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            return answer;
        }
        if answer.header("transfer-encoding").is_some() {
            loop {
                let line = String::from_utf8_lossy(&self.until(b"\r\n")).into_owned();
                let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16)
                    .unwrap_or_else(|_| panic!("no chunk: {line:?}"));
                if size == 0 {
                    break;
                }
                answer.body.extend(self.exactly(size));
                assert_eq!(self.exactly(2), b"\r\n");
            }
            loop {
                let line = String::from_utf8_lossy(&self.until(b"\r\n")).into_owned();
                if line == "\r\n" {
                    break;
                }
                answer.trailers.extend(fields(line.lines()));
            }
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().expect("a length");
            answer.body = self.exactly(length);
        } else {
            answer.body = self.rest();
        }
        answer
    }

    /// Returns the next `n` bytes.
    pub fn exactly(&mut self, n: usize) -> Vec<u8> {
        while self.read.len() < n {
            self.more(&format!("{n} bytes"));
        }
        self.read.drain(..n).collect()
    }

    fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.read.windows(mark.len()).position(|window| window == mark) {
                return self.read.drain(..at + mark.len()).collect();
            }
            self.more(&format!("{:?}", String::from_utf8_lossy(mark)));
        }
    }

    fn more(&mut self, wanted: &str) {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(n @ 1..) => self.read.extend_from_slice(&buffer[..n]),
            outcome => panic!("{outcome:?} instead of {wanted}, after {:?}", String::from_utf8_lossy(&self.read)),
        }
    }
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let pairs = lines.filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}

/// Sends one request on a new connection.
pub fn ask(address: &str, request: &str) -> Answer {
    let method = request.split(' ').next().unwrap_or_default();
    let mut client = Client::to(address);
    let answer = client.send(request).answer_to(method);
    client.end(&answer);
    answer
}

/// Sends a GET for a path of a host on a new connection.
pub fn get(address: &str, host: &str, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}
