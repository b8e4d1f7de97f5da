//! `No-Vary-Search` (draft-ietf-httpbis-no-vary-search): the parts of a query that do not matter to a response, as the server says. The
//! last such rule of each path is kept, and a response with it is cached under the URL in the form of the rule, where requests that
//! differ only in these parts find it.
//!
//! Such a URL ends in `#` and the number of the rule, which no URL of a request has. A purge of a URL removes the rule of its path, and with
//! it all responses that were cached by it: its number is never used again.

use std::cmp::Ordering::Equal;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::entry::CachedHead;
use super::purges::parts;
use super::query::decoded;
use crate::protocol::canonical::encoded_parameter;
use crate::protocol::fields::Fields;

/// The `No-Vary-Search` rule of a response: a "URL variation config" that is not the default one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoVarySearch {
    /// Decoded names of parameters.
    names: Vec<Vec<u8>>,
    /// Only these parameters count (`except`); otherwise all others do (`params`).
    counts: bool,
    /// `key-order`: the order of parameters is ignored.
    any_order: bool,
}

/// The longest field that is parsed, in bytes.
const LONGEST: usize = 1024;

/// The memory of a path that shares its rule with another one, in bytes.
const OVERHEAD: u64 = 128;

/// The rules may take the store's memory divided by this: space for one rule per small response.
const SHARE: u64 = 8;

impl NoVarySearch {
    /// Parses a response's field. `None`: it is missing, or malformed, which is equivalent.
    pub(crate) fn of(fields: &Fields) -> Option<NoVarySearch> {
        let lines: Vec<&[u8]> = fields.all("no-vary-search").collect();
        if lines.is_empty() || lines.iter().map(|line| line.len()).sum::<usize>() > LONGEST {
            return None;
        }
        let said: Dictionary = Parser::new(&lines.join(b", ".as_slice())).parse().ok()?;
        let any_order = match said.get("key-order") {
            None => false,
            Some(ListEntry::Item(item)) => item.bare_item.as_boolean()?,
            Some(ListEntry::InnerList(_)) => return None,
        };
        let (names, counts) = match (said.get("params"), said.get("except")) {
            (Some(ListEntry::InnerList(names)), None) => (names.items.as_slice(), false),
            (None, Some(ListEntry::InnerList(names))) => (names.items.as_slice(), true),
            (None, None) => (&[][..], false),
            _ => return None,
        };
        let name = |item: &sfv::Item| match &item.bare_item {
            BareItem::String(name) => Some(decoded(name.as_str()).collect()),
            _ => None,
        };
        let names = names.iter().map(name).collect::<Option<Vec<Vec<u8>>>>()?;
        let rule = NoVarySearch { names, counts, any_order };
        (rule.counts || rule.any_order || !rule.names.is_empty()).then_some(rule)
    }

    /// Appends the significant parameters of a query in one form, with a separator before each. Parameters are decoded as in forms.
    fn write(&self, query: &str, out: &mut String) {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let pairs = pairs.map(|(name, value)| (decoded(name).collect::<Vec<u8>>(), value));
        let mut kept: Vec<_> = pairs.filter(|(name, _)| self.names.contains(name) == self.counts).collect();
        kept.sort_by(|(one, _), (other, _)| if self.any_order { one.cmp(other) } else { Equal });
        out.push('?');
        for (index, (name, value)) in kept.iter().enumerate() {
            if index > 0 {
                out.push('&');
            }
            out.push_str(&encoded_parameter(name));
            out.push('=');
            out.push_str(&encoded_parameter(decoded(value).collect::<Vec<u8>>()));
        }
    }
}

impl NoVarySearch {
    /// Returns the form of a URL, with the number of the rule.
    fn form(&self, (path, query): (&str, &str), number: u64) -> String {
        let mut url = path.to_owned();
        self.write(query, &mut url);
        url.push_str(&format!("#{number:x}"));
        url
    }
}

/// The rules of a store, bounded in bytes.
pub(super) struct SearchRules {
    /// There is a rule.
    pub(super) any: AtomicBool,
    /// The rules by path.
    pub(super) rules: Cache<u128, Arc<PathRule>, RuleWeighter>,
    /// The last rule, which other paths are likely to have, too.
    last: Mutex<Option<Arc<NoVarySearch>>>,
    numbers: RandomState,
    made: AtomicU64,
}

pub(super) struct PathRule {
    rule: Arc<NoVarySearch>,
    number: u64,
    /// Its memory in bytes.
    bytes: u64,
}

#[derive(Clone)]
pub(super) struct RuleWeighter;

impl Weighter<u128, Arc<PathRule>> for RuleWeighter {
    fn weight(&self, _: &u128, noted: &Arc<PathRule>) -> u64 {
        noted.bytes
    }
}

impl SearchRules {
    /// Creates an empty set for a store with this much memory.
    pub(super) fn new(memory: u64) -> SearchRules {
        let bytes = memory / SHARE;
        let items = usize::try_from(bytes / OVERHEAD).unwrap_or(usize::MAX).min(1 << 20);
        SearchRules {
            any: AtomicBool::new(false),
            rules: Cache::with_weighter(items, bytes, RuleWeighter),
            last: Mutex::default(),
            numbers: RandomState::new(),
            made: AtomicU64::new(0),
        }
    }

    /// Stores the rule of a path.
    pub(super) fn note(&self, path: u128, rule: NoVarySearch) -> Arc<PathRule> {
        if let Some(noted) = self.rules.get(&path).filter(|noted| *noted.rule == rule) {
            return noted;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (rule, bytes) = match last.as_ref().filter(|last| ***last == rule) {
            Some(last) => (Arc::clone(last), OVERHEAD),
            None => {
                let bytes = OVERHEAD + rule.names.iter().map(|name| name.len() as u64 + 32).sum::<u64>();
                (Arc::clone(last.insert(Arc::new(rule))), bytes)
            }
        };
        drop(last);
        let number = self.numbers.hash_one(self.made.fetch_add(1, Ordering::Relaxed));
        let noted = Arc::new(PathRule { rule, number, bytes });
        self.rules.insert(path, Arc::clone(&noted));
        self.any.store(true, Ordering::Relaxed);
        noted
    }
}

impl PathRule {
    pub(super) fn form(&self, url: (&str, &str)) -> String {
        self.rule.form(url, self.number)
    }
}

impl CachedHead {
    /// Returns the URL in the form of this response's rule.
    pub(crate) fn searched(&self, url: &str) -> Option<String> {
        let (_, number) = self.url.rsplit_once('#')?;
        let number = u64::from_str_radix(number, 16).ok()?;
        Some(NoVarySearch::of(&self.fields)?.form(parts(url), number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(lines: &[&str]) -> Option<NoVarySearch> {
        NoVarySearch::of(&lines.iter().map(|line| ("no-vary-search", *line)).collect())
    }

    #[test]
    fn rules() {
        let check = |line: &str, expected: Option<(&[&str], bool, bool)>| {
            let expected = expected.map(|(names, counts, any_order)| NoVarySearch {
                names: names.iter().map(|name| name.as_bytes().to_vec()).collect(),
                counts,
                any_order,
            });
            assert_eq!(rule(&[line]), expected, "{line}");
        };
        check("params=(\"a\")", Some((&["a"], false, false)));
        check("except=(\"x\" \"y\")", Some((&["x", "y"], true, false)));
        check("except=()", Some((&[], true, false)));
        check("key-order", Some((&[], false, true)));
        check("key-order=?1;x=1, params=(\"a\";y), other=5", Some((&["a"], false, true)));
        check("except=(\"x\"), key-order", Some((&["x"], true, true)));
        check("params=(\"%C3%A9+%E6%B0%97\" \"100%\")", Some((&["é 気", "100%"], false, false)));
        // The default rule, and malformed ones.
        for none in [
            "",
            "params=()",
            "key-order=?0",
            "key-order=\"not a boolean\", params=(\"a\")",
            "key-order=(\"a\")",
            "params=\"not an inner list\"",
            "params=(not-a-string)",
            "params",
            "params=?0",
            "params, except=(\"x\")",
            "params=(\"a\"), except=(\"x\")",
            "params=(), except=()",
            "except=?1",
            "except=(\"a\" 5)",
            "params=(\"a\"",
            "params=(\"é\")",
            &format!("params=(\"{}\")", "a".repeat(LONGEST)),
        ] {
            check(none, None);
        }
        assert_eq!(rule(&["params=(\"a\")", "key-order"]), rule(&["params=(\"a\"), key-order"]));
    }

    /// There is space for the paths of as many small responses as the store can have, and no more, whatever their
    /// rules.
    #[test]
    fn rules_are_bounded() {
        let searches = SearchRules::new(1 << 20);
        for path in 0..500 {
            searches.note(path, rule(&["params=(\"utm\")"]).expect("a rule"));
        }
        assert_eq!((0..500).filter(|path| searches.rules.get(path).is_some()).count(), 500);
        let (one, again) =
            (searches.note(1, rule(&["key-order"]).expect("a rule")), rule(&["key-order"]).expect("a rule"));
        assert_eq!(searches.note(1, again).number, one.number);
        for path in 0..5000_u128 {
            let names = format!("except=(\"{path}{}\")", "a".repeat(900));
            searches.note(path, rule(&[&names]).expect("a rule"));
        }
        assert!(searches.rules.weight() <= 1 << 17 && searches.rules.len() < 200);
    }

    /// The examples of the draft, and others.
    #[test]
    fn forms() {
        let check = |line: &str, one: &str, other: &str, same: bool| {
            let rule = rule(&[line]).expect("a rule");
            let form = |query: &str| {
                let mut out = String::new();
                rule.write(query, &mut out);
                out
            };
            assert_eq!(form(one) == form(other), same, "{line}: {one} {other}: {} {}", form(one), form(other));
        };
        for (one, other) in [
            ("a=x", "%61=%78"),
            ("a=x&&&&", "a=x"),
            ("a=", "a"),
            ("a=%20", "a=+&"),
            ("a=%C3%A9", "a=\u{e9}"),
            ("a=1&b=2", "b=2&a=1"),
            ("a=1&b=2&a=3", "b=2&a=1&a=3"),
        ] {
            check("key-order", one, other, true);
        }
        for (one, other) in
            [("a=1&a=2", "a=2&a=1"), ("a=1&b=2", "a=1"), ("a=1%26b=2", "a=1&b=2"), ("a=b=c", "a%3Db=c"), ("A=1", "a=1")]
        {
            check("key-order", one, other, false);
        }
        check("params=(\"a\")", "a=1&b=2&a=3", "b=2", true);
        check("params=(\"a\")", "b=2&c=3", "c=3&b=2", false);
        check("params=(\"a\")", "A=1", "", false);
        check("params=(\"a b\")", "a+b=1&c", "c&a%20b", true);
        check("except=(\"a\")", "a=1&b=2", "c=3&a=1", true);
        check("except=(\"a\")", "a=1", "a=2", false);
        check("except=()", "a=1", "", true);
        check("except=(\"a\" \"b\"), key-order", "b=1&x=&a=2", "a=2&b=1", true);
    }
}
