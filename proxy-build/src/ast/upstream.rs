//! Upstreams and failures, as written. The options of upstreams are in `upstream`.

use super::Item;
use crate::source::Spanned;

/// `upstream`.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name.
    pub name: Spanned<String>,
    /// Its lines.
    pub items: Vec<Item>,
}

/// A failure that is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// The connection ended before the response.
    Reset,
    /// A time-out of the response.
    Timeout,
    /// A response with this status.
    Status(u16),
    /// A gRPC call that has failed with this status.
    Grpc(u8),
}
