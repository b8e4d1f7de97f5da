//! Numbers of exchanges ([`RequestIds`]).

use std::cell::Cell;

use crate::context::facts::RequestId;

/// Makes the numbers of a worker's exchanges: a part of its own, and a count.
pub(crate) struct RequestIds {
    prefix: u128,
    count: Cell<u64>,
}

impl RequestIds {
    pub(crate) fn new() -> RequestIds {
        use std::hash::{BuildHasher, RandomState};
        // The standard library's source of random keys; these need to be different, not secret.
        let prefix = u128::from(RandomState::new().hash_one(std::process::id()));
        RequestIds { prefix: prefix << 64, count: Cell::new(0) }
    }

    pub(crate) fn next(&self) -> RequestId {
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        RequestId(self.prefix | u128::from(count))
    }
}
