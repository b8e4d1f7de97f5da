//! Transformed responses (compressed, or with strings replaced): which responses may be transformed, their fields, and the output
//! bytes that are not yet sent ([`OutputBuffer`]).

use http::StatusCode;

use crate::protocol::fields::{Fields, has_token};
use crate::protocol::names::KnownField;

/// Returns whether a response may be transformed: it is complete, not compressed, and not `no-transform` (RFC 9111
/// section 5.2.2.6).
pub(crate) fn may_be(status: StatusCode, fields: &Fields) -> bool {
    !matches!(status.as_u16(), 100..=199 | 204 | 205 | 206 | 304)
        && fields.get(KnownField::CONTENT_ENCODING).is_none_or(|coding| coding.eq_ignore_ascii_case(b"identity"))
        && !has_token(fields, KnownField::CACHE_CONTROL, "no-transform")
        && !fields.contains(KnownField::CONTENT_RANGE)
}

/// Digest fields of a body or a representation (RFC 9530, RFC 3230, RFC 1864).
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// The other fields about a body and its representation (RFC 9110 section 8), and validators.
const OF_BODIES: [&str; 11] = [
    "content-type",
    "content-length",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-disposition",
    "etag",
    "last-modified",
    "accept-ranges",
    "trailer",
];

fn is_among(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Updates the fields for a transformed body of the same meaning: lengths, ranges and digests are removed, and a strong entity tag becomes
/// weak (RFC 9110 section 8.8.1). A change of the content coding also changes the representation (RFC 9530 section 3).
pub(crate) fn strip_validators(fields: &mut Fields) {
    fields.retain(|name, _| !is_among(name, &DIGESTS) && !is_among(name, &["content-length", "accept-ranges"]));
    fields.change(KnownField::ETAG, |tag| if tag.starts_with(b"W/") { tag.to_owned() } else { [b"W/", tag].concat() });
}

/// Updates the trailers of a transformed body: removes digests, which are often sent there.
pub(crate) fn trailers(trailers: Option<Fields>) -> Option<Fields> {
    let mut trailers = trailers?;
    trailers.retain(|name, _| !is_among(name, &DIGESTS));
    Some(trailers)
}

/// Updates the fields for a part of a complete body: fields about the content's bytes are removed; digests of the representation stay
/// valid (RFC 9530 section 3).
pub(crate) fn cut(fields: &mut Fields) {
    fields.retain(|name, _| !is_among(name, &["content-length", "content-digest", "content-md5"]));
}

/// Returns whether a field is about a body or its representation.
pub(crate) fn is_of_body(name: &[u8]) -> bool {
    is_among(name, &OF_BODIES) || is_among(name, &DIGESTS)
}

/// Removes all fields about a body, as it is replaced.
pub(crate) fn replace(fields: &mut Fields) {
    fields.retain(|name, _| !is_of_body(name));
}

/// Output bytes, and the number of those that were sent.
#[derive(Default)]
pub(crate) struct OutputBuffer {
    bytes: Vec<u8>,
    sent: usize,
}

impl OutputBuffer {
    /// Returns whether there are bytes to send. If not, its memory is reused.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
        !self.bytes.is_empty()
    }

    /// Returns the buffer to append output to.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Like [`Source::take`](crate::body::source::Source::take).
    pub(crate) fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let took = to(&self.bytes[self.sent..]);
        self.sent += took;
        took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_fields() {
        let names = [
            "Content-Digest",
            "Repr-Digest",
            "DIGEST",
            "Content-MD5",
            "Content-Length",
            "Accept-Ranges",
            "Content-Type",
            "Content-Disposition",
            "Trailer",
            "X-Mine",
        ];
        let check = |change: fn(&mut Fields), expected: &[&str]| {
            let mut fields: Fields = names.iter().map(|name| (*name, "1")).collect();
            change(&mut fields);
            assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), expected);
        };
        check(strip_validators, &["Content-Type", "Content-Disposition", "Trailer", "X-Mine"]);
        check(
            cut,
            &["Repr-Digest", "DIGEST", "Accept-Ranges", "Content-Type", "Content-Disposition", "Trailer", "X-Mine"],
        );
        check(replace, &["X-Mine"]);
        let trailing = |fields: &mut Fields| *fields = trailers(Some(std::mem::take(fields))).expect("there");
        check(
            trailing,
            &["Content-Length", "Accept-Ranges", "Content-Type", "Content-Disposition", "Trailer", "X-Mine"],
        );
    }
}
