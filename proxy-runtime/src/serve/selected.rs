//! Selects the part of a response that a request asks for: all, ranges, or a 304 (RFC 9110 sections 13 and 14). For responses that are
//! available already, cached or in files. It does not depend on the source of the bytes.

use std::ops::Range;

use http::{Method, StatusCode};

use super::{compress, replace};
use crate::client::record::Record;
use crate::content::respond::Answer;
use crate::protocol::conditions;
use crate::protocol::date::Moment;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::protocol::ranges::{self, RangeRequest};
use crate::protocol::transformed;
use crate::serve::body::Body;

/// The selected part of a response.
pub(super) enum Selected {
    /// The complete response.
    Whole,
    /// 412: a precondition fails (section 15.5.13).
    Failed,
    /// 304: the client has the current version.
    Unmodified,
    /// One range.
    Part(Range<u64>),
    /// Several ranges.
    Parts(Vec<Range<u64>>),
    /// 416: the range is outside the content, which has this length.
    Nothing(u64),
}

/// Selects what to send of a response with status 200 and these fields; `length` if it is known. Preconditions are evaluated
/// in the order of section 13.2.2.
pub(super) fn select(record: &Record, fields: &Fields, length: Option<u64>) -> Selected {
    if conditions::fails(&record.fields, fields) {
        return Selected::Failed;
    }
    if conditions::has_it(&record.fields, fields) {
        return Selected::Unmodified;
    }
    let ranged = record.method == Method::GET
        && record.fields.contains(KnownField::RANGE)
        // The positions of a range would be those before the replacement.
        && !replace::is_replaced(record, fields);
    let Some(length) = length.filter(|_| ranged && conditions::is_of(&record.fields, fields, Moment::now())) else {
        return Selected::Whole;
    };
    match ranges::wanted(&record.fields, length) {
        RangeRequest::All => Selected::Whole,
        RangeRequest::Nothing => Selected::Nothing(length),
        RangeRequest::Parts(parts) => match <[_; 1]>::try_from(parts) {
            Ok([part]) => Selected::Part(part),
            Err(parts) => Selected::Parts(parts),
        },
    }
}

/// Space reserved for the fields that are added, in bytes.
pub(super) const ROOM: usize = 128;

/// Returns a 304 (section 15.4.5) in place of a response with these fields and this length, with only the fields that a 304 needs. If
/// the response would have been compressed, or strings in it replaced, its entity tag is that response's.
pub(super) fn unmodified(record: &Record, fields: &Fields, length: Option<u64>) -> Answer<Body> {
    const SENT: [&str; 7] = ["cache-control", "content-location", "date", "etag", "expires", "last-modified", "vary"];
    let mut sent = Fields::with_capacity(fields.size() + ROOM, SENT.len() + 3);
    for (name, value) in fields.raw() {
        if SENT.iter().any(|sent| name.eq_ignore_ascii_case(sent.as_bytes())) {
            sent.add(name, value);
        }
    }
    let policy = record.policy().compress.as_ref();
    let is_compressed = policy.is_some_and(|policy| compress::is_compressed(policy, record, fields, length));
    if is_compressed || replace::is_replaced(record, fields) {
        transformed::strip_validators(&mut sent);
    }
    Answer { status: StatusCode::NOT_MODIFIED, fields: sent, body: Body::None(None) }
}

/// Returns the fields of a 416 (section 15.5.17).
pub(super) fn nothing(length: u64) -> Fields {
    let mut fields = Fields::new();
    fields.add_known(KnownField::CONTENT_RANGE, format!("bytes */{length}").as_bytes());
    fields
}

/// Returns the value of `Content-Range` (section 14.4).
pub(super) fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}

/// A multipart body with several ranges (section 14.6): changes the response's fields, and renders the text before each
/// part and after the last.
pub(super) struct Multipart {
    boundary: String,
    media: Vec<u8>,
    length: u64,
}

impl Multipart {
    pub(super) fn new(record: &Record, fields: &mut Fields, length: u64) -> Multipart {
        let boundary = format!("{:032x}", record.request_id.0);
        let media = fields.get(KnownField::CONTENT_TYPE).unwrap_or(b"application/octet-stream").to_owned();
        fields.set(KnownField::CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}").as_bytes());
        Multipart { boundary, media, length }
    }

    pub(super) fn before(&self, part: &Range<u64>) -> Vec<u8> {
        let Multipart { boundary, media, length } = self;
        let range = content_range(part, *length);
        let boundary = format!("\r\n--{boundary}\r\nContent-Type: ");
        let range = format!("\r\nContent-Range: {range}\r\n\r\n");
        [boundary.as_bytes(), media, range.as_bytes()].concat()
    }

    pub(super) fn behind(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}
