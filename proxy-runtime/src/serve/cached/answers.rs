//! Answers out of what is kept, or on its way to be: whole, in parts (RFC 9110 section 14), or as a 304 (section 13); with
//! their age (RFC 9111 section 5.1) and what the cache has done (`Cache-Status`, RFC 9211).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::body;
use crate::cache::freshness::Moment;
use crate::cache::key::Pass;
use crate::cache::{Content, FileReader, Head, Reader};
use crate::conditions;
use crate::fields::Fields;
use crate::handler::Answer;
use crate::observe::Record;
use crate::ranges::{self, Wanted};

/// What is said of an exchange.
pub(super) struct Told {
    /// In the log.
    pub(super) word: &'static str,
    pub(super) reason: &'static str,
    /// Why it was forwarded, if it was (RFC 9211 section 2.2).
    pub(super) forward: Option<&'static str>,
    pub(super) stored: bool,
    /// The status of the server's answer.
    pub(super) status: Option<StatusCode>,
}

/// Why a request that passes was forwarded, in the words of RFC 9211 section 2.2.
pub(super) fn forwarded(pass: Pass) -> &'static str {
    match pass {
        Pass::Method => "method",
        Pass::Bypass | Pass::Upgrade => "bypass",
        Pass::Body | Pass::Condition => "request",
        Pass::Range => "partial",
    }
}

/// A body that is kept, or coming.
pub(super) enum Body<'a> {
    Here(&'a Content),
    /// With its length, where that is known.
    Coming(Reader, Option<u64>),
}

/// An answer that is kept.
pub(super) fn hit(
    record: &mut Record,
    head: &Arc<Head>,
    content: &Content,
    (word, reason): (&'static str, &'static str),
    now: Moment,
) -> Answer<body::Body> {
    let forward = match word {
        "revalidated" => Some("stale"),
        "joined" => Some("uri-miss"),
        _ => None,
    };
    let status = (word == "revalidated").then_some(StatusCode::NOT_MODIFIED);
    let told = Told { word, reason, forward, stored: false, status };
    present(record, head, Body::Here(content), &told, now)
}

/// As much of an answer as the request wants.
pub(super) fn present(
    record: &mut Record,
    head: &Head,
    body: Body<'_>,
    told: &Told,
    now: Moment,
) -> Answer<body::Body> {
    record.cached(told.word, told.reason);
    let answer = select(record, head, body);
    let (status, mut fields, body) = answer;
    let age = head.life.age_at(now).as_secs();
    if told.forward.is_none() || age > 0 {
        let mut digits = itoa::Buffer::new();
        fields.add(b"age", digits.format(age).as_bytes());
    }
    add_status(&mut fields, told, Some((head, now)));
    Answer { status, fields, body }
}

/// Room for what is added to a kept head.
const ROOM: usize = 128;

/// Status, fields and body.
fn select(record: &Record, head: &Head, body: Body<'_>) -> (StatusCode, Fields, body::Body) {
    let whole = || head.fields.with_room(ROOM, 3);
    if head.status != StatusCode::OK {
        return (head.status, whole(), all(body));
    }
    if conditions::has_it(&record.fields, &head.fields) {
        return (StatusCode::NOT_MODIFIED, unmodified(&head.fields), body::Body::None(None));
    }
    let length = match &body {
        Body::Here(content) => Some(content.len()),
        Body::Coming(_, length) => *length,
    };
    let ranged = record.method == Method::GET && record.fields.contains("range");
    let Some(length) = length.filter(|_| ranged && conditions::is_of(&record.fields, &head.fields)) else {
        return (head.status, whole(), all(body));
    };
    match (ranges::wanted(&record.fields, length), body) {
        (Wanted::Nothing, _) => {
            let mut fields = Fields::new();
            fields.add(b"content-range", format!("bytes */{length}").as_bytes());
            (StatusCode::RANGE_NOT_SATISFIABLE, fields, body::Body::Bytes(Bytes::new()))
        }
        (Wanted::Parts(parts), body) if parts.len() == 1 => {
            let (part, mut fields) = (parts[0].clone(), whole());
            fields.set("content-range", content_range(&part, length).as_bytes());
            let body = match body {
                Body::Here(content) => part_of(content, part),
                Body::Coming(reader, _) => {
                    body::Body::Joined(Box::new(reader.only(part.start, Some(part.end - part.start))))
                }
            };
            (StatusCode::PARTIAL_CONTENT, fields, body)
        }
        (Wanted::Parts(parts), Body::Here(content)) if !matches!(content, Content::Filed(_)) => {
            let mut fields = whole();
            let boundary = format!("{:032x}", record.request_id.0);
            let media = head.fields.text("content-type").unwrap_or("application/octet-stream");
            let kind = format!("multipart/byteranges; boundary={boundary}");
            fields.set("content-type", kind.as_bytes());
            (StatusCode::PARTIAL_CONTENT, fields, multipart(content, &parts, media, &boundary).into())
        }
        (_, body) => (head.status, whole(), all(body)),
    }
}

fn all(body: Body<'_>) -> body::Body {
    match body {
        Body::Here(Content::One(bytes)) => body::Body::Bytes(bytes.clone()),
        Body::Here(content) => part_of(content, 0..content.len()),
        Body::Coming(reader, length) => body::Body::Joined(Box::new(reader.only(0, length))),
    }
}

/// A part, not copied.
fn part_of(content: &Content, part: Range<u64>) -> body::Body {
    match content {
        Content::Filed(filed) => body::Body::File(Box::new(FileReader::new(filed, part))),
        _ => pieces(content, part).into(),
    }
}

/// The pieces of a part of what is in memory.
fn pieces(content: &Content, part: Range<u64>) -> VecDeque<Bytes> {
    let mut begin = 0;
    let within = content.pieces().iter().filter_map(|piece| {
        let (start, end) = (begin, begin + piece.len() as u64);
        begin = end;
        let (from, to) = (part.start.max(start), part.end.min(end));
        (from < to).then(|| piece.slice((from - start) as usize..(to - start) as usize))
    });
    within.collect()
}

/// Several parts (RFC 9110 section 14.6).
fn multipart(content: &Content, parts: &[Range<u64>], media: &str, boundary: &str) -> VecDeque<Bytes> {
    let mut all = VecDeque::new();
    for part in parts {
        let range = content_range(part, content.len());
        let head = format!("\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: {range}\r\n\r\n");
        all.push_back(Bytes::from(head));
        all.append(&mut pieces(content, part.clone()));
    }
    all.push_back(Bytes::from(format!("\r\n--{boundary}--\r\n")));
    all
}

fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}

/// The fields of a 304 (RFC 9110 section 15.4.5): what tells the client about what it has, and of that no more than it needs.
fn unmodified(fields: &Fields) -> Fields {
    const SENT: [&str; 7] = ["cache-control", "content-location", "date", "etag", "expires", "last-modified", "vary"];
    let mut sent = Fields::with_capacity(fields.size() + ROOM, SENT.len() + 3);
    for (name, value) in fields.raw() {
        if SENT.iter().any(|sent| name.eq_ignore_ascii_case(sent.as_bytes())) {
            sent.add(name, value);
        }
    }
    sent
}

/// Adds what this cache has done, behind what those before it have (RFC 9211 section 2).
pub(super) fn add_status(fields: &mut Fields, told: &Told, kept: Option<(&Head, Moment)>) {
    let mut status = Line { bytes: [0; 192], length: 0 };
    status.push("kiln");
    match told.forward {
        None => status.push("; hit"),
        Some(why) => {
            status.push("; fwd=");
            status.push(why);
        }
    }
    let mut digits = itoa::Buffer::new();
    if let Some(code) = told.status {
        status.push("; fwd-status=");
        status.push(digits.format(code.as_u16()));
    }
    if let Some((head, now)) = kept {
        let (sign, seconds) = match head.life.left_at(now) {
            Ok(left) => ("", left.as_secs()),
            Err(stale) => ("-", stale.as_secs()),
        };
        status.push("; ttl=");
        status.push(if seconds == 0 { "" } else { sign });
        status.push(digits.format(seconds));
    }
    for (is, word) in [(told.stored, "; stored"), (told.word == "joined", "; collapsed")] {
        if is {
            status.push(word);
        }
    }
    if !told.reason.is_empty() {
        status.push("; detail=");
        status.push(told.reason);
    }
    fields.add(b"cache-status", &status.bytes[..status.length]);
}

/// A line that is put together where it costs no allocation; all that is put in is this file's own words and numbers, which fit.
struct Line {
    bytes: [u8; 192],
    length: usize,
}

impl Line {
    fn push(&mut self, text: &str) {
        let end = (self.length + text.len()).min(self.bytes.len());
        let fits = end - self.length;
        self.bytes[self.length..end].copy_from_slice(&text.as_bytes()[..fits]);
        self.length = end;
    }
}
