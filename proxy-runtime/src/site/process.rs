//! The part of the contract for the process.

use std::time::Duration;

use crate::context::param::Setting;
use crate::value::{List, Place, Text};

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
    /// What it may do from then on; `None` where the site switches that off.
    pub sandbox: Option<Sandbox>,
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

/// `sandbox`, derived from the site: files and ports that are not listed here are out of reach, where the kernel can hold that.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The start fails where the kernel lacks a part of it.
    pub required: bool,
    /// Folders to read from. The folders of files that are read again ([`Site::files`](super::Site::files)) come on top.
    pub read: List<Setting<Text>>,
    /// Files to read, along with what else is in their folders: a new version may take their place.
    pub read_files: List<Setting<Text>>,
    /// Folders to write to.
    pub write: List<Setting<Text>>,
    /// Files to write, along with what else is in their folders: they are renamed, and made again.
    pub write_files: List<Setting<Text>>,
    /// The addresses, URLs and ports to connect to by TCP; `None` where only the run time knows them.
    pub connect: Option<List<Setting<Text>>>,
    /// Names of servers are resolved: the system's resolver reads its own files, and asks at port 53.
    pub resolves: bool,
    /// Servers are verified by the system's certificate authorities.
    pub verifies: bool,
    /// Programs are run: all files can be read, and system calls are not filtered.
    pub runs_programs: bool,
    /// Where it was declared.
    pub place: Place,
}
