//! Values that may differ between two starts of one binary: declared parameters ([`Param`]), files that are read at start ([`FileRef`]),
//! and values that are fixed or given by one of these ([`Setting`]). Only data; `settings` has their values.

use crate::value::{Place, Text};

/// A declared start-up parameter (`param`).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Param {
    /// The name; the flag is `--name`, the variable `NAME`.
    pub name: Text,
    /// How its text is understood.
    pub kind: ParamKind,
    /// Used when neither flag nor variable is there; without one the start fails.
    pub default: Option<Text>,
    /// One line for `--help`.
    pub help: Text,
    /// A number, or a size in bytes, is no less than this;
    pub least: u64,
    /// and no more than this.
    pub most: u64,
    /// Where it was declared.
    pub place: Place,
}

/// The types of `param`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// `host:port`, `[v6]:port`, `:port` or `unix:/path`.
    Addr,
    /// Any text without control characters.
    String,
    /// A whole number from 0.
    Number,
    /// `250ms`, `5s`, `2m`, `1h`.
    Duration,
    /// `512B`, `64KiB`, `10MiB`, `1GiB`.
    Size,
    /// A path; its content is what is used, read again on SIGHUP.
    File,
    /// Like `File`, but never printed.
    Secret,
}

/// A file read at start, again on SIGHUP.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct FileRef {
    /// Where it is.
    pub path: FilePath,
    /// Its content is never printed.
    pub secret: bool,
    /// Where the site names it.
    pub place: Place,
}

/// Whence a [`FileRef`] takes its path.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePath {
    /// Written in the site: `(file)"path"`.
    Fixed(Text),
    /// The value of a `param type=file` or `type=secret`.
    Param(u16),
}

/// A value that is fixed in the site or given at start.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting<T> {
    /// Known at build.
    Fixed(T),
    /// The value of the parameter with this index.
    Param(u16),
}
