//! The part of the contract for `compress`.

use crate::context::param::Setting;
use crate::protocol::media;
use crate::value::{List, Text};

/// `compress`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Compress {
    /// The codings in the order of preference, each with its level.
    pub codings: List<(Coding, u8)>,
    /// The size below which responses are not compressed, in bytes, if it is known.
    pub min_size: Setting<u64>,
    /// The media types: complete, by a prefix such as `text/`, or by a suffix such as `+json`.
    pub types: List<Text>,
}

/// A content coding.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Returns the name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
        }
    }
}

impl Compress {
    /// The default media types: text in all its forms, and uncompressed formats.
    pub const TYPES: &'static [&'static str] = &[
        "text/",
        "+json",
        "+xml",
        "application/json",
        "application/javascript",
        "application/xml",
        "application/wasm",
        "application/x-ndjson",
        "application/yaml",
        "application/vnd.ms-fontobject",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/x-icon",
    ];

    /// Returns whether responses of this `Content-Type` are compressed.
    pub fn suits(&self, content_type: &[u8]) -> bool {
        media::is_among(&self.types, content_type)
    }

    /// Returns whether compression usually makes content of this `Content-Type` smaller.
    pub fn is_worth_it(content_type: &[u8]) -> bool {
        media::is_among(Compress::TYPES, content_type)
    }
}
