//! The view of a request for the site's rules: [`RequestView`], which matchers and templates query.
//!
//! Pure, on the hot path, no allocation. Everything is borrowed; path and host are normalized (see `target`).

use std::net::IpAddr;

use http::Method;

use crate::protocol::canonical::decodes_to;
use crate::protocol::fields::{Fields, has_token, split_once};
use crate::protocol::grpc;
use crate::protocol::names::KnownField;

/// The view of a request for matchers and templates.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The normalized host, without port.
    pub host: &'a str,
    /// The normalized path.
    pub path: &'a str,
    /// The query as received, without `?`.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a Fields,
    /// The client's address: the peer's, or the one that a trusted peer reports.
    pub client: IpAddr,
    /// The version of HTTP.
    pub version: RequestVersion,
}

/// A version of HTTP, as matchers tell them apart.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestVersion {
    /// HTTP/1.1 and HTTP/1.0.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

impl RequestVersion {
    /// Returns the version of a request.
    pub fn of(version: http::Version) -> RequestVersion {
        match version {
            http::Version::HTTP_2 => RequestVersion::Http2,
            http::Version::HTTP_3 => RequestVersion::Http3,
            _ => RequestVersion::Http1,
        }
    }

    /// Returns the usual name.
    pub fn name(self) -> &'static str {
        match self {
            RequestVersion::Http1 => "HTTP/1.1",
            RequestVersion::Http2 => "HTTP/2.0",
            RequestVersion::Http3 => "HTTP/3.0",
        }
    }
}

impl<'a> RequestView<'a> {
    /// Returns the values of the query parameter `name`; see [`query_values`].
    pub fn query_values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        query_values(self.query.unwrap_or_default(), name)
    }

    /// Returns the values of the cookie `name`. Costs one pass over the `Cookie` fields.
    pub fn cookie_values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        cookie_values(self.headers, name)
    }

    /// Returns whether this asks for a WebSocket: `Connection: upgrade` and `Upgrade: websocket` (RFC 6455 section
    /// 4.1).
    pub fn is_websocket(&self) -> bool {
        has_token(self.headers, KnownField::CONNECTION, "upgrade")
            && has_token(self.headers, KnownField::UPGRADE, "websocket")
    }

    /// Returns whether this is a gRPC call: `Content-Type: application/grpc`, with or without a suffix.
    pub fn is_grpc(&self) -> bool {
        grpc::is_call(self.headers)
    }
}

/// Returns the values of the parameter `name` in a query, still encoded; a parameter without `=` has the value "". Encoded
/// spellings of the name match, as servers decode it. Costs one pass over the query.
pub fn query_values<'a, 'n>(query: &'a str, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
    query_pairs(query).filter(move |(key, _)| decodes_to(key, name)).map(|(_, value)| value)
}

/// Returns the `name=value` pairs of a query string, in order.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Returns the values of the cookie `name` in a request's fields. Costs one pass over the `Cookie` fields.
///
/// Names and values are bytes: a value that is not UTF-8 (RFC 9110 section 5.5) is included like any other, and does not hide other
/// cookies.
pub fn cookie_values<'a, 'n>(fields: &'a Fields, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
    let named = move |(key, _): &(&[u8], &[u8])| *key == name.as_bytes();
    fields.all(KnownField::COOKIE).flat_map(cookie_pairs).filter(named).map(|(_, value)| value)
}

/// Returns the `name=value` pairs of a `Cookie` field (RFC 6265 section 4.2.1), in order; the first `=` is the
/// separator.
pub fn cookie_pairs(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    raw_cookie_pairs(field).map(|(name, value)| {
        (name, value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// Returns the pairs, with the quotes of their values.
pub(crate) fn raw_cookie_pairs(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field.split(|&byte| byte == b';').map(|pair| {
        let (name, value) = split_once(pair, b'=').unwrap_or((pair, b""));
        (name.trim_ascii(), value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cookie: &[u8], expected: &[(&[u8], &[u8])]) {
        assert_eq!(cookie_pairs(cookie).collect::<Vec<_>>(), expected, "{cookie:?}");
    }

    #[test]
    fn cookies() {
        check(b"a=1", &[(b"a", b"1")]);
        check(b"a=1; b=\"x y\"", &[(b"a", b"1"), (b"b", b"x y")]);
        check(b"odd; a=b=c", &[(b"odd", b""), (b"a", b"b=c")]);
        check(b"x=\xe9; session=1", &[(b"x", b"\xe9"), (b"session", b"1")]);
        check(b"\xe9=\"\xff\";=\"; \tb = \t2", &[(b"\xe9", b"\xff"), (b"", b"\""), (b"b", b"2")]);
    }

    #[test]
    fn queries() {
        assert_eq!(query_pairs("a=1&&b&c=x=y").collect::<Vec<_>>(), [("a", "1"), ("b", ""), ("c", "x=y")]);
    }
}
