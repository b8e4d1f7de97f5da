//! The sources of bytes, as written.

use crate::source::Spanned;

/// The source of bytes.
#[derive(Debug, Clone)]
pub enum FileSource {
    /// An embedded file.
    Embedded(String),
    /// `(file)"path"`: a file that is read at start.
    AtStart(String),
    /// `(param)NAME`: a file that is read at start.
    Param(Spanned<String>),
}
