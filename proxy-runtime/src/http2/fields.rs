//! Converts fields to the header maps of the HTTP/2 library, and back. Pure.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::protocol::fields::{Fields, may_trail};
use crate::protocol::names::{KnownField, KnownFields};

/// Returns whether fields are well-formed, beyond what the library checks: it rejects upper-case names and hop-by-hop fields, but
/// neither blanks around values (RFC 9113 section 8.2.1), which HTTP/1.1 would strip so that the proxy's comparisons would see
/// another value than the server, nor quotes in names (RFC 9110 section 5.1).
pub(crate) fn are_well_formed(headers: &HeaderMap) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    headers.iter().all(|(name, value)| {
        let value = value.as_bytes();
        !is_blank(value.first()) && !is_blank(value.last()) && !name.as_str().contains('"')
    })
}

/// Converts received trailers, without fields that are not allowed there (RFC 9110 section 6.5.1). `None` if they are malformed.
pub(crate) fn received_trailers(headers: &HeaderMap) -> Option<Fields> {
    let kept = headers.iter().filter(|(name, _)| may_trail(name.as_str().as_bytes()));
    are_well_formed(headers).then(|| kept.map(|(name, value)| (name.as_str(), value.as_bytes())).collect())
}

/// Converts received fields.
pub(crate) fn received(headers: &HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
}

/// Converts fields to send: without hop-by-hop fields, which HTTP/2 does not have (RFC 9113 section 8.2.2), and without
/// `Host`, which is a pseudo-header field there. One copy of all values.
pub(crate) fn to_send(fields: &Fields) -> HeaderMap {
    const ABSENT: KnownFields = KnownFields::of(&[
        KnownField::CONNECTION,
        KnownField::HOST,
        KnownField::KEEP_ALIVE,
        KnownField::PROXY_CONNECTION,
        KnownField::TRANSFER_ENCODING,
        KnownField::UPGRADE,
    ]);
    let mut headers = HeaderMap::with_capacity(fields.len() + 2);
    for (_, name, value) in fields.shared().filter(|(known, ..)| !ABSENT.has(*known)) {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value)) else {
            continue;
        };
        headers.append(name, value);
    }
    headers
}
