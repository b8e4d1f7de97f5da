//! The sender of a request ([`Operator`]), for access control and the log.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// The sender of a request.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    /// The IP address; for a unix socket, this machine's.
    pub(super) ip: IpAddr,
    /// The user ID of a unix socket's client, as the kernel reports it.
    pub(super) uid: Option<u32>,
    /// Whether the connection uses TLS.
    pub(super) secured: bool,
    /// The name of the authenticated user.
    pub(super) user: Option<String>,
}

impl Operator {
    /// A client on this machine.
    pub(super) const LOCAL: Operator =
        Operator { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), uid: None, secured: false, user: None };
}

impl fmt::Display for Operator {
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
