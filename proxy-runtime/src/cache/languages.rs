//! Chooses the client's preferred language of a site's list: `Accept-Language` (RFC 9110 section 12.5.4), by lookup (RFC 4647 section 3.4).
//! Pure.

use crate::protocol::encodings::quality;
use crate::protocol::fields::{Fields, tokens};
use crate::protocol::names::KnownField;

/// Returns the language of `offered` that a client prefers; the first one if it accepts none of them. Of two ranges with equal
/// weight, the first counts, as browsers mean it. Costs ranges times languages, without allocation.
pub(crate) fn preferred<'o>(request: &Fields, offered: &'o [impl AsRef<str>]) -> Option<&'o str> {
    let mut best: Option<(u16, &'o str)> = None;
    for item in tokens(request, KnownField::ACCEPT_LANGUAGE) {
        let mut parts = item.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let range = parts.next().unwrap_or_default();
        let given = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
        let weight = given.map_or(1000, quality);
        if weight == 0 || best.is_some_and(|(other, _)| other >= weight) {
            continue;
        }
        if let Some(language) = lookup(range, offered) {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language).or(offered.first().map(AsRef::as_ref))
}

/// Returns the language that matches a range: an equal one, the longest less specific one (`de` for `de-CH`), or the first more
/// specific one (`de-CH` for `de`). `*` matches all others, and selects the first.
fn lookup<'o>(range: &[u8], offered: &'o [impl AsRef<str>]) -> Option<&'o str> {
    let offered = || offered.iter().map(AsRef::as_ref);
    if range == b"*" {
        return offered().next();
    }
    let begins = |long: &[u8], short: &[u8]| {
        long.get(..short.len()).is_some_and(|start| start.eq_ignore_ascii_case(short))
            && matches!(long.get(short.len()), None | Some(b'-'))
    };
    let wider = offered().filter(|language| begins(range, language.as_bytes())).max_by_key(|language| language.len());
    wider.or_else(|| offered().find(|language| !range.is_empty() && begins(language.as_bytes(), range)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen() {
        let check = |lines: &[&str], expected: &str| {
            let fields: Fields = lines.iter().map(|line| ("accept-language", *line)).collect();
            let found = preferred(&fields, &["en", "de", "pt-BR", "zh-Hant"]);
            assert_eq!(found, Some(expected), "{lines:?}");
        };
        check(&[], "en");
        check(&["de"], "de");
        check(&["DE-ch, en"], "de");
        check(&["fr, de;q=0.5, en;q=0.4"], "de");
        check(&["en;q=0.4, de;q=0.5"], "de");
        check(&["en;q=0.4", "de;q=0.5"], "de");
        check(&["de, en"], "de");
        check(&["pt"], "pt-BR");
        check(&["pt-PT, de;q=0.1"], "de");
        check(&["zh-Hant-TW"], "zh-Hant");
        check(&["zh-Hans"], "en");
        check(&["deu"], "en");
        check(&["d"], "en");
        check(&["fr, *;q=0.1, de;q=0.2"], "de");
        check(&["*, de"], "en");
        // Refused, malformed and empty ranges are ignored.
        check(&["de;q=0"], "en");
        check(&["de;q=2, pt-br;q=0.1"], "pt-BR");
        check(&[", ,", ";q=1", "\u{e9}"], "en");
        assert_eq!(preferred(&Fields::new(), &[] as &[&str]), None);
    }
}
