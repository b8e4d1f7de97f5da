//! Exemplars of histograms ([`Exemplars`]): for each bucket, the trace of one of its values, so that an operator can
//! look at it.
//!
//! Only exchanges of sampled traces have one, so the lock costs other exchanges nothing; a worker does not wait while its exemplars
//! are being read.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::context::facts::Timestamp;
use crate::protocol::trace_context::TraceId;

/// The most buckets of a worker that have exemplars.
const MOST: usize = 16 << 10;

/// A value of a bucket, and the trace that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exemplar {
    pub(crate) trace: TraceId,
    pub(crate) value: Duration,
    pub(crate) at: Timestamp,
}

/// A bucket: the row, the histogram in the row, and the bucket in the histogram.
pub(super) type BucketPlace = (usize, usize, usize);

/// The exemplars of a worker.
#[derive(Default)]
pub(super) struct Exemplars(Mutex<HashMap<BucketPlace, Exemplar>>);

impl Exemplars {
    /// Sets the exemplar of a bucket; the last one counts.
    pub(super) fn set(&self, place: BucketPlace, exemplar: Exemplar) {
        let Ok(mut all) = self.0.try_lock() else { return };
        if all.len() < MOST || all.contains_key(&place) {
            all.insert(place, exemplar);
        }
    }

    /// Returns the exemplar of a bucket.
    #[cfg(any(feature = "admin", test))]
    pub(super) fn get(&self, place: BucketPlace) -> Option<Exemplar> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_exemplar_counts_within_bounds() {
        let all = Exemplars::default();
        let one = |trace| Exemplar { trace: TraceId(trace), value: Duration::ZERO, at: Timestamp(0) };
        for row in 0..MOST + 5 {
            all.set((row, 0, 0), one(1));
        }
        all.set((0, 0, 0), one(2));
        assert_eq!((all.get((0, 0, 0)), all.get((MOST, 0, 0))), (Some(one(2)), None));
    }
}
