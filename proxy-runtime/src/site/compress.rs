//! The part of the contract for `compress`.

use crate::context::param::Setting;
use crate::protocol::media;
use crate::value::{List, Text};

/// `compress`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Compress {
    /// By which codings, the preferred one first, each with its level.
    pub codings: List<(Coding, u8)>,
    /// Responses that are known to be shorter are left as they are, in bytes.
    pub min_size: Setting<u64>,
    /// Responses of these types: a whole one, the beginning of one, as in `text/`, or the end of one, as in `+json`.
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
    /// As in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
        }
    }
}

impl Compress {
    /// What is compressed where nothing else is said: text in all its forms, and what is not compressed in itself.
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

    /// Whether answers of this `Content-Type` are compressed.
    pub fn suits(&self, content_type: &[u8]) -> bool {
        media::is_among(&self.types, content_type)
    }

    /// Whether what is of this `Content-Type` becomes smaller, as a rule.
    pub fn is_worth_it(content_type: &[u8]) -> bool {
        media::is_among(Compress::TYPES, content_type)
    }
}
