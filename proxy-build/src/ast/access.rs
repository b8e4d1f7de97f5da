//! Values of access control: networks and rates.

use std::time::Duration;

use ipnet::IpNet;

use super::FileSource;

/// An argument of `allow` and `deny`.
#[derive(Debug, Clone)]
pub enum NetworkSource {
    /// A network.
    Network(IpNet),
    /// A list in a file that is read at start.
    File(FileSource),
}

/// A rate: a count per period.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "named as they are")]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
}
