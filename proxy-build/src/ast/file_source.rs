//! What is written about where bytes come from.

use crate::source::Spanned;

/// The source of bytes.
#[derive(Debug, Clone)]
pub enum FileSource {
    /// A file that is compiled in.
    Embedded(String),
    /// `(file)"path"`: read at start.
    AtStart(String),
    /// `(param)NAME`: read at start.
    Param(Spanned<String>),
}
