//! What a site says of its caches: where answers are kept ([`Store`]), and for which requests and how long ([`Cache`]).

use std::time::Duration;

use ipnet::IpNet;

use super::{List, Place, Setting, Text};

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
    /// Where more is kept.
    pub disk: Option<DiskStore>,
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
    /// The request fields that an answer's `Vary` may list; any, where there is no list.
    pub vary: Option<List<Text>>,
    /// The field of an answer with its tags.
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
}

/// `ttl`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ttl {
    /// Where an answer says nothing.
    pub default: Option<Setting<Duration>>,
    /// No less, where an answer may be kept at all.
    pub min: Setting<Duration>,
    /// No more.
    pub max: Setting<Duration>,
    /// So many percent of the time since it was last modified, where an answer says nothing else (RFC 9111 section 4.2.2).
    pub heuristic: u8,
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
    /// The parameters of the query that count, in order; the whole query, where there is no list.
    pub query: Option<List<Text>>,
    /// Request fields.
    pub headers: List<Text>,
    /// Cookies.
    pub cookies: List<Text>,
    /// Tells routes of one pattern apart that are chosen by more than the URL; 0 for all others.
    pub zone: u32,
    /// Tells sites apart that have one host on several listeners; 0 where none do.
    pub site: u16,
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
