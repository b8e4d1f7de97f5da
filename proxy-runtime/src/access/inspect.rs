//! `block`: searches requests for forbidden patterns ([`Inspector`]). Pure.
//!
//! All patterns of a request are searched together, and each part of the request is read once, whatever the number of patterns.
//! A prefilter finds candidates by the first letters of patterns; these are compared. A request with too many false candidates does not
//! slow it down: from some point on an automaton (Aho and Corasick, 1975) takes over, which is slower and takes linear time.

mod prefilter;

use std::ops::ControlFlow;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use self::prefilter::Prefilter;
use crate::context::facts::Facts;
use crate::context::view::cookie_values;
use crate::protocol::canonical;
use crate::site::{Blocks, Where};

/// The length of the shortest pattern, in bytes.
pub const SHORTEST: usize = prefilter::GRAM;

/// Searches requests for patterns.
pub struct Inspector {
    /// For each rule, whether it only logs.
    log_only: Vec<bool>,
    texts: Vec<Box<[u8]>>,
    /// One for long patterns, one for the others; if there are any.
    prefilters: Vec<Prefilter>,
    automaton: AhoCorasick,
    /// For each pattern, the places and rules that it belongs to.
    meanings: Vec<Vec<(usize, usize)>>,
    places: Vec<Where>,
    /// The index of `headers` among the places.
    any_header: Option<usize>,
}

/// The matches so far, as rule numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatternMatches {
    /// The rule that refuses the request.
    pub refused: Option<usize>,
    /// The rule that only logs it.
    pub noted: Option<usize>,
}

/// Reusable memory of an [`Inspector`].
#[derive(Debug, Default)]
pub struct Scratch {
    decoded: Vec<u8>,
    lower: Vec<u8>,
}

impl Inspector {
    /// Builds an inspector for these rules, whose patterns are in lower case and have [`SHORTEST`] bytes or more, within the
    /// compiler's limits.
    pub fn new(blocks: &Blocks) -> Inspector {
        let patterns = || blocks.rules.iter().flat_map(|rule| &*rule.patterns);
        let mut texts: Vec<Box<[u8]>> = patterns().map(|(_, text)| text.as_bytes().into()).collect();
        let mut places: Vec<Where> = patterns().map(|(place, _)| place.clone()).collect();
        texts.sort_unstable();
        texts.dedup();
        places.sort_unstable();
        places.dedup();
        let mut meanings = vec![Vec::new(); texts.len()];
        for (number, rule) in blocks.rules.iter().enumerate() {
            for (place, text) in rule.patterns.iter() {
                let text = texts.binary_search_by(|known| (**known).cmp(text.as_bytes()));
                if let (Ok(text), Ok(place)) = (text, places.binary_search(place)) {
                    meanings[text].push((place, number));
                }
            }
        }
        let (long, short): (Vec<usize>, Vec<usize>) =
            (0..texts.len()).partition(|&text| texts[text].len() >= prefilter::LONG);
        let automaton = AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(&texts);
        Inspector {
            log_only: blocks.rules.iter().map(|rule| rule.log_only).collect(),
            prefilters: [long, short].iter().filter_map(|which| Prefilter::new(&texts, which)).collect(),
            any_header: places.binary_search(&Where::AnyHeader).ok(),
            texts,
            automaton: automaton.expect("texts within the compiler's limits"),
            meanings,
            places,
        }
    }

    /// Returns its memory in bytes.
    pub fn size(&self) -> usize {
        self.automaton.memory_usage()
            + self.prefilters.iter().map(Prefilter::size).sum::<usize>()
            + self.texts.iter().map(|text| text.len()).sum::<usize>()
    }

    /// Searches a request's head.
    pub fn head(&self, facts: &Facts<'_>, scratch: &mut Scratch) -> PatternMatches {
        let mut found = PatternMatches::default();
        for (number, place) in self.places.iter().enumerate() {
            let lower = &mut scratch.lower;
            let mut scan = |text: &[u8]| self.scan((number, None), text, lower, &mut found);
            match place {
                Where::Path => encoded(facts.path, false, &mut scratch.decoded, &mut scan),
                Where::Query => encoded(facts.query.unwrap_or_default(), true, &mut scratch.decoded, &mut scan),
                Where::Header(name) if self.any_header.is_none() => facts.fields.all(name).for_each(scan),
                // Each field is scanned once, for its own name as well.
                Where::Header(_) => {}
                Where::AnyHeader => facts.fields.raw().for_each(|(name, value)| {
                    self.scan((number, self.header(name)), value, lower, &mut found);
                }),
                Where::Cookie(name) => cookie_values(facts.fields, name).for_each(scan),
                Where::Body => {}
            }
        }
        found
    }

    /// Returns the index of `header NAME` among the places.
    fn header(&self, name: &[u8]) -> Option<usize> {
        let is = |place: &Where| matches!(place, Where::Header(known) if name.eq_ignore_ascii_case(known.as_bytes()));
        self.places.iter().position(is)
    }

    /// Searches the beginning of a request's body.
    pub fn body(&self, beginning: &[u8], scratch: &mut Scratch) -> PatternMatches {
        let mut found = PatternMatches::default();
        if let Ok(number) = self.places.binary_search(&Where::Body) {
            self.scan((number, None), beginning, &mut scratch.lower, &mut found);
        }
        found
    }

    /// Searches a text for the patterns of one place, and of another that it belongs to as well.
    fn scan(
        &self,
        (place, other): (usize, Option<usize>),
        text: &[u8],
        lower: &mut Vec<u8>,
        found: &mut PatternMatches,
    ) {
        if found.refused.is_some() || text.len() < SHORTEST {
            return;
        }
        lower.clear();
        lower.extend_from_slice(text);
        lower.make_ascii_lowercase();
        prefilter::padded(lower);
        let within = (lower.as_slice(), text.len());
        let mut take = |index: usize| {
            for (_, rule) in self.meanings[index].iter().filter(|(of, _)| *of == place || Some(*of) == other) {
                let known = if self.log_only[*rule] { &mut found.noted } else { &mut found.refused };
                known.get_or_insert(*rule);
            }
            if found.refused.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let sifted = self.prefilters.iter().all(|prefilter| prefilter.search(&self.texts, within, &mut take));
        if !sifted {
            let mut all = self.automaton.find_overlapping_iter(&lower[..text.len()]);
            // Repeated and incomplete results are both fine.
            let _ = all.try_for_each(|matched| take(matched.pattern().as_usize()));
        }
    }
}

/// Scans a text as it is, and percent-decoded once if that differs. Invalid escapes stay as they are.
fn encoded(text: &str, plus: bool, decoded: &mut Vec<u8>, scan: &mut impl FnMut(&[u8])) {
    scan(text.as_bytes());
    if !text.bytes().any(|byte| byte == b'%' || plus && byte == b'+') {
        return;
    }
    decoded.clear();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match first {
            b'%' => canonical::escape(after).unwrap_or((first, after)),
            b'+' if plus => (b' ', after),
            _ => (first, after),
        };
        decoded.push(byte);
        rest = after;
    }
    scan(decoded);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Block;

    fn inspector(texts: &[&str]) -> Inspector {
        let patterns: Vec<_> = texts.iter().map(|text| (Where::Body, (*text).to_owned().into())).collect();
        let rule = |text: &(Where, _)| Block {
            name: "a".into(),
            log_only: false,
            status: 403,
            patterns: vec![text.clone()].into(),
        };
        Inspector::new(&Blocks { id: 0, rules: patterns.iter().map(rule).collect::<Vec<_>>().into(), body: 1 })
    }

    /// Checks which pattern is found first.
    fn check(texts: &[&str], body: &str, expected: Option<usize>) {
        let found = inspector(texts).body(body.as_bytes(), &mut Scratch::default()).refused;
        assert_eq!(found, expected, "{texts:?} in {body}");
    }

    #[test]
    fn texts() {
        check(&["abc", "bcd"], "xxABCxx", Some(0));
        check(&["abc", "bcd"], "ab bcd", Some(1));
        check(&["abc", "abcd"], "abcd", Some(0));
        check(&["abcx", "abcd"], "abcd", Some(1));
        check(&["abc"], "ab", None);
        check(&["abc"], "", None);
        check(&["abcdef"], "abcde", None);
        check(&["../"], "a/../b", Some(0));
        check(&["äbc"], "xäbc", Some(0));
        // Bytes after the end, and those of earlier texts, are not searched.
        check(&["ab\0"], "xab", None);
        check(&["abcdef\0"], "abcdef", None);
    }

    /// Patterns are found in any position, whatever the lengths of the others.
    #[test]
    fn found_in_any_position() {
        for length in SHORTEST..12 {
            for beside in SHORTEST..12 {
                let (text, other) = (&"0123456789abcdef"[..length], &"qrstuvwxyzmno"[..beside]);
                let inspector = inspector(&[other, text]);
                let check = |body: &str, expected| {
                    let found = inspector.body(body.as_bytes(), &mut Scratch::default()).refused;
                    assert_eq!(found, expected, "{text} and {other} in {body}");
                };
                for before in 0..70 {
                    for behind in [0, 1, 40] {
                        let body = format!("{}{text}{}", "-".repeat(before), "+".repeat(behind));
                        check(&body, Some(1));
                        check(&body.replace(text, &text[1..]), None);
                    }
                }
            }
        }
    }

    /// A text with many false candidates is searched by the automaton, with the same result.
    #[test]
    fn many_false_candidates() {
        let alike: Vec<String> = (0..50).map(|number| format!("aaaaaaaaaa{number:02}")).collect();
        let alike: Vec<&str> = alike.iter().map(String::as_str).collect();
        let long = "a".repeat(10_000);
        check(&alike, &long, None);
        check(&alike, &format!("{long}07"), Some(7));
        let inspector = inspector(&alike);
        let sifted = |text: &str| {
            let mut padded = text.as_bytes().to_vec();
            prefilter::padded(&mut padded);
            let never = &mut |_| ControlFlow::Continue(());
            inspector.prefilters[0].search(&inspector.texts, (&padded, text.len()), never)
        };
        assert!(!sifted(&long));
        assert!(sifted(&"b".repeat(10_000)));
    }
}
