//! Who sends a request ([`Peer`]), for rules and for the log.

use std::fmt;
use std::net::IpAddr;

/// Who sends a request.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// For a unix socket this machine's.
    pub(super) ip: IpAddr,
    /// Of a unix socket, as the kernel says it.
    pub(super) uid: Option<u32>,
    /// Who they have shown to be.
    pub(super) user: Option<String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "user `{user}` at ")?;
        }
        match self.uid {
            Some(uid) => write!(f, "uid {uid}"),
            None => write!(f, "{}", self.ip),
        }
    }
}
