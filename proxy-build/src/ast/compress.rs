//! What is written about compression.

use proxy_runtime::site::Coding;

use super::{Item, Setting};
use crate::source::Spanned;

/// `compress`.
#[derive(Debug, Clone)]
pub struct Compress {
    /// `None` for `off`.
    pub codings: Option<Vec<Spanned<Coding>>>,
    /// `min-size=`.
    pub min_size: Option<Spanned<Setting<u64>>>,
    /// `zstd-level=` and its like.
    pub levels: [(Coding, Option<Spanned<u64>>); 3],
    /// `types` lines.
    pub items: Vec<Item>,
}
