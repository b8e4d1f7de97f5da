//! The other end of a client's connection ([`Peer`]): the same for all exchanges on it.

use std::net::{IpAddr, SocketAddr};

use crate::context::matcher;
use crate::net::secured::Secured;
use crate::site::Listener;
use crate::worker::Worker;

/// The peer of a connection; the same for all exchanges on it.
pub(crate) struct Peer {
    pub(crate) worker: &'static Worker,
    /// The index of the listener it came in by.
    pub(crate) listener: u32,
    pub(crate) ip: IpAddr,
    /// The same as text; made once.
    pub(crate) text: String,
    /// The other end and this one, where they are known.
    pub(crate) addresses: (Option<SocketAddr>, Option<SocketAddr>),
    /// What the handshake came to, on an encrypted connection.
    pub(crate) secured: Option<Secured>,
}

impl Peer {
    pub(crate) fn new(worker: &'static Worker, listener: u32, ip: IpAddr) -> Peer {
        Peer { worker, listener, ip, text: ip.to_string(), addresses: (None, None), secured: None }
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.secured.is_some() { "https" } else { "http" }
    }

    /// Whether an `https` URL may be asked for on the connection: it is encrypted, or was where it began, as far as somebody
    /// trusted says (RFC 9110 section 7.4).
    pub(crate) fn may_say_https(&self) -> bool {
        self.secured.is_some()
            || self.listener().speaks.proxy_protocol.is_some()
            || matcher::contains(&self.worker.site.trusted.networks, self.ip)
    }

    pub(crate) fn listener(&self) -> &'static Listener {
        &self.worker.site.listeners[self.listener as usize]
    }
}
