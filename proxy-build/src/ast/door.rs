//! What is written about who may come in, how often, and from whose pages.

use std::time::Duration;

use ipnet::IpNet;

use super::{FileSource, Item, Setting, Template};
use crate::source::Spanned;

/// `allow` or `deny`.
#[derive(Debug, Clone)]
pub struct Networks {
    /// Which of them.
    pub allow: bool,
    /// Networks, and files of them.
    pub list: Vec<Spanned<NetworkSource>>,
}

/// An argument of `allow` and `deny`.
#[derive(Debug, Clone)]
pub enum NetworkSource {
    /// A network.
    Network(IpNet),
    /// A list that is read at start.
    File(FileSource),
}

/// `rate-limit`; `None` for `off`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the argument and the properties")]
pub struct RateLimit {
    pub rate: Option<Spanned<Rate>>,
    pub burst: Option<Spanned<u64>>,
    pub by: CountedBy,
    pub delay: Option<Spanned<Duration>>,
    pub status: Option<Spanned<u16>>,
    pub keys: Option<Spanned<u64>>,
}

/// So many in so long.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "named as they are")]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
}

/// `in-flight`; `None` for `off`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the argument and the properties")]
pub struct InFlight {
    pub most: Option<Spanned<Setting<u64>>>,
    pub by: CountedBy,
    pub status: Option<Spanned<u16>>,
}

/// Whose requests are counted together.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct CountedBy {
    pub by: Option<Spanned<Template>>,
    pub ipv4_prefix: Option<Spanned<u64>>,
    pub ipv6_prefix: Option<Spanned<u64>>,
}

/// `filter`.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The path of a function, or `off`.
    pub function: Spanned<String>,
    /// `on=response`.
    pub on_response: Option<Spanned<bool>>,
}

impl Filter {
    /// Whether it does away with those from outside.
    pub fn is_off(&self) -> bool {
        self.function.value == "off"
    }
}

/// `block`.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its name; `off` for none.
    pub name: Spanned<String>,
    /// `action=log`.
    pub log_only: Option<Spanned<bool>>,
    /// `status=`.
    pub status: Option<Spanned<u16>>,
    /// `body-prefix=`.
    pub body_prefix: Option<Spanned<u64>>,
    /// Its lines.
    pub items: Vec<Item>,
}

impl Block {
    /// Whether it does away with those from outside.
    pub fn is_off(&self) -> bool {
        self.name.value == "off"
    }
}

/// `client-certificate`.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// `required`, not `off`.
    pub required: Spanned<bool>,
    /// What stands in it.
    pub items: Vec<Item>,
}

/// A line in `client-certificate`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the directives")]
pub enum InClientCertificate {
    Subject(Vec<Spanned<String>>),
    Fingerprint(Vec<Spanned<String>>),
}
