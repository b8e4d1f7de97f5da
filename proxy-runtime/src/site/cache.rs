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
    /// The memory for responses, in bytes.
    pub memory: Setting<u64>,
    /// The largest response that is stored in memory, in bytes.
    pub max_object: Option<Setting<u64>>,
    /// The folders on disk; each response is in one of them.
    pub disks: List<DiskStore>,
    /// The requests after start.
    pub warm: Option<Warm>,
    /// The location of the declaration.
    pub place: Place,
}

/// `disk`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct DiskStore {
    /// The folder.
    pub folder: Setting<Text>,
    /// The most bytes that it occupies.
    pub size: Setting<u64>,
    /// The most files that it contains.
    pub max_files: Setting<u64>,
    /// The bytes that it leaves free on its file system.
    pub min_free: Setting<u64>,
}

/// `warm`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Warm {
    /// The URLs, in order.
    pub sources: List<WarmSource>,
    /// The shortest interval between two requests.
    pub pause: Duration,
    /// The most concurrent requests.
    pub most: u16,
}

/// A URL, or a list of them.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub enum WarmSource {
    /// A single URL.
    Url(Text),
    /// The URLs in the file with this index, one per line, which is read at start.
    File(u16),
}

impl Store {
    /// The smallest memory of a store, in bytes.
    pub const LEAST: u64 = 1 << 20;
}

impl DiskStore {
    /// The smallest size of a folder, in bytes.
    pub const LEAST: u64 = 16 << 20;
}

/// `cache`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cache {
    /// The index of the store.
    pub store: u16,
    /// How long responses are fresh.
    pub ttl: Ttl,
    /// How long stale responses may be served, unless they say so themselves.
    pub stale: Stale,
    /// The cache key.
    pub key: Key,
    /// The request fields that a response's `Vary` may list; `None` allows any.
    pub vary: Option<List<Text>>,
    /// The response field with the tags for purges.
    pub tags: Option<Text>,
    /// The conditions of requests that bypass the cache.
    pub bypass: List<Mark>,
    /// Whether HEAD requests are served from the cache.
    pub head: bool,
    /// How long responses with these statuses are fresh, unless they say so themselves.
    pub negative: List<(u16, Duration)>,
    /// How long a request waits for another one's fetch.
    pub lock: Setting<Duration>,
    /// The networks from which PURGE is accepted.
    pub purge: List<IpNet>,
    /// The conditions of requests whose response is fetched, and replaces the cached one.
    pub refresh: List<Mark>,
    /// `ignore request-cache-control`: cache directives of requests have no effect.
    pub ignores_requests: bool,
    /// The response fields that are read before `Cache-Control`, in order.
    pub control_fields: List<ControlField>,
    /// Lifetimes that override the response's own; the first match counts.
    pub overrides: List<Override>,
    /// Responses with `Set-Cookie` are cached, without it.
    pub strips_set_cookie: bool,
    /// The server receives only the cookies of the key.
    pub strips_cookies: bool,
    /// The languages of which the server receives the client's preferred one; if empty, it receives `Accept-Language` unchanged.
    pub languages: List<Text>,
    /// The length of slices, in bytes, in which responses are fetched and stored.
    pub slice: Option<Setting<u64>>,
}

impl Cache {
    /// The smallest slice, in bytes: each is a request, and an entry of the store.
    pub const LEAST_SLICE: u64 = 64 << 10;
    /// The largest slice, in bytes.
    pub const MOST_SLICE: u64 = 1 << 30;
}

/// A response field for caches in front of an origin, which clients do not receive.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlField {
    /// nginx's `X-Accel-Expires`: seconds, `@` and seconds since 1970, or 0 for a response that must not be cached.
    XAccelExpires,
    /// `Surrogate-Control` of the Edge Architecture Specification: `max-age` and `no-store`.
    SurrogateControl,
}

/// `ttl ... override=`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Override {
    /// Its statuses; if empty, those of [`Override::BY_DEFAULT`].
    pub statuses: List<u16>,
    /// Its media type in lower case: `image/png`, all of `image/`, or all `+json`; `None` for any.
    pub media_type: Option<Text>,
    /// The lifetime.
    pub ttl: Setting<Duration>,
}

impl Override {
    /// The default statuses of a rule: those that are heuristically cacheable (RFC 9110 section 15.1), except errors.
    pub const BY_DEFAULT: [u16; 6] = [200, 203, 204, 300, 301, 308];

    /// Returns the statuses of the rule.
    pub fn statuses(&self) -> &[u16] {
        if self.statuses.is_empty() { &Self::BY_DEFAULT } else { &self.statuses }
    }

    /// Returns whether it applies to all responses that `other` applies to.
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
    /// The lifetime of responses without one of their own.
    pub default: Option<Setting<Duration>>,
    /// The shortest lifetime of responses that may be stored.
    pub min: Setting<Duration>,
    /// The longest lifetime.
    pub max: Setting<Duration>,
    /// The heuristic lifetime, in percent of the time since the last modification (RFC 9111 section 4.2.2).
    pub heuristic: u8,
    /// A hit refreshes the response when less than this is left of its lifetime.
    pub refresh_ahead: Option<Setting<Duration>>,
}

/// `stale` (RFC 5861).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stale {
    /// While it is revalidated.
    pub while_revalidate: Setting<Duration>,
    /// If the revalidation fails.
    pub if_error: Setting<Duration>,
}

/// `key`: the parts of the cache key beside scheme, host and path.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The significant part of the query.
    pub query: Query,
    /// The server receives only the significant part of the query.
    pub send_keyed: bool,
    /// The `No-Vary-Search` of responses is respected.
    pub follows_search: bool,
    /// The request fields in the key.
    pub headers: List<Text>,
    /// The cookies in the key.
    pub cookies: List<Text>,
    /// The device groups.
    pub device: Option<Device>,
    /// Distinguishes routes of the same pattern with other matchers; 0 for all others.
    pub zone: u32,
    /// Distinguishes sites with the same host on several listeners; 0 if there are none.
    pub site: u16,
}

/// `device`: groups of clients.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    /// The request field with the group, for the server.
    pub header: Option<Text>,
    /// The group of all other clients.
    pub default: Text,
    /// The other groups; the first match counts.
    pub groups: List<DeviceGroup>,
}

/// `group` of a `device`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceGroup {
    /// Its name.
    pub name: Text,
    /// The patterns for `User-Agent`, one of which must match: pieces in their order, separated by `*`, in lower case.
    pub patterns: List<Text>,
    /// The required value of `Sec-CH-UA-Mobile`.
    pub mobile: Option<bool>,
}

/// The part of a query that is in the key.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Query {
    /// All of it, as written.
    Whole,
    /// These parameters, in this order.
    Only(List<Text>),
    /// All parameters but some.
    Except {
        /// Their names; a trailing `*` matches any continuation.
        names: List<Text>,
        /// The other parameters are sorted by name.
        sorted: bool,
    },
}

impl Query {
    /// Returns whether the parameter with this name is in the key.
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

/// A condition on a part of a request.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The part of the request.
    pub part: Part,
    /// Its name.
    pub name: Text,
    /// Its value; `None` for any.
    pub value: Option<Text>,
}

/// A part of a request with named values.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as what they are")]
pub enum Part {
    Header,
    Query,
    Cookie,
}
