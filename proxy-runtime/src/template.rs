//! Text with placeholders: what `{client.ip}` and its kin stand for, and how they are put into text. Pure.
//!
//! Templates are data, interpreted: a piece costs a branch and a copy. Which placeholder may stand where is the
//! compiler's business; one that has no value here writes nothing (`-` in a log line).

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::facts::{Facts, push_number, push_seconds};
use crate::site::{List, Text};

/// Pieces, in order.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Template {
    /// The pieces.
    pub pieces: List<Piece>,
}

/// A piece of a [`Template`].
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Literal text.
    Text(Text),
    /// The text that is the route's own: routes with handlers that differ in a text share the handler.
    Row,
    /// A start-up parameter.
    Param(u16),
    /// A file read at start, without its last line end.
    File(u16),
    /// What a pattern or a `path-regex` bound.
    Capture(u8),
    /// `{client.ip}`
    ClientIp,
    /// `{client.cert.subject}`: whose certificate the client has shown
    ClientCertSubject,
    /// `{client.cert.fingerprint}`: SHA-256 of it, in hexadecimal
    ClientCertFingerprint,
    /// `{user}`: who the client has shown to be
    User,
    /// `{jwt.NAME}`: what the client's token says
    Claim(Text),
    /// `{tls.version}`, as in `TLSv1.3`
    TlsVersion,
    /// `{scheme}`
    Scheme,
    /// `{host}`
    Host,
    /// `{method}`
    Method,
    /// `{path}`
    Path,
    /// `{query}`: without `?`.
    Query,
    /// Path, `?` and query; no placeholder, but a part of the combined log format
    PathAndQuery,
    /// `{query.NAME}`
    QueryValue(Text),
    /// `{header.NAME}`
    Header(Text),
    /// `{cookie.NAME}`
    Cookie(Text),
    /// `{request.id}`
    RequestId,
    /// `{route}`
    Route,
    /// `{upstream}`
    Upstream,
    /// `{status}`
    Status,
    /// `{protocol}`, as in `HTTP/1.1`
    Protocol,
    /// `{time}`: RFC 3339, UTC
    Time,
    /// `{time.common}`: as the combined log format writes it
    TimeCommon,
    /// `{bytes}`: of the response's body
    Bytes,
    /// `{duration}`: seconds with six decimals
    Duration,
    /// `{reason}`: why the proxy answered itself
    Reason,
    /// `{server}`: the address of the server that answered
    Server,
}

impl Template {
    /// A template of one literal.
    pub fn text(text: impl Into<Text>) -> Template {
        Template { pieces: Cow::Owned(vec![Piece::Text(text.into())]) }
    }

    /// The text of a template without placeholders.
    pub fn literal(&self) -> Option<&str> {
        match &*self.pieces {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the rendered text. Allocates only by growing `out`.
    pub fn render(&self, facts: &Facts<'_>, out: &mut String) {
        for piece in self.pieces.iter() {
            piece.render(facts, out);
        }
    }

    /// The rendered text; a literal is not copied.
    pub fn rendered(&self, facts: &Facts<'_>) -> Cow<'_, str> {
        match self.literal() {
            Some(text) => Cow::Borrowed(text),
            None => {
                let mut out = String::new();
                self.render(facts, &mut out);
                Cow::Owned(out)
            }
        }
    }
}

impl Piece {
    pub(crate) fn render(&self, facts: &Facts<'_>, out: &mut String) {
        match self {
            Piece::Text(text) => out.push_str(text),
            Piece::Row => out.push_str(facts.row),
            Piece::Param(index) => facts.settings.render_param(*index, out),
            Piece::File(index) => facts.settings.render_file(*index, out),
            Piece::Capture(slot) => out.push_str(facts.captures.get(usize::from(*slot), facts.path)),
            Piece::ClientIp => display(out, facts.client),
            Piece::ClientCertSubject => out.push_str(facts.certificate.map_or("", |shown| &shown.subject)),
            Piece::ClientCertFingerprint => out.push_str(facts.certificate.map_or("", |shown| &shown.fingerprint)),
            Piece::User => out.push_str(facts.user),
            Piece::Claim(name) => out.push_str(facts.claims.and_then(|claims| claims.get(name)).unwrap_or_default()),
            Piece::TlsVersion => out.push_str(facts.tls),
            Piece::Scheme => out.push_str(facts.scheme),
            Piece::Host => out.push_str(facts.host),
            Piece::Method => out.push_str(facts.method.as_str()),
            Piece::Path => out.push_str(facts.path),
            Piece::Query => out.push_str(facts.query.unwrap_or_default()),
            Piece::PathAndQuery => {
                out.push_str(facts.path);
                if let Some(query) = facts.query {
                    out.push('?');
                    out.push_str(query);
                }
            }
            Piece::QueryValue(name) => {
                let mut values = crate::view::query_values(facts.query.unwrap_or_default(), name);
                out.push_str(values.next().unwrap_or_default());
            }
            Piece::Header(name) => out.push_str(facts.header(name).unwrap_or_default()),
            Piece::Cookie(name) => {
                let mut pairs = facts.header("cookie").into_iter().flat_map(crate::view::cookie_pairs);
                out.push_str(pairs.find(|(key, _)| key == name).map(|(_, value)| value).unwrap_or_default());
            }
            Piece::RequestId => display(out, facts.request_id),
            Piece::Route => out.push_str(facts.route),
            Piece::Upstream => out.push_str(facts.upstream),
            Piece::Status => push_number(out, u64::from(facts.status)),
            Piece::Protocol => out.push_str(facts.protocol),
            Piece::Time => facts.time.push_rfc3339(out),
            Piece::TimeCommon => display(out, facts.time.common()),
            Piece::Bytes => push_number(out, facts.bytes),
            Piece::Duration => push_seconds(out, facts.duration),
            Piece::Reason => out.push_str(facts.reason),
            Piece::Server => out.push_str(facts.server),
        }
    }
}

fn display(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}
