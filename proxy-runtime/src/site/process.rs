//! The part of the contract for the process.

use std::time::Duration;

use crate::context::param::Setting;
use crate::value::{Place, Text};

/// `process`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Process {
    /// The number of workers; `None` is one for each core that the process may run on.
    pub workers: Option<Setting<u64>>,
    /// How long exchanges in progress may continue after SIGTERM.
    pub drain: Setting<Duration>,
    /// The number of exchanges at once on a client's connection in HTTP/2.
    pub max_streams: Setting<u64>,
    /// The privileges that the process keeps once its sockets are open.
    pub privileges: Option<Privileges>,
}

/// `user`, `group` and `capabilities`: where one of them is there, all capabilities are given up.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Privileges {
    /// The user to become, by name or number.
    pub user: Option<Text>,
    /// Its group, by name or number; the user's own group where there is none.
    pub group: Option<Text>,
    /// Where the first of them was declared.
    pub place: Place,
}
