//! Responses from the cache, or from an in-flight fetch: whole, in parts (RFC 9110 section 14), or as a 304 (section 13); with
//! their age (RFC 9111 section 5.1) and `Cache-Status` (RFC 9211).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use crate::cache::key::PassReason;
use crate::cache::{CacheStore, CachedBody, CachedHead, EncodedVariants, Follower};
use crate::client::record::Record;
use crate::content::file_reader::{FileReader, FileSource};
use crate::content::respond::Answer;
use crate::protocol::date::Moment;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::protocol::transformed;
use crate::serve::body;
use crate::serve::selected::{self, Multipart, ROOM, Selected};

/// How the cache handled an exchange, for the log and `Cache-Status`.
#[derive(Clone)]
pub(super) struct CacheOutcome {
    /// The `cache` word in the log.
    pub(super) word: &'static str,
    pub(super) reason: &'static str,
    /// Why the request was forwarded, if it was (RFC 9211 section 2.2).
    pub(super) forward: Option<&'static str>,
    pub(super) stored: bool,
    /// The status of the upstream response.
    pub(super) status: Option<StatusCode>,
}

/// Returns the reason why a request that bypasses the cache was forwarded, in the terms of RFC 9211 section 2.2.
pub(super) fn forwarded(pass: PassReason) -> &'static str {
    match pass {
        PassReason::Method => "method",
        PassReason::Bypass | PassReason::Upgrade | PassReason::Raw => "bypass",
        PassReason::Body | PassReason::Condition => "request",
        PassReason::Range => "partial",
    }
}

/// The body of a cached or in-flight response.
pub(super) enum HitBody<'a> {
    Here(&'a CachedBody),
    /// In flight, with its length if it is known.
    Coming(Follower, Option<u64>),
    /// Already reduced to the requested part, with the length of the whole.
    Made(body::Body, u64),
}

/// Serves a cached response.
pub(super) fn hit(
    record: &mut Record,
    head: &Arc<CachedHead>,
    content: &CachedBody,
    (word, reason): (&'static str, &'static str),
    now: Moment,
) -> Answer<body::Body> {
    let forward = match word {
        "revalidated" => Some("stale"),
        "joined" => Some("uri-miss"),
        _ => None,
    };
    let status = (word == "revalidated").then_some(StatusCode::NOT_MODIFIED);
    let outcome = CacheOutcome { word, reason, forward, stored: false, status };
    present(record, head, HitBody::Here(content), &outcome, now)
}

/// Serves the part of a response that the request wants.
pub(super) fn present(
    record: &mut Record,
    head: &Arc<CachedHead>,
    body: HitBody<'_>,
    outcome: &CacheOutcome,
    now: Moment,
) -> Answer<body::Body> {
    record.cached(outcome.word, outcome.reason);
    let in_memory = matches!(body, HitBody::Here(CachedBody::One(_) | CachedBody::Many(_)));
    let (status, mut fields, mut body) = select(record, head, body);
    if in_memory
        && status == StatusCode::OK
        && let Some(store) = forms_of(record)
    {
        body = body::Body::Kept(Box::new(body::StoredBody { body, variants: EncodedVariants::of(store, head) }));
    }
    let age = head.freshness.age_at(now).as_secs();
    if outcome.forward.is_none() || age > 0 {
        let mut digits = itoa::Buffer::new();
        fields.add_known(KnownField::AGE, digits.format(age).as_bytes());
    }
    add_status(&mut fields, outcome, Some((head, now)));
    Answer { status, fields, body }
}

/// Returns the store with the encoded variants of this route's responses, if the route compresses.
fn forms_of(record: &Record) -> Option<&'static CacheStore> {
    let policy = record.route.as_ref()?.policy;
    let cache = policy.cache.as_ref().filter(|_| policy.compress.is_some())?;
    record.worker.stores.get(usize::from(cache.store))
}

/// Selects the status, fields and body.
fn select(record: &Record, head: &CachedHead, body: HitBody<'_>) -> (StatusCode, Fields, body::Body) {
    let whole = || head.fields.with_room(ROOM, 3);
    if head.status != StatusCode::OK {
        return (head.status, whole(), all(body));
    }
    let length = match &body {
        HitBody::Here(content) => Some(content.len()),
        HitBody::Coming(_, length) => *length,
        HitBody::Made(_, length) => Some(*length),
    };
    match (selected::select(record, &head.fields, length), body) {
        // A cached response represents the server's; `If-Match` is for the server to evaluate (RFC 9111 section 4.3.2).
        (Selected::Whole | Selected::Failed, body) => (head.status, whole(), all(body)),
        (Selected::Unmodified, _) => {
            let Answer { status, fields, body } = selected::unmodified(record, &head.fields, length);
            (status, fields, body)
        }
        (Selected::Nothing(length), _) => {
            (StatusCode::RANGE_NOT_SATISFIABLE, selected::nothing(length), body::Body::Bytes(Bytes::new()))
        }
        (Selected::Part(part), body) => {
            let mut fields = whole();
            transformed::cut(&mut fields);
            fields
                .set(KnownField::CONTENT_RANGE, selected::content_range(&part, length.unwrap_or(part.end)).as_bytes());
            let body = match body {
                HitBody::Here(content) => part_of(content, part),
                HitBody::Coming(follower, _) => {
                    body::Body::Joined(Box::new(follower.only(part.start, Some(part.end - part.start))))
                }
                HitBody::Made(body, _) => body,
            };
            (StatusCode::PARTIAL_CONTENT, fields, body)
        }
        (Selected::Parts(parts), HitBody::Here(content)) if !matches!(content, CachedBody::BodyFile(_)) => {
            let mut fields = whole();
            transformed::cut(&mut fields);
            let multipart = Multipart::new(record, &mut fields, content.len());
            let mut all = VecDeque::new();
            for part in parts {
                all.push_back(Bytes::from(multipart.before(&part)));
                all.append(&mut pieces(content, part));
            }
            all.push_back(Bytes::from(multipart.behind()));
            (StatusCode::PARTIAL_CONTENT, fields, all.into())
        }
        (Selected::Parts(_), body) => (head.status, whole(), all(body)),
    }
}

fn all(body: HitBody<'_>) -> body::Body {
    match body {
        HitBody::Here(CachedBody::One(bytes)) => body::Body::Bytes(bytes.clone()),
        HitBody::Here(content) => part_of(content, 0..content.len()),
        HitBody::Coming(follower, length) => body::Body::Joined(Box::new(follower.only(0, length))),
        HitBody::Made(body, _) => body,
    }
}

/// Returns a part of a body, without a copy.
pub(super) fn part_of(content: &CachedBody, part: Range<u64>) -> body::Body {
    match content {
        CachedBody::BodyFile(opened) => {
            body::Body::File(Box::new(FileReader::new(FileSource::Store(Arc::clone(opened)), part)))
        }
        _ => pieces(content, part).into(),
    }
}

/// Returns the pieces of a part of a body in memory.
fn pieces(content: &CachedBody, part: Range<u64>) -> VecDeque<Bytes> {
    let mut begin = 0;
    let within = content.pieces().iter().filter_map(|piece| {
        let (start, end) = (begin, begin + piece.len() as u64);
        begin = end;
        let (from, to) = (part.start.max(start), part.end.min(end));
        (from < to).then(|| piece.slice((from - start) as usize..(to - start) as usize))
    });
    within.collect()
}

/// Adds this cache's member to `Cache-Status`, after those of the caches before it (RFC 9211 section 2).
pub(super) fn add_status(fields: &mut Fields, outcome: &CacheOutcome, kept: Option<(&CachedHead, Moment)>) {
    let mut status = LineBuffer { bytes: [0; 192], length: 0 };
    status.push("kiln");
    match outcome.forward {
        None => status.push("; hit"),
        Some(why) => {
            status.push("; fwd=");
            status.push(why);
        }
    }
    let mut digits = itoa::Buffer::new();
    if let Some(code) = outcome.status {
        status.push("; fwd-status=");
        status.push(digits.format(code.as_u16()));
    }
    if let Some((head, now)) = kept {
        let (sign, seconds) = match head.freshness.left_at(now) {
            // Stale because of a purge, whatever its lifetime.
            Ok(_) if head.is_outdated() => ("", 0),
            Ok(left) => ("", left.as_secs()),
            Err(stale) => ("-", stale.as_secs()),
        };
        status.push("; ttl=");
        status.push(if seconds == 0 { "" } else { sign });
        status.push(digits.format(seconds));
    }
    for (is, word) in [(outcome.stored, "; stored"), (outcome.word == "joined", "; collapsed")] {
        if is {
            status.push(word);
        }
    }
    if !outcome.reason.is_empty() {
        status.push("; detail=");
        status.push(outcome.reason);
    }
    fields.add(b"cache-status", &status.bytes[..status.length]);
}

/// A line of text in a fixed buffer, without an allocation. It only holds fixed words and numbers, which fit.
struct LineBuffer {
    bytes: [u8; 192],
    length: usize,
}

impl LineBuffer {
    fn push(&mut self, text: &str) {
        let end = (self.length + text.len()).min(self.bytes.len());
        let fits = end - self.length;
        self.bytes[self.length..end].copy_from_slice(&text.as_bytes()[..fits]);
        self.length = end;
    }
}
