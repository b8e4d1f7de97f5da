//! The query parameters by which responses are told apart: one reading of a query for what is stored and for what the server is sent.
//! Pure; on the hot path; shared with the compiler.
//!
//! Servers read queries in ways of their own: some separate parameters at `;` as well, PHP takes
//! `page[]` and `+page` for `page`, and `a.b` for `a_b`, others ignore case. So a parameter is left out of a key only if nobody may read a keyed one out of it; or if
//! the server is sent what is keyed and nothing else (`send=keyed`), which leaves nothing to read in another way.

use std::borrow::Cow;

use crate::canonical::{decodes_to, encoded_parameter, escape};
use crate::site::Text;

/// The parameters with these names, with a mark before each: appended to `out`. `alone`: those that have these very names.
pub(super) fn keyed(names: &[Text], alone: bool, query: &str, out: &mut String) {
    let mut mark = '?';
    for name in names {
        for (pair, spelt, value) in pairs(query) {
            let exact = decodes_to(spelt, name);
            if !exact && (alone || !may_be(pair, name)) {
                continue;
            }
            out.push(mark);
            mark = '&';
            // Another spelling may be another parameter, and a name without a value another than an empty one.
            if alone || exact && value.is_some() {
                out.push_str(&spelling(name));
                out.push('=');
                out.push_str(value.unwrap_or_default());
            } else {
                out.push_str(pair);
            }
        }
    }
}

/// Whether a query has this parameter, or something that a server may take for it. `is` says whether a value is the wanted one.
pub(super) fn has(name: &str, query: &str, is: impl Fn(&str) -> bool) -> bool {
    pairs(query).any(
        |(pair, spelt, value)| {
            if decodes_to(spelt, name) { is(value.unwrap_or_default()) } else { may_be(pair, name) }
        },
    )
}

/// What stands between `&`: all of it, the name, and the value behind `=`.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str, Option<&str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once('=') {
        Some((name, value)) => (pair, name, Some(value)),
        None => (pair, pair, None),
    })
}

/// The name as it is keyed and sent, whatever its spelling in a request.
fn spelling(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if name.bytes().all(plain) { Cow::Borrowed(name) } else { Cow::Owned(encoded_parameter(name)) }
}

/// Whether some server reads the parameter `name` out of what stands between two `&`.
fn may_be(pair: &str, name: &str) -> bool {
    pair.split(';').any(|part| {
        let spelt = part.split('=').next().unwrap_or_default();
        reduced(decoded(spelt)).eq(reduced(name.bytes()))
    })
}

/// A name without all that a server may not look at: blanks before it, what is in brackets or behind a NUL, case, and which of the marks it is
/// that PHP turns into `_`.
fn reduced(name: impl Iterator<Item = u8>) -> impl Iterator<Item = u8> {
    let name = name.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c));
    let name = name.take_while(|byte| !matches!(byte, b'[' | 0));
    name.map(|byte| if matches!(byte, b'.' | b' ') { b'_' } else { byte.to_ascii_lowercase() })
}

/// What the name of a parameter means, decoded as forms are.
fn decoded(spelt: &str) -> impl Iterator<Item = u8> {
    let mut rest = spelt.as_bytes();
    std::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        let (value, after) = match byte {
            b'%' => escape(after).unwrap_or((b'%', after)),
            b'+' => (b' ', after),
            byte => (byte, after),
        };
        rest = after;
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::view::query_pairs;

    fn has_others(names: &[Text], query: &str) -> bool {
        query_pairs(query).any(|(spelt, _)| !names.iter().any(|name| decodes_to(spelt, name)))
    }

    fn shown(names: &[&'static str], alone: bool, query: &str) -> String {
        let names: Vec<Text> = names.iter().map(|name| Text::Borrowed(name)).collect();
        let mut out = String::new();
        keyed(&names, alone, query, &mut out);
        out
    }

    #[test]
    fn what_counts() {
        let check = |query: &str, whole: &str, alone: &str| {
            let names = ["page", "sort_by"];
            assert_eq!(
                (shown(&names, false, query), shown(&names, true, query)),
                (whole.into(), alone.into()),
                "{query}"
            );
        };
        check("", "", "");
        check("x=1&&y", "", "");
        check("sort_by=up&x=1&page=2", "?page=2&sort_by=up", "?page=2&sort_by=up");
        check("page=2&page=1", "?page=2&page=1", "?page=2&page=1");
        check("page", "?page", "?page=");
        check("page=", "?page=", "?page=");
        check("page=a=b;c", "?page=a=b;c", "?page=a=b;c");
        check("p%61ge=2", "?page=2", "?page=2");
        // What some server reads as one of these.
        for odd in [
            "page[]=2",
            "page%5B%5D=2",
            "page%5Bx=2",
            "+page=2",
            "%20%09page=2",
            "Page=2",
            "PAGE",
            "page%00x=2",
            "a=1;page=2",
            "a;+PAGE[b]=2;c",
            ";page",
        ] {
            check(odd, &format!("?{odd}"), "");
            check(&format!("page=1&{odd}&page=3"), &format!("?page=1&{odd}&page=3"), "?page=1&page=3");
        }
        for odd in ["sort.by=1", "sort+by=1", "sort%20by[]=1", "Sort_By=1"] {
            check(odd, &format!("?{odd}"), "");
        }
        // And what none does.
        for other in ["pages=2", "xpage=2", "pag=e", "x=page", "[page]=2", "page-2=1", "a=1;pages=2", "x[page]=1"] {
            check(other, "", "");
        }
        assert_eq!(shown(&["a[]", "é"], true, "a%5b%5d=1&%C3%A9=2"), "?a%5B%5D=1&%C3%A9=2");
        assert_eq!(shown(&["a[]"], false, "a=1&a[]=2"), "?a=1&a%5B%5D=2");
        assert_eq!(shown(&[], false, "page=1"), "");
    }

    #[test]
    fn present() {
        let check = |query: &str, any: bool, one: bool| {
            assert_eq!(
                (has("preview", query, |_| true), has("preview", query, |value| value == "1")),
                (any, one),
                "{query}"
            );
        };
        check("", false, false);
        check("previews=1", false, false);
        check("preview=1", true, true);
        check("preview=0", true, false);
        check("x=1;preview=0", true, true);
        check("+Preview[]", true, true);
    }

    proptest! {
        /// Two queries with one key are one to a server that reads them plainly; what it is sent is keyed, and in one form.
        #[test]
        fn one_reading(one in "[&;=+%5Bb.a\\[P]{0,12}", other in "[&;=+%5Bb.a\\[P]{0,12}") {
            let names = [Text::Borrowed("a"), Text::Borrowed("b")];
            let plainly = |query: &str| -> Vec<Vec<String>> {
                let of = |name: &Text| query_pairs(query).filter(|(spelt, _)| decodes_to(spelt, name)).map(|(_, value)| value.to_owned()).collect();
                names.iter().map(of).collect()
            };
            for alone in [false, true] {
                let key = |query: &str| shown(&["a", "b"], alone, query);
                if key(&one) == key(&other) {
                    prop_assert_eq!(plainly(&one), plainly(&other));
                }
            }
            let sent = shown(&["a", "b"], true, &one);
            let sent = sent.strip_prefix('?').unwrap_or(&sent);
            prop_assert!(!has_others(&names, sent), "{}", sent);
            prop_assert_eq!(plainly(sent), plainly(&one));
            let again = shown(&["a", "b"], true, sent);
            prop_assert_eq!(again.trim_start_matches('?'), sent);
        }
    }
}
