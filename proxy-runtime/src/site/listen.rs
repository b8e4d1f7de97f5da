//! The part of the contract for listeners.

use super::tls::Speaks;
use crate::context::param::Setting;
use crate::value::{Place, Text};

/// A listening socket.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name, or its address if it has none.
    pub name: Text,
    /// The address: `host:port`, `:port` or `unix:/path`.
    pub address: Setting<Text>,
    /// The permissions of a Unix socket.
    pub file: SocketFile,
    /// Its protocols.
    pub speaks: Speaks,
    /// The location of the declaration; the built-in default has line 0.
    pub place: Place,
}

/// The file of a Unix socket.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketFile {
    /// Its permissions; `None` for those by the process's umask.
    pub mode: Option<u16>,
    /// Its owner, by name or number.
    pub user: Option<Text>,
    /// Its group, by name or number.
    pub group: Option<Text>,
}
