//! The part of the contract for `response-body`.

use crate::value::{List, Text};

/// `response-body`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResponseBody {
    /// Its index among all such rules.
    pub id: u32,
    /// The non-empty strings, and their replacements.
    pub texts: List<(Text, Text)>,
    /// The media types: complete, by a prefix such as `text/`, or by a suffix such as `+json`.
    pub types: List<Text>,
}
