//! The requested ranges of a body: `Range` (RFC 9110 section 14). Pure.

use std::ops::Range;

use crate::protocol::fields::{Fields, members, number, split_once};
use crate::protocol::names::KnownField;

/// The requested part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RangeRequest {
    /// All of it: there is no `Range`, or it is invalid, or has too many parts.
    All,
    /// These ranges, which are within the body.
    Parts(Vec<Range<u64>>),
    /// No satisfiable range (section 15.5.17).
    Nothing,
}

/// The most parts that are sent. A server may ignore a `Range` (section 14.2), and should ignore many small or
/// overlapping ones (section 17.15).
const MOST: usize = 16;

/// Returns the ranges that a request wants of a body of `length` bytes.
pub(crate) fn wanted(request: &Fields, length: u64) -> RangeRequest {
    let Some(specs) = line(request).and_then(specs) else { return RangeRequest::All };
    let mut parts: Vec<Range<u64>> = Vec::new();
    for spec in specs {
        let part = match spec {
            (Some(first), last) => first..last.map_or(length, |last| last.saturating_add(1).min(length)),
            // Section 14.1.2: a suffix longer than the body is all of it, even of an empty one, which `Content-Range` can't
            // express.
            (None, Some(1..)) if length == 0 => return RangeRequest::All,
            (None, Some(suffix)) => length.saturating_sub(suffix)..length,
            (None, None) => return RangeRequest::All,
        };
        if part.start < part.end {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        return RangeRequest::Nothing;
    }
    let overlap = parts
        .iter()
        .enumerate()
        .any(|(at, part)| parts[at + 1..].iter().any(|other| part.start < other.end && other.start < part.end));
    if parts.len() > MOST || overlap { RangeRequest::All } else { RangeRequest::Parts(parts) }
}

/// Returns whether the single range of a request begins after `far`, or is a suffix, which may do so.
pub(crate) fn is_far(request: &Fields, far: u64) -> bool {
    let specs = line(request).and_then(specs);
    matches!(specs.as_deref(), Some([(Some(first), _)]) if *first > far)
        || matches!(specs.as_deref(), Some([(None, Some(_))]))
}

/// Returns the first byte of the single range of a request; 0 if it is not known yet.
pub(crate) fn first(request: &Fields) -> u64 {
    match line(request).and_then(specs).as_deref() {
        Some([(Some(first), _)]) => *first,
        _ => 0,
    }
}

/// Returns the single `Range` field of a request.
fn line(request: &Fields) -> Option<&[u8]> {
    let mut lines = request.all(KnownField::RANGE);
    lines.next().filter(|_| lines.next().is_none())
}

/// A first and a last byte, one of which may be missing.
type Spec = (Option<u64>, Option<u64>);

/// Parses a `Range` in bytes; `None` if it is malformed (section 14.1.1).
fn specs(line: &[u8]) -> Option<Vec<Spec>> {
    let (unit, set) = split_once(line, b'=')?;
    if !unit.trim_ascii().eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for spec in members(set) {
        let (first, last) = split_once(spec, b'-')?;
        let spec = (place(first)?, place(last)?);
        if matches!(spec, (Some(first), Some(last)) if last < first) || spec == (None, None) {
            return None;
        }
        specs.push(spec);
    }
    (!specs.is_empty()).then_some(specs)
}

/// Parses optional digits; a number that overflows becomes the largest number.
fn place(digits: &[u8]) -> Option<Option<u64>> {
    match digits.trim_ascii() {
        b"" => Some(None),
        digits => number(digits).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(range: &str, length: u64, expected: RangeRequest) {
        let fields: Fields = [("range", range)].into_iter().collect();
        assert_eq!(wanted(&fields, length), expected, "{range} of {length}");
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "a list of one part")]
    fn parts() {
        let parts = |parts: &[Range<u64>]| RangeRequest::Parts(parts.to_vec());
        check("bytes=0-4", 10, parts(&[0..5]));
        check("Bytes = 0-4", 10, parts(&[0..5]));
        check("bytes=5-", 10, parts(&[5..10]));
        check("bytes=-3", 10, parts(&[7..10]));
        check("bytes=-30", 10, parts(&[0..10]));
        check("bytes=9-99999999999999999999", 10, parts(&[9..10]));
        check("bytes=0-0, 5-6 ,,-1", 10, parts(&[0..1, 5..7, 9..10]));
        check("bytes=10-", 10, RangeRequest::Nothing);
        check("bytes=10-,0-1", 10, parts(&[0..2]));
        check("bytes=0-", 0, RangeRequest::Nothing);
        check("bytes=0-0", 0, RangeRequest::Nothing);
        check("bytes=-0", 0, RangeRequest::Nothing);
        check("bytes=-5", 0, RangeRequest::All);
        check("bytes=0-,-5", 0, RangeRequest::All);
        check("bytes=-0", 10, RangeRequest::Nothing);
        for odd in ["bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "bytes 0-4", "lines=0-4", "bytes=0-4;", "bytes=+1-2"]
        {
            check(odd, 10, RangeRequest::All);
        }
        check("bytes=0-4,4-6", 10, RangeRequest::All);
        let many: Vec<String> = (0..17).map(|at| format!("{}-{}", 2 * at, 2 * at)).collect();
        check(&format!("bytes={}", many.join(",")), 100, RangeRequest::All);
    }

    #[test]
    fn far_ranges() {
        let cases = [
            ("bytes=7-", true),
            ("bytes=7-9", true),
            ("bytes=6-9", false),
            ("bytes=-7", true),
            ("bytes=7-8,10-11", false),
            ("bytes=-", false),
            ("x", false),
        ];
        for (range, expected) in cases {
            assert_eq!(is_far(&[("range", range)].into_iter().collect(), 6), expected, "{range}");
        }
        let twice = [("range", "bytes=7-"), ("range", "bytes=7-")].into_iter().collect();
        assert!(!is_far(&twice, 6) && first(&twice) == 0);
        for (range, expected) in [("bytes=7-", 7), ("bytes=7-9", 7), ("bytes=-7", 0), ("bytes=7-8,10-11", 0), ("x", 0)]
        {
            assert_eq!(first(&[("range", range)].into_iter().collect()), expected, "{range}");
        }
    }
}
