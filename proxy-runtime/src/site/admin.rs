//! The part of the contract for `admin`.

use ipnet::IpNet;

use crate::value::{List, Text};

/// `admin`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The index of its listener.
    pub listener: u16,
    /// `GET /metrics`.
    pub metrics: bool,
    /// `GET /status` and what it is made of, `GET /stores` and `GET /entry`.
    pub status: bool,
    /// `GET /tap`.
    pub tap: bool,
    /// Fields and query parameters whose values the tap does not show, besides the usual ones; in lower case.
    pub masked: List<Text>,
    /// `PURGE`.
    pub purge: bool,
    /// `GET` and `POST /servers`.
    pub servers: bool,
    /// `POST /drain`.
    pub drain: bool,
    /// `POST /log-level`.
    pub log_level: bool,
    /// The networks that may connect; empty allows all.
    pub allow: List<IpNet>,
    /// What clients must show.
    pub auth: Option<AdminAuth>,
    /// The names by which clients may call it, beside those that no page of another can have.
    pub hosts: List<Text>,
    /// The upper bounds of histogram buckets in microseconds, in order.
    pub buckets: List<u64>,
    /// The indices of the upstreams that must have a healthy server for the proxy to be ready.
    pub ready: List<u16>,
}

impl Admin {
    /// The first of its parts by which something can be changed.
    pub fn changing(&self) -> Option<&'static str> {
        let parts =
            [("purge", self.purge), ("servers", self.servers), ("drain", self.drain), ("log-level", self.log_level)];
        parts.into_iter().find_map(|(name, has)| has.then_some(name))
    }

    /// Whether not everybody who can connect may use it; `certificates`: clients must show one.
    pub fn is_guarded(&self, certificates: bool) -> bool {
        !self.allow.is_empty() || self.auth.is_some() || certificates
    }
}

/// What clients of `admin` must show.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAuth {
    /// How they show it.
    pub scheme: AdminScheme,
    /// `WWW-Authenticate` of a refusal.
    pub challenge: Text,
}

/// How clients of `admin` show who they are.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminScheme {
    /// A name and a password (RFC 7617); the users are in the file with this index.
    Basic(u16),
    /// A key of those in the file with this index, in `Authorization: Bearer` (RFC 6750).
    Bearer(u16),
}
