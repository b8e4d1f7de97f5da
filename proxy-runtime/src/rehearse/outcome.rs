//! What comes out of a rehearsal: [`RehearsalOutcome`].

use crate::protocol::escape;
use crate::protocol::fields::Fields;
use crate::router::route::{RouteId, SiteId};

/// What became of a request that does not get to a route.
pub(super) type EarlyOutcome = Box<RehearsalOutcome>;

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RehearsalOutcome {
    /// The site that has the host.
    pub site: Option<SiteId>,
    /// The route that answers.
    pub route: Option<RouteId>,
    /// Its pattern.
    pub pattern: Option<String>,
    /// Who answers.
    pub handler: Option<&'static str>,
    /// The status of a response that the proxy gives itself.
    pub status: Option<u16>,
    /// Why, where it is an error.
    pub reason: Option<&'static str>,
    /// The upstream.
    pub upstream: Option<String>,
    /// Path and query as the upstream sees them.
    pub upstream_path: Option<String>,
    /// Whether it is looked up in a cache: `lookup`, `pass` or `off`; and why it passes.
    pub cache: Option<(&'static str, &'static str)>,
    /// What its response would be kept under.
    pub cache_key: Option<String>,
    /// The header fields that the filters leave, as the upstream sees them.
    pub upstream_headers: Vec<(String, String)>,
    /// The target of a redirect.
    pub location: Option<String>,
    /// The header fields of the response, as far as the proxy sets them.
    pub response_headers: Vec<(String, String)>,
    /// The user's functions that have a say in it were not asked; all but the route may come out otherwise.
    pub not_asked: bool,
}

impl RehearsalOutcome {
    /// Of a request that gets no further than to a site.
    pub(super) fn refused(site: Option<SiteId>, status: u16, reason: &'static str) -> EarlyOutcome {
        Box::new(RehearsalOutcome { site, status: Some(status), reason: Some(reason), ..RehearsalOutcome::default() })
    }

    /// It is refused: no handler answers.
    pub(super) fn refuse(&mut self, status: u16, reason: &'static str) {
        (self.status, self.reason, self.handler) = (Some(status), Some(reason), None);
    }

    /// As in "404 (no-route)" or "forwarded to api".
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

/// Header fields as text, their names in small letters.
pub(super) fn pairs(fields: &Fields) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), text(value))).collect()
}

/// A value as text, for comparison with what a test expects and for messages; escaped where it is none.
pub(super) fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => escape::shown(value).into_owned(),
    }
}
