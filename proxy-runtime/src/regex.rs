//! Regular expressions in a compiled site: [`Regex`] answers yes or no from a DFA that was built at compile time,
//! [`Capturing`] also says where the named groups are.
//!
//! Both take time linear in the input. A `Regex` is bytes in the binary, checked once when first used; it does not
//! allocate. A `Capturing` is compiled once, when first used: a DFA knows no groups. Its memory is bounded by
//! [`CAPTURING_SIZE_LIMIT`], which the compiler holds each pattern to.

use std::borrow::Cow;
use std::sync::OnceLock;

use regex_automata::dfa::{Automaton, sparse};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, Input, meta};

use crate::route::Captures;

/// The most memory, in bytes, that one [`Capturing`] may take for its program.
pub const CAPTURING_SIZE_LIMIT: usize = 1 << 20;

/// A table of the compiler's, read when it is first used.
#[derive(Debug)]
struct Dfa {
    bytes: Cow<'static, [u8]>,
    read: OnceLock<Read>,
}

/// Over bytes in the binary, or over memory of the compiler's own.
#[derive(Debug, Clone)]
enum Read {
    Linked(sparse::DFA<&'static [u8]>),
    Owned(sparse::DFA<Vec<u8>>),
}

impl Dfa {
    const fn new(bytes: Cow<'static, [u8]>) -> Dfa {
        Dfa { bytes, read: OnceLock::new() }
    }

    /// The bytes were made by the compiler of this very version (see `site::VERSION`), so they are a DFA: anything else
    /// is a damaged binary, which must not go on to guess.
    fn read(&self) -> &Read {
        const WRITTEN: &str = "a DFA written by the compiler";
        self.read.get_or_init(|| match &self.bytes {
            Cow::Borrowed(bytes) => Read::Linked(sparse::DFA::from_bytes(bytes).expect(WRITTEN).0),
            Cow::Owned(bytes) => Read::Owned(sparse::DFA::from_bytes(bytes).expect(WRITTEN).0.to_owned()),
        })
    }
}

/// A yes-or-no expression.
#[derive(Debug)]
pub struct Regex(Dfa);

impl Regex {
    /// From the bytes of a sparse DFA that the compiler wrote for this target.
    pub const fn new(bytes: &'static [u8]) -> Regex {
        Regex(Dfa::new(Cow::Borrowed(bytes)))
    }

    /// The same from memory that is not `'static`, for use inside the compiler.
    pub fn owned(bytes: Vec<u8>) -> Regex {
        Regex(Dfa::new(Cow::Owned(bytes)))
    }

    /// Whether the expression matches anywhere within `text`. Linear time, no allocation (but for the first call).
    pub fn is_match(&self, text: &[u8]) -> bool {
        let input = Input::new(text).earliest(true);
        let found = match self.0.read() {
            Read::Linked(dfa) => dfa.try_search_fwd(&input),
            Read::Owned(dfa) => dfa.try_search_fwd(&input),
        };
        // A DFA gives up only on bytes it was told to quit on; the compiler tells it none.
        found.is_ok_and(|found| found.is_some())
    }
}

/// Many expressions in one table: a single walk over a text tells all that match in it.
///
/// The compiler writes each so that it goes on to the end of the text once it has matched; where the walk ends, all that
/// did are listed.
#[derive(Debug)]
pub struct Joint {
    dfa: Dfa,
    anchored: bool,
}

/// Where a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End(StateID);

impl Clone for Joint {
    fn clone(&self) -> Joint {
        Joint { dfa: Dfa::new(self.dfa.bytes.clone()), anchored: self.anchored }
    }
}

impl Joint {
    /// From the bytes of a sparse DFA. `anchored`: all of its expressions begin at the start of the text.
    pub const fn new(bytes: &'static [u8], anchored: bool) -> Joint {
        Joint { dfa: Dfa::new(Cow::Borrowed(bytes)), anchored }
    }

    /// The same from memory that is not `'static`.
    pub fn owned(bytes: Vec<u8>, anchored: bool) -> Joint {
        Joint { dfa: Dfa::new(Cow::Owned(bytes)), anchored }
    }

    /// The bytes of its table.
    pub fn bytes(&self) -> &[u8] {
        &self.dfa.bytes
    }

    /// Whether all of its expressions begin at the start of the text.
    pub fn anchored(&self) -> bool {
        self.anchored
    }

    /// Reads the table, where that has not happened yet: a few milliseconds per megabyte.
    pub fn prepare(&self) {
        self.dfa.read();
    }

    /// Walks over a text. Linear time, no allocation (but for the first call).
    pub fn end(&self, text: &[u8]) -> End {
        match self.dfa.read() {
            Read::Linked(dfa) => walk(dfa, text, self.anchored),
            Read::Owned(dfa) => walk(dfa, text, self.anchored),
        }
    }

    /// The numbers of the expressions that matched.
    pub fn matched(&self, End(state): End) -> impl Iterator<Item = u32> {
        let read = self.dfa.read();
        let count = match read {
            Read::Linked(dfa) if dfa.is_match_state(state) => dfa.match_len(state),
            Read::Owned(dfa) if dfa.is_match_state(state) => dfa.match_len(state),
            _ => 0,
        };
        (0..count).map(move |index| match read {
            Read::Linked(dfa) => dfa.match_pattern(state, index).as_u32(),
            Read::Owned(dfa) => dfa.match_pattern(state, index).as_u32(),
        })
    }
}

fn walk(dfa: &impl Automaton, text: &[u8], anchored: bool) -> End {
    let anchored = if anchored { Anchored::Yes } else { Anchored::No };
    // Both kinds of start are there, as the compiler has said which; and no byte makes these tables give up.
    let Ok(mut state) = dfa.start_state(&start::Config::new().anchored(anchored)) else {
        return End(StateID::ZERO);
    };
    for &byte in text {
        state = dfa.next_state(state, byte);
        if dfa.is_dead_state(state) {
            return End(state);
        }
    }
    End(dfa.next_eoi_state(state))
}

/// An expression whose named groups are wanted.
#[derive(Debug)]
pub struct Capturing {
    pattern: Cow<'static, str>,
    regex: OnceLock<meta::Regex>,
}

impl Capturing {
    /// From a pattern that the compiler has compiled itself, within [`CAPTURING_SIZE_LIMIT`].
    pub const fn new(pattern: Cow<'static, str>) -> Capturing {
        Capturing { pattern, regex: OnceLock::new() }
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Matches `path` and binds group `i` (from 1) to slot `first + i - 1` of `captures`.
    pub fn bind(&self, path: &str, first: u8, captures: &mut Captures) -> bool {
        let regex = self.regex();
        let mut found = regex.create_captures();
        regex.captures(path, &mut found);
        if !found.is_match() {
            return false;
        }
        for group in 1..found.group_len() {
            if let Some(span) = found.get_group(group) {
                captures.bind(usize::from(first) + group - 1, span.start, span.end);
            }
        }
        true
    }

    /// `text` with every match replaced; `$1` and `${name}` in `replacement` stand for groups.
    pub fn replace_all(&self, text: &str, replacement: &str) -> String {
        let regex = self.regex();
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        for found in regex.captures_iter(text) {
            let Some(whole) = found.get_match() else { continue };
            out.push_str(&text[from..whole.start()]);
            found.interpolate_string_into(text, replacement, &mut out);
            from = whole.end();
        }
        out.push_str(&text[from..]);
        out
    }

    fn regex(&self) -> &meta::Regex {
        self.regex.get_or_init(|| compile(&self.pattern).expect("a pattern the compiler accepted"))
    }
}

/// Compiles a pattern as [`Capturing`] does; the compiler calls this to refuse what could not start.
///
/// # Errors
/// The pattern is not one, or needs more than [`CAPTURING_SIZE_LIMIT`].
pub fn compile(pattern: &str) -> Result<meta::Regex, Box<meta::BuildError>> {
    meta::Regex::builder()
        .configure(meta::Regex::config().nfa_size_limit(Some(CAPTURING_SIZE_LIMIT)))
        .build(pattern)
        .map_err(Box::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &'static str, text: &str, replacement: &str, expected: &str) {
        assert_eq!(Capturing::new(pattern.into()).replace_all(text, replacement), expected);
    }

    #[test]
    fn replacing() {
        check("^/old/(.*)$", "/old/a/b", "/new/$1", "/new/a/b");
        check("^/(?<lang>[a-z]{2})/(?<rest>.*)$", "/de/x", "/${rest}/${lang}", "/x/de");
        check("o", "/foo", "0", "/f00");
        check("^$", "/foo", "0", "/foo");
    }
}
