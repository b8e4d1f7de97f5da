//! The figures of a store, for the admin endpoint: its content, and counts since the process began ([`StoreStats`]).
//!
//! A hit is counted in a cache line of its worker, which no other worker writes: a load and a store, without a locked instruction.
//! More expensive events (a stored response, an evicted one) are counted in shared atomics.

use std::sync::atomic::Ordering;

use super::counters::{StoreCounters, WORDS};
use super::disk::Disk;
use super::store::CacheStore;

/// The figures of a store: its content and counts.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StoreStats {
    /// Responses in memory.
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) capacity: u64,
    /// Responses on disk, in all folders.
    pub(crate) files: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) disks: Vec<DiskStats>,
    /// In-flight fetches that others can join.
    pub(crate) fetching: u64,
    pub(crate) requests: RequestCounts,
    /// Stored responses, including revalidated ones.
    pub(crate) stored: u64,
    /// Responses evicted from memory, and from disk.
    pub(crate) evicted: u64,
    pub(crate) disk_evicted: u64,
}

/// The content of a folder.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct DiskStats {
    pub(crate) folder: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) capacity: u64,
    pub(crate) evicted: u64,
    /// The disk responds, and the last write has succeeded.
    pub(crate) works: bool,
}

impl CacheStore {
    /// Returns all statistics. Costs a lock for each shard of the in-flight fetches.
    pub(crate) fn figures(&self) -> StoreStats {
        let disks: Vec<_> = self.disks.iter().map(|disk| disk.figures()).collect();
        StoreStats {
            entries: self.entries.len() as u64,
            bytes: self.entries.weight(),
            capacity: self.entries.capacity(),
            files: disks.iter().map(|disk| disk.files).sum(),
            disk_bytes: disks.iter().map(|disk| disk.bytes).sum(),
            disk_evicted: disks.iter().map(|disk| disk.evicted).sum(),
            disks,
            fetching: self.flights.count(),
            requests: self.counters.requests(),
            stored: self.counters.stored.load(Ordering::Relaxed),
            evicted: self.counters.evicted.load(Ordering::Relaxed),
        }
    }
}

impl Disk {
    fn figures(&self) -> DiskStats {
        let (files, bytes) = self.size();
        DiskStats {
            folder: self.path_of_folder().display().to_string(),
            files,
            bytes,
            capacity: self.capacity(),
            evicted: self.evicted(),
            works: self.pool().is_ready() && !self.failing.load(Ordering::Relaxed),
        }
    }
}

impl StoreCounters {
    pub(super) fn requests(&self) -> RequestCounts {
        let sum = |index: usize| self.workers.iter().map(|of| of.0[index].load(Ordering::Relaxed)).sum();
        let [hit, stale, revalidated, joined, miss, pass] = std::array::from_fn(sum);
        RequestCounts { hit, stale, revalidated, joined, miss, pass }
    }
}

impl RequestCounts {
    /// Returns each counter with its name.
    pub(crate) fn named(&self) -> [(&'static str, u64); WORDS.len()] {
        let RequestCounts { hit, stale, revalidated, joined, miss, pass } = *self;
        let counts = [hit, stale, revalidated, joined, miss, pass];
        std::array::from_fn(|index| (WORDS[index], counts[index]))
    }
}

/// Requests by cache result, with the words of the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct RequestCounts {
    pub(crate) hit: u64,
    pub(crate) stale: u64,
    pub(crate) revalidated: u64,
    pub(crate) joined: u64,
    pub(crate) miss: u64,
    pub(crate) pass: u64,
}

#[cfg(test)]
mod tests {
    use super::super::counters::WorkerCounts;
    use super::super::store::tests::store;
    use super::*;

    #[test]
    fn hits_are_counted_by_worker() {
        let store = store(1 << 20);
        for (worker, word) in [(0, "hit"), (1, "hit"), (1, "miss"), (0, "pass"), (7, "hit"), (0, "purge"), (0, "")] {
            store.count(worker, word);
        }
        let expected = RequestCounts { hit: 2, miss: 1, pass: 1, ..RequestCounts::default() };
        let figures = store.figures();
        assert_eq!((figures.requests, figures.capacity), (expected, 1 << 20));
        assert_eq!(std::mem::size_of::<WorkerCounts>(), 128);
    }
}
