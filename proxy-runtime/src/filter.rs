//! Filters: what is done to a request before it is sent on, and to a response before it is sent back. Pure.
//!
//! One file per filter; the compiler's output calls them by name, so a site links only those it uses. [`FieldName`], [`Flow`],
//! [`Request`] and [`Response`] are for functions of the user's own.
//!
//! ```
//! use proxy_runtime::filter::{FieldName, Flow, Request, Response};
//! use proxy_runtime::handler::Answer;
//! use proxy_runtime::http::StatusCode;
//!
//! const TENANT: FieldName = FieldName::new("x-tenant");
//!
//! pub fn tenant(request: &mut Request<'_>) -> Flow {
//!     match request.host().strip_suffix(".example.com") {
//!         Some(tenant) => request.set(TENANT, tenant),
//!         None => return Flow::Respond(Answer::text(StatusCode::NOT_FOUND, "nobody lives here\n")),
//!     }
//!     Flow::Continue
//! }
//!
//! pub fn no_store_for_errors(response: &mut Response<'_>) {
//!     if response.status().is_server_error() {
//!         response.set(FieldName::new("cache-control"), "no-store");
//!     }
//! }
//! ```

mod function;
mod headers;
mod rewrite;

use std::borrow::Cow;

use crate::canonical::{self, Malformed};
use crate::fields::Fields;
use crate::site::NormalForm;
use crate::target::Target;

pub use function::{FieldName, Flow, Function, Functions, OnRequest, OnResponse, Panicked, Request, Response};
pub use headers::{HeaderOp, request_headers, response_headers};
pub use rewrite::{PathStep, Rewrite, rewrite};

/// A request on its way to the upstream, as filters change it.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The path; in canonical form before filters, and brought to it again after.
    pub path: Cow<'a, str>,
    /// The query without `?`; the same.
    pub query: Option<Cow<'a, str>>,
    /// Path and query are sent as they arrived, not in canonical form.
    pub raw: bool,
    /// The header fields.
    pub headers: &'a mut Fields,
}

impl<'a> Outgoing<'a> {
    /// A request for `target`, which has these fields; where the server is not to be sent all of it, `sent` is the path and query that it is.
    pub fn of(target: &'a Target, sent: Option<&str>, headers: &'a mut Fields) -> Outgoing<'a> {
        let query = match sent {
            None => target.query().map(Cow::Borrowed),
            Some(sent) => sent.split_once('?').map(|(_, query)| Cow::Owned(query.to_owned())),
        };
        Outgoing { path: Cow::Borrowed(target.path()), query, raw: false, headers }
    }

    /// Path and query as the server is to see them, out of what the filters have made of those of `target`.
    ///
    /// # Errors
    /// The filters have made no path of it.
    pub fn target(&self, target: &Target, form: NormalForm) -> Result<String, Malformed> {
        if self.raw {
            return Ok(target.as_arrived().into_owned());
        }
        let whole = match &self.query {
            None => target.query().is_none(),
            Some(query) => matches!(query, Cow::Borrowed(_)),
        };
        if whole && matches!(self.path, Cow::Borrowed(_)) {
            return Ok(target.path_and_query().to_owned());
        }
        let path = canonical::path(&self.path, form)?;
        match &self.query {
            Some(query) => Ok(format!("{path}?{}", canonical::query(query)?)),
            None => Ok(path.into_owned()),
        }
    }
}
