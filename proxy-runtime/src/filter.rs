//! Filters: changes to requests before they are forwarded, and to responses before they are sent. Pure.
//!
//! There is one file per filter; the compiler's output calls them by name, so a site links only those that it uses. [`FieldName`], [`Flow`],
//! [`Request`] and [`Response`] are for functions of the user's own.
//!
//! ```
//! use proxy_runtime::filter::{FieldName, Flow, Request, Response};
//! use proxy_runtime::content::respond::Answer;
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

mod answer;
mod field_name;
mod function;
mod headers;
pub mod intake;
mod outgoing;
mod rewrite;

pub use answer::Answer;
pub use field_name::FieldName;
pub use function::{Flow, Function, Functions, OnRequest, OnResponse, Panicked, Request, Response};
pub use headers::{HeaderOp, request_headers, response_headers};
pub use outgoing::Outgoing;
pub use rewrite::{PathStep, Rewrite, rewrite};
