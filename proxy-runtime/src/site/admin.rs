//! The part of the contract that is about `admin`.

use ipnet::IpNet;

use crate::value::List;

/// `admin`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its listener, by index.
    pub listener: u16,
    /// `GET /metrics`.
    pub metrics: bool,
    /// `GET /stores` and `GET /entry`.
    pub status: bool,
    /// `PURGE`.
    pub purge: bool,
    /// Who may connect; where there is none, whoever can reach the address.
    pub allow: List<IpNet>,
    /// Upper bounds of histograms' buckets, in microseconds, in order.
    pub buckets: List<u64>,
    /// The upstreams without which the proxy is not ready, by index: each has a healthy server then.
    pub ready: List<u16>,
}
