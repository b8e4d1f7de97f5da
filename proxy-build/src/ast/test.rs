//! Syntax tree of `test`.

use proxy_runtime::site::Side;

use super::Item;
use crate::source::Spanned;

/// `test`.
#[derive(Debug, Clone)]
pub struct Test {
    /// Its name.
    pub name: Spanned<String>,
    /// `request` and `expect`.
    pub items: Vec<Item>,
}

/// `request` in a test.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Spanned<String>,
    /// The URL.
    pub url: Spanned<String>,
    /// `header` and `from` lines.
    pub items: Vec<Item>,
}

/// `upstream-header` or `response-header` in an `expect`.
#[derive(Debug, Clone)]
pub struct ExpectField {
    /// The message with the field.
    pub side: Side,
    /// The name.
    pub name: Spanned<String>,
    /// The expected value, if there is one.
    pub value: Option<Spanned<String>>,
    /// `missing=#true`
    pub missing: Option<Spanned<bool>>,
}

/// `expect` in a test.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct Expect {
    pub status: Option<Spanned<u16>>,
    pub route: Option<Spanned<String>>,
    pub handler: Option<Spanned<&'static str>>,
    pub upstream: Option<Spanned<String>>,
    pub upstream_path: Option<Spanned<String>>,
    pub cache: Option<Spanned<&'static str>>,
    pub cache_key: Option<Spanned<String>>,
    pub location: Option<Spanned<String>>,
    /// `upstream-header` and `response-header` lines.
    pub items: Vec<Item>,
}
