//! New ids of traces and spans ([`SpanIds`]).

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

#[cfg(feature = "trace")]
use crate::protocol::trace_context::TraceId;

/// Makes ids: a count, under the standard library's keyed hash. They look random, and nobody who sees some can tell others.
pub(crate) struct SpanIds {
    key: RandomState,
    count: Cell<u64>,
}

impl SpanIds {
    pub(crate) fn new() -> SpanIds {
        SpanIds { key: RandomState::new(), count: Cell::new(0) }
    }

    /// The id of a span.
    pub(crate) fn span(&self) -> u64 {
        self.count.set(self.count.get().wrapping_add(1));
        // 0 is no id (Trace Context, section 3.2.2.4).
        self.key.hash_one(self.count.get()).max(1)
    }

    /// The id of a trace.
    #[cfg(feature = "trace")]
    pub(crate) fn trace(&self) -> TraceId {
        TraceId(u128::from(self.span()) << 64 | u128::from(self.span()))
    }
}
