//! The serialized head of a response, or of a `Vary` index. Pure.
//!
//! Numbers are little-endian, strings have a length prefix. Files are treated as untrusted input: for any
//! bytes, [`read`] returns their value or nothing.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use http::StatusCode;

use super::entry::{self, CachedHead, ResponseOrder};
use super::freshness::Freshness;
use crate::protocol::date::Moment;
use crate::protocol::fields::Fields;

/// The content of a file, apart from the body.
pub(super) enum StoredRecord {
    Answer(CachedHead),
    /// A `Vary` index: the URL, the fields, and its number.
    Varies(String, Vec<Box<str>>, u64),
}

const ANSWER: u8 = 1;
const VARIES: u8 = 2;

/// Serializes a response's head.
pub(super) fn of_answer(head: &CachedHead) -> Vec<u8> {
    let mut out = vec![ANSWER];
    let Freshness { received, age, lifetime, while_revalidate, if_error, no_cache, must_revalidate, for_authorized } =
        &head.freshness;
    out.extend_from_slice(&head.status.as_u16().to_le_bytes());
    let flags = [*no_cache, *must_revalidate, *for_authorized, head.is_outdated()];
    out.extend(flags.map(u8::from));
    number(received.0, &mut out);
    for duration in [age, lifetime, while_revalidate, if_error] {
        number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &mut out);
    }
    text(head.url.as_bytes(), &mut out);
    text(head.tags.as_bytes(), &mut out);
    texts(&head.vary, &mut out);
    number(head.fields.len() as u64, &mut out);
    for (name, value) in head.fields.raw() {
        text(name, &mut out);
        text(value, &mut out);
    }
    out
}

/// Serializes a `Vary` index.
pub(super) fn of_varies(url: &str, fields: &[Box<str>], note: u64) -> Vec<u8> {
    let mut out = vec![VARIES];
    text(url.as_bytes(), &mut out);
    texts(fields, &mut out);
    number(note, &mut out);
    out
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn text(text: &[u8], out: &mut Vec<u8>) {
    number(text.len() as u64, out);
    out.extend_from_slice(text);
}

fn texts(texts: &[Box<str>], out: &mut Vec<u8>) {
    number(texts.len() as u64, out);
    texts.iter().for_each(|one| text(one.as_bytes(), out));
}

/// Parses a record.
pub(super) fn read(bytes: &[u8]) -> Option<StoredRecord> {
    let mut reading = RecordReader(bytes);
    let kept = match reading.byte()? {
        ANSWER => StoredRecord::Answer(reading.answer()?),
        VARIES => StoredRecord::Varies(reading.string()?, reading.strings()?, reading.number()?),
        _ => return None,
    };
    reading.0.is_empty().then_some(kept)
}

struct RecordReader<'b>(&'b [u8]);

impl<'b> RecordReader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn duration(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_millis)
    }

    fn text(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn string(&mut self) -> Option<String> {
        String::from_utf8(self.text()?.to_vec()).ok()
    }

    fn strings(&mut self) -> Option<Vec<Box<str>>> {
        // Nothing is allocated for an unverified count.
        (0..self.number()?).map(|_| self.string().map(Box::from)).collect()
    }

    fn answer(&mut self) -> Option<CachedHead> {
        let status = StatusCode::from_u16(u16::from_le_bytes(self.take(2)?.try_into().ok()?)).ok()?;
        let (no_cache, must_revalidate, for_authorized) = (self.flag()?, self.flag()?, self.flag()?);
        let outdated = self.flag()?;
        let freshness = Freshness {
            received: Moment(self.number()?),
            age: self.duration()?,
            lifetime: self.duration()?,
            while_revalidate: self.duration()?,
            if_error: self.duration()?,
            no_cache,
            must_revalidate,
            for_authorized,
        };
        let (url, tags) = (self.string()?.into(), self.string()?.into());
        let vary = self.strings()?.into();
        let mut fields = Fields::new();
        for _ in 0..self.number()? {
            let (name, value) = (self.text()?, self.text()?);
            http::HeaderName::from_bytes(name).ok()?;
            fields.add(name, value);
        }
        let outdated = AtomicBool::new(outdated);
        let not_before = AtomicU32::new(0);
        let (fields, number) = (fields.compact(), entry::number());
        let order = ResponseOrder::default();
        // Set by the code that loads it.
        let groups_seen = AtomicU64::new(0);
        Some(CachedHead {
            status,
            fields,
            freshness,
            url,
            vary,
            tags,
            groups_seen,
            outdated,
            not_before,
            number,
            order,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::tests::head;
    use super::*;

    #[test]
    fn round_trip() {
        let written = of_answer(&head("http://a/x", &["accept", "b"], "one two"));
        let Some(StoredRecord::Answer(read_again)) = read(&written) else { panic!("an answer") };
        assert_eq!(of_answer(&read_again), written);
        assert_eq!((&*read_again.url, read_again.vary.len(), read_again.fields.len()), ("http://a/x", 2, 2));
        let note = of_varies("http://a/x", &["accept".into()], 7);
        assert!(
            matches!(read(&note), Some(StoredRecord::Varies(url, fields, 7)) if url == "http://a/x" && fields.len() == 1)
        );
    }

    /// For any truncation or changed byte: a response or nothing, and no more memory than there are bytes.
    #[test]
    fn damaged_records() {
        let written = of_answer(&head("http://a/x", &["accept"], "one"));
        for end in 0..written.len() {
            assert!(read(&written[..end]).is_none());
            for byte in [0, 1, 0x7F, 0xFF] {
                let mut changed = written.clone();
                changed[end] = byte;
                let _ = read(&changed);
            }
        }
    }
}
