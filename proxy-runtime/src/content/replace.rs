//! `response-body`: replaces strings in response bodies.
//!
//! All strings are one automaton (Aho and Corasick, 1975); of those that begin at a place, the longest matches, and replacements are not
//! searched again. A body streams through: only the part that may be the beginning of a match is held back.

use std::task::{Context, Poll};

use aho_corasick::{AhoCorasick, MatchKind};

use crate::body::source::Source;
use crate::failure::Failure;
use crate::protocol::fields::Fields;
use crate::protocol::transformed::{self, OutputBuffer};
use crate::site::ResponseBody;

/// The approximate size of the output per step, in bytes: replacements may be longer than matches.
const AT_A_TIME: usize = 64 << 10;

/// Finds and replaces strings.
pub(crate) struct Replacer {
    automaton: AhoCorasick,
    with: Vec<&'static str>,
    longest: usize,
    pub(crate) types: &'static [crate::site::Text],
}

impl Replacer {
    pub(crate) fn new(rule: &'static ResponseBody) -> Replacer {
        let texts = || rule.texts.iter().map(|(text, _)| text.as_bytes());
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts());
        Replacer {
            automaton: automaton.expect("texts within the compiler's limits"),
            with: rule.texts.iter().map(|(_, with)| &**with).collect(),
            longest: texts().map(<[u8]>::len).max().unwrap_or(1),
            types: &rule.types,
        }
    }

    /// Wraps a body in which strings are replaced.
    pub(crate) fn replaced<S>(&'static self, body: S) -> ReplacedBody<S> {
        ReplacedBody {
            body,
            replacer: self,
            held: Vec::new(),
            ended: false,
            failed: None,
            out: OutputBuffer::default(),
        }
    }

    /// Moves the decided part of `held` to `out`, about one step of output. `ended`: no data follows.
    fn advance(&self, held: &mut Vec<u8>, ended: bool, out: &mut Vec<u8>) {
        // A match that begins before this is complete.
        let decided = if ended { held.len() } else { (held.len() + 1).saturating_sub(self.longest) };
        let mut done = 0;
        for found in self.automaton.find_iter(held.as_slice()) {
            if found.start() >= decided || out.len() >= AT_A_TIME {
                break;
            }
            out.extend_from_slice(&held[done..found.start()]);
            out.extend_from_slice(self.with[found.pattern()].as_bytes());
            done = found.end();
        }
        if out.len() < AT_A_TIME {
            out.extend_from_slice(&held[done..decided.max(done)]);
            done = decided.max(done);
        }
        held.drain(..done);
    }
}

/// A body in which strings are replaced while it is sent.
pub(crate) struct ReplacedBody<S> {
    body: S,
    replacer: &'static Replacer,
    /// The data that may be the beginning of a match.
    held: Vec<u8>,
    ended: bool,
    /// The failure of the source; data before it is sent first.
    failed: Option<Failure>,
    out: OutputBuffer,
}

impl<S: Source> Source for ReplacedBody<S> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        loop {
            if self.out.is_ready() {
                return Poll::Ready(Ok(true));
            }
            self.replacer.advance(&mut self.held, self.ended, self.out.bytes());
            if self.out.is_ready() {
                return Poll::Ready(Ok(true));
            }
            if self.ended {
                return Poll::Ready(self.failed.map_or(Ok(false), Err));
            }
            match std::task::ready!(self.body.poll_fill(cx)) {
                Ok(true) => drop(self.body.take(|data| {
                    self.held.extend_from_slice(data);
                    data.len()
                })),
                Ok(false) => self.ended = true,
                Err(failure) => (self.ended, self.failed) = (true, Some(failure)),
            }
        }
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        self.out.take(to)
    }

    fn rest(&mut self) -> usize {
        self.body.rest() + self.out.bytes().capacity()
    }

    fn trailers(&mut self) -> Option<Fields> {
        transformed::trailers(self.body.trailers())
    }

    fn broken(&self) -> Option<Failure> {
        self.failed.or_else(|| self.body.broken())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the result for a text, however it is split.
    fn check(texts: &[(&'static str, &'static str)], text: &str, expected: &str) {
        let texts: Vec<_> = texts.iter().map(|(text, with)| ((*text).into(), (*with).into())).collect();
        let rule = Box::leak(Box::new(ResponseBody { id: 0, texts: texts.into(), types: Vec::new().into() }));
        let replacer = Replacer::new(rule);
        for size in 1..=text.len().max(1) {
            let (mut held, mut out) = (Vec::new(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                held.extend_from_slice(piece);
                replacer.advance(&mut held, false, &mut out);
                assert!(held.len() < replacer.longest);
            }
            replacer.advance(&mut held, true, &mut out);
            assert_eq!((String::from_utf8_lossy(&out), held.len()), (expected.into(), 0), "{text} by {size}");
        }
    }

    #[test]
    fn strings_are_replaced() {
        check(&[("abc", "x")], "abcabc ab abc", "xx ab x");
        check(&[("abc", "x"), ("abcd", "y"), ("b", "z")], "abcd abc b ab", "y x z az");
        check(&[("a", "aa")], "banana", "baanaanaa");
        check(&[("a", "")], "a", "");
        check(&[("aab", "x")], "aaab", "ax");
        check(&[("abc", "x")], "", "");
    }

    /// A long output is produced in steps, with little memory.
    #[test]
    fn long_output_is_produced_in_steps() {
        let with: &'static str = "y".repeat(1000).leak();
        let rule = Box::leak(Box::new(ResponseBody {
            id: 0,
            texts: vec![("x".into(), with.into())].into(),
            types: Vec::new().into(),
        }));
        let replacer = Replacer::new(rule);
        let (mut held, mut made) = ("x".repeat(10_000).into_bytes(), 0);
        while !held.is_empty() {
            let mut out = Vec::new();
            replacer.advance(&mut held, true, &mut out);
            assert!((1..AT_A_TIME + 1000).contains(&out.len()), "{}", out.len());
            made += out.len();
        }
        assert_eq!(made, 10_000_000);
    }
}
