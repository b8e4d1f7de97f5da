//! Exemplars of histograms ([`Exemplars`]): of each bucket a trace that is in it, for who wants to see one.
//!
//! Only exchanges of sampled traces have one, so a lock is no cost to others; a worker whose exemplars are being read goes on without.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::context::facts::Timestamp;
use crate::protocol::trace_context::TraceId;

/// So many buckets of a worker have exemplars at most.
const MOST: usize = 16 << 10;

/// A value of a bucket, and the trace that it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exemplar {
    pub(crate) trace: TraceId,
    pub(crate) value: Duration,
    pub(crate) at: Timestamp,
}

/// A bucket: the row, which of its histograms, and which bucket of that.
pub(super) type BucketPlace = (usize, usize, usize);

/// The exemplars of a worker.
#[derive(Default)]
pub(super) struct Exemplars(Mutex<HashMap<BucketPlace, Exemplar>>);

impl Exemplars {
    /// The last one of a bucket counts.
    pub(super) fn set(&self, place: BucketPlace, exemplar: Exemplar) {
        let Ok(mut all) = self.0.try_lock() else { return };
        if all.len() < MOST || all.contains_key(&place) {
            all.insert(place, exemplar);
        }
    }

    /// The exemplar of a bucket.
    #[cfg(any(feature = "admin", test))]
    pub(super) fn get(&self, place: BucketPlace) -> Option<Exemplar> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_within_bounds() {
        let all = Exemplars::default();
        let one = |trace| Exemplar { trace: TraceId(trace), value: Duration::ZERO, at: Timestamp(0) };
        for row in 0..MOST + 5 {
            all.set((row, 0, 0), one(1));
        }
        all.set((0, 0, 0), one(2));
        assert_eq!((all.get((0, 0, 0)), all.get((MOST, 0, 0))), (Some(one(2)), None));
    }
}
