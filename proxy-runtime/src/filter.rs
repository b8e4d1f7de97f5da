//! Filters: what is done to a request before it is sent on, and to a response before it is sent back. Pure.
//!
//! One file per filter; the compiler's output calls them by name, so a site links only those it uses. [`FieldName`], [`Flow`],
//! [`Request`] and [`Response`] are for functions of the user's own.

mod function;
mod headers;
mod rewrite;

use std::borrow::Cow;

use crate::fields::Fields;

pub use function::{FieldName, Flow, Function, Functions, OnRequest, OnResponse, Panicked, Request, Response};
pub use headers::{HeaderOp, request_headers, response_headers};
#[cfg(feature = "serve")]
pub(crate) use rewrite::encode;
pub use rewrite::{PathStep, Rewrite, rewrite};

/// A request on its way to the upstream, as filters change it.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The path; in normal form before filters, and brought to it again after.
    pub path: Cow<'a, str>,
    /// The query without `?`.
    pub query: Option<Cow<'a, str>>,
    /// The header fields.
    pub headers: &'a mut Fields,
}
