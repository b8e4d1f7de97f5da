//! Regular languages over bytes, and a search in them: the shortest, most readable word that is in all of
//! some languages and in none of others ([`word`]).
//!
//! The tables are those of the matchers, so proofs here are true at run time. The search walks the product of the
//! tables, breadth first, and stops beyond [`MAX_STATES`]: the question is then undecided.

use std::collections::HashSet;
use std::rc::Rc;

use regex_automata::Anchored;
use regex_automata::dfa::Automaton;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;

use crate::expression::Table;
use crate::pattern::{Pattern, Segment};

/// The most states of a product that are visited for one question.
pub(super) const MAX_STATES: usize = 1 << 16;

/// The error that a question could not be decided within its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecided;

/// A set of words.
#[derive(Debug, Clone)]
pub(crate) enum Language {
    /// All words.
    Any,
    /// A single word.
    Exactly(Rc<str>),
    /// The paths of a route's pattern.
    Pattern(Rc<[PatternToken]>),
    /// The words in which a table finds a match.
    Table(Rc<Table>),
}

/// A pattern as a sequence of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatternToken {
    /// A byte.
    Byte(u8),
    /// A letter in lower case that also matches in upper case, or any other byte.
    AnyCase(u8),
    /// A segment: one or more bytes other than a slash.
    Segment,
    /// The end, or a slash and anything.
    Rest,
}

/// The state of a component that can't accept any more.
const FAILED: u32 = u32::MAX;
/// The state of a component that accepts any continuation.
const DONE: u32 = u32::MAX - 1;

impl Language {
    /// Returns the paths of a pattern.
    pub(super) fn pattern(pattern: &Pattern) -> Language {
        if pattern.segments.iter().all(|segment| matches!(segment, Segment::Literal(_))) {
            return Language::Exactly(pattern.text.as_str().into());
        }
        let mut tokens = Vec::new();
        for segment in &pattern.segments {
            match segment {
                Segment::Literal(text) => {
                    tokens.extend(b"/".iter().chain(text.as_bytes()).copied().map(PatternToken::Byte))
                }
                Segment::AnyCase(text) => {
                    tokens.push(PatternToken::Byte(b'/'));
                    tokens.extend(text.bytes().map(PatternToken::AnyCase));
                }
                Segment::Capture(_) => tokens.extend([PatternToken::Byte(b'/'), PatternToken::Segment]),
                Segment::Rest => tokens.push(PatternToken::Rest),
            }
        }
        Language::Pattern(tokens.into())
    }

    /// Returns whether the language contains a word. Linear in the word.
    pub(super) fn contains(&self, word: &[u8]) -> bool {
        match self {
            Language::Any => true,
            Language::Exactly(text) => text.as_bytes() == word,
            Language::Pattern(_) | Language::Table(_) => {
                let end = word.iter().fold(self.start(), |state, &byte| self.next(state, byte));
                self.accepts(end)
            }
        }
    }

    fn start(&self) -> u32 {
        match self {
            Language::Any => DONE,
            Language::Exactly(_) | Language::Pattern(_) => 0,
            Language::Table(table) => {
                let config = start::Config::new().anchored(Anchored::No);
                table.start_state(&config).map_or(FAILED, |state| settle(table, state))
            }
        }
    }

    fn next(&self, state: u32, byte: u8) -> u32 {
        match self {
            _ if state == FAILED || state == DONE => state,
            Language::Any => DONE,
            Language::Exactly(text) if text.as_bytes().get(state as usize) == Some(&byte) => state + 1,
            Language::Exactly(_) => FAILED,
            Language::Pattern(tokens) => step(tokens, state, byte),
            Language::Table(table) => settle(table, table.next_state(id(state), byte)),
        }
    }

    /// Returns whether the word that led to a state is in the language.
    fn accepts(&self, state: u32) -> bool {
        match self {
            _ if state == DONE => true,
            _ if state == FAILED => false,
            Language::Any => true,
            Language::Exactly(text) => state as usize == text.len(),
            Language::Pattern(tokens) => {
                // Within a segment, the token after it counts.
                let at = (state / 2 + state % 2) as usize;
                matches!(tokens.get(at), None | Some(PatternToken::Rest))
            }
            Language::Table(table) => table.is_match_state(table.next_eoi_state(id(state))),
        }
    }

    /// Returns the class of a byte; the language does not distinguish bytes of one class.
    fn class(&self, byte: u8) -> u16 {
        match self {
            Language::Any => 0,
            Language::Exactly(text) if text.as_bytes().contains(&byte) => u16::from(byte),
            Language::Exactly(_) => u16::MAX,
            Language::Pattern(tokens)
                if byte == b'/'
                    || tokens.contains(&PatternToken::Byte(byte))
                    || tokens.contains(&PatternToken::AnyCase(byte.to_ascii_lowercase())) =>
            {
                u16::from(byte)
            }
            Language::Pattern(_) => u16::MAX,
            Language::Table(table) => u16::from(table.byte_classes().get(byte)),
        }
    }
}

/// Returns the next state: a pattern's state is twice the index of the next token, plus one within a segment.
fn step(tokens: &[PatternToken], state: u32, byte: u8) -> u32 {
    let (at, within) = ((state / 2) as usize, state % 2 == 1);
    match tokens.get(at) {
        Some(PatternToken::Segment) if byte != b'/' => 2 * at as u32 + 1,
        Some(PatternToken::Segment) if within => step(tokens, state + 1, byte),
        Some(PatternToken::Byte(wanted)) if byte == *wanted => 2 * (at as u32 + 1),
        Some(PatternToken::AnyCase(wanted)) if byte.eq_ignore_ascii_case(wanted) => 2 * (at as u32 + 1),
        Some(PatternToken::Rest) if byte == b'/' => DONE,
        _ => FAILED,
    }
}

/// A table's match may be followed by anything.
fn settle(table: &Table, state: StateID) -> u32 {
    if table.is_match_state(state) {
        DONE
    } else if table.is_dead_state(state) {
        FAILED
    } else {
        state.as_u32()
    }
}

fn id(state: u32) -> StateID {
    StateID::new_unchecked(state as usize)
}

/// Returns the shortest word of bytes of the `alphabet` that is in all of `within` and in none of `without`.
///
/// # Errors
/// More than [`MAX_STATES`] states of the product would have to be visited.
pub(super) fn word(
    within: &[&Language],
    without: &[&Language],
    alphabet: impl Fn(u8) -> bool,
) -> Result<Option<String>, Undecided> {
    let fits = |word: &str| {
        within.iter().all(|language| language.contains(word.as_bytes()))
            && !without.iter().any(|language| language.contains(word.as_bytes()))
            && word.bytes().all(&alphabet)
    };
    let exact = within.iter().find_map(|language| match language {
        Language::Exactly(text) => Some(text),
        _ => None,
    });
    if let Some(exact) = exact {
        return Ok(fits(exact).then(|| exact.to_string()));
    }
    let parts: Vec<&Language> = within.iter().chain(without).copied().collect();
    let hopeless = |states: &[u32]| states[..within.len()].contains(&FAILED) || states[within.len()..].contains(&DONE);
    let accepted = |states: &[u32]| {
        parts
            .iter()
            .zip(states)
            .enumerate()
            .all(|(index, (part, &state))| part.accepts(state) == (index < within.len()))
    };
    let bytes = representatives(&parts, alphabet);
    let start: Rc<[u32]> = parts.iter().map(|part| part.start()).collect();
    let mut found: Vec<(Rc<[u32]>, usize, u8)> = Vec::new();
    let mut known: HashSet<Rc<[u32]>> = HashSet::new();
    if !hopeless(&start) {
        known.insert(start.clone());
        found.push((start, 0, 0));
    }
    let mut next: Vec<u32> = Vec::with_capacity(parts.len());
    let mut at = 0;
    while at < found.len() {
        let states = found[at].0.clone();
        if accepted(&states) {
            return Ok(Some(spell(&found, at)));
        }
        for &byte in &bytes {
            next.clear();
            next.extend(parts.iter().zip(states.iter()).map(|(part, &state)| part.next(state, byte)));
            if !hopeless(&next) && !known.contains(next.as_slice()) {
                let next: Rc<[u32]> = next.as_slice().into();
                known.insert(next.clone());
                found.push((next, at, byte));
            }
        }
        if found.len() > MAX_STATES {
            return Err(Undecided);
        }
        at += 1;
    }
    Ok(None)
}

/// Returns the bytes that led to a state.
fn spell(found: &[(Rc<[u32]>, usize, u8)], mut at: usize) -> String {
    let mut bytes = Vec::new();
    while at != 0 {
        bytes.push(found[at].2);
        at = found[at].1;
    }
    bytes.reverse();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One byte of each class, the most readable one.
fn representatives(parts: &[&Language], alphabet: impl Fn(u8) -> bool) -> Vec<u8> {
    let readable = (b'a'..=b'z').chain(b'0'..=b'9').chain(b'A'..=b'Z').chain([b'-', b'_', b'.', b'/', b'%']);
    let mut seen = HashSet::new();
    let mut bytes = Vec::new();
    for byte in readable.chain(0..=u8::MAX).filter(|&byte| alphabet(byte)) {
        let classes: Vec<u16> = parts.iter().map(|part| part.class(byte)).collect();
        if seen.insert(classes) {
            bytes.push(byte);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::table;

    fn language(pattern: &str) -> Language {
        Language::Table(Rc::new(table(pattern, false).expect("a table")))
    }

    fn check(within: &[&str], without: &[&str], expected: Option<&str>) {
        let all = |patterns: &[&str]| patterns.iter().map(|pattern| language(pattern)).collect::<Vec<_>>();
        let (within, without) = (all(within), all(without));
        let found = word(&within.iter().collect::<Vec<_>>(), &without.iter().collect::<Vec<_>>(), |byte| {
            byte.is_ascii_graphic()
        });
        assert_eq!(found, Ok(expected.map(str::to_owned)));
    }

    #[test]
    fn words() {
        check(&["^a+$"], &[], Some("a"));
        check(&["^a+$"], &["^a$"], Some("aa"));
        check(&["^a+$", "^b+$"], &[], None);
        check(&["^/api/.*$"], &["^/api/v1/.*$"], Some("/api/"));
        check(&["^/api/v1/.*$"], &["^/api/.*$"], None);
        check(&["[.](png|jpg)$", "^/paperless/"], &[], Some("/paperless/.jpg"));
        check(&[], &["^$"], Some("a"));
        check(&["^[0-9]{3}$"], &["^00"], Some("010"));
    }

    #[test]
    fn patterns() {
        let segments = |text: &str| {
            let segment = |part: &str| match part {
                "*" => Segment::Rest,
                "{}" => Segment::Capture("x".to_owned()),
                text if text.starts_with('~') => Segment::AnyCase(text[1..].to_owned()),
                text => Segment::Literal(text.to_owned()),
            };
            text[1..].split('/').map(segment).collect()
        };
        let check = |text: &str, path: &str, expected: bool| {
            let language = Language::pattern(&Pattern { text: text.to_owned(), segments: segments(text) });
            assert_eq!(language.contains(path.as_bytes()), expected, "{text} {path}");
        };
        for (path, expected) in [("/a", true), ("/a/", true), ("/a/b/c", true), ("/ab", false), ("/", false)] {
            check("/a/*", path, expected);
        }
        for (path, expected) in [("/u/1", true), ("/u/1/", false), ("/u/", false), ("/u", false), ("/u/1/2", false)] {
            check("/u/{}", path, expected);
        }
        for (path, expected) in [("/u/1/e", true), ("/u/e/e", true), ("/u//e", false), ("/u/1/f", false)] {
            check("/u/{}/e", path, expected);
        }
        for (path, expected) in [("/Ab/1", true), ("/aB/x", true), ("/ab", false), ("/abc/x", false), ("/aB/", false)] {
            check("/~ab/{}", path, expected);
        }
        check("/~a-%c3%a4", "/A-%C3%A4", true);
        check("/{}/*", "/x", true);
        check("/{}/*", "/", false);
        check("/*", "/", true);
    }

    #[test]
    fn membership() {
        let is_in = |pattern: &str, word: &str| language(pattern).contains(word.as_bytes());
        assert!(is_in("b", "abc") && is_in("^$", "") && is_in("c$", "abc") && !is_in("^b", "abc"));
    }
}
