//! Values of a compiled site: `'static` in the binary, owned in the compiler. Only data.

use std::borrow::Cow;

/// A string that is `'static` in a compiled site and owned in the compiler.
pub type Text = Cow<'static, str>;

/// A list that is `'static` in a compiled site and owned in the compiler.
pub type List<T> = Cow<'static, [T]>;

/// The source location of a setting: file (as the user named it) and line (from 1). Printed in messages at start and in logs.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's path as written on the command line or in an `include`.
    pub file: Text,
    /// The line, counted from 1.
    pub line: u32,
}

/// Embedded bytes, or those of a file that is read at start.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bytes {
    /// Embedded.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_bytes"))]
    Fixed(Cow<'static, [u8]>),
    /// The content of the file with this index.
    File(u16),
}

/// Serializes as bytes, not as a list of numbers.
#[cfg(feature = "serde")]
pub(crate) fn as_bytes<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}
