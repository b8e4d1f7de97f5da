//! Templates: strings with placeholders such as `{client.ip}`. Pure.
//!
//! Templates are data, and interpreted: a piece costs a branch and a copy. The compiler checks which placeholder is allowed where;
//! a placeholder without a value writes nothing (`-` in a log line).
//!
//! The result is bytes: the value of a field or cookie is inserted byte for byte, UTF-8 or not, so that different values
//! make different keys. Where the result must be text, the caller escapes it: URLs by percent-encoding, logs by [`crate::protocol::escape`].

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::context::facts::{Facts, push_number, push_seconds};
use crate::context::view::{cookie_values, query_values};
use crate::value::{List, Text};

/// A template.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Template {
    /// The pieces, in order.
    pub pieces: List<Piece>,
}

/// A piece of a [`Template`].
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Literal text.
    Text(Text),
    /// The route's own text: routes whose handlers differ only in a text share the handler.
    Row,
    /// A start-up parameter.
    Param(u16),
    /// A file that is read at start, without its last line end.
    File(u16),
    /// A capture of a pattern or a `path-regex`.
    Capture(u8),
    /// `{client.ip}`
    ClientIp,
    /// `{client.cert.subject}`: the subject of the client's certificate
    ClientCertSubject,
    /// `{client.cert.fingerprint}`: its SHA-256, in hexadecimal
    ClientCertFingerprint,
    /// `{user}`: the authenticated user
    User,
    /// `{jwt.NAME}`: a claim of the client's token
    Claim(Text),
    /// `{tls.version}`, such as `TLSv1.3`
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
    /// `{uri}`: path, `?` and query; only the path if there is no query
    PathAndQuery,
    /// `{query.NAME}`
    QueryValue(Text),
    /// `{header.NAME}`
    Header(Text),
    /// `{cookie.NAME}`
    Cookie(Text),
    /// `{request.id}`
    RequestId,
    /// `{trace.id}`
    TraceId,
    /// `{route}`
    Route,
    /// `{upstream}`
    Upstream,
    /// `{status}`
    Status,
    /// `{protocol}`, such as `HTTP/1.1`
    Protocol,
    /// `{time}`: RFC 3339, UTC
    Time,
    /// `{time.common}`: as in the combined log format
    TimeCommon,
    /// `{bytes}`: the length of the response's body
    Bytes,
    /// `{duration}`: seconds with six decimals
    Duration,
    /// `{reason}`: the reason of an error response of the proxy's own
    Reason,
    /// `{server}`: the address of the server that responded
    Server,
}

impl Template {
    /// Returns a template of a literal text.
    pub fn text(text: impl Into<Text>) -> Template {
        Template { pieces: Cow::Owned(vec![Piece::Text(text.into())]) }
    }

    /// Returns the text of a template without placeholders.
    pub fn literal(&self) -> Option<&str> {
        match &*self.pieces {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the rendered template. Allocates only to grow `out`.
    pub fn render(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        for piece in self.pieces.iter() {
            piece.render(facts, out);
        }
    }

    /// Returns the rendered template; a literal is not copied.
    pub fn rendered(&self, facts: &Facts<'_>) -> Cow<'_, [u8]> {
        match self.literal() {
            Some(text) => Cow::Borrowed(text.as_bytes()),
            None => {
                let mut out = Vec::new();
                self.render(facts, &mut out);
                Cow::Owned(out)
            }
        }
    }
}

impl Piece {
    pub(crate) fn render(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        let value: &[u8] = match self {
            Piece::Text(text) => text.as_bytes(),
            Piece::Row => facts.row.as_bytes(),
            Piece::Param(index) => return display(out, facts.settings.param(*index)),
            Piece::File(index) => return facts.settings.render_file(*index, out),
            Piece::Capture(slot) => facts.captures.get(usize::from(*slot), facts.path),
            Piece::ClientIp => return display(out, facts.client),
            Piece::ClientCertSubject => facts.certificate.map_or(b"", |shown| shown.subject.as_bytes()),
            Piece::ClientCertFingerprint => facts.certificate.map_or(b"", |shown| shown.fingerprint.as_bytes()),
            Piece::User => facts.user,
            Piece::Claim(name) => facts.claims.and_then(|claims| claims.get(name)).unwrap_or_default().as_bytes(),
            Piece::TlsVersion => facts.tls.as_bytes(),
            Piece::Scheme => facts.scheme.as_bytes(),
            Piece::Host => facts.host.as_bytes(),
            Piece::Method => facts.method.as_str().as_bytes(),
            Piece::Path => facts.path.as_bytes(),
            Piece::Query => facts.query.unwrap_or_default().as_bytes(),
            Piece::PathAndQuery => {
                out.extend_from_slice(facts.path.as_bytes());
                match facts.query {
                    None => return,
                    Some(query) => {
                        out.push(b'?');
                        query.as_bytes()
                    }
                }
            }
            Piece::QueryValue(name) => {
                let mut values = query_values(facts.query.unwrap_or_default(), name);
                values.next().unwrap_or_default().as_bytes()
            }
            Piece::Header(name) => facts.header(name).unwrap_or_default(),
            Piece::Cookie(name) => cookie_values(facts.fields, name).next().unwrap_or_default(),
            Piece::RequestId => return display(out, facts.request_id),
            Piece::TraceId => return display(out, facts.trace_id),
            Piece::Route => facts.route.as_bytes(),
            Piece::Upstream => facts.upstream.as_bytes(),
            Piece::Status => return push_number(out, u64::from(facts.status)),
            Piece::Protocol => facts.protocol.as_bytes(),
            Piece::Time => return facts.time.push_rfc3339(out),
            Piece::TimeCommon => return display(out, facts.time.common()),
            Piece::Bytes => return push_number(out, facts.bytes),
            Piece::Duration => return push_seconds(out, facts.duration),
            Piece::Reason => facts.reason.as_bytes(),
            Piece::Server => facts.server.as_bytes(),
        };
        out.extend_from_slice(value);
    }
}

/// Appends a value that implements `Display`.
pub(crate) fn display(out: &mut Vec<u8>, value: impl fmt::Display) {
    struct Bytes<'o>(&'o mut Vec<u8>);
    impl fmt::Write for Bytes<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // A write to a Vec cannot fail.
    let _ = write!(Bytes(out), "{value}");
}
