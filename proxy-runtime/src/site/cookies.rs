//! The part of the contract for `response-cookies`.

use crate::value::{List, Text};

/// `response-cookies`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct CookieRule {
    /// Which cookies; all, where there are none.
    pub names: List<Text>,
    /// They are sent over encrypted connections alone.
    pub secure: bool,
    /// Scripts don't see them.
    pub http_only: bool,
    /// `SameSite`.
    pub same_site: Option<Text>,
    /// `Domain`; empty for none.
    pub domain: Option<Text>,
    /// `Path`; empty for none.
    pub path: Option<Text>,
}
