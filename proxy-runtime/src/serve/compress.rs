//! Decides whether a response is compressed for its client, and sets the fields of its head ([`compress`]).

use http::{Method, StatusCode};

use super::body::Body;
use crate::client::record::Record;
use crate::content::compress::CompressedBody;
use crate::filter::Answer;
use crate::protocol::conditions;
use crate::protocol::encodings;
use crate::protocol::fields::{Fields, has_token};
use crate::protocol::names::KnownField;
use crate::protocol::transformed;
use crate::site::{Coding, Compress};

/// Compresses a response, if the policy says so and the client accepts it.
pub(crate) fn compress(policy: &Compress, record: &Record, answer: Answer<Body>) -> Answer<Body> {
    let Answer { status, mut fields, body } = answer;
    let may_be = may_be(policy, status, &fields);
    let stands_for_one = stands_for_one(policy, status, &fields);
    let not_modified = stands_for_one && status == StatusCode::NOT_MODIFIED;
    if not_modified && chosen(policy, record, None).is_some() && conditions::has_weak_form(&record.fields, &fields) {
        // The client's copy was compressed.
        transformed::strip_validators(&mut fields);
    }
    if (may_be || stands_for_one) && !has_token(&fields, KnownField::VARY, "accept-encoding") {
        fields.add_known(KnownField::VARY, b"Accept-Encoding");
    }
    if !may_be {
        return Answer { status, fields, body };
    }
    let length = body.length();
    let Some((coding, level)) = chosen(policy, record, length).filter(|_| !matches!(body, Body::Tunnel(_))) else {
        return Answer { status, fields, body };
    };
    let (body, variants) = match body {
        Body::Kept(kept) => (kept.body, Some(kept.variants)),
        body => (body, None),
    };
    let body = match body {
        // The response to HEAD has the fields of the response to GET, without its body.
        Body::None(_) if record.method == Method::HEAD => Body::None(None),
        Body::None(_) => return Answer { status, fields, body },
        _ if let Some(form) = variants.as_ref().and_then(|variants| variants.get(*coding)) => Body::Bytes(form),
        // The response to HEAD has no body to compress.
        _ if record.method == Method::HEAD => Body::None(None),
        body => match CompressedBody::new(&record.worker.compressing, body, length, (*coding, *level), variants) {
            Ok(compressed) => Body::Compressed(Box::new(compressed)),
            Err(body) => return Answer { status, fields, body },
        },
    };
    fields.set(KnownField::CONTENT_ENCODING, coding.name().as_bytes());
    transformed::strip_validators(&mut fields);
    Answer { status, fields, body }
}

/// Returns the coding and level for a client and a response of this length.
fn chosen<'p>(policy: &'p Compress, record: &Record, length: Option<u64>) -> Option<&'p (Coding, u8)> {
    let short = length.is_some_and(|length| length < policy.min_size.get(record.worker.settings));
    let codings = policy.codings.iter().map(|(coding, _)| coding.name());
    let best = || encodings::best(&record.fields, codings).and_then(|index| policy.codings.get(index));
    if short { None } else { best() }
}

/// Returns whether a response with status 200, these fields and this length is compressed for the client.
pub(crate) fn is_compressed(policy: &Compress, record: &Record, fields: &Fields, length: Option<u64>) -> bool {
    may_be(policy, StatusCode::OK, fields) && chosen(policy, record, length).is_some()
}

/// Returns whether a response may be compressed, for any client.
fn may_be(policy: &Compress, status: StatusCode, fields: &Fields) -> bool {
    transformed::may_be(status, fields)
        && fields.get(KnownField::CONTENT_TYPE).is_some_and(|kind| policy.suits(kind))
        // Signatures and digests cover the encoded content (RFC 9530 section 2).
        && !fields.contains("content-digest")
}

/// Returns whether this is a 206 or 304 for a response that would be compressed: it needs the same `Vary` as that (RFC 9110 sections
/// 15.3.7 and 15.4.5).
fn stands_for_one(policy: &Compress, status: StatusCode, fields: &Fields) -> bool {
    matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
        && fields.get(KnownField::CONTENT_TYPE).is_none_or(|kind| policy.suits(kind))
        && !fields.contains(KnownField::CONTENT_ENCODING)
}
