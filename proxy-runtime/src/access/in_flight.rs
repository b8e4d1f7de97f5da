//! Concurrency limits: [`ConcurrencyLimiter`] counts the running requests of each key. Its size is that of the keys with
//! running requests.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::counted::LimitKey;

/// The number of running requests per key, by a hash: randomly keyed 64-bit hashes do not collide in practice.
pub(crate) struct ConcurrencyLimiter {
    counts: [Mutex<HashMap<u64, u64>>; SHARDS],
    hash: RandomState,
}

impl Default for ConcurrencyLimiter {
    fn default() -> ConcurrencyLimiter {
        ConcurrencyLimiter { counts: std::array::from_fn(|_| Mutex::default()), hash: RandomState::new() }
    }
}

/// How many workers can count at once without contention, if their keys are in different shards.
const SHARDS: usize = 64;

/// A counted request, until this is dropped.
pub(crate) struct ConcurrencyGuard {
    of: &'static ConcurrencyLimiter,
    key: u64,
}

impl ConcurrencyLimiter {
    /// Counts a request of a key, unless `most` are running already.
    pub(crate) fn admit(&'static self, key: LimitKey<'_>, most: u64) -> Option<ConcurrencyGuard> {
        let key = self.hash.hash_one(key);
        let mut counts = self.shard(key);
        let count = counts.entry(key).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(ConcurrencyGuard { of: self, key })
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.counts[key as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConcurrencyGuard {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.of.shard(self.key).entry(self.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let all: &'static ConcurrencyLimiter = Box::leak(Box::default());
        let first = all.admit(LimitKey::Bytes(b"a"), 2);
        let second = all.admit(LimitKey::Bytes(b"a"), 2);
        assert!(
            first.is_some()
                && second.is_some()
                && all.admit(LimitKey::Bytes(b"a"), 2).is_none()
                && all.admit(LimitKey::Bytes(b"b"), 1).is_some()
        );
        drop(first);
        assert!(all.admit(LimitKey::Bytes(b"a"), 2).is_some());
        drop(second);
        assert!(all.counts.iter().all(|shard| shard.lock().expect("sound").is_empty()));
        assert!(all.admit(LimitKey::Bytes(b"a"), 0).is_none());
    }
}
