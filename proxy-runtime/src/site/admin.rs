//! The part of the contract for `admin`.

use ipnet::IpNet;

use crate::value::List;

/// `admin`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The index of its listener.
    pub listener: u16,
    /// `GET /metrics`.
    pub metrics: bool,
    /// `GET /stores` and `GET /entry`.
    pub status: bool,
    /// `PURGE`.
    pub purge: bool,
    /// `GET` and `POST /servers`.
    pub servers: bool,
    /// `POST /drain`.
    pub drain: bool,
    /// The networks that may connect; empty allows all.
    pub allow: List<IpNet>,
    /// The upper bounds of histogram buckets in microseconds, in order.
    pub buckets: List<u64>,
    /// The indices of the upstreams that must have a healthy server for the proxy to be ready.
    pub ready: List<u16>,
}
