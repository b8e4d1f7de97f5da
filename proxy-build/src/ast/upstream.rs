//! What is written about upstreams, and about what goes to them. Their options are `upstream`'s.

use super::Item;
use crate::source::Spanned;

/// `upstream`.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name.
    pub name: Spanned<String>,
    /// What stands in it.
    pub items: Vec<Item>,
}

/// A failure that is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// The connection ended before the response.
    Reset,
    /// No response in time.
    Timeout,
    /// A response of this status.
    Status(u16),
    /// A call of gRPC that has failed with this status.
    Grpc(u8),
}
