//! Who sends a request ([`Operator`]), for rules and for the log.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Who sends a request.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    /// For a unix socket this machine's.
    pub(super) ip: IpAddr,
    /// Of a unix socket, as the kernel says it.
    pub(super) uid: Option<u32>,
    /// By TLS.
    pub(super) secured: bool,
    /// Who they have shown to be.
    pub(super) user: Option<String>,
}

impl Operator {
    /// Somebody on this machine.
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
