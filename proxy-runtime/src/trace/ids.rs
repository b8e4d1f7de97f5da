//! New IDs of traces and spans ([`SpanIds`]).

#[cfg(feature = "trace")]
use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

use crate::dice::Dice;
#[cfg(feature = "trace")]
use crate::protocol::trace_context::TraceId;

/// Makes the IDs of a worker. A trace ID is a prefix of the worker's own, and a count hashed by the standard library's keyed hash: it looks
/// random, and others can't be predicted from it. Span IDs matter only within a trace, and are pseudorandom.
pub(crate) struct SpanIds {
    #[cfg(feature = "trace")]
    traces: (u64, RandomState, Cell<u64>),
    spans: Dice,
}

impl SpanIds {
    pub(crate) fn new() -> SpanIds {
        // This is the standard library's source of random keys.
        let random = RandomState::new();
        let spans = Dice::new(random.hash_one("spans"));
        SpanIds {
            #[cfg(feature = "trace")]
            traces: (random.hash_one("worker"), RandomState::new(), Cell::new(0)),
            spans,
        }
    }

    /// Returns the ID of a span, which is never 0.
    pub(crate) fn span(&self) -> u64 {
        self.spans.number()
    }

    /// Returns the ID of a trace.
    #[cfg(feature = "trace")]
    pub(crate) fn trace(&self) -> TraceId {
        let (own, key, count) = &self.traces;
        count.set(count.get().wrapping_add(1));
        // 0 is not a valid ID (Trace Context, section 3.2.2.3).
        TraceId(u128::from(*own) << 64 | u128::from(key.hash_one(count.get()).max(1)))
    }
}
