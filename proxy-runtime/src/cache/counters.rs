//! The counters of a store, by worker ([`StoreCounters`]), and its evictions ([`Evictions`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Lifecycle;
use quick_cache::sync::DefaultLifecycle;

use super::entry::CacheEntry;

/// The counters of a store.
pub(super) struct StoreCounters {
    pub(super) workers: Box<[WorkerCounts]>,
    pub(super) stored: AtomicU64,
    pub(super) evicted: Arc<AtomicU64>,
}

/// Requests by cache result, in the order of [`WORDS`]. Aligned to two cache lines, as processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct WorkerCounts(pub(super) [AtomicU64; WORDS.len()]);

pub(super) const WORDS: [&str; 6] = ["hit", "stale", "revalidated", "joined", "miss", "pass"];

impl StoreCounters {
    pub(super) fn new(workers: usize) -> StoreCounters {
        let workers = (0..workers).map(|_| WorkerCounts::default()).collect();
        StoreCounters { workers, stored: AtomicU64::new(0), evicted: Arc::default() }
    }

    /// Returns the counter of a store's evictions.
    pub(super) fn evictions(&self) -> Evictions {
        Evictions(Arc::clone(&self.evicted))
    }

    /// Counts a stored response.
    pub(super) fn stored(&self) {
        self.stored.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts the responses that are evicted from memory.
#[derive(Clone)]
pub(super) struct Evictions(Arc<AtomicU64>);

impl Lifecycle<u128, CacheEntry> for Evictions {
    type RequestState = <DefaultLifecycle<u128, CacheEntry> as Lifecycle<u128, CacheEntry>>::RequestState;

    fn before_evict(&self, _: &mut Self::RequestState, _: &u128, entry: &mut CacheEntry) {
        if matches!(entry, CacheEntry::Answer(..) | CacheEntry::BodyFile(..)) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Also called for replaced entries. They are dropped outside of the shard's lock.
    fn on_evict(&self, state: &mut Self::RequestState, name: u128, entry: CacheEntry) {
        DefaultLifecycle::default().on_evict(state, name, entry);
    }
}
