//! Parts of a response (RFC 9111 sections 3.3 and 3.4): the range and version of a 206 ([`Version`]), the assembly of a range
//! from stored parts ([`Layout`]), and the list of these, which is an entry of the store beside them.
//!
//! Each part is an entry with its own head, which contains its range, its lifetime, and the tags for purges. The list
//! is a hint: a part that is missing, or of another version, is fetched again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use http::StatusCode;

use super::cached_body::CachedBody;
use super::entry::{CacheEntry, CachedHead, ResponseOrder};
use super::key::SelectingRequest;
use super::store::{CacheStore, StoreLocation};
use crate::protocol::date::date;
use crate::protocol::fields::{Fields, number, split_once};
use crate::protocol::names::KnownField;
use crate::protocol::transformed;
use crate::site;

/// Returns the range of a 206 (RFC 9110 section 14.4), and the length of the whole. `None`: it has none, or several.
pub(crate) fn content_range(fields: &Fields) -> Option<(Range<u64>, u64)> {
    let mut lines = fields.all(KnownField::CONTENT_RANGE);
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let is_multipart = |media: &[u8]| media.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"));
    if fields.get(KnownField::CONTENT_TYPE).is_some_and(is_multipart) {
        return None;
    }
    let (range, total) = split_once(line.strip_prefix(b"bytes ")?, b'/')?;
    let (first, last) = split_once(range, b'-')?;
    // A number that overflows is invalid.
    let exact = |digits| number(digits).filter(|&number| number < u64::MAX);
    let (first, last, total) = (exact(first)?, exact(last)?, exact(total)?);
    (first <= last && last < total).then_some((first..last + 1, total))
}

/// Returns the value of `Range` for a non-empty part (RFC 9110 section 14.1.2).
pub(crate) fn range(part: &Range<u64>) -> String {
    format!("bytes={}", label(part))
}

/// Returns the label of a part within its response.
pub(crate) fn label(part: &Range<u64>) -> String {
    format!("{}-{}", part.start, part.end - 1)
}

/// The label of the list of parts.
pub(crate) const LIST: &str = "list";

/// A version of a representation, whose parts may be combined (RFC 9111 section 3.4).
#[derive(Debug, Clone)]
pub(crate) struct Version {
    /// Its strong validator; without one, no two parts are known to be of the same version.
    pub(crate) validator: Option<Box<[u8]>>,
    /// The length of the whole.
    pub(crate) total: u64,
}

impl Version {
    /// Returns the version of a part.
    pub(crate) fn of(part: &Fields) -> Option<Version> {
        let (_, total) = content_range(part)?;
        Some(Version { validator: validator(part).map(Box::from), total })
    }

    /// Returns whether a part is of this version.
    pub(crate) fn has(&self, part: &Fields) -> bool {
        let same = |version: Version| version.total == self.total && version.validator == self.validator;
        self.validator.is_some() && Version::of(part).is_some_and(same)
    }
}

/// Returns the strong validator of a response (RFC 9110 section 8.8.1), as used in `If-Range`: a strong entity tag, or
/// `Last-Modified` if the response was made at least a second later (section 8.8.2.2).
pub(crate) fn validator(fields: &Fields) -> Option<&[u8]> {
    if let Some(tag) = fields.get(KnownField::ETAG) {
        return tag.starts_with(b"\"").then_some(tag);
    }
    let (modified, made) = (fields.get(KnownField::LAST_MODIFIED)?, fields.get(KnownField::DATE)?);
    (date(made)?.0 >= date(modified)?.0.saturating_add(1000)).then_some(modified)
}

/// The assembly of a requested range.
#[derive(Debug, Clone)]
pub(crate) enum Layout {
    /// From listed parts, and fetches of the gaps between them.
    Listed(StoredRanges),
    /// From slices: parts of this length, which begin at multiples of it.
    Slices(u64),
}

impl Layout {
    /// Returns the part that begins at `at`, before `end`: a stored one, or one to fetch. It may extend beyond the end of
    /// the whole.
    pub(crate) fn part(&self, at: u64, end: u64) -> Range<u64> {
        match self {
            Layout::Listed(listed) => listed.part(at, end),
            Layout::Slices(size) => {
                let start = at / size * size;
                start..start.saturating_add(*size)
            }
        }
    }
}

/// The ranges of stored parts.
#[derive(Debug, Clone)]
pub(crate) struct StoredRanges(Vec<Range<u64>>);

/// The most gaps that are fetched to complete a range; with more, the range is fetched in another way.
const MOST_GAPS: usize = 4;

impl StoredRanges {
    /// Parses a stored list.
    pub(crate) fn of(content: &CachedBody) -> StoredRanges {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
        let parts = content.pieces().concat();
        let parts = parts.chunks_exact(16).map(|ends| number(&ends[..8])..number(&ends[8..]));
        StoredRanges(parts.filter(|part| part.start < part.end).collect())
    }

    /// Returns one of the parts.
    pub(crate) fn any(&self) -> Option<Range<u64>> {
        self.0.last().cloned()
    }

    /// Returns the stored part with `at`, or the gap there, before `end`.
    fn part(&self, at: u64, end: u64) -> Range<u64> {
        let stored = self.0.iter().filter(|part| part.contains(&at)).max_by_key(|part| part.end);
        let next = self.0.iter().map(|part| part.start).filter(|&start| start > at).min();
        stored.cloned().unwrap_or_else(|| at..next.map_or(end, |next| next.min(end)))
    }

    /// Returns whether a range is stored completely.
    pub(crate) fn has(&self, wanted: &Range<u64>) -> bool {
        self.missing(wanted) == (0, 0)
    }

    /// Returns whether enough of a range is stored to fetch only the rest: half of it, with few gaps.
    pub(crate) fn is_worth_completing(&self, wanted: &Range<u64>) -> bool {
        let (gaps, missing) = self.missing(wanted);
        gaps <= MOST_GAPS && missing <= (wanted.end - wanted.start) / 2
    }

    /// Returns the number of gaps in a range, and their total size in bytes.
    fn missing(&self, wanted: &Range<u64>) -> (usize, u64) {
        let (mut at, mut gaps, mut missing) = (wanted.start, 0, 0);
        while at < wanted.end {
            let part = self.part(at, wanted.end);
            if !self.0.contains(&part) {
                (gaps, missing) = (gaps + 1, missing + (part.end - part.start));
            }
            at = part.end;
        }
        (gaps, missing)
    }
}

impl CachedHead {
    /// Returns the head of the whole that a part belongs to.
    pub(crate) fn whole(&self) -> CachedHead {
        let mut fields = self.fields.clone();
        transformed::cut(&mut fields);
        fields.remove(KnownField::CONTENT_RANGE);
        self.with(StatusCode::OK, fields)
    }

    fn with(&self, status: StatusCode, fields: Fields) -> CachedHead {
        CachedHead {
            status,
            fields,
            freshness: self.freshness.clone(),
            url: self.url.clone(),
            vary: self.vary.clone(),
            tags: self.tags.clone(),
            groups_seen: AtomicU64::new(self.groups_seen.load(Ordering::Relaxed)),
            outdated: AtomicBool::new(self.is_outdated()),
            not_before: AtomicU32::new(0),
            number: self.number,
            order: self.order,
        }
    }

    /// Returns the head of a part of this response.
    pub(crate) fn part(&self, part: &Range<u64>, total: u64) -> CachedHead {
        let mut head = self.whole();
        head.status = StatusCode::PARTIAL_CONTENT;
        head.fields.set(KnownField::CONTENT_RANGE, format!("bytes {}/{total}", label(part)).as_bytes());
        head
    }

    #[cfg(any(feature = "admin", test))]
    /// Returns whether it is the head of a list of parts, which is not a response.
    pub(super) fn is_of_list(&self) -> bool {
        self.status == OF_LIST
    }
}

/// The status of a list, which no stored response has. The other fields are from one of its parts.
const OF_LIST: StatusCode = StatusCode::CONTINUE;

/// The most parts that are listed; the oldest ones are dropped.
const MOST_LISTED: usize = 64;

impl CacheStore {
    /// Lists a stored part, beside others of its version, or in place of those of an older one.
    pub(crate) fn list_part(&'static self, list: u128, head: &Arc<CachedHead>, since: u64) {
        let (Some(version), Some((part, _))) = (Version::of(&head.fields), content_range(&head.fields)) else { return };
        let mut listed = None;
        self.put_made(list, |stored| {
            let before = stored.and_then(CacheEntry::head);
            let is_newest = before.is_none_or(|before| head.supersedes(before));
            let parts = match stored {
                Some(CacheEntry::Answer(before, content)) if version.has(&before.fields) => StoredRanges::of(content),
                _ if is_newest => StoredRanges(Vec::new()),
                _ => return None,
            };
            let newest = before.filter(|_| !is_newest).unwrap_or(head);
            let head = Arc::new(newest.with(OF_LIST, newest.fields.clone()));
            let content = list_of(parts, part);
            let entry = CacheEntry::of(&head, &content);
            listed = Some((head, content));
            Some(entry)
        });
        if let Some((head, content)) = listed {
            let _ = self.keep_put(list, head, content, since);
        }
    }

    /// Returns the location of a part of a response that is stored completely.
    pub(crate) fn part_of_whole(
        &'static self,
        key: &site::Key,
        place: StoreLocation,
        head: &CachedHead,
        part: &str,
    ) -> Option<StoreLocation> {
        if place.varies {
            return Some(self.part_of(place, part));
        }
        // The URL has no variants.
        self.place(key, &head.url, &Fields::new(), head, Some(part)).ok()
    }

    /// Removes all that is stored under a URL and is older than the server's current version. `false`: there is a newer response to this
    /// request, or a newer part.
    pub(crate) fn forget_older(
        &self,
        key: &site::Key,
        url: &str,
        request: &dyn SelectingRequest,
        part: &str,
        order: ResponseOrder,
    ) -> bool {
        let name = self.name_of_url(url);
        let Some(noted) = self.noted(name) else { return true };
        let whole = self.of_several(key, url, (&noted.fields, noted.number), request);
        let is_newer = |place: StoreLocation| {
            let stored = self.entries.peek(&place.own);
            stored.as_ref().and_then(CacheEntry::head).is_some_and(|stored| !order.supersedes(stored.order))
        };
        if [whole, self.part_of(whole, part), self.part_of(whole, LIST)].into_iter().any(is_newer) {
            return false;
        }
        self.forget_note(name, noted.number);
        true
    }
}

/// Returns a list with one more part; the oldest ones may be dropped.
fn list_of(StoredRanges(mut parts): StoredRanges, part: Range<u64>) -> CachedBody {
    let within = |inner: &Range<u64>, outer: &Range<u64>| outer.start <= inner.start && inner.end <= outer.end;
    parts.retain(|listed| !within(listed, &part));
    if !parts.iter().any(|listed| within(&part, listed)) {
        parts.push(part);
    }
    let surplus = parts.len().saturating_sub(MOST_LISTED);
    let ends = parts[surplus..].iter().flat_map(|part| [part.start, part.end]);
    let bytes: Vec<u8> = ends.flat_map(u64::to_le_bytes).collect();
    CachedBody::One(bytes.into())
}
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::store::tests::{self, KEY};
    use super::*;

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn ranges() {
        let check = |lines: &[&str], expected: Option<(Range<u64>, u64)>| {
            let fields: Fields = lines.iter().map(|line| ("content-range", *line)).collect();
            assert_eq!(content_range(&fields), expected, "{lines:?}");
        };
        check(&["bytes 0-4/10"], Some((0..5, 10)));
        check(&["bytes 9-9/10"], Some((9..10, 10)));
        check(&["bytes 4-9/10", "bytes 4-9/10"], None);
        for odd in [
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes 0-4/*",
            "bytes */10",
            "bytes 0-4",
            "lines 0-4/10",
            "bytes 0-/10",
            "bytes -4/10",
            "bytes 0-99999999999999999999/999999999999999999999",
            "",
        ] {
            check(&[odd], None);
        }
        assert_eq!(range(&(5..6)), "bytes=5-5");
    }

    #[test]
    fn versions() {
        let check = |one: &[(&str, &str)], other: &[(&str, &str)], expected: bool| {
            let part = |lines: &[(&str, &str)], range| -> Fields {
                lines.iter().copied().chain([("content-range", range)]).collect()
            };
            let version = Version::of(&part(one, "bytes 0-4/10")).expect("a part");
            assert_eq!(version.has(&part(other, "bytes 5-9/10")), expected, "{one:?} {other:?}");
            assert!(!version.has(&part(other, "bytes 5-9/11")), "{one:?} {other:?}");
        };
        let dated = |date| [("last-modified", EARLY), ("date", date)];
        check(&[("etag", "\"a\"")], &[("etag", "\"a\"")], true);
        check(&[("etag", "\"a\"")], &[("etag", "\"b\"")], false);
        check(&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], false);
        check(&[("etag", "\"a\""), ("last-modified", EARLY)], &[("etag", "\"a\"")], true);
        check(&dated(LATE), &dated(LATE), true);
        check(&dated(EARLY), &dated(EARLY), false);
        check(&[("last-modified", EARLY)], &[("last-modified", EARLY)], false);
        check(&[("etag", "\"a\"")], &dated(LATE), false);
        check(&[], &[], false);
    }

    proptest! {
        /// For any stored parts, a range is assembled from adjacent parts, each of which extends it; and only missing ones are fetched.
        #[test]
        fn assembly_of_ranges(parts in prop::collection::vec((0_u64..50, 1_u64..20), 0..8), start in 0_u64..50, length in 1_u64..50) {
            let parts: Vec<_> = parts.into_iter().map(|(start, length)| start..start + length).collect();
            let (layout, wanted) = (StoredRanges(parts.clone()), start..start + length);
            let (mut at, mut missing) = (wanted.start, 0);
            while at < wanted.end {
                let part = layout.part(at, wanted.end);
                prop_assert!(part.contains(&at));
                if !parts.contains(&part) {
                    prop_assert!(part.start == at && part.end <= wanted.end);
                    prop_assert!(part.clone().all(|byte| !parts.iter().any(|part| part.contains(&byte))));
                    missing += part.end - part.start;
                }
                at = part.end;
            }
            let there = wanted.clone().filter(|byte| parts.iter().any(|part| part.contains(byte))).count() as u64;
            prop_assert_eq!(missing, length - there);
            prop_assert!(!layout.is_worth_completing(&wanted) || 2 * there >= length);
            prop_assert_eq!(layout.has(&wanted), there == length);
        }
    }

    /// Parts of one version are listed together; a part of another replaces them, and their number is bounded.
    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "a list of one part")]
    fn parts_are_listed_by_version() {
        let store = tests::store(8 << 20);
        let list = |head: CachedHead| {
            store.list_part(1, &Arc::new(head), store.purges());
            match store.entries.peek(&1) {
                Some(CacheEntry::Answer(_, content)) => StoredRanges::of(&content).0,
                _ => panic!("a list"),
            }
        };
        let whole = tests::head("http://a/x", &[], "");
        assert_eq!(list(whole.part(&(0..5), 1000)), [0..5]);
        assert_eq!(list(whole.part(&(8..9), 1000)), [0..5, 8..9]);
        assert_eq!(list(whole.part(&(1..3), 1000)), [0..5, 8..9]);
        assert_eq!(list(whole.part(&(7..10), 1000)), [0..5, 7..10]);
        for at in 0..100 {
            list(whole.part(&(10 * at..10 * at + 1), 1000));
        }
        assert_eq!(list(whole.part(&(999..1000), 1000)).len(), MOST_LISTED);
        assert_eq!(list(whole.part(&(0..5), 1001)), [0..5]);
        let mut weak = whole.part(&(5..6), 1001);
        weak.fields.set("etag", b"W/\"a\"");
        assert_eq!(list(weak), [5..6]);
    }

    fn ordered(part: &Range<u64>, total: u64, (asked, came): (u64, u64)) -> Arc<CachedHead> {
        let order = ResponseOrder { asked, came, made: None };
        Arc::new(CachedHead { order, ..tests::head(URL, &[], "").part(part, total) })
    }

    const URL: &str = "http://a/x";

    /// A part that was requested earlier and arrives later is listed if it is of the same version.
    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "a list of one part")]
    fn late_parts_of_the_same_version_are_listed() {
        let store = tests::store(8 << 20);
        let check = |part: Range<u64>, total, order, expected: (&[Range<u64>], u64)| {
            store.list_part(1, &ordered(&part, total, order), store.purges());
            let Some(CacheEntry::Answer(head, content)) = store.entries.peek(&1) else { panic!("a list") };
            assert_eq!((&*StoredRanges::of(&content).0, head.order.asked), expected, "{part:?} {total} {order:?}");
            assert!(head.is_of_list());
        };
        check(5..9, 10, (5, 6), (&[5..9], 5));
        check(0..5, 10, (4, 7), (&[5..9, 0..5], 5));
        check(0..5, 11, (4, 8), (&[5..9, 0..5], 5));
        check(0..5, 11, (9, 10), (&[0..5], 9));
    }

    /// Stored responses of an older version are removed, but not for a response that is older itself.
    #[test]
    fn older_versions_are_removed() {
        let (store, request) = (tests::store(8 << 20), Fields::new());
        for (part, order) in [(0..5, (5, 6)), (5..9, (7, 8))] {
            let (head, part) = (ordered(&part, 10, order), label(&part));
            let place = store.place(&KEY, URL, &request, &head, Some(&part)).expect("a place");
            store.keep(place.own, head, CachedBody::One("x".into()), store.purges()).expect("kept");
        }
        let check = |asked: u64, came: u64, expected: bool| {
            let order = ResponseOrder { asked, came, made: None };
            assert_eq!(store.forget_older(&KEY, URL, &request, "0-4", order), expected, "{asked} {came}");
            for part in ["0-4", "5-8"] {
                let place = store.part_place(&KEY, URL, &request, part);
                let is_stored = place.is_some_and(|place| store.entries.contains_key(&place.own));
                assert_eq!(is_stored, !expected, "{asked} {came} {part}");
            }
        };
        check(4, 9, false);
        check(7, 10, true);
        assert_eq!(store.entries.len(), 0);
    }
}
