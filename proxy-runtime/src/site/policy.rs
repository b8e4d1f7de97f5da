//! The part of the contract that surrounds handlers: limits, time-outs, error pages, the access log, and the policies of the other files.

use std::time::Duration;

use super::access::Access;
use super::cache::Cache;
use super::compress::Compress;
use super::cookies::CookieRule;
use super::replace::ResponseBody;
use super::upstream::{Fault, Mirror, Retry};
use crate::context::param::Setting;
use crate::context::template::Template;
use crate::filter::intake::FieldRules;
use crate::protocol::canonical::{self, NormalForm};
use crate::value::{Bytes, List, Text};

/// An index into the table of policies.
pub type PolicyId = &'static Policy;

/// The policies around a handler: limits, time-outs, error pages, log, retries.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Sizes and counts.
    pub limits: Limits,
    /// Every wait.
    pub timeouts: Timeouts,
    /// Which of a client's fields are taken in.
    pub fields: FieldRules,
    /// Bodies of the proxy's own error answers.
    pub error_pages: List<ErrorPage>,
    /// The access log.
    pub log: Log,
    /// When a request is sent again.
    pub retry: Option<Retry>,
    /// Who gets a copy.
    pub mirror: Option<Mirror>,
    /// What goes wrong on purpose.
    pub fault: Option<Fault>,
    /// Which answers are kept.
    pub cache: Option<Cache>,
    /// What becomes of the cookies that servers set.
    pub cookies: List<CookieRule>,
    /// What a request passes first.
    pub access: Option<Access>,
    /// Texts in responses that become others.
    pub replace: Option<ResponseBody>,
    /// How answers are compressed.
    pub compress: Option<Compress>,
}

impl Policy {
    /// Whether a path that has this form of its site must not be one by this policy.
    pub fn refuses(&self, path: &str, form: NormalForm) -> bool {
        form.encoded_slash && !self.limits.encoded_slash && canonical::has_encoded_slash(path)
    }

    /// The form of paths that this policy lets through, out of that of its site.
    #[must_use]
    pub fn form(&self, form: NormalForm) -> NormalForm {
        NormalForm { encoded_slash: self.limits.encoded_slash, ..form }
    }
}

/// `limits`. Sizes in bytes.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The request head, all of it.
    pub headers: Setting<u64>,
    /// The request target.
    pub uri: Setting<u64>,
    /// The request body; `u64::MAX` is no limit.
    pub body: Setting<u64>,
    /// Client connections at once (root only).
    pub connections: Setting<u64>,
    /// Client connections at once from one address (root only).
    pub per_client: Setting<u64>,
    /// TLS handshakes at once (root only).
    pub handshakes: Setting<u64>,
    /// What is held for clients, in the whole process (root only).
    pub memory: Setting<u64>,
    /// The least that a client sends and takes of a body, in bytes a second; 0 is no limit.
    pub min_rate: u64,
    /// A client that has closed its sending side is still served.
    pub half_close: bool,
    /// Paths may have `%2F` and `%5C`. Where only some routes of a site say so, the site's [`NormalForm`] lets them through for all, and
    /// they are refused once the route is known.
    pub encoded_slash: bool,
}

/// `timeouts`. `Duration::MAX` is no time-out.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// Connecting to a server, the TLS handshake included.
    pub connect: Setting<Duration>,
    /// A client's TLS handshake (root only).
    pub handshake: Setting<Duration>,
    /// Receiving the request: the head, and then the body, extended by a second for each KiB received.
    pub request: Setting<Duration>,
    /// Waiting for the response head once the request is on its way.
    pub response: Setting<Duration>,
    /// Waiting for a server to ask for the body, where that is left to it.
    pub proceed: Setting<Duration>,
    /// Silence: a keep-alive connection, a body that does not move, a tunnel.
    pub idle: Setting<Duration>,
    /// The whole exchange.
    pub total: Setting<Duration>,
}

/// `error-page`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ErrorPage {
    /// The statuses it answers for.
    pub codes: List<u16>,
    /// The page.
    pub body: Bytes,
    /// Its `Content-Type`.
    pub content_type: Text,
    /// What stands for something in it is filled in.
    pub placeholders: bool,
    /// It answers for servers, too.
    pub upstream: bool,
}

impl ErrorPage {
    /// What stands for something in a page. What clients send without restraint is not among it: pages are HTML.
    pub const PLACEHOLDERS: [&str; 5] = ["{status}", "{reason}", "{request.id}", "{host}", "{time}"];
}

/// `log`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Log {
    /// Nothing is written.
    Off,
    /// One JSON object a line.
    Json(List<LogField>),
    /// A line from a template; `combined` is one of them.
    Template(Template),
}

/// A member of a JSON log line, named as in the log.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is explained where it is declared to users: `log` in docs/reference.md")]
pub enum LogField {
    Time,
    Client,
    Method,
    Scheme,
    Host,
    Path,
    Query,
    Protocol,
    Status,
    Bytes,
    Duration,
    Route,
    Upstream,
    Server,
    ServerConnections,
    Attempts,
    Reason,
    Detail,
    Cache,
    CacheReason,
    RequestId,
    Referer,
    UserAgent,
    Rule,
    User,
}

impl LogField {
    /// All of them, with their names in `fields` and in the log.
    pub const NAMES: &'static [(&'static str, LogField)] = &[
        ("time", LogField::Time),
        ("client", LogField::Client),
        ("method", LogField::Method),
        ("scheme", LogField::Scheme),
        ("host", LogField::Host),
        ("path", LogField::Path),
        ("query", LogField::Query),
        ("protocol", LogField::Protocol),
        ("status", LogField::Status),
        ("bytes", LogField::Bytes),
        ("duration", LogField::Duration),
        ("route", LogField::Route),
        ("upstream", LogField::Upstream),
        ("server", LogField::Server),
        ("server-connections", LogField::ServerConnections),
        ("attempts", LogField::Attempts),
        ("reason", LogField::Reason),
        ("detail", LogField::Detail),
        ("cache", LogField::Cache),
        ("cache-reason", LogField::CacheReason),
        ("request-id", LogField::RequestId),
        ("referer", LogField::Referer),
        ("rule", LogField::Rule),
        ("user-agent", LogField::UserAgent),
        ("user", LogField::User),
    ];
}
