//! The part of the contract for `response-cookies`.

use crate::value::{List, Text};

/// `response-cookies`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct CookieRule {
    /// The names of the cookies; empty for all.
    pub names: List<Text>,
    /// `Secure`.
    pub secure: bool,
    /// `HttpOnly`.
    pub http_only: bool,
    /// `SameSite`.
    pub same_site: Option<Text>,
    /// `Domain`; empty removes it.
    pub domain: Option<Text>,
    /// `Path`; empty removes it.
    pub path: Option<Text>,
}
