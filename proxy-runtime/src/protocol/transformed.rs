//! Transformed responses (compressed, or with strings replaced): which responses may be transformed, their fields, and the output
//! bytes that are not yet sent ([`OutputBuffer`]).

use http::StatusCode;

use crate::protocol::fields::{Fields, has_token};

/// Whether a response may be changed at all: it is whole, not compressed, and nobody forbids it (RFC 9111 section 5.2.2.6).
pub(crate) fn may_be(status: StatusCode, fields: &Fields) -> bool {
    !matches!(status.as_u16(), 100..=199 | 204 | 205 | 206 | 304)
        && fields.get("content-encoding").is_none_or(|coding| coding.eq_ignore_ascii_case(b"identity"))
        && !has_token(fields, "cache-control", "no-transform")
        && !fields.contains("content-range")
}

/// Digests of a body or of what it represents (RFC 9530, RFC 3230, RFC 1864).
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// What else is said of a body and of what it represents (RFC 9110 section 8), and by what it is asked for again.
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

/// A body is another than it was, of the same meaning: neither lengths, parts nor digests of what it was hold for what it is now; nor does
/// a strong tag (RFC 9110 section 8.8.1). A change of the content coding is one of the representation, too (RFC 9530 section 3).
pub(crate) fn strip_validators(fields: &mut Fields) {
    fields.retain(|name, _| !is_among(name, &DIGESTS) && !is_among(name, &["content-length", "accept-ranges"]));
    fields.change("etag", |tag| if tag.starts_with(b"W/") { tag.to_owned() } else { [b"W/", tag].concat() });
}

/// The trailers of such a body: without its digests, which are often there.
pub(crate) fn trailers(trailers: Option<Fields>) -> Option<Fields> {
    let mut trailers = trailers?;
    trailers.retain(|name, _| !is_among(name, &DIGESTS));
    Some(trailers)
}

/// A part is sent of what was whole: what was said of the bytes of the content no longer holds; digests of the whole representation do
/// (RFC 9530 section 3).
pub(crate) fn cut(fields: &mut Fields) {
    fields.retain(|name, _| !is_among(name, &["content-length", "content-digest", "content-md5"]));
}

/// Whether a field is about a body or what it represents, and goes with it.
pub(crate) fn is_of_body(name: &[u8]) -> bool {
    is_among(name, &OF_BODIES) || is_among(name, &DIGESTS)
}

/// There is another body in place of what was there: nothing that was said of it holds.
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
    /// Whether there is something to send. Where there is not, its memory is used again.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
        !self.bytes.is_empty()
    }

    /// Where more is written.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// As [`Source::take`](crate::body::source::Source::take).
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
    fn what_is_left() {
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
