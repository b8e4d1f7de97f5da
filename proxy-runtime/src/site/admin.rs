//! The part of the contract for `admin`.

use ipnet::IpNet;

use crate::value::{List, Text};

/// The directive `admin`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The index of the endpoint's listener.
    pub listener: u16,
    /// Whether `GET /metrics` is allowed.
    pub metrics: bool,
    /// Whether the status page and its data, `GET /stores` and `GET /entry` are allowed.
    pub status: bool,
    /// Whether `GET /tap` is allowed.
    pub tap: bool,
    /// Header fields and query parameters whose values the tap masks, besides the default ones; in lower case.
    pub masked: List<Text>,
    /// Whether `PURGE` is allowed.
    pub purge: bool,
    /// Whether `GET /servers` and changes by `POST /servers/...` are allowed.
    pub servers: bool,
    /// Whether `POST /drain` is allowed.
    pub drain: bool,
    /// Whether `POST /log-level` is allowed.
    pub log_level: bool,
    /// The networks that may connect; empty allows all.
    pub allow: List<IpNet>,
    /// The credentials that clients must send.
    pub auth: Option<AdminAuth>,
    /// The host names that clients may use, beside those that no page of another can have.
    pub hosts: List<Text>,
    /// The upper bounds of histogram buckets in microseconds, in order.
    pub buckets: List<u64>,
    /// The indices of the upstreams that must have a healthy server for the proxy to be ready.
    pub ready: List<u16>,
}

impl Admin {
    /// Returns the first part that can change something.
    pub fn changing(&self) -> Option<&'static str> {
        let parts =
            [("purge", self.purge), ("servers", self.servers), ("drain", self.drain), ("log-level", self.log_level)];
        parts.into_iter().find_map(|(name, has)| has.then_some(name))
    }

    /// Returns whether access is limited to some of the clients that can connect. `certificates`: clients must present
    /// a certificate.
    pub fn is_guarded(&self, certificates: bool) -> bool {
        !self.allow.is_empty() || self.auth.is_some() || certificates
    }
}

/// The credentials that clients of `admin` must send.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAuth {
    /// The scheme of the credentials.
    pub scheme: AdminScheme,
    /// The value of `WWW-Authenticate` in a 401 response.
    pub challenge: Text,
}

/// The authentication scheme of `admin`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminScheme {
    /// A name and a password (RFC 7617); the users are in the file with this index.
    Basic(u16),
    /// A key from the file with this index, in `Authorization: Bearer` (RFC 6750).
    Bearer(u16),
}
