//! Patterns of hosts and paths, and conditions on fields, parameters and cookies. They are the same in the syntax tree
//! and in the model.

use std::fmt;

/// A host of a site.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub enum HostPattern {
    /// An exact host.
    Exact(String),
    /// All hosts below this suffix.
    Wildcard(String),
    /// Any host.
    Any,
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Wildcard(suffix) => write!(f, "*.{suffix}"),
            HostPattern::Any => f.write_str("*"),
        }
    }
}

impl HostPattern {
    /// Returns whether a normalized host matches.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(exact) => exact == host,
            HostPattern::Wildcard(suffix) => host
                .strip_suffix(suffix.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty()),
            HostPattern::Any => true,
        }
    }
}

/// The normalized pattern of a route.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Pattern {
    /// The pattern as text.
    pub text: String,
    /// Its segments.
    pub segments: Vec<Segment>,
}

impl Pattern {
    /// Returns the case-insensitive form of the pattern.
    #[must_use]
    pub fn in_any_case(mut self) -> Pattern {
        for segment in &mut self.segments {
            if let Segment::Literal(text) = segment
                && text.bytes().any(|byte| byte.is_ascii_alphabetic())
            {
                *segment = Segment::AnyCase(text.to_ascii_lowercase());
            }
        }
        self
    }

    /// Returns whether it is case-insensitive.
    pub fn ignores_case(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::AnyCase(_)))
    }
}

/// A segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Segment {
    /// A literal text.
    Literal(String),
    /// A case-insensitive text, whose ASCII letters are in lower case here.
    AnyCase(String),
    /// A single segment, with the name of its capture.
    Capture(String),
    /// Any number of further segments.
    Rest,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Segment::Literal(text) | Segment::AnyCase(text) => f.write_str(text),
            Segment::Capture(name) => write!(f, "{{{name}}}"),
            Segment::Rest => f.write_str("*"),
        }
    }
}

/// The part of the request that a matcher tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[allow(missing_docs, reason = "named as the directives")]
pub enum ValueOf {
    Header,
    Query,
    Cookie,
}

/// The condition of a matcher on a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub enum ValueTest {
    /// The value is present.
    Present,
    /// The value equals this text.
    Equals(String),
    /// This expression matches in it.
    Matches(String),
}
