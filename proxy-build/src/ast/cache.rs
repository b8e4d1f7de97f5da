//! Syntax tree of caches.

use std::time::Duration;

use ipnet::IpNet;
use proxy_runtime::site::{ControlField, Part};

use super::{FileSource, Item, Rate, Setting};
use crate::source::Spanned;

/// `cache-store`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct CacheStore {
    pub name: Spanned<String>,
    pub memory: Option<Spanned<Setting<u64>>>,
    pub max_object: Option<Spanned<Setting<u64>>>,
    pub items: Vec<Item>,
}

/// `disk`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as its argument and properties")]
pub struct DiskStore {
    pub folder: Spanned<Setting<String>>,
    pub size: Spanned<Setting<u64>>,
    pub max_files: Option<Spanned<Setting<u64>>>,
    pub min_free: Option<Spanned<Setting<u64>>>,
}

/// `cache`.
#[derive(Debug, Clone)]
pub struct Cache {
    /// The store.
    pub store: Option<Spanned<String>>,
    /// `lock=`.
    pub lock: Option<Spanned<Setting<Duration>>>,
    /// `store-set-cookie=strip`.
    pub strips_set_cookie: bool,
    /// `strip-cookies=`.
    pub strips_cookies: Option<Spanned<bool>>,
    /// Its lines.
    pub items: Vec<Item>,
}

/// The lines of a `cache`, its `key` and its `bypass`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the directives, which the reference explains")]
pub enum InCache {
    Ttl(Ttl),
    Override(Override),
    Ignore(Vec<Spanned<Ignored>>),
    ControlFields(Vec<Spanned<ControlField>>),
    Refresh(Vec<Item>),
    Languages(Vec<Spanned<String>>),
    Slice(Spanned<Setting<u64>>),
    Stale(Stale),
    Key(Vec<Item>),
    KeyQuery(KeyQuery),
    Warm(Warm),
    KeyExcept(Vec<Spanned<String>>),
    KeyDevice(KeyDevice),
    DeviceGroup(DeviceGroup),
    KeyHeader(Vec<Spanned<String>>),
    KeyCookie(Vec<Spanned<String>>),
    Vary(Vec<Spanned<String>>),
    Tags(Spanned<String>),
    Methods(Vec<Spanned<String>>),
    Negative { statuses: Vec<Spanned<u16>>, ttl: Spanned<Duration> },
    Bypass(Vec<Item>),
    Mark { part: Part, name: Spanned<String>, value: Option<Spanned<String>> },
    Purge(Vec<Spanned<IpNet>>),
}

/// `ttl`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct Ttl {
    pub default: Option<Spanned<Setting<Duration>>>,
    pub min: Option<Spanned<Setting<Duration>>>,
    pub max: Option<Spanned<Setting<Duration>>>,
    pub heuristic: Option<Spanned<u64>>,
    pub refresh_ahead: Option<Spanned<Setting<Duration>>>,
}

/// `ttl` with `override=`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the arguments and properties")]
pub struct Override {
    pub statuses: Vec<Spanned<u16>>,
    pub media_type: Option<Spanned<String>>,
    pub ttl: Spanned<Setting<Duration>>,
}

/// `stale`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct Stale {
    pub while_revalidate: Option<Spanned<Setting<Duration>>>,
    pub if_error: Option<Spanned<Setting<Duration>>>,
}

/// `query` of a `key`.
#[derive(Debug, Clone)]
pub struct KeyQuery {
    /// The parameters in the key; empty for `off`. `None`: all except those in `items`.
    pub names: Option<Vec<Spanned<String>>>,
    /// Whether parameters are sorted.
    pub sort: Option<Spanned<bool>>,
    /// Whether the server receives only the keyed parameters.
    pub send_keyed: Option<Spanned<bool>>,
    /// The `except` lines.
    pub items: Vec<Item>,
}

/// `device` of a `key`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as its properties")]
pub struct KeyDevice {
    pub header: Option<Spanned<String>>,
    pub default: Option<Spanned<String>>,
    pub items: Vec<Item>,
}

/// `group` of a `device`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as its arguments and properties")]
pub struct DeviceGroup {
    pub name: Spanned<String>,
    pub patterns: Vec<Spanned<String>>,
    pub mobile: Option<Spanned<bool>>,
}

/// The arguments of `ignore`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as its arguments")]
pub enum Ignored {
    RequestCacheControl,
    NoVarySearch,
}

/// `warm` of a `cache-store`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as its arguments and properties")]
pub struct Warm {
    pub sources: Vec<Spanned<WarmSource>>,
    pub rate: Option<Spanned<Option<Rate>>>,
    pub concurrency: Option<Spanned<u64>>,
}

/// A URL, or a list of them.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as what they are")]
pub enum WarmSource {
    Url(String),
    File(FileSource),
}
