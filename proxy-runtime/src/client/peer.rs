//! The peer of a client's connection ([`Peer`]), shared by all exchanges on it.

use std::net::{IpAddr, SocketAddr};

use crate::context::matcher;
use crate::net::secured::Secured;
use crate::site::Listener;
use crate::worker::Worker;

/// The peer of a connection, shared by all exchanges on it.
pub(crate) struct Peer {
    pub(crate) worker: &'static Worker,
    /// The index of the listener.
    pub(crate) listener: u32,
    pub(crate) ip: IpAddr,
    /// The address as text, rendered once.
    pub(crate) text: String,
    /// The peer's and the local address, if they are known.
    pub(crate) addresses: (Option<SocketAddr>, Option<SocketAddr>),
    /// The result of the TLS handshake, on an encrypted connection.
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

    /// Returns whether `https` URLs may be requested on the connection: it is encrypted, or a trusted peer may say that it
    /// was (RFC 9110 section 7.4).
    pub(crate) fn may_say_https(&self) -> bool {
        self.secured.is_some()
            || self.listener().speaks.proxy_protocol.is_some()
            || matcher::contains(&self.worker.site.trusted.networks, self.ip)
    }

    pub(crate) fn listener(&self) -> &'static Listener {
        &self.worker.site.listeners[self.listener as usize]
    }
}
