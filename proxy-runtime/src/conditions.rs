//! Whether a request wants what there is: `If-None-Match`, `If-Modified-Since` (RFC 9110 section 13). Pure.

use crate::cache::freshness::date;
use crate::fields::Fields;

/// Whether a condition fails, so that a 412 is due (section 13.2.2, steps 1 and 2): the client means another representation.
pub(crate) fn fails(request: &Fields, answer: &Fields) -> bool {
    if request.contains("if-match") {
        let current = answer.text("etag");
        // Section 13.1.1: the strong comparison.
        return !request
            .all("if-match")
            .filter_map(|line| std::str::from_utf8(line).ok())
            .any(|line| line.trim() == "*" || tags(line).any(|tag| !tag.starts_with("W/") && current == Some(tag)));
    }
    let since = request.text("if-unmodified-since").and_then(date);
    let modified = answer.text("last-modified").and_then(date);
    matches!((since, modified), (Some(since), Some(modified)) if modified > since)
}

/// Whether the client has this answer already, so that a 304 will do (section 13.2.2).
pub(crate) fn has_it(request: &Fields, answer: &Fields) -> bool {
    if request.contains("if-none-match") {
        let current = answer.text("etag");
        return request.all("if-none-match").filter_map(|line| std::str::from_utf8(line).ok()).any(|line| {
            // Section 13.1.2: the weak comparison.
            line.trim() == "*" || tags(line).any(|tag| current.is_some_and(|current| weakly_equal(tag, current)))
        });
    }
    let since = request.text("if-modified-since").and_then(date);
    let modified = answer.text("last-modified").and_then(date);
    matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
}

/// Whether a range is meant of this answer (section 13.1.5): what `If-Range` says is it, strongly compared.
pub(crate) fn is_of(request: &Fields, answer: &Fields) -> bool {
    let Some(said) = request.text("if-range") else { return !request.contains("if-range") };
    if said.starts_with('"') || said.starts_with("W/") {
        return !said.starts_with("W/") && answer.text("etag") == Some(said);
    }
    // A date must be the very date; that it is strong (section 8.8.2.2) needs a `Date` a second later.
    let (Some(said), Some(modified)) = (date(said), answer.text("last-modified").and_then(date)) else { return false };
    said == modified && answer.text("date").and_then(date).is_some_and(|date| date.0 >= modified.0 + 1000)
}

/// Section 8.8.3.2.
pub(crate) fn weakly_equal(one: &str, other: &str) -> bool {
    one.strip_prefix("W/").unwrap_or(one) == other.strip_prefix("W/").unwrap_or(other)
}

/// The entity tags of a list; they may have commas in them.
fn tags(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let quote = rest.find('"')?;
        let end = quote + 1 + rest[quote + 1..].find('"')? + 1;
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
        // The tag goes before the date.
        check(&[("if-none-match", "\"x\""), ("if-modified-since", LATE)], &tagged, false);
        check(&[("if-modified-since", EARLY)], &tagged, true);
        check(&[("if-modified-since", LATE)], &tagged, true);
        check(&[("if-modified-since", EARLY)], &[("last-modified", LATE)], false);
        check(&[("if-modified-since", "soon")], &tagged, false);
        check(&[("if-modified-since", EARLY)], &[], false);
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
        // The tag goes before the date.
        check(&[("if-match", "\"a\""), ("if-unmodified-since", EARLY)], &tagged, false);
        check(&[("if-unmodified-since", "soon")], &tagged, false);
    }

    #[test]
    fn if_range() {
        let check = |said: &str, answer: &[(&str, &str)], expected: bool| {
            assert_eq!(is_of(&fields(&[("if-range", said)]), &fields(answer)), expected, "{said} {answer:?}");
        };
        check("\"a\"", &[("etag", "\"a\"")], true);
        check("W/\"a\"", &[("etag", "W/\"a\"")], false);
        check("\"a\"", &[("etag", "\"b\"")], false);
        check(EARLY, &[("last-modified", EARLY), ("date", LATE)], true);
        check(EARLY, &[("last-modified", EARLY), ("date", EARLY)], false);
        check(LATE, &[("last-modified", EARLY), ("date", LATE)], false);
        assert!(is_of(&Fields::new(), &Fields::new()));
    }
}
