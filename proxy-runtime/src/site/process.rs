//! The part of the contract for the process.

use std::time::Duration;

use crate::context::param::Setting;
use crate::value::{List, Place, Text};

/// The directive `process`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Process {
    /// The number of workers; `None` is one for each core that the process may run on.
    pub workers: Option<Setting<u64>>,
    /// How long exchanges in progress may continue after SIGTERM.
    pub drain: Setting<Duration>,
    /// The most concurrent exchanges on a client's HTTP/2 connection.
    pub max_streams: Setting<u64>,
    /// The most resident memory, in bytes; `None` is nine tenths of what the control group allows, if it sets a limit.
    pub memory_limit: Option<Setting<u64>>,
    /// The privileges that the process keeps once its sockets are open.
    pub privileges: Option<Privileges>,
    /// The limits of the process from then on; `None` if the site disables the sandbox.
    pub sandbox: Option<Sandbox>,
    /// How a new process takes over from the running one, if it may.
    pub takeover: Option<Takeover>,
}

/// `takeover`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Takeover {
    /// The path of the unix socket of the running process.
    pub path: Setting<Text>,
    /// How long the new process serves before the old one ends.
    pub canary: Setting<Duration>,
    /// The share of responses with errors above which the new process rolls back, in percent.
    pub max_error_percent: u64,
    /// Where it was declared.
    pub place: Place,
}

impl Takeover {
    /// The longest canary window.
    pub const LONGEST_CANARY: Duration = Duration::from_secs(3600);
}

/// The lines `user`, `group` and `capabilities`: if there is one of them, all capabilities are dropped.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Privileges {
    /// The user to switch to, by name or number.
    pub user: Option<Text>,
    /// The group to switch to, by name or number; `None` stands for the user's own group.
    pub group: Option<Text>,
    /// Where the first of these lines was declared.
    pub place: Place,
}

/// The sandbox, derived from the site: files and ports that are not listed here are denied, as far as the kernel supports that.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Whether the start fails if the kernel lacks a part of it.
    pub required: bool,
    /// Folders to read from, beside the folders of files that are read again ([`Site::files`](super::Site::files)).
    pub read: List<Setting<Text>>,
    /// Files to read, with all files in their folders: a new version may replace them.
    pub read_files: List<Setting<Text>>,
    /// Folders to write to.
    pub write: List<Setting<Text>>,
    /// Files to write, with all files in their folders: they are renamed and created again.
    pub write_files: List<Setting<Text>>,
    /// The addresses, URLs and ports to connect to by TCP; `None` if they are known only at run time.
    pub connect: Option<List<Setting<Text>>>,
    /// Whether names of servers are resolved: the system's resolver reads its own files, and connects to port 53.
    pub resolves: bool,
    /// Whether servers are verified by the system's certificate authorities, which are read before.
    pub verifies: bool,
    /// Where the sandbox was declared.
    pub place: Place,
}
