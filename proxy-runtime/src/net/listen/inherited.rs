//! Sockets that others have bound ([`Inherited`]), and whether one has an address of the site.

use std::io;
use std::path::Path;

use socket2::SockRef;

use super::Bound;
use super::local::is_local;
#[cfg(feature = "h3")]
use super::quic::InheritedQuic;
use crate::context::settings::Address;

/// Sockets that a parent process passes on, or the running process at a takeover.
pub(crate) struct Inherited {
    sockets: Vec<PassedSocket>,
    #[cfg(feature = "h3")]
    pub(crate) quic: InheritedQuic,
}

struct PassedSocket {
    socket: Bound,
    /// The index of the running process's listener.
    #[cfg_attr(not(feature = "takeover"), allow(dead_code, reason = "read by takeovers alone"))]
    listener: Option<u32>,
}

impl Inherited {
    /// Takes the sockets of a parent process.
    pub(crate) fn take() -> Inherited {
        let mut handed = listenfd::ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..handed.len() {
            let socket = match handed.take_tcp_listener(index) {
                Ok(Some(socket)) => Bound::Tcp(socket),
                _ => match handed.take_unix_listener(index) {
                    Ok(Some(socket)) => Bound::Unix(socket),
                    _ => continue,
                },
            };
            sockets.push(PassedSocket { socket, listener: None });
        }
        Inherited {
            sockets,
            #[cfg(feature = "h3")]
            quic: InheritedQuic::default(),
        }
    }

    /// Adds a socket of a listener of the running process.
    #[cfg(feature = "takeover")]
    pub(crate) fn add(&mut self, listener: u32, socket: Bound) {
        self.sockets.push(PassedSocket { socket, listener: Some(listener) });
    }

    /// Returns the running process's listeners of which no socket was taken.
    #[cfg(feature = "takeover")]
    pub(crate) fn left(&self) -> impl Iterator<Item = u32> {
        self.sockets.iter().filter_map(|passed| passed.listener)
    }

    /// Returns the addresses and ports of a parent process's sockets that were not taken.
    pub(crate) fn unused(&self) -> impl Iterator<Item = (String, Option<u16>)> {
        let unused = self.sockets.iter().filter(|passed| passed.listener.is_none());
        unused.filter_map(|passed| match &passed.socket {
            Bound::Tcp(socket) => socket.local_addr().ok().map(|local| (local.to_string(), Some(local.port()))),
            Bound::Unix(socket) => {
                let local = socket.local_addr().ok()?;
                Some((format!("unix:{}", local.as_pathname()?.display()), None))
            }
        })
    }

    /// Returns whether one has this address.
    pub(super) fn has(&self, address: &Address<'_>) -> bool {
        self.sockets.iter().any(|passed| is_at(&passed.socket, address))
    }

    /// Takes all sockets with this address.
    pub(super) fn take_all(&mut self, address: &Address<'_>) -> io::Result<Vec<Bound>> {
        let found = self.sockets.extract_if(.., |passed| is_at(&passed.socket, address));
        let found: Vec<_> = found.map(|passed| passed.socket).collect();
        for socket in &found {
            match socket {
                Bound::Tcp(socket) => socket.set_nonblocking(true)?,
                Bound::Unix(socket) => socket.set_nonblocking(true)?,
            }
        }
        Ok(found)
    }
}

/// Returns whether a socket listens on this address.
fn is_at(socket: &Bound, address: &Address<'_>) -> bool {
    match (socket, address) {
        (Bound::Tcp(socket), Address::Tcp(..)) => is_local(&SockRef::from(socket), address),
        (Bound::Unix(socket), Address::Unix(path)) => {
            socket.local_addr().is_ok_and(|local| local.as_pathname() == Some(Path::new(path)))
        }
        _ => false,
    }
}
