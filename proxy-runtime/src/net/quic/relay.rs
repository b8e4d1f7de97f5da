//! Passes datagrams between processes during a takeover ([`Relay`]): the new process reads the sockets, and those of the old one's connections go there.
//!
//! Both ends are of a pair of SOCK_SEQPACKET sockets (unix(7)), which keep the boundaries of datagrams and report the end of the other process. What does not
//! fit into the kernel's buffer is lost, as in a network.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use quinn::udp::{EcnCodepoint, RecvMeta};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};

use super::forwarded::ForwardedDatagram;

/// The size of the header: ECN and flags, both addresses, the port.
const HEADER: usize = 1 + 16 + 2 + 16;

/// The largest datagram that is passed on: QUIC's are smaller, as the proxy allows no larger ones.
const LARGEST: usize = 2048;

/// The size of the kernel's buffer; the kernel may limit it further.
const BUFFER: usize = 1 << 20;

/// The local address is known.
const HAS_LOCAL: u8 = 0x04;

/// One end, to another process.
#[derive(Debug, Clone)]
pub(super) struct Relay(Arc<UnixDatagram>);

impl Relay {
    /// Creates a pair of ends.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(super) fn pair() -> io::Result<(Relay, OwnedFd)> {
        let (own, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        for end in [&own, &other] {
            let _ = sockopt::set_socket_send_buffer_size(end, BUFFER);
        }
        Ok((Relay::new(own)?, other))
    }

    /// Uses an end that another process has made.
    ///
    /// # Errors
    /// This is another kind of socket.
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<Relay> {
        let is_relay = sockopt::socket_type(&descriptor)? == SocketType::SEQPACKET
            && sockopt::socket_domain(&descriptor)? == AddressFamily::UNIX;
        if !is_relay {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a descriptor is not a relay"));
        }
        let socket = UnixDatagram::from(descriptor);
        socket.set_nonblocking(true)?;
        Ok(Relay(Arc::new(socket)))
    }

    /// Sends a datagram. `false`: the other process is gone.
    pub(super) fn send(&self, datagram: &[u8], meta: &RecvMeta) -> bool {
        if datagram.len() > LARGEST {
            return true;
        }
        let sent = self.0.send(&encode(datagram, meta));
        !sent.is_err_and(|error| !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted))
    }

    /// Calls `deliver` for each datagram of the other process, until that is gone.
    pub(super) async fn receive(&self, mut deliver: impl FnMut(ForwardedDatagram)) {
        let socket = self.0.try_clone().and_then(tokio::net::UnixDatagram::from_std);
        let Ok(socket) = socket else { return };
        let mut buffer = vec![0; HEADER + LARGEST];
        loop {
            match socket.recv(&mut buffer).await {
                Ok(length @ 1..) => decode(&buffer[..length]).into_iter().for_each(&mut deliver),
                // The other process has ended without reading everything; what it has sent still follows.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                // Nothing that is sent is empty: that is the end.
                Ok(_) | Err(_) => return,
            }
        }
    }

    pub(super) fn is(&self, other: &Relay) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Addresses of IPv4 are written as those of IPv6 that stand for them.
fn encode(datagram: &[u8], meta: &RecvMeta) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let v4 = |ip: IpAddr, flag: u8| if ip.is_ipv4() { flag } else { 0 };
    let local = meta.dst_ip.map_or(0, |ip| HAS_LOCAL | v4(ip, LOCAL_V4));
    let first = meta.ecn.map_or(0, |ecn| ecn as u8) | local | v4(meta.addr.ip(), REMOTE_V4);
    let mut bytes = Vec::with_capacity(HEADER + datagram.len());
    bytes.push(first);
    bytes.extend_from_slice(&octets(meta.addr.ip()));
    bytes.extend_from_slice(&meta.addr.port().to_be_bytes());
    bytes.extend_from_slice(&meta.dst_ip.map_or([0; 16], octets));
    bytes.extend_from_slice(datagram);
    bytes
}

/// Whether an address was one of IPv4: a socket of both families reports those of IPv4 as mapped ones.
const REMOTE_V4: u8 = 0x08;
const LOCAL_V4: u8 = 0x10;

fn decode(bytes: &[u8]) -> Option<ForwardedDatagram> {
    let (first, rest) = bytes.split_first()?;
    let (remote, rest) = rest.split_first_chunk::<16>()?;
    let (port, rest) = rest.split_first_chunk()?;
    let (local, datagram) = rest.split_first_chunk::<16>()?;
    let ip = |octets: [u8; 16], flag: u8| match Ipv6Addr::from(octets) {
        ip if first & flag != 0 => ip.to_ipv4_mapped().map(IpAddr::V4),
        ip => Some(IpAddr::V6(ip)),
    };
    let mut meta = RecvMeta { len: datagram.len(), stride: datagram.len(), ..RecvMeta::default() };
    meta.addr = SocketAddr::new(ip(*remote, REMOTE_V4)?, u16::from_be_bytes(*port));
    meta.ecn = EcnCodepoint::from_bits(first & 0x03);
    if first & HAS_LOCAL != 0 {
        meta.dst_ip = Some(ip(*local, LOCAL_V4)?);
    }
    (!datagram.is_empty()).then(|| ForwardedDatagram { bytes: datagram.into(), meta })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_keep_their_addresses() {
        let check = |addr: &str, dst_ip: Option<&str>, ecn: Option<EcnCodepoint>| {
            let dst_ip = dst_ip.map(|ip| ip.parse().expect("an address"));
            let meta = RecvMeta { addr: addr.parse().expect("an address"), dst_ip, ecn, ..RecvMeta::default() };
            let decoded = decode(&encode(b"datagram", &meta)).expect("a datagram");
            assert_eq!((decoded.meta.addr, decoded.meta.dst_ip, decoded.meta.ecn), (meta.addr, dst_ip, ecn));
            assert_eq!((&*decoded.bytes, decoded.meta.len, decoded.meta.stride), (&b"datagram"[..], 8, 8));
        };
        check("192.0.2.1:443", Some("192.0.2.2"), None);
        check("[2001:db8::1]:1", None, Some(EcnCodepoint::Ce));
        check("[::ffff:192.0.2.1]:65535", Some("::1"), Some(EcnCodepoint::Ect0));
        let bytes = encode(b"", &RecvMeta::default());
        for length in 0..=bytes.len() {
            assert!(decode(&bytes[..length]).is_none(), "{length}");
        }
        // An address of IPv4 that is none.
        let mut wrong = encode(b"x", &RecvMeta::default());
        wrong[0] |= REMOTE_V4;
        assert!(decode(&wrong).is_none());
    }

    #[tokio::test]
    async fn the_other_process_may_end() {
        let (own, other) = Relay::pair().expect("a pair");
        let other = Relay::new(other).expect("a relay");
        let meta = RecvMeta { addr: "192.0.2.1:443".parse().expect("an address"), ..RecvMeta::default() };
        assert!(own.send(b"one", &meta) && own.send(b"two", &meta) && own.send(&[0; LARGEST + 1], &meta));
        let mut full = 0;
        while other.send(&[0; 1200], &meta) && full < 10_000 {
            full += 1;
        }
        assert_eq!(full, 10_000, "what does not fit is lost");
        drop(own);
        let mut received = Vec::new();
        other.receive(|datagram| received.push(datagram.bytes)).await;
        assert_eq!(received, [Box::from(&b"one"[..]), Box::from(&b"two"[..])]);
        assert!(!other.send(b"three", &meta));
        let file = std::fs::File::open("/dev/null").expect("a file");
        assert!(Relay::new(file.into()).is_err());
    }
}
