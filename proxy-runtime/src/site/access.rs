//! The part of the contract for access control: networks, rate and concurrency limits, CORS.

use std::time::Duration;

use ipnet::IpNet;

use super::auth::Auth;
use super::block::Blocks;
use crate::context::addresses::Addresses;
use crate::context::param::Setting;
use crate::context::template::Template;
use crate::value::{List, Text};

/// The access control of a route. Its parts are in the order in which they act on a request.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Access {
    /// `maintenance`.
    pub maintenance: Option<Maintenance>,
    /// `allow` and `deny`.
    pub networks: Option<Networks>,
    /// `request-content-types`: what bodies may be; empty for anything.
    pub request_types: List<Text>,
    /// `rate-limit`; all hold.
    pub rate_limits: List<RateLimit>,
    /// `concurrency-limit`; all hold.
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
    /// Whether nothing stands there.
    pub fn is_open(&self) -> bool {
        *self == Access::default()
    }
}

/// `maintenance`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Maintenance {
    /// Its number among all.
    pub id: u32,
    /// While this file is there, nobody gets in.
    pub when: Setting<Text>,
    /// When clients may come again.
    pub retry_after: Option<Setting<Duration>>,
}

/// `allow` and `deny`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Networks {
    /// Who may come in, as far as the site itself says.
    pub allowed: Addresses,
    /// The same with what files say, where there are any; by number among all such.
    pub listed: Option<u32>,
}

/// Networks of which some are in files that are read at start.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listed {
    /// In the order in which they are written.
    pub rules: List<NetworkRule>,
    /// Whether those may come in that are in none.
    pub default: bool,
}

/// A network, or a list of them.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NetworkRule {
    /// This network; whether it is allowed.
    Network(IpNet, bool),
    /// Those in the file with this index.
    File(u16, bool),
}

/// `rate-limit`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Its number among all.
    pub id: u32,
    /// One request each so long, on the average.
    pub interval: Duration,
    /// So many at once.
    pub burst: u32,
    /// The key by which requests are counted.
    pub by: By,
    /// How long a request may be held back.
    pub delay: Duration,
    /// It is asked once it is known who the client is.
    pub identified: bool,
    /// The status of a refusal.
    pub status: u16,
    /// So many are counted at a time.
    pub keys: u64,
}

/// `concurrency-limit`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InFlight {
    /// Its number among all.
    pub id: u32,
    /// So many requests at once.
    pub most: Setting<u64>,
    /// The key by which requests are counted.
    pub by: By,
    /// It is asked once it is known who the client is.
    pub identified: bool,
    /// The status of a refusal.
    pub status: u16,
}

/// The key by which requests are counted.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum By {
    /// Those of a network: so many bits of an IPv4 and of an IPv6 address.
    Client(u8, u8),
    /// Those with the same text.
    Text(Template),
}

/// `client-certificate`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCertificateRules {
    /// Certificates for one of these get in, as in `CN=alice,O=Example`.
    pub subjects: List<Text>,
    /// Certificates with one of these get in: SHA-256 in hexadecimal, in lower case. Where neither is listed, any does.
    pub fingerprints: List<Text>,
}

/// `cors`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cors {
    /// Whose pages may read answers.
    pub origins: List<Origin>,
    /// Methods for which they may ask; empty for all that the route takes.
    pub methods: List<Text>,
    /// Fields that they may send, in lower case; empty for all.
    pub headers: List<Text>,
    /// `Access-Control-Expose-Headers`; empty for none.
    pub expose: Text,
    /// With cookies.
    pub credentials: bool,
    /// How long a browser may remember.
    pub max_age: Setting<Duration>,
}

/// An origin of pages.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Anybody's.
    Any,
    /// This one's, as in `https://app.example.com`.
    Exact(Text),
    /// Of all hosts below a domain: what stands before the host, and `.` with what stands behind its first labels.
    Below(Text, Text),
}
