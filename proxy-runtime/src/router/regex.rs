//! Regular expressions in a compiled site: [`Regex`] matches with a DFA that was built at compile time, [`Joint`]
//! matches many at once, [`Capturing`] also finds the named groups.
//!
//! Expressions match bytes, with ASCII classes ([`syntax()`]); the compiler and the binary parse them with the same
//! settings.
//!
//! Both take time linear in the input. A `Regex` is bytes in the binary, checked once when first used; it does not
//! allocate. A `Capturing` is compiled once, when first used: a DFA has no groups. Its memory is bounded by
//! [`CAPTURING_SIZE_LIMIT`], which the compiler enforces for each pattern.

use std::borrow::Cow;
use std::sync::OnceLock;

use regex_automata::dfa::{Automaton, sparse};
use regex_automata::util::syntax;
use regex_automata::{Input, meta};

pub use self::joint::{ENDS, End, Joint, RUN};
use crate::router::captures::Captures;

mod joint;

/// The most memory, in bytes, that one [`Capturing`] may take for its program.
pub const CAPTURING_SIZE_LIMIT: usize = 1 << 20;

/// An expression without captures: a DFA that the compiler has serialized.
#[derive(Debug)]
pub struct Regex {
    bytes: Cow<'static, [u8]>,
    read: OnceLock<Dfa>,
}

/// Bytes in the binary, or owned memory in the compiler.
#[derive(Debug)]
enum Dfa {
    Linked(sparse::DFA<&'static [u8]>),
    Owned(sparse::DFA<Vec<u8>>),
}

impl Regex {
    /// Creates an expression from the bytes of a sparse DFA that the compiler wrote for this target.
    pub const fn new(bytes: &'static [u8]) -> Regex {
        Regex { bytes: Cow::Borrowed(bytes), read: OnceLock::new() }
    }

    /// Creates an expression from owned memory, in the compiler.
    pub fn owned(bytes: Vec<u8>) -> Regex {
        Regex { bytes: Cow::Owned(bytes), read: OnceLock::new() }
    }

    /// Returns whether the expression matches anywhere in `text`. Linear time, no allocation (except in the first
    /// call).
    pub fn is_match(&self, text: &[u8]) -> bool {
        let input = Input::new(text).earliest(true);
        let found = match self.dfa() {
            Dfa::Linked(dfa) => dfa.try_search_fwd(&input),
            Dfa::Owned(dfa) => dfa.try_search_fwd(&input),
        };
        // A DFA only fails on quit bytes; the compiler sets none.
        found.is_ok_and(|found| found.is_some())
    }

    /// Returns the DFA. Its bytes were written by the compiler of this very version (see `site::VERSION`): if they are
    /// invalid, the binary is damaged, and must not continue.
    fn dfa(&self) -> &Dfa {
        const WRITTEN: &str = "a DFA written by the compiler";
        self.read.get_or_init(|| match &self.bytes {
            Cow::Borrowed(bytes) => Dfa::Linked(sparse::DFA::from_bytes(bytes).expect(WRITTEN).0),
            Cow::Owned(bytes) => Dfa::Owned(sparse::DFA::from_bytes(bytes).expect(WRITTEN).0.to_owned()),
        })
    }
}

/// An expression with named groups.
#[derive(Debug)]
pub struct Capturing {
    pattern: Cow<'static, str>,
    regex: OnceLock<meta::Regex>,
}

impl Capturing {
    /// Creates an expression from a pattern that the compiler has checked against [`CAPTURING_SIZE_LIMIT`].
    pub const fn new(pattern: Cow<'static, str>) -> Capturing {
        Capturing { pattern, regex: OnceLock::new() }
    }

    /// Returns the pattern as written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Matches `path` and sets the captures `first + i - 1` for groups `i` (from 1).
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

    /// `text` with every match replaced; `$1` and `${name}` in `replacement` refer to groups. A match may begin or end
    /// within a multi-byte character.
    pub fn replace_all(&self, text: &[u8], replacement: &str) -> Vec<u8> {
        let regex = self.regex();
        let mut out = Vec::with_capacity(text.len());
        let mut from = 0;
        for found in regex.captures_iter(text) {
            let Some(whole) = found.get_match() else { continue };
            out.extend_from_slice(&text[from..whole.start()]);
            found.interpolate_bytes_into(text, replacement.as_bytes(), &mut out);
            from = whole.end();
        }
        out.extend_from_slice(&text[from..]);
        out
    }

    fn regex(&self) -> &meta::Regex {
        self.regex.get_or_init(|| compile(&self.pattern).expect("a pattern the compiler accepted"))
    }
}

/// Returns the syntax of all expressions, in the compiler and in the binary: they match bytes, and `\w`, `\d`, `\s`, `\b`
/// and `(?i)` are ASCII. Unicode classes would need tables that only some builds of the engine have, so that one could
/// reject what another accepts.
pub fn syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

/// Compiles a pattern as [`Capturing`] does; the compiler calls this to reject patterns that could not start.
///
/// # Errors
/// The pattern is invalid, or needs more than [`CAPTURING_SIZE_LIMIT`].
pub fn compile(pattern: &str) -> Result<meta::Regex, Box<meta::BuildError>> {
    meta::Regex::builder()
        .configure(meta::Regex::config().nfa_size_limit(Some(CAPTURING_SIZE_LIMIT)).utf8_empty(false))
        .syntax(syntax())
        .build(pattern)
        .map_err(Box::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &'static str, text: impl AsRef<[u8]>, replacement: &str, expected: impl AsRef<[u8]>) {
        let replaced = Capturing::new(pattern.into()).replace_all(text.as_ref(), replacement);
        assert_eq!(replaced.escape_ascii().to_string(), expected.as_ref().escape_ascii().to_string(), "{pattern}");
    }

    #[test]
    fn replacing() {
        check("^/old/(.*)$", "/old/a/b", "/new/$1", "/new/a/b");
        check("^/(?<lang>[a-z]{2})/(?<rest>.*)$", "/de/x", "/${rest}/${lang}", "/x/de");
        check("o", "/foo", "0", "/f00");
        check("^$", "/foo", "0", "/foo");
        check(r"(?i)\bFOO\b", "/foo/Foo/food", "x", "/x/x/food");
        check(r"(\d+)\s+(\w+)", "12 \t ab", "$2$1", "ab12");
    }

    /// Expressions match bytes: a multi-byte character counts as several, and invalid UTF-8 is matched like anything
    /// else.
    #[test]
    fn replacing_any_bytes() {
        check(".", "é", "x", "xx");
        check(r"\W", "aéb", "-", "a--b");
        check(r"\xE9", b"caf\xE9", "e", "cafe");
        check("(a*)", b"\xFFa\xFE", "[$1]", b"[]\xFF[a]\xFE[]");
        check("(?i)é", "éÉ", "e", "eÉ");
        check("^(.*)secret(.*)$", b"\xe9 secret \xff", "$1-$2", b"\xe9 - \xff");
        check("[^;]+", b"\xe9a;b\xff", "x", b"x;x");
        check("a", b"\xe9a\xe9", "\u{e9}", b"\xe9\xc3\xa9\xe9");
        check("", b"\xc3\xa9", "-", b"-\xc3-\xa9-");
        check(r"(?-u:\xe9)", b"caf\xe9", "e", b"cafe");
    }

    #[test]
    fn long_captures() {
        let path = format!("/{}/x", "a".repeat(200_000));
        let mut captures = Captures::default();
        assert!(Capturing::new("^/(.*)/(x)$".into()).bind(&path, 0, &mut captures));
        assert_eq!((captures.get(0, &path).len(), captures.get(1, &path)), (200_000, b"x".as_slice()));
    }
}
