//! Request IDs ([`RequestIds`]).

use std::cell::Cell;

use crate::context::facts::RequestId;

/// Makes the IDs of a worker's requests: a prefix of the worker's own, and a count.
pub(crate) struct RequestIds {
    prefix: u128,
    count: Cell<u64>,
}

impl RequestIds {
    pub(crate) fn new() -> RequestIds {
        use std::hash::{BuildHasher, RandomState};
        // This is the standard library's source of random keys; prefixes must be different, not secret.
        let prefix = u128::from(RandomState::new().hash_one(std::process::id()));
        RequestIds { prefix: prefix << 64, count: Cell::new(0) }
    }

    pub(crate) fn next(&self) -> RequestId {
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        RequestId(self.prefix | u128::from(count))
    }
}
