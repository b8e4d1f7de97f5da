//! The UDP sockets of listeners with HTTP/3 ([`bind`]): bound, or those of the running process.

use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::{SockRef, Type};

use super::bind_address;
use super::local::is_local;
use crate::context::settings::{self, Address, Settings};
use crate::net::quic::{QuicGroup, QuicIdentity, QuicSocket, RelayReceiver, SOCKET_BUFFER};
use crate::site::Listener;

/// The listeners with HTTP/3, as takeovers need them.
#[cfg_attr(not(feature = "takeover"), allow(dead_code, reason = "read by takeovers alone"))]
pub(crate) struct QuicListeners {
    /// What this process is called.
    pub(crate) identity: QuicIdentity,
    pub(crate) listeners: Vec<BoundQuic>,
}

impl QuicListeners {
    pub(super) fn new(given: Option<QuicIdentity>) -> QuicListeners {
        QuicListeners { identity: given.unwrap_or_else(QuicIdentity::random), listeners: Vec::new() }
    }
}

/// A listener with HTTP/3.
#[cfg_attr(not(feature = "takeover"), allow(dead_code, reason = "read by takeovers alone"))]
pub(crate) struct BoundQuic {
    /// Its index.
    pub(crate) listener: u32,
    pub(crate) group: Arc<QuicGroup>,
    /// Other descriptors of its sockets, if the site has `takeover`.
    pub(crate) sockets: Vec<UdpSocket>,
    /// The sockets are those of the process that this one takes over from.
    pub(crate) from_old: bool,
    /// The relay to the process whose sockets these are, with the index of that one's listener.
    pub(crate) old: Option<(u32, RelayReceiver, OwnedFd)>,
}

/// What the running process hands over at a takeover.
#[derive(Default)]
pub(crate) struct InheritedQuic {
    /// Its sockets, with the index of their listener.
    pub(crate) sockets: Vec<(u32, UdpSocket)>,
    /// What it has called this process.
    pub(crate) identity: Option<QuicIdentity>,
}

impl InheritedQuic {
    /// Takes all sockets with this address, and the index of their listener.
    fn take(&mut self, address: &Address<'_>) -> io::Result<(Option<u32>, Vec<UdpSocket>)> {
        let is_at = |socket: &UdpSocket| is_local(&SockRef::from(socket), address);
        let (listeners, found): (Vec<_>, Vec<_>) = self.sockets.extract_if(.., |(_, socket)| is_at(socket)).unzip();
        found.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        Ok((listeners.first().copied(), found))
    }
}

/// Binds the UDP sockets for HTTP/3: one per worker, over which the kernel distributes datagrams by their addresses. Those of a running process are used
/// as they are, whatever the number of workers is: another socket would change how datagrams are distributed.
pub(super) fn bind(
    (index, listener): (u32, &Listener),
    settings: &Settings,
    workers: usize,
    (inherited, identity): (&mut InheritedQuic, QuicIdentity),
) -> io::Result<(BoundQuic, Vec<QuicSocket>)> {
    let address = listener.address.get(settings);
    let (old, mut sockets) = inherited.take(&settings::address(address).map_err(io::Error::other)?)?;
    if sockets.is_empty() {
        sockets = (0..workers).map(|_| bind_udp(address)).collect::<io::Result<_>>()?;
    }
    let kept = sockets.iter().map(UdpSocket::try_clone).collect::<io::Result<_>>()?;
    let (group, sockets) = QuicSocket::of_listener(sockets, identity);
    let relay = |listener| group.relay_to_old().map(|(receiver, end)| (listener, receiver, end));
    let old = old.map(relay).transpose()?;
    Ok((BoundQuic { listener: index, group, sockets: kept, from_old: old.is_some(), old }, sockets))
}

/// Binds a UDP socket, beside others of this user.
pub(super) fn bind_udp(address: &str) -> io::Result<UdpSocket> {
    match settings::address(address).map_err(io::Error::other)? {
        Address::Tcp(host, port) => {
            let socket = bind_address((host, port), Type::DGRAM, true)?;
            // Buffers of the usual size lose datagrams of fast uploads; the kernel may allow less.
            let _ = (socket.set_recv_buffer_size(SOCKET_BUFFER), socket.set_send_buffer_size(SOCKET_BUFFER));
            Ok(socket.into())
        }
        Address::Unix(_) => Err(io::Error::other("HTTP/3 needs an address with a port")),
    }
}
