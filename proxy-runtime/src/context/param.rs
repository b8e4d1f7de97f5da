//! Values that may change between two starts of one binary: declared parameters ([`Param`]), files that are read at start ([`FileRef`]),
//! and settings that are fixed or refer to one of these ([`Setting`]). Only data; `settings` has their values.

use crate::value::{Place, Text};

/// A declared start-up parameter (`param`).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Param {
    /// The name; the flag is `--name`, the variable `NAME`.
    pub name: Text,
    /// The type of its value.
    pub kind: ParamKind,
    /// Used if neither the flag nor the variable is given; without a default, it is required.
    pub default: Option<Text>,
    /// One line for `--help`.
    pub help: Text,
    /// The smallest number, or size in bytes.
    pub least: u64,
    /// The largest number, or size in bytes.
    pub most: u64,
    /// The location of the declaration.
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
    /// A whole number, not negative.
    Number,
    /// `250ms`, `5s`, `2m`, `1h`.
    Duration,
    /// `512B`, `64KiB`, `10MiB`, `1GiB`.
    Size,
    /// A path, whose content is used, and read again on SIGHUP.
    File,
    /// Like `File`, but never printed.
    Secret,
}

/// A file that is read at start, and again on SIGHUP.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct FileRef {
    /// Its path.
    pub path: FilePath,
    /// Its content is never printed.
    pub secret: bool,
    /// The location of the reference in the site.
    pub place: Place,
}

/// The source of a [`FileRef`]'s path.
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
    /// Known when the site is built.
    Fixed(T),
    /// The value of the parameter with this index.
    Param(u16),
}
