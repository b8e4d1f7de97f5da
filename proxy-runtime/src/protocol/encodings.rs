//! The content codings that a client accepts: `Accept-Encoding` (RFC 9110 section 12.5.3). Pure.

use crate::protocol::fields::{Fields, tokens};
use crate::protocol::names::KnownField;

/// Returns the weight of a coding in thousandths; 0 if it is not acceptable. A coding that is not listed has the weight of
/// `*`, if there is one; `identity` is acceptable unless it is excluded, and is preferred without `Accept-Encoding`.
pub fn weight(request: &Fields, coding: &str) -> u16 {
    let (mut named, mut any) = (None, None);
    for item in tokens(request, KnownField::ACCEPT_ENCODING) {
        let mut parts = item.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let given = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
        let weight = given.map_or(1000, quality);
        let gzip = coding == "gzip" && name.eq_ignore_ascii_case(b"x-gzip");
        if name.eq_ignore_ascii_case(coding.as_bytes()) || gzip {
            named = Some(weight);
        } else if name == b"*" {
            any = Some(weight);
        }
    }
    let unsaid = if coding == "identity" { 1 } else { 0 };
    named.or(any).unwrap_or(unsaid)
}

/// Parses a `qvalue` (RFC 9110 section 12.4.2) in thousandths. A malformed one is 0.
pub(crate) fn quality(given: &[u8]) -> u16 {
    match std::str::from_utf8(given).map(str::parse::<f32>) {
        Ok(Ok(weight)) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u16,
        _ => 0,
    }
}

/// Returns whether a client accepts a coding.
pub fn accepts(request: &Fields, coding: &str) -> bool {
    weight(request, coding) > 0
}

/// Returns the index of the coding that a client prefers, among those that it prefers to `identity`; the first of equal
/// ones.
pub fn best<'c>(request: &Fields, offered: impl Iterator<Item = &'c str>) -> Option<usize> {
    let plain = weight(request, "identity");
    let mut best: Option<(usize, u16)> = None;
    for (index, coding) in offered.enumerate() {
        let weight = weight(request, coding);
        if weight > 0 && weight >= plain && best.is_none_or(|(_, other)| weight > other) {
            best = Some((index, weight));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: impl AsRef<[u8]>) -> Fields {
        [("accept-encoding", line)].into_iter().collect()
    }

    #[test]
    fn accepted_codings() {
        let check = |line: &str, coding: &str, expected: bool| {
            assert_eq!(accepts(&fields(line), coding), expected, "{line}: {coding}");
        };
        check("gzip, br", "br", true);
        check("gzip, br", "zstd", false);
        check("gzip;q=0, *", "gzip", false);
        check("gzip;q=0, *", "br", true);
        check("*;q=0", "br", false);
        check("BR; q=0.5", "br", true);
        check("br;q=0.000", "br", false);
        check("br;q=x", "br", false);
        check("br;q=-1", "br", false);
        check("br;q=NaN", "br", false);
        check("x-gzip", "gzip", true);
        check("", "gzip", false);
        check("", "identity", true);
        check("identity;q=0", "identity", false);
        check("*;q=0", "identity", false);
        assert!(!accepts(&Fields::new(), "gzip"));
        // Values that are not UTF-8 are unknown codings, or malformed weights.
        let odd = b"x\xe9, br, identity;q=\xe9;q=1".as_slice();
        assert!(accepts(&fields(odd), "br") && !accepts(&fields(odd), "identity"));
    }

    #[test]
    fn preferred_codings() {
        let check = |line: &str, expected: Option<&str>| {
            let offered = ["zstd", "br", "gzip"];
            assert_eq!(best(&fields(line), offered.into_iter()).map(|index| offered[index]), expected, "{line}");
        };
        check("gzip, deflate, br, zstd", Some("zstd"));
        check("gzip, deflate, br", Some("br"));
        check("gzip;q=1.0, br;q=0.8", Some("gzip"));
        check("identity, gzip;q=0.5", None);
        check("identity;q=0.5, gzip;q=0.5", Some("gzip"));
        check("*", Some("zstd"));
        check("deflate", None);
        check("", None);
    }
}
