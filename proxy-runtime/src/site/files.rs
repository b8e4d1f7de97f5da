//! Files that are answered with.

use super::{Handler, List, Setting, Text};

/// `files`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Files {
    /// The folder; where it is compiled in, what the site file calls it.
    pub folder: Setting<Text>,
    /// Where it is compiled in, its number in the site's bundle.
    pub bundled: Option<u16>,
    /// Which binding of the pattern is the path in it; `None` for the whole path.
    pub rest: Option<u8>,
    /// The name that stands for a folder.
    pub index: Text,
    /// The file that answers for what is not there.
    pub fallback: Option<Text>,
    /// Folders without an index are listed.
    pub listing: bool,
    /// Names that begin with a dot are served.
    pub dotfiles: bool,
    /// Symbolic links are followed, if they stay in the folder.
    pub symlinks: bool,
    /// Files beside the file that have it compressed are served; where it is compiled in, it is compressed then.
    pub precompressed: bool,
    /// Names with a hash of their content in them are never asked about again.
    pub immutable: bool,
    /// Who answers where there is no file, and all methods but GET and HEAD: one handler, or none.
    pub or_else: List<Handler>,
}

/// `send-file` of an upstream: a folder whose files its servers may have sent.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendFile {
    /// What paths in `X-Accel-Redirect` begin with; `None` where it is `X-Sendfile` that names files, by their paths on this machine.
    pub prefix: Option<Text>,
    /// The folder.
    pub files: Files,
}
