//! What a store has, and what it has done since the process began: [`Figures`], for who operates the proxy.
//!
//! A hit is counted in a line of memory of its worker's own, which no other worker writes: a load and a store, without a locked instruction.
//! What costs more than that anyway (a response that is stored, one that is evicted) is counted in atomics that all share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Lifecycle;
use quick_cache::sync::DefaultLifecycle;

use super::entry::Entry;
use super::store::Store;

/// How much there is in a store, and what it has done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// In memory.
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) capacity: u64,
    /// On disk.
    pub(crate) files: u64,
    pub(crate) disk_bytes: u64,
    /// Fetches that others can join.
    pub(crate) fetching: u64,
    pub(crate) requests: Requests,
    /// Responses that were stored, those that were found unchanged included.
    pub(crate) stored: u64,
    /// Responses that memory, and the disk, had no room for any more.
    pub(crate) evicted: u64,
    pub(crate) disk_evicted: u64,
}

/// Requests, by what became of them: the words of the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requests {
    pub(crate) hit: u64,
    pub(crate) stale: u64,
    pub(crate) revalidated: u64,
    pub(crate) joined: u64,
    pub(crate) miss: u64,
    pub(crate) pass: u64,
}

/// What is counted.
pub(super) struct Counters {
    workers: Box<[OfWorker]>,
    stored: AtomicU64,
    evicted: Arc<AtomicU64>,
}

/// The counts of [`Requests`], in the order of [`WORDS`]. Two lines of memory, as processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct OfWorker([AtomicU64; WORDS.len()]);

const WORDS: [&str; 6] = ["hit", "stale", "revalidated", "joined", "miss", "pass"];

impl Counters {
    pub(super) fn new(workers: usize) -> Counters {
        let workers = (0..workers).map(|_| OfWorker::default()).collect();
        Counters { workers, stored: AtomicU64::new(0), evicted: Arc::default() }
    }

    /// Counts what a store evicts.
    pub(super) fn evictions(&self) -> Evictions {
        Evictions(Arc::clone(&self.evicted))
    }

    /// One more response is stored.
    pub(super) fn stored(&self) {
        self.stored.fetch_add(1, Ordering::Relaxed);
    }

    fn requests(&self) -> Requests {
        let sum = |index: usize| self.workers.iter().map(|of| of.0[index].load(Ordering::Relaxed)).sum();
        let [hit, stale, revalidated, joined, miss, pass] = std::array::from_fn(sum);
        Requests { hit, stale, revalidated, joined, miss, pass }
    }
}

impl Store {
    /// A request is over: what the log says of it. Called by the worker of this number alone, so nobody else writes its counts.
    pub(crate) fn count(&self, worker: usize, word: &str) {
        let index = WORDS.iter().position(|known| *known == word);
        if let Some((OfWorker(counts), index)) = self.counters.workers.get(worker).zip(index) {
            let count = &counts[index];
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// All figures. Cost: a lock for each shard of the flights.
    pub(crate) fn figures(&self) -> Figures {
        let (files, disk_bytes) = self.disk.as_ref().map_or((0, 0), |disk| disk.size());
        Figures {
            entries: self.entries.len() as u64,
            bytes: self.entries.weight(),
            capacity: self.entries.capacity(),
            files,
            disk_bytes,
            fetching: self.flights.count(),
            requests: self.counters.requests(),
            stored: self.counters.stored.load(Ordering::Relaxed),
            evicted: self.counters.evicted.load(Ordering::Relaxed),
            disk_evicted: self.disk.as_ref().map_or(0, |disk| disk.evicted()),
        }
    }
}

/// Counts responses that are evicted from memory.
#[derive(Clone)]
pub(super) struct Evictions(Arc<AtomicU64>);

impl Lifecycle<u128, Entry> for Evictions {
    type RequestState = <DefaultLifecycle<u128, Entry> as Lifecycle<u128, Entry>>::RequestState;

    fn before_evict(&self, _: &mut Self::RequestState, _: &u128, entry: &mut Entry) {
        if matches!(entry, Entry::Answer(..) | Entry::Filed(..)) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Of what is replaced, too. It is dropped outside of the shard's lock.
    fn on_evict(&self, state: &mut Self::RequestState, name: u128, entry: Entry) {
        DefaultLifecycle::default().on_evict(state, name, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::tests::store;
    use super::*;

    #[test]
    fn counted() {
        let store = store(1 << 20);
        for (worker, word) in [(0, "hit"), (1, "hit"), (1, "miss"), (0, "pass"), (7, "hit"), (0, "purge"), (0, "")] {
            store.count(worker, word);
        }
        let expected = Requests { hit: 2, miss: 1, pass: 1, ..Requests::default() };
        let figures = store.figures();
        assert_eq!((figures.requests, figures.capacity), (expected, 1 << 20));
        assert_eq!(std::mem::size_of::<OfWorker>(), 128);
    }
}
