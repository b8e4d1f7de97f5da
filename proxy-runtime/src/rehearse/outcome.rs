//! The result of a simulated request: [`RehearsalOutcome`].

use crate::protocol::escape;
use crate::protocol::fields::Fields;
use crate::router::route::{RouteId, SiteId};

/// The result of a request that does not reach a route.
pub(super) type EarlyOutcome = Box<RehearsalOutcome>;

/// The result of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RehearsalOutcome {
    /// The site of the host.
    pub site: Option<SiteId>,
    /// The route.
    pub route: Option<RouteId>,
    /// Its pattern.
    pub pattern: Option<String>,
    /// The name of the handler.
    pub handler: Option<&'static str>,
    /// The status of a response of the proxy's own.
    pub status: Option<u16>,
    /// The reason of an error response.
    pub reason: Option<&'static str>,
    /// The upstream.
    pub upstream: Option<String>,
    /// Path and query as the upstream receives them.
    pub upstream_path: Option<String>,
    /// Whether it is looked up in a cache: `lookup`, `pass` or `off`; and why it bypasses the cache.
    pub cache: Option<(&'static str, &'static str)>,
    /// The cache key.
    pub cache_key: Option<String>,
    /// The header fields of the forwarded request, after the filters.
    pub upstream_headers: Vec<(String, String)>,
    /// The target of a redirect.
    pub location: Option<String>,
    /// The header fields of the response that the proxy sets.
    pub response_headers: Vec<(String, String)>,
    /// The user's functions were not called; everything except the route may be different.
    pub not_asked: bool,
}

impl RehearsalOutcome {
    /// Returns the result of a request that is rejected before its route is found.
    pub(super) fn refused(site: Option<SiteId>, status: u16, reason: &'static str) -> EarlyOutcome {
        Box::new(RehearsalOutcome { site, status: Some(status), reason: Some(reason), ..RehearsalOutcome::default() })
    }

    /// Records an error response in place of the handler's.
    pub(super) fn refuse(&mut self, status: u16, reason: &'static str) {
        (self.status, self.reason, self.handler) = (Some(status), Some(reason), None);
    }

    /// Returns a short form, such as "404 (no-route)" or "forwarded to api".
    pub fn in_short(&self) -> String {
        match (self.status, self.reason, &self.upstream, self.handler) {
            (Some(status), Some(reason), ..) => format!("{status} ({reason})"),
            (Some(status), None, ..) => format!("{status}"),
            (None, _, Some(upstream), Some("files")) => format!("a file, or else forwarded to {upstream}"),
            (None, _, Some(upstream), _) => format!("forwarded to {upstream}"),
            (None, _, None, handler) => handler.unwrap_or("nothing").to_owned(),
        }
    }
}

/// Header fields as text, with lower-case names.
pub(super) fn pairs(fields: &Fields) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), text(value))).collect()
}

/// Returns a value as text, for comparisons with tests and for messages; escaped if it is not UTF-8.
pub(super) fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => escape::shown(value).into_owned(),
    }
}
