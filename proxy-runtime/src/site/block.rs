//! The part of the contract for `block`.

use crate::value::{List, Text};

/// All `block`s that hold for a request.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// Its number among all such.
    pub id: u32,
    /// The rules.
    pub rules: List<Block>,
    /// So much of a body is looked at, in bytes; 0 where no rule is about bodies.
    pub body: u64,
}

/// `block`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Block {
    /// What it is called in the log.
    pub name: Text,
    /// It is only written down that it would be refused.
    pub log_only: bool,
    /// The status of a refusal.
    pub status: u16,
    /// Any of these is enough: where, and which text, in any case.
    pub patterns: List<(Where, Text)>,
}

/// The part of a request to search.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Where {
    /// The path, as it is and decoded.
    Path,
    /// The query, as it is and decoded.
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
