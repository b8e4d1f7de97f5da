//! The part of the contract for listeners, and for the process.

use std::time::Duration;

use super::tls::Speaks;
use crate::context::param::Setting;
use crate::value::{Place, Text};

/// `process`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Process {
    /// Number of workers; `None` is one per core this process may run on.
    pub workers: Option<Setting<u64>>,
    /// How long running exchanges may go on after SIGTERM.
    pub drain: Setting<Duration>,
    /// Exchanges at once on a client's connection in HTTP/2.
    pub max_streams: Setting<u64>,
}

/// A socket to accept from.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name, or its address where it has none.
    pub name: Text,
    /// The address: `host:port`, `:port` or `unix:/path`.
    pub address: Setting<Text>,
    /// Who may connect to a unix socket.
    pub file: SocketFile,
    /// What is spoken there.
    pub speaks: Speaks,
    /// Where it was declared; the built-in default has line 0.
    pub place: Place,
}

/// The file of a unix socket.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketFile {
    /// Its permissions; where there are none, what the process's umask leaves.
    pub mode: Option<u16>,
    /// Its owner, by name or number.
    pub user: Option<Text>,
    /// Its group, by name or number.
    pub group: Option<Text>,
}
