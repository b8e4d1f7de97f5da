//! The part of the contract for caches: stores ([`Store`]), and the policy of a route ([`Cache`]).

use std::time::Duration;

use ipnet::IpNet;

use crate::context::param::Setting;
use crate::value::{List, Place, Text};

/// `cache-store`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Store {
    /// Its name.
    pub name: Text,
    /// How much memory it takes, in bytes.
    pub memory: Setting<u64>,
    /// The largest answer that is kept in memory, in bytes.
    pub max_object: Option<Setting<u64>>,
    /// Where more is kept: each response in one of these.
    pub disks: List<DiskStore>,
    /// What is fetched after start.
    pub warm: Option<Warm>,
    /// Where it was declared.
    pub place: Place,
}

/// `disk`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct DiskStore {
    /// The folder.
    pub folder: Setting<Text>,
    /// How much it takes, in bytes.
    pub size: Setting<u64>,
    /// How many files it takes.
    pub max_files: Setting<u64>,
    /// How much it leaves free on its file system, in bytes.
    pub min_free: Setting<u64>,
}

/// `warm`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Warm {
    /// What is fetched, in order.
    pub sources: List<WarmSource>,
    /// How long after one request the next one is made, at the soonest.
    pub pause: Duration,
    /// So many are under way at once.
    pub most: u16,
}

/// A URL, or a list of them.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub enum WarmSource {
    /// One.
    Url(Text),
    /// Those in a file that is read at start, by index: one a line.
    File(u16),
}

impl Store {
    /// No store has less memory, in bytes.
    pub const LEAST: u64 = 1 << 20;
}

impl DiskStore {
    /// No folder is smaller, in bytes.
    pub const LEAST: u64 = 16 << 20;
}

/// `cache`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cache {
    /// The store, by index.
    pub store: u16,
    /// How long answers are fresh.
    pub ttl: Ttl,
    /// How long answers may be used after they were fresh, where they don't say so themselves.
    pub stale: Stale,
    /// What tells answers apart.
    pub key: Key,
    /// The request fields that a response's `Vary` may list; any, where there is no list.
    pub vary: Option<List<Text>>,
    /// The field of a response with its tags.
    pub tags: Option<Text>,
    /// Requests that pass.
    pub bypass: List<Mark>,
    /// Whether HEAD is answered, too.
    pub head: bool,
    /// How long answers with these statuses are fresh, where they don't say so themselves.
    pub negative: List<(u16, Duration)>,
    /// How long a request waits for another one's answer.
    pub lock: Setting<Duration>,
    /// Whose PURGE is obeyed.
    pub purge: List<IpNet>,
    /// Requests whose response is fetched, and replaces the cached one.
    pub refresh: List<Mark>,
    /// `ignore request-cache-control`: what requests say about caching has no effect.
    pub ignores_requests: bool,
    /// Response fields that are read before `Cache-Control`, in order.
    pub control_fields: List<ControlField>,
    /// How long responses are fresh, whatever they say; the first that matches.
    pub overrides: List<Override>,
    /// Responses with `Set-Cookie` are cached, without it.
    pub strips_set_cookie: bool,
    /// The server is sent no cookies but those of the key.
    pub strips_cookies: bool,
    /// The languages of which the server is sent the preferred one; where there are none, it is sent `Accept-Language` as it is.
    pub languages: List<Text>,
    /// Responses are fetched and stored in slices of so many bytes.
    pub slice: Option<Setting<u64>>,
}

impl Cache {
    /// No slice is shorter, in bytes: each is a request, and an entry of the store.
    pub const LEAST_SLICE: u64 = 64 << 10;
    /// No slice is longer, in bytes.
    pub const MOST_SLICE: u64 = 1 << 30;
}

/// A response field for caches in front of an origin, which clients do not get.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlField {
    /// `X-Accel-Expires` of nginx: seconds, `@` and seconds since 1970, or 0 for a response that is not to be cached.
    XAccelExpires,
    /// `Surrogate-Control` of the Edge Architecture Specification: `max-age` and `no-store`.
    SurrogateControl,
}

/// `ttl ... override=`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Override {
    /// The statuses it is for; without one, those of [`Override::BY_DEFAULT`].
    pub statuses: List<u16>,
    /// The media type it is for, in lower case: `image/png`, all of `image/`, or all `+json`; without one, any.
    pub media_type: Option<Text>,
    /// How long.
    pub ttl: Setting<Duration>,
}

impl Override {
    /// The statuses that a rule is for which names none: those that may be cached though nothing says how long (RFC 9110 section 15.1), but
    /// for failures.
    pub const BY_DEFAULT: [u16; 6] = [200, 203, 204, 300, 301, 308];

    /// The statuses it is for.
    pub fn statuses(&self) -> &[u16] {
        if self.statuses.is_empty() { &Self::BY_DEFAULT } else { &self.statuses }
    }

    /// Whether it is for all responses that `other` is for.
    pub fn covers(&self, other: &Override) -> bool {
        let is_wider = match (&self.media_type, &other.media_type) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wide), Some(narrow)) => {
                wide == narrow
                    || wide.ends_with('/') && narrow.starts_with(&**wide)
                    || wide.starts_with('+') && narrow.ends_with(&**wide)
            }
        };
        is_wider && other.statuses().iter().all(|status| self.statuses().contains(status))
    }
}

/// `ttl`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ttl {
    /// Where a response says nothing.
    pub default: Option<Setting<Duration>>,
    /// No less, where a response may be kept at all.
    pub min: Setting<Duration>,
    /// No more.
    pub max: Setting<Duration>,
    /// So many percent of the time since it was last modified, where a response says nothing else (RFC 9111 section 4.2.2).
    pub heuristic: u8,
    /// A hit refreshes the response when less than this is left.
    pub refresh_ahead: Option<Setting<Duration>>,
}

/// `stale` (RFC 5861).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stale {
    /// While it is fetched again.
    pub while_revalidate: Setting<Duration>,
    /// Where it can't be fetched.
    pub if_error: Setting<Duration>,
}

/// `key`: what tells answers apart, beside scheme, host and path.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// What counts of the query.
    pub query: Query,
    /// The server is sent what counts of the query, and no more.
    pub send_keyed: bool,
    /// What responses say in `No-Vary-Search` holds.
    pub follows_search: bool,
    /// Request fields.
    pub headers: List<Text>,
    /// Cookies.
    pub cookies: List<Text>,
    /// The groups of devices.
    pub device: Option<Device>,
    /// Tells routes of one pattern apart that are chosen by more than the URL; 0 for all others.
    pub zone: u32,
    /// Tells sites apart that have one host on several listeners; 0 where none do.
    pub site: u16,
}

/// `device`: clients by groups.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    /// The field that tells the server the group.
    pub header: Option<Text>,
    /// The group of clients that no other has.
    pub default: Text,
    /// The others; the first that has a client counts.
    pub groups: List<DeviceGroup>,
}

/// `group` of a `device`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceGroup {
    /// Its name.
    pub name: Text,
    /// What is in the `User-Agent` of its clients, one of these: pieces in their order, with `*` between them, in lower case.
    pub patterns: List<Text>,
    /// Clients whose `Sec-CH-UA-Mobile` says so.
    pub mobile: Option<bool>,
}

/// The part of a query that is in the key.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Query {
    /// All of it, as it is written.
    Whole,
    /// These parameters, in this order.
    Only(List<Text>),
    /// All parameters but some.
    Except {
        /// Their names; one that ends in `*` is for all that begin so.
        names: List<Text>,
        /// The others count in the order of their names, whatever it is in the request.
        sorted: bool,
    },
}

impl Query {
    /// Whether the parameter with this name counts.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Query::Whole => true,
            Query::Only(names) => names.iter().any(|listed| listed == name),
            Query::Except { names, .. } => !names.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == pattern,
            }),
        }
    }
}

/// Something that a request has.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Where it is.
    pub part: Part,
    /// Its name.
    pub name: Text,
    /// Its value; any, where there is none.
    pub value: Option<Text>,
}

/// A part of a request that has names.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as what they are")]
pub enum Part {
    Header,
    Query,
    Cookie,
}
