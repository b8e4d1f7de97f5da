//! What is written about files that are answered with.

use super::{Item, Setting};
use crate::source::Spanned;

/// `files`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the argument and the properties")]
pub struct Files {
    pub folder: Spanned<Setting<String>>,
    pub embed: Option<Spanned<bool>>,
    pub index: Option<Spanned<String>>,
    pub fallback: Option<Spanned<String>>,
    pub listing: Option<Spanned<bool>>,
    pub dotfiles: Option<Spanned<bool>>,
    pub symlinks: Option<Spanned<bool>>,
    pub precompressed: Option<Spanned<bool>>,
    pub immutable: Option<Spanned<bool>>,
    /// The handlers of `else=` and `else`, of which there is one at most.
    pub or_else: Vec<Item>,
}

/// Where bytes come from.
#[derive(Debug, Clone)]
pub enum FileSource {
    /// A file that is compiled in.
    Embedded(String),
    /// `(file)"path"`: read at start.
    AtStart(String),
    /// `(param)NAME`: read at start.
    Param(Spanned<String>),
}
