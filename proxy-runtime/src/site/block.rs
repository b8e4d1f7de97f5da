//! The part of the contract for `block`.

use crate::value::{List, Text};

/// All `block`s of a route.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// Its index among all such sets.
    pub id: u32,
    /// The rules.
    pub rules: List<Block>,
    /// How many bytes of a body are searched; 0 if no rule searches bodies.
    pub body: u64,
}

/// `block`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Block {
    /// Its name in the log.
    pub name: Text,
    /// Matching requests are only logged.
    pub log_only: bool,
    /// The status of the error response.
    pub status: u16,
    /// The patterns, any of which is a match: the part of the request, and the string, in lower case.
    pub patterns: List<(Where, Text)>,
}

/// The part of a request to search.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Where {
    /// The path, encoded and decoded.
    Path,
    /// The query, encoded and decoded.
    Query,
    /// The values of a field.
    Header(Text),
    /// The values of all fields.
    AnyHeader,
    /// The values of a cookie.
    Cookie(Text),
    /// The beginning of the body.
    Body,
}
