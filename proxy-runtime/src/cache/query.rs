//! The query parameters of cache keys: one interpretation of a query for the key and for the request to the server.
//! Pure; on the hot path; shared with the compiler.
//!
//! Servers read queries in different ways: some separate parameters at `;` as well, PHP takes `page[]` and `+page` for `page`, and `a.b`
//! for `a_b`, others ignore case. A parameter is therefore left out of a key only if no server may read a keyed one out of it; or if the
//! server receives only the keyed parameters (`send=keyed`), which can be read in one way only.

use std::borrow::Cow;

use crate::protocol::canonical::{decodes_to, encoded_parameter, escape};
use crate::site::{Key, Query, Text};

/// Appends the keyed parameters of a query to `out`, with a separator before each.
pub(super) fn keyed(key: &Key, query: Option<&str>, out: &mut String) {
    match (&key.query, query) {
        (_, None) => {}
        (Query::Whole, Some(query)) => {
            out.push('?');
            out.push_str(query);
        }
        (Query::Only(names), Some(query)) => listed(names, key.send_keyed, query, out),
        (Query::Except { names, sorted }, Some(query)) => others(names, *sorted, query, out),
    }
}

/// The parameters with these names. `alone`: only those with exactly these names.
fn listed(names: &[Text], alone: bool, query: &str, out: &mut String) {
    let mut mark = '?';
    for name in names {
        for (pair, spelt, value) in pairs(query) {
            let exact = decodes_to(spelt, name);
            if !exact && (alone || !may_be(pair, name)) {
                continue;
            }
            out.push(mark);
            mark = '&';
            // Another spelling may be another parameter, and a name without a value may differ from one with an empty
            // value.
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

/// The parameters except those with these names. One with a `;` always counts, as some servers read several parameters in it.
fn others(excepted: &[Text], sorted: bool, query: &str, out: &mut String) {
    let is_excepted = |spelt: &str| excepted.iter().any(|pattern| is_named(spelt, pattern));
    let kept = || pairs(query).filter(|(pair, spelt, _)| pair.contains(';') || !is_excepted(spelt));
    let mut mark = '?';
    let mut push = |pair: &str| {
        out.push(mark);
        mark = '&';
        out.push_str(pair);
    };
    // Parameters that some server may take for one keep their order, as their values form a list, or the last one
    // counts.
    if !sorted || query.contains(';') || kept().is_sorted_by(|(_, one, _), (_, next, _)| as_read(one).le(as_read(next)))
    {
        return kept().for_each(|(pair, ..)| push(pair));
    }
    let mut kept: Vec<_> = kept().collect();
    kept.sort_by(|(_, one, _), (_, other, _)| as_read(one).cmp(as_read(other)));
    kept.iter().for_each(|(pair, ..)| push(pair));
}

/// Returns whether a name, as spelt in a query, is this one, or begins with the text before its `*`.
fn is_named(spelt: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => decoded(spelt).take(prefix.len()).eq(prefix.bytes()),
        None => decodes_to(spelt, pattern),
    }
}

/// Returns whether a query has this parameter, or one that a server may take for it. `is` compares the value.
pub(super) fn has(name: &str, query: &str, is: impl Fn(&str) -> bool) -> bool {
    pairs(query).any(
        |(pair, spelt, value)| {
            if decodes_to(spelt, name) { is(value.unwrap_or_default()) } else { may_be(pair, name) }
        },
    )
}

/// Returns the text between `&` characters: the whole pair, the name, and the value after `=`.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str, Option<&str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once('=') {
        Some((name, value)) => (pair, name, Some(value)),
        None => (pair, pair, None),
    })
}

/// Returns the name as it is keyed and sent, whatever its spelling in a request.
fn spelling(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if name.bytes().all(plain) { Cow::Borrowed(name) } else { Cow::Owned(encoded_parameter(name)) }
}

/// Returns whether some server reads the parameter `name` in a pair.
fn may_be(pair: &str, name: &str) -> bool {
    pair.split(';').any(|part| {
        let spelt = part.split('=').next().unwrap_or_default();
        as_read(spelt).eq(reduced(name.bytes()))
    })
}

/// Returns a name in a query, reduced to what all servers distinguish.
fn as_read(spelt: &str) -> impl Iterator<Item = u8> {
    reduced(decoded(spelt))
}

/// Reduces a name to what all servers distinguish: without leading blanks, brackets, text after a NUL, case, and the difference between the
/// characters that PHP turns into `_`.
fn reduced(name: impl Iterator<Item = u8>) -> impl Iterator<Item = u8> {
    let name = name.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c));
    let name = name.take_while(|byte| !matches!(byte, b'[' | 0));
    name.map(|byte| if matches!(byte, b'.' | b' ') { b'_' } else { byte.to_ascii_lowercase() })
}

/// Returns the decoded name or value of a parameter, with form decoding.
pub(super) fn decoded(spelt: &str) -> impl Iterator<Item = u8> {
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
    use crate::context::view::query_pairs;

    fn has_others(names: &[Text], query: &str) -> bool {
        query_pairs(query).any(|(spelt, _)| !names.iter().any(|name| decodes_to(spelt, name)))
    }

    fn shown(names: &[&'static str], alone: bool, query: &str) -> String {
        let names: Vec<Text> = names.iter().map(|name| Text::Borrowed(name)).collect();
        shown_by(Query::Only(names.into()), alone, query)
    }

    fn shown_by(counts: Query, send_keyed: bool, query: &str) -> String {
        let none = || Vec::new().into();
        let key = Key {
            query: counts,
            send_keyed,
            follows_search: false,
            headers: none(),
            cookies: none(),
            device: None,
            zone: 0,
            site: 0,
        };
        let mut out = String::new();
        keyed(&key, Some(query), &mut out);
        out
    }

    fn but_for(names: &[&'static str], sorted: bool, query: &str) -> String {
        let names: Vec<Text> = names.iter().map(|name| Text::Borrowed(name)).collect();
        shown_by(Query::Except { names: names.into(), sorted }, true, query)
    }

    #[test]
    fn keyed_parameters() {
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
        // Some servers read these as one of the listed parameters.
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
        // No server does this with these.
        for other in ["pages=2", "xpage=2", "pag=e", "x=page", "[page]=2", "page-2=1", "a=1;pages=2", "x[page]=1"] {
            check(other, "", "");
        }
        assert_eq!(shown(&["a[]", "é"], true, "a%5b%5d=1&%C3%A9=2"), "?a%5B%5D=1&%C3%A9=2");
        assert_eq!(shown(&["a[]"], false, "a=1&a[]=2"), "?a=1&a%5B%5D=2");
        assert_eq!(shown(&[], false, "page=1"), "");
    }

    #[test]
    fn omitted_parameters() {
        let check = |query: &str, kept: &str, sorted: &str| {
            let names = ["fbclid", "utm_*", "é*"];
            assert_eq!(
                (but_for(&names, false, query), but_for(&names, true, query)),
                (kept.into(), sorted.into()),
                "{query}"
            );
        };
        check("", "", "");
        check("&&", "", "");
        check("fbclid=1&utm_source=a&utm_=&utm_&%C3%A9t%C3%A9=1", "", "");
        check("b=2&fbclid=1&a=1&utm_x=3", "?b=2&a=1", "?a=1&b=2");
        check("b=2&&a", "?b=2&a", "?a&b=2");
        check("a=2&b=1&a=1", "?a=2&b=1&a=1", "?a=2&a=1&b=1");
        check("%75tm_x=1&fb%63lid&f%62=1", "?f%62=1", "?f%62=1");
        // Names other than these.
        check(
            "utm=1&UTM_x=1&xfbclid=1&fbclid2=1",
            "?utm=1&UTM_x=1&xfbclid=1&fbclid2=1",
            "?fbclid2=1&utm=1&UTM_x=1&xfbclid=1",
        );
        check("utm%5Fx=1&+utm_x=1&x=utm_x", "?+utm_x=1&x=utm_x", "?+utm_x=1&x=utm_x");
        // Some servers read several parameters in one.
        check("utm_x=1;b=2&a=1", "?utm_x=1;b=2&a=1", "?utm_x=1;b=2&a=1");
        // Some servers read one parameter in several: `b`, `B`, `b[]`.
        check("c=1&b[]=2&B=1&b=3&a", "?c=1&b[]=2&B=1&b=3&a", "?a&b[]=2&B=1&b=3&c=1");
        assert_eq!(but_for(&[], true, "b=2&a=1"), "?a=1&b=2");
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
        /// Two queries with the same key are equal to a server that parses them plainly; the query that it receives is
        /// keyed and normalized.
        #[test]
        fn equal_keys_are_equal_queries(one in "[&;=+%5Bb.a\\[P]{0,12}", other in "[&;=+%5Bb.a\\[P]{0,12}") {
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
            // Two queries without the excepted parameters are equal in each interpretation of some server.
            let forms = |query: &str| -> Vec<Vec<String>> {
                let separated = |at: &'static [char]| query.split(at).filter(|pair| !pair.is_empty() && !pair.starts_with("a=") && *pair != "a");
                let of = |name: &'static str, at| separated(at)
                    .filter(move |pair| as_read(pair.split('=').next().unwrap_or_default()).eq(name.bytes()))
                    .map(str::to_owned).collect::<Vec<_>>();
                ["a", "b", "p"].into_iter().flat_map(|name| [of(name, &['&']), of(name, &['&', ';'])]).collect()
            };
            for sorted in [false, true] {
                if but_for(&["a"], sorted, &one) == but_for(&["a"], sorted, &other) {
                    prop_assert_eq!(forms(&one), forms(&other));
                }
                let sent = but_for(&["a"], sorted, &one);
                prop_assert_eq!(&but_for(&["a"], sorted, sent.trim_start_matches('?')), &sent);
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
