//! Answers that are changed on their way, compressed or with texts replaced: which may be, what is said of them, and the bytes that were
//! made and not yet sent ([`Made`]).

use http::StatusCode;

use crate::fields::{Fields, has_token};

/// Whether an answer may be changed at all: it is whole, not compressed, and nobody forbids it (RFC 9111 section 5.2.2.6).
pub(crate) fn may_be(status: StatusCode, fields: &Fields) -> bool {
    !matches!(status.as_u16(), 100..=199 | 204 | 205 | 206 | 304)
        && fields.get("content-encoding").is_none_or(|coding| coding.eq_ignore_ascii_case(b"identity"))
        && !has_token(fields, "cache-control", "no-transform")
        && !fields.contains("content-range")
}

/// Neither lengths, parts nor digests of what it was hold for what it is now; nor does a strong tag (RFC 9110 section 8.8.1, RFC 9530).
pub(crate) fn say(fields: &mut Fields) {
    for name in ["content-length", "accept-ranges", "content-digest", "repr-digest", "content-md5"] {
        fields.remove(name);
    }
    fields.change("etag", |tag| if tag.starts_with(b"W/") { tag.to_owned() } else { [b"W/", tag].concat() });
}

/// What was made, and how much of it was sent.
#[derive(Default)]
pub(crate) struct Made {
    bytes: Vec<u8>,
    sent: usize,
}

impl Made {
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

    /// As [`Source::take`](crate::body::Source::take).
    pub(crate) fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let took = to(&self.bytes[self.sent..]);
        self.sent += took;
        took
    }
}
