//! Sockets for log lines ([`SocketOutput`]): of syslog servers (RFC 5424, 5426, 6587), and of systemd's journal.
//!
//! While the receiver is unreachable, the writer's thread tries to connect after growing pauses, and lines wait in the queue. Every system
//! call has a time-out, apart from name resolution, which the system's resolver bounds.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::super::framing::JOURNAL_FIELD;
use super::super::queue::Output;
use super::super::tell::Tell;

/// A socket that each line is sent to as a message of its own.
pub(in crate::observe) struct SocketOutput {
    receiver: Receiver,
    socket: Option<LogSocket>,
    /// The message for a line; a buffer that is used again.
    message: Vec<u8>,
    /// Whether it was reported that the receiver is unreachable.
    told: bool,
    tell: Tell,
}

/// The receiver of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::observe) enum Receiver {
    /// A syslog server, by the path of its datagram socket.
    Unix(String),
    /// A syslog server, by host and port: a datagram for each line.
    Udp(String, u16),
    /// A syslog server, by host and port: a connection.
    Tcp(String, u16),
    /// The journal, by the path of its socket.
    Journal(String),
}

enum LogSocket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// The time-out for connecting, and for sending a message.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The first pause between two attempts to connect; each later pause is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The most addresses of a host that are tried.
const ADDRESSES: usize = 4;

impl SocketOutput {
    pub(in crate::observe) fn new(receiver: Receiver, tell: Tell) -> SocketOutput {
        SocketOutput { receiver, socket: None, message: Vec::new(), told: false, tell }
    }

    /// Connects if there is no connection. Returns whether there is one now.
    fn connect(&mut self) -> bool {
        if self.socket.is_some() {
            return true;
        }
        match self.receiver.connect() {
            Ok(socket) => {
                self.socket = Some(socket);
                if std::mem::take(&mut self.told) {
                    self.tell.info(&format!("{} is reached again", self.receiver.name()));
                }
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    self.tell.warn(&format!("{} is not reached, trying again: {error}", self.receiver.name()));
                }
                false
            }
        }
    }

    /// Waits until there is a connection.
    fn connected(&mut self) {
        let mut pause = PAUSE;
        while !self.connect() {
            std::thread::sleep(pause);
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }
}

impl Output for SocketOutput {
    /// Lines are written one by one.
    const PORTION: usize = 0;

    fn begin(&mut self) {
        self.connect();
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.receiver.frame(line, &mut self.message);
        if matches!(&self.socket, Some(LogSocket::Tcp(stream)) if is_over(stream)) {
            self.socket = None;
        }
        let mut outcome = Ok(());
        for _ in 0..2 {
            self.connected();
            let Some(socket) = &mut self.socket else { continue };
            let Err(error) = socket.send(&self.message) else { return outcome };
            let (connection, reply) = (matches!(socket, LogSocket::Tcp(_)), matches!(socket, LogSocket::Udp(_)));
            let slow = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            if !reply && (connection || !slow) && !is_too_long(&error) {
                // The receiver is gone, or part of a message was sent.
                self.socket = None;
            }
            if slow || is_too_long(&error) {
                return Err(error);
            }
            // An error of UDP is about the datagram before this one, which is lost: this one is sent again. Otherwise the message is sent on a
            // new connection.
            outcome = if reply { Err(error) } else { Ok(()) };
        }
        Err(io::ErrorKind::NotConnected.into())
    }

    fn reopen(&mut self) {
        self.socket = None;
        self.connect();
    }
}

fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error())
}

/// Returns whether the other side has closed a connection. Bytes from it are read and ignored.
fn is_over(mut stream: &TcpStream) -> bool {
    let mut some = [0; 512];
    loop {
        let ready = {
            let mut polled = [PollFd::new(stream, PollFlags::IN)];
            poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
        };
        match ready.then(|| stream.read(&mut some)) {
            None => return false,
            Some(Ok(1..)) => {}
            Some(_) => return true,
        }
    }
}

impl Receiver {
    /// Returns the name to show in messages.
    pub(in crate::observe) fn name(&self) -> String {
        match self {
            Receiver::Unix(path) => format!("syslog unix:{path}"),
            Receiver::Udp(host, port) => format!("syslog udp:{}", authority(host, *port)),
            Receiver::Tcp(host, port) => format!("syslog tcp:{}", authority(host, *port)),
            Receiver::Journal(path) => format!("journal {path}"),
        }
    }

    fn connect(&self) -> io::Result<LogSocket> {
        match self {
            Receiver::Unix(path) | Receiver::Journal(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                socket.connect(path)?;
                Ok(LogSocket::Unix(socket))
            }
            Receiver::Udp(host, port) => first(host, *port, |address| {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                socket.connect(address)?;
                Ok(LogSocket::Udp(socket))
            }),
            Receiver::Tcp(host, port) => first(host, *port, |address| {
                let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                stream.set_nodelay(true)?;
                Ok(LogSocket::Tcp(stream))
            }),
        }
    }

    /// Writes the message for a line.
    fn frame(&self, line: &[u8], message: &mut Vec<u8>) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        message.clear();
        match self {
            Receiver::Unix(_) | Receiver::Udp(..) => message.extend_from_slice(line),
            // RFC 6587 section 3.4.1, octet counting.
            Receiver::Tcp(..) => {
                message.extend_from_slice(line.len().to_string().as_bytes());
                message.push(b' ');
                message.extend_from_slice(line);
            }
            // Each field is a line (systemd's "Native Journal Protocol").
            Receiver::Journal(_) => {
                message.extend(line.iter().map(|&byte| if byte == JOURNAL_FIELD { b'\n' } else { byte }));
                message.push(b'\n');
            }
        }
    }
}

/// Connects to the first address of a host for which that succeeds.
fn first<T>(host: &str, port: u16, mut connect: impl FnMut(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()?.take(ADDRESSES) {
        match connect(address) {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl LogSocket {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            LogSocket::Unix(socket) => socket.send(message).map(drop),
            LogSocket::Udp(socket) => socket.send(message).map(drop),
            LogSocket::Tcp(stream) => stream.write_all(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let check = |receiver: Receiver, expected: &[u8]| {
            let mut message = b"before".to_vec();
            receiver.frame(b"a=1\x1fb=2\n", &mut message);
            assert_eq!(message, expected, "{receiver:?}");
        };
        check(Receiver::Unix("/dev/log".to_owned()), b"a=1\x1fb=2");
        check(Receiver::Udp("::1".to_owned(), 514), b"a=1\x1fb=2");
        check(Receiver::Tcp("::1".to_owned(), 601), b"7 a=1\x1fb=2");
        check(Receiver::Journal("/run/journal".to_owned()), b"a=1\nb=2\n");
    }

    /// A datagram that was refused counts as lost, and the next one is sent.
    #[test]
    fn a_refused_datagram_counts_as_lost() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = receiver.local_addr().expect("an address").port();
        let mut output = SocketOutput::new(Receiver::Udp("127.0.0.1".to_owned(), port), Tell::nobody());
        drop(receiver);
        output.write(b"1\n").expect("it is on its way");
        let receiver = UdpSocket::bind(("127.0.0.1", port)).expect("a socket");
        assert_eq!(output.write(b"2\n").expect_err("the one before").kind(), io::ErrorKind::ConnectionRefused);
        let mut got = [0; 10];
        receiver.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        assert_eq!(receiver.recv(&mut got).expect("the second"), 1);
        assert_eq!(got[0], b'2');
    }
}
