//! The part of the contract for policies: limits, time-outs, error pages, the access log, and the policies of the other files.

use std::time::Duration;

use super::access::Access;
use super::cache::Cache;
use super::compress::Compress;
use super::cookies::CookieRule;
use super::log::Log;
use super::replace::ResponseBody;
use super::upstream::{Fault, Mirror, Retry};
use crate::context::param::Setting;
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
    /// All time-outs.
    pub timeouts: Timeouts,
    /// The rules for request fields.
    pub fields: FieldRules,
    /// The bodies of error responses.
    pub error_pages: List<ErrorPage>,
    /// The access log.
    pub log: Option<Log>,
    /// `retry`.
    pub retry: Option<Retry>,
    /// `mirror`.
    pub mirror: Option<Mirror>,
    /// `fault`.
    pub fault: Option<Fault>,
    /// `cache`.
    pub cache: Option<Cache>,
    /// `response-cookies`.
    pub cookies: List<CookieRule>,
    /// Access control.
    pub access: Option<Access>,
    /// `response-body`.
    pub replace: Option<ResponseBody>,
    /// `compress`.
    pub compress: Option<Compress>,
}

impl Policy {
    /// Returns whether the policy rejects a path that the form of its site accepts.
    pub fn refuses(&self, path: &str, form: NormalForm) -> bool {
        form.encoded_slash && !self.limits.encoded_slash && canonical::has_encoded_slash(path)
    }

    /// Returns the normal form of paths that this policy accepts, derived from its site's.
    #[must_use]
    pub fn form(&self, form: NormalForm) -> NormalForm {
        NormalForm { encoded_slash: self.limits.encoded_slash, ..form }
    }
}

/// `limits`. Sizes in bytes.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The complete request head.
    pub headers: Setting<u64>,
    /// The request target.
    pub uri: Setting<u64>,
    /// The request body; `u64::MAX` is unlimited.
    pub body: Setting<u64>,
    /// Concurrent client connections (root only).
    pub connections: Setting<u64>,
    /// Concurrent client connections from one address (root only).
    pub per_client: Setting<u64>,
    /// Concurrent TLS handshakes (root only).
    pub handshakes: Setting<u64>,
    /// The memory for clients, in the whole process (root only).
    pub memory: Setting<u64>,
    /// The minimum rate at which a client must send and read bodies, in bytes per second; 0 is unlimited.
    pub min_rate: u64,
    /// A client that has closed its sending side is still served.
    pub half_close: bool,
    /// Paths may contain `%2F` and `%5C`. If only some routes of a site allow this, the site's [`NormalForm`] accepts them for all, and
    /// they are rejected once the route is known.
    pub encoded_slash: bool,
}

/// `timeouts`. `Duration::MAX` is unlimited.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// Connecting to a server, including the TLS handshake.
    pub connect: Setting<Duration>,
    /// A client's TLS handshake (root only).
    pub handshake: Setting<Duration>,
    /// Receiving the request: the head, and then the body, extended by a second for each KiB received.
    pub request: Setting<Duration>,
    /// Waiting for the response head after the request was sent.
    pub response: Setting<Duration>,
    /// Waiting for a server's `100 Continue`, if that is left to it.
    pub proceed: Setting<Duration>,
    /// Idle time: of a keep-alive connection, a body without progress, a tunnel.
    pub idle: Setting<Duration>,
    /// The whole exchange.
    pub total: Setting<Duration>,
}

/// `error-page`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ErrorPage {
    /// Its statuses.
    pub codes: List<u16>,
    /// The page.
    pub body: Bytes,
    /// Its `Content-Type`.
    pub content_type: Text,
    /// Placeholders in it are rendered.
    pub placeholders: bool,
    /// The page also replaces error responses of servers.
    pub upstream: bool,
}

impl ErrorPage {
    /// The placeholders of a page. Values that clients can set freely are not among them, as pages are HTML.
    pub const PLACEHOLDERS: [&str; 5] = ["{status}", "{reason}", "{request.id}", "{host}", "{time}"];
}
