//! The part of the contract for `response-body`.

use crate::value::{List, Text};

/// `response-body`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResponseBody {
    /// Its number among all such.
    pub id: u32,
    /// Texts, none of which is empty, and what becomes of them.
    pub texts: List<(Text, Text)>,
    /// In answers of these types: a whole one, the beginning of one, as in `text/`, or the end of one, as in `+json`.
    pub types: List<Text>,
}
