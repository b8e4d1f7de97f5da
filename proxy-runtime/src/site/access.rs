//! The part of the contract for access control: networks, rate and concurrency limits, CORS.

use std::time::Duration;

use ipnet::IpNet;

use super::auth::Auth;
use super::block::Blocks;
use crate::context::addresses::Addresses;
use crate::context::param::Setting;
use crate::context::template::Template;
use crate::value::{List, Text};

/// The access control of a route. Its parts are in the order in which they are applied to a request.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Access {
    /// `maintenance`.
    pub maintenance: Option<Maintenance>,
    /// `allow` and `deny`.
    pub networks: Option<Networks>,
    /// `request-content-types`: the allowed media types of bodies; empty allows any.
    pub request_types: List<Text>,
    /// `rate-limit`; all of them apply.
    pub rate_limits: List<RateLimit>,
    /// `concurrency-limit`; all of them apply.
    pub in_flight: List<InFlight>,
    /// `cors`.
    pub cors: Option<Cors>,
    /// `client-certificate`.
    pub certificate: Option<ClientCertificateRules>,
    /// `auth`.
    pub auth: Option<Auth>,
    /// `block`.
    pub blocks: Option<Blocks>,
}

impl Access {
    /// Returns whether there are no rules.
    pub fn is_open(&self) -> bool {
        *self == Access::default()
    }
}

/// `maintenance`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Maintenance {
    /// Its index among all `maintenance`.
    pub id: u32,
    /// While this file exists, requests are refused.
    pub when: Setting<Text>,
    /// The value of `Retry-After`.
    pub retry_after: Option<Setting<Duration>>,
}

/// `allow` and `deny`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Networks {
    /// The allowed networks, without those in files.
    pub allowed: Addresses,
    /// The index of the complete rules, if some are in files.
    pub listed: Option<u32>,
}

/// Network rules, some of which are in files that are read at start.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listed {
    /// The rules in the order of the site file.
    pub rules: List<NetworkRule>,
    /// Whether addresses without a rule are allowed.
    pub default: bool,
}

/// A rule for a network, or for a list of them.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NetworkRule {
    /// A network, and whether it is allowed.
    Network(IpNet, bool),
    /// The networks in the file with this index, and whether they are allowed.
    File(u16, bool),
}

/// `rate-limit`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Its index among all `rate-limit`.
    pub id: u32,
    /// The average interval between requests.
    pub interval: Duration,
    /// The size of a burst.
    pub burst: u32,
    /// The key by which requests are counted.
    pub by: By,
    /// The longest delay of a request.
    pub delay: Duration,
    /// The limit is applied after authentication.
    pub identified: bool,
    /// The status of the error response.
    pub status: u16,
    /// The number of keys that are counted at a time.
    pub keys: u64,
}

/// `concurrency-limit`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InFlight {
    /// Its index among all `concurrency-limit`.
    pub id: u32,
    /// The most concurrent requests.
    pub most: Setting<u64>,
    /// The key by which requests are counted.
    pub by: By,
    /// The limit is applied after authentication.
    pub identified: bool,
    /// The status of the error response.
    pub status: u16,
}

/// The key by which requests are counted.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum By {
    /// By the client's network, with these prefix lengths for IPv4 and IPv6.
    Client(u8, u8),
    /// By the text of a template.
    Text(Template),
}

/// `client-certificate`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCertificateRules {
    /// The accepted subjects, such as `CN=alice,O=Example`.
    pub subjects: List<Text>,
    /// The accepted fingerprints: SHA-256 in lower-case hexadecimal. If neither is listed, any valid certificate is
    /// accepted.
    pub fingerprints: List<Text>,
}

/// `cors`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cors {
    /// The origins that may read responses.
    pub origins: List<Origin>,
    /// The allowed methods; empty allows all methods of the route.
    pub methods: List<Text>,
    /// The allowed request fields, in lower case; empty allows all.
    pub headers: List<Text>,
    /// `Access-Control-Expose-Headers`; empty omits it.
    pub expose: Text,
    /// Whether requests may include credentials.
    pub credentials: bool,
    /// How long a browser may cache the preflight's result.
    pub max_age: Setting<Duration>,
}

/// An allowed origin.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Any origin.
    Any,
    /// A single origin, such as `https://app.example.com`.
    Exact(Text),
    /// All hosts below a domain: the text before the host, and `.` with the text after its first labels.
    Below(Text, Text),
}
