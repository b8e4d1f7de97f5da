//! Evaluates conditional requests: `If-None-Match`, `If-Modified-Since` (RFC 9110 section 13). Pure.

use crate::protocol::date::Moment;
use crate::protocol::date::date;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;

/// Returns whether a precondition fails, so that a 412 is due (section 13.2.2, steps 1 and 2).
pub(crate) fn fails(request: &Fields, answer: &Fields) -> bool {
    if request.contains(KnownField::IF_MATCH) {
        let current = answer.get(KnownField::ETAG);
        // Section 13.1.1: strong comparison.
        let mut lines = request.all(KnownField::IF_MATCH);
        return !lines
            .any(|line| is_any(line) || tags(line).any(|tag| !tag.starts_with(b"W/") && current == Some(tag)));
    }
    let Some(since) = request.get(KnownField::IF_UNMODIFIED_SINCE).and_then(date) else { return false };
    answer.get(KnownField::LAST_MODIFIED).and_then(date).is_some_and(|modified| modified > since)
}

/// Returns whether the client has this response already, so that a 304 suffices (section 13.2.2).
pub(crate) fn has_it(request: &Fields, answer: &Fields) -> bool {
    if request.contains(KnownField::IF_NONE_MATCH) {
        let current = answer.get(KnownField::ETAG);
        // Section 13.1.2: weak comparison.
        let is_current = |tag: &[u8]| current.is_some_and(|current| weakly_equal(tag, current));
        return request.all(KnownField::IF_NONE_MATCH).any(|line| is_any(line) || tags(line).any(is_current));
    }
    let Some(since) = request.get(KnownField::IF_MODIFIED_SINCE).and_then(date) else { return false };
    // RFC 9111 section 4.3.2: without `Last-Modified`, `Date` is used.
    let modified = answer.get(KnownField::LAST_MODIFIED).or(answer.get(KnownField::DATE)).and_then(date);
    modified.is_some_and(|modified| modified <= since)
}

/// Returns whether the client has the weak form of a response's strong entity tag, and not the tag itself: its copy was
/// compressed.
pub(crate) fn has_weak_form(request: &Fields, answer: &Fields) -> bool {
    let Some(tag) = answer.get(KnownField::ETAG).filter(|tag| tag.starts_with(b"\"")) else { return false };
    let has = |wanted: &dyn Fn(&[u8]) -> bool| request.all(KnownField::IF_NONE_MATCH).flat_map(tags).any(wanted);
    has(&|one| one.strip_prefix(b"W/") == Some(tag)) && !has(&|one| one == tag)
}

/// Returns whether a range applies to this response (section 13.1.5): whether `If-Range` matches in strong comparison. A response
/// without `Date` counts as made `now`.
pub(crate) fn is_of(request: &Fields, answer: &Fields, now: Moment) -> bool {
    let Some(said) = request.get(KnownField::IF_RANGE) else { return true };
    if said.starts_with(b"\"") || said.starts_with(b"W/") {
        return !said.starts_with(b"W/") && answer.get(KnownField::ETAG) == Some(said);
    }
    // A date must be equal; for it to be strong (section 8.8.2.2), `Date` must be a second later: there may be another change
    // within the second.
    let (Some(said), Some(modified)) = (date(said), answer.get(KnownField::LAST_MODIFIED).and_then(date)) else {
        return false;
    };
    let made = answer.get(KnownField::DATE).map_or(Some(now), date);
    said == modified && made.is_some_and(|made| made.0 >= modified.0.saturating_add(1000))
}

/// Weak comparison (section 8.8.3.2). Tags are bytes: they may contain any non-ASCII byte (section 8.8.3, `etagc`).
pub(crate) fn weakly_equal(one: &[u8], other: &[u8]) -> bool {
    one.strip_prefix(b"W/").unwrap_or(one) == other.strip_prefix(b"W/").unwrap_or(other)
}

fn is_any(line: &[u8]) -> bool {
    line.trim_ascii() == b"*"
}

/// Returns the entity tags of a list, which may contain commas.
fn tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        let quote = memchr::memchr(b'"', rest)?;
        let end = quote + 1 + memchr::memchr(b'"', &rest[quote + 1..])? + 1;
        let tag = &rest[..end];
        rest = &rest[end..];
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        lines.iter().copied().collect()
    }

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn not_modified() {
        let check = |request: &[(&str, &str)], answer: &[(&str, &str)], expected: bool| {
            assert_eq!(has_it(&fields(request), &fields(answer)), expected, "{request:?} {answer:?}");
        };
        let tagged = [("etag", "\"a,b\""), ("last-modified", EARLY)];
        check(&[], &tagged, false);
        check(&[("if-none-match", "\"a,b\"")], &tagged, true);
        check(&[("if-none-match", "\"x\" , W/\"a,b\"")], &tagged, true);
        check(&[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")], &tagged, true);
        check(&[("if-none-match", "*")], &[], true);
        check(&[("if-none-match", "\"a\", b\"")], &tagged, false);
        // The entity tag takes precedence over the date.
        check(&[("if-none-match", "\"x\""), ("if-modified-since", LATE)], &tagged, false);
        check(&[("if-modified-since", EARLY)], &tagged, true);
        check(&[("if-modified-since", LATE)], &tagged, true);
        check(&[("if-modified-since", EARLY)], &[("last-modified", LATE)], false);
        check(&[("if-modified-since", "soon")], &tagged, false);
        // Without `Last-Modified`, `Date` is used.
        check(&[("if-modified-since", EARLY)], &[("date", EARLY)], true);
        check(&[("if-modified-since", EARLY)], &[("date", LATE)], false);
        check(&[("if-modified-since", LATE)], &[("date", EARLY), ("last-modified", "soon")], false);
        check(&[("if-modified-since", LATE)], &[], false);
        check(&[("if-modified-since", EARLY)], &[], false);
        let odd = |name: &str, tag: &[u8]| -> Fields { [(name, tag)].into_iter().collect() };
        let tagged = odd("etag", b"\"\xe9\"");
        assert!(has_it(&odd("if-none-match", b"W/\"\xe8\", \"\xe9\""), &tagged));
        assert!(!has_it(&odd("if-none-match", b"\"\xe8\""), &tagged));
        assert!(!fails(&odd("if-match", b"\"\xe9\""), &tagged) && fails(&odd("if-match", b"\"\xe8\""), &tagged));
        assert!(
            is_of(&odd("if-range", b"\"\xe9\""), &tagged, Moment(0))
                && !is_of(&odd("if-range", b"\"\xe8\""), &tagged, Moment(0))
        );
    }

    #[test]
    fn weak_forms() {
        let check = |said: &str, tag: &str, expected: bool| {
            assert_eq!(
                has_weak_form(&fields(&[("if-none-match", said)]), &fields(&[("etag", tag)])),
                expected,
                "{said}"
            );
        };
        check("W/\"a\"", "\"a\"", true);
        check("\"b\", W/\"a\"", "\"a\"", true);
        check("\"a\"", "\"a\"", false);
        check("W/\"a\", \"a\"", "\"a\"", false);
        check("W/\"a\"", "W/\"a\"", false);
        check("W/\"b\"", "\"a\"", false);
        check("*", "\"a\"", false);
    }

    #[test]
    fn preconditions() {
        let check = |request: &[(&str, &str)], answer: &[(&str, &str)], expected: bool| {
            assert_eq!(fails(&fields(request), &fields(answer)), expected, "{request:?} {answer:?}");
        };
        let tagged = [("etag", "\"a\""), ("last-modified", LATE)];
        check(&[], &tagged, false);
        check(&[("if-match", "\"x\", \"a\"")], &tagged, false);
        check(&[("if-match", "\"x\"")], &tagged, true);
        check(&[("if-match", "*")], &tagged, false);
        check(&[("if-match", "\"a\"")], &[("etag", "W/\"a\"")], true);
        check(&[("if-unmodified-since", LATE)], &tagged, false);
        check(&[("if-unmodified-since", EARLY)], &tagged, true);
        // The entity tag takes precedence over the date.
        check(&[("if-match", "\"a\""), ("if-unmodified-since", EARLY)], &tagged, false);
        check(&[("if-unmodified-since", "soon")], &tagged, false);
    }

    #[test]
    fn if_range() {
        let check = |said: &str, answer: &[(&str, &str)], expected: bool| {
            let now = date(LATE.as_bytes()).expect("a date");
            assert_eq!(is_of(&fields(&[("if-range", said)]), &fields(answer), now), expected, "{said} {answer:?}");
        };
        check("\"a\"", &[("etag", "\"a\"")], true);
        check("W/\"a\"", &[("etag", "W/\"a\"")], false);
        check("\"a\"", &[("etag", "\"b\"")], false);
        check(EARLY, &[("last-modified", EARLY), ("date", LATE)], true);
        check(EARLY, &[("last-modified", EARLY), ("date", EARLY)], false);
        check(LATE, &[("last-modified", EARLY), ("date", LATE)], false);
        // Made now.
        check(EARLY, &[("last-modified", EARLY)], true);
        check(LATE, &[("last-modified", LATE)], false);
        check(LATE, &[("last-modified", EARLY)], false);
        check(EARLY, &[("last-modified", LATE)], false);
        check(EARLY, &[("last-modified", EARLY), ("date", "soon")], false);
        check("soon", &[("last-modified", "soon")], false);
        check(EARLY, &[], false);
        assert!(is_of(&Fields::new(), &Fields::new(), Moment(0)));
    }
}
