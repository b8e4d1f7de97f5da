//! The scope of a template: which placeholders have a value there, and when.

use proxy_runtime::context::template::Piece;

/// The phase in which a template is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Before the request is forwarded.
    Request,
    /// When the response's head is known.
    Response,
    /// At the end of the exchange.
    Log,
}

/// The placeholders that have a value.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// The names of the captures of pattern and `path-regex`, by slot.
    pub(crate) captures: Vec<String>,
    /// The pattern, for messages; `None` without a route.
    pub(crate) pattern: Option<String>,
    /// Whether the pattern is case-insensitive.
    pub(crate) any_case: bool,
    /// Whether the route has an upstream.
    pub(crate) upstream: bool,
    /// Whether clients must authenticate.
    pub(crate) user: bool,
    /// Whether they authenticate with a token.
    pub(crate) claims: bool,
}

impl Scope {
    /// Returns the scope without a route.
    pub(crate) fn no_route() -> Scope {
        Scope { captures: Vec::new(), pattern: None, any_case: false, upstream: false, user: false, claims: false }
    }
}

/// Placeholders that contain no name.
pub(crate) const SIMPLE: &[(&str, Piece, Phase)] = &[
    ("client.ip", Piece::ClientIp, Phase::Request),
    ("client.cert.subject", Piece::ClientCertSubject, Phase::Request),
    ("client.cert.fingerprint", Piece::ClientCertFingerprint, Phase::Request),
    ("user", Piece::User, Phase::Request),
    ("tls.version", Piece::TlsVersion, Phase::Request),
    ("scheme", Piece::Scheme, Phase::Request),
    ("host", Piece::Host, Phase::Request),
    ("method", Piece::Method, Phase::Request),
    ("path", Piece::Path, Phase::Request),
    ("query", Piece::Query, Phase::Request),
    ("uri", Piece::PathAndQuery, Phase::Request),
    ("protocol", Piece::Protocol, Phase::Request),
    ("request.id", Piece::RequestId, Phase::Request),
    ("trace.id", Piece::TraceId, Phase::Request),
    ("route", Piece::Route, Phase::Request),
    ("upstream", Piece::Upstream, Phase::Request),
    ("status", Piece::Status, Phase::Response),
    ("server", Piece::Server, Phase::Log),
    ("time", Piece::Time, Phase::Log),
    ("time.common", Piece::TimeCommon, Phase::Log),
    ("bytes", Piece::Bytes, Phase::Log),
    ("duration", Piece::Duration, Phase::Log),
    ("reason", Piece::Reason, Phase::Log),
];

/// What gives `{trace.id}` a value, for messages.
pub(crate) const SIMPLEST_TRACE: &str = "trace otlp \"http://127.0.0.1:4318/v1/traces\"";

/// Returns whether a placeholder (in braces) has a value.
pub(crate) fn available(placeholder: &str, scope: &Scope, phase: Phase) -> bool {
    let word = placeholder.trim_start_matches('{').trim_end_matches('}');
    let Some((_, piece, since)) = SIMPLE.iter().find(|(simple, ..)| *simple == word) else {
        return ["header.", "cookie.", "query."].iter().any(|family| word.starts_with(family));
    };
    let known = match piece {
        Piece::User => scope.user,
        Piece::Upstream => scope.upstream,
        Piece::ClientCertSubject | Piece::ClientCertFingerprint => false,
        _ => true,
    };
    phase >= *since && (known || phase == Phase::Log)
}
