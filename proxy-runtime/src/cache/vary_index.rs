//! Variants of a response (RFC 9111 section 4.1): the index of a URL ([`VaryIndex`]). It lists the fields that select among them, and the names
//! that they are stored under, so that they are removed with it.
//!
//! The name of a variant is a hash of the URL, the index's number and the request's values of the fields. Removing or replacing the index
//! removes all variants: their names are never used again.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::identity_hasher::IdentityHasher;
use crate::protocol::date::Moment;

/// The most fields that the variants of a URL may depend on.
pub(super) const MOST_FIELDS: usize = 16;

/// The index of a URL's variants.
pub(super) struct VaryIndex {
    pub(super) url: Box<str>,
    /// The fields that distinguish the variants, in lower case.
    pub(super) fields: Box<[Box<str>]>,
    /// Part of the variants' names.
    pub(super) number: u64,
    /// Variants that were received before are stale; in milliseconds since 1970. Shared with the index that this one was enlarged from, so
    /// that a task with the earlier one updates both.
    pub(super) outdated_before: Arc<AtomicU64>,
    names: Mutex<Names>,
    /// The capacity for names. It is constant, as the weight of the index depends on it.
    room: usize,
}

type Names = HashSet<u128, BuildHasherDefault<IdentityHasher>>;

/// The initial capacity for names, which doubles whenever it is exceeded: a hash table of this size wastes no slot.
const FEW_NAMES: usize = 7;

/// The largest capacity. Further variants are stored, too, but stay until they are evicted.
pub(super) const MOST_NAMES: usize = FEW_NAMES << 9;

/// The memory of a name, in bytes.
pub(super) const NAME: usize = 20;

impl VaryIndex {
    pub(super) fn new(url: Box<str>, fields: Box<[Box<str>]>, number: u64) -> VaryIndex {
        VaryIndex { url, fields, number, outdated_before: Arc::default(), names: Mutex::default(), room: FEW_NAMES }
    }

    pub(super) fn weight(&self) -> u64 {
        (size_of::<VaryIndex>() + self.url.len() + 64 * self.fields.len() + NAME * self.room) as u64
    }

    /// Returns whether a response received at this time is stale because of a soft purge.
    pub(super) fn outdates(&self, received: Moment) -> bool {
        received.0 < self.outdated_before.load(Ordering::Relaxed)
    }

    /// Returns whether it distinguishes variants by all of these fields.
    pub(super) fn knows(&self, vary: &[Box<str>]) -> bool {
        vary.iter().all(|name| self.fields.contains(name))
    }

    /// Lists a variant. `false`: the index is full and must be enlarged, up to a capacity of `most`.
    pub(super) fn list(&self, variant: u128, most: usize, is_stored: impl Fn(u128) -> bool) -> bool {
        let is_full = |names: &Names| names.len() >= self.room && !names.contains(&variant);
        // Looking at all names is rare: afterwards half of the capacity is free, or it doubles, or the look is random.
        let looks = is_full(&self.names()) && (self.room < most || variant.is_multiple_of(64));
        // Not under the lock: a task that enlarges an index locks the table first.
        let listed: Vec<u128> = if looks { self.names().iter().copied().collect() } else { Vec::new() };
        let gone: Vec<u128> = listed.into_iter().filter(|&name| !is_stored(name)).collect();
        let mut names = self.names();
        for name in gone {
            names.remove(&name);
        }
        if looks && self.room < most && names.len() > self.room / 2 {
            return false;
        }
        if !is_full(&names) {
            names.insert(variant);
        }
        true
    }

    /// Returns the index with twice the capacity and one more variant. It takes the names over.
    pub(super) fn enlarged(&self, variant: u128) -> VaryIndex {
        let mut names = std::mem::take(&mut *self.names());
        names.insert(variant);
        VaryIndex {
            names: Mutex::new(names),
            room: 2 * self.room,
            outdated_before: Arc::clone(&self.outdated_before),
            ..VaryIndex::new(self.url.clone(), self.fields.clone(), self.number)
        }
    }

    pub(super) fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists many variants, of which those that `is_stored` exist; returns the final capacity, and how many are listed.
    pub(super) fn list(count: u128, most: usize, is_stored: impl Fn(u128) -> bool) -> (usize, usize) {
        let mut note = VaryIndex::new("http://a/".into(), Box::new([]), 1);
        for name in 1..=count {
            if !note.list(name, most, &is_stored) {
                let larger = note.enlarged(name);
                assert!(note.names().is_empty() && larger.weight() > note.weight());
                // A task that still has the previous index updates this one, too.
                note.outdated_before.store(9, Ordering::Relaxed);
                note = larger;
                assert_eq!((note.number, note.outdated_before.load(Ordering::Relaxed)), (1, 9));
            }
        }
        let listed = note.names().len();
        assert!(listed <= note.room && note.names().capacity() <= 2 * note.room);
        (note.room, listed)
    }

    #[test]
    fn names_are_bounded() {
        for (count, most, expected) in [
            (3, MOST_NAMES, (7, 3)),
            (8, MOST_NAMES, (14, 8)),
            (1000, MOST_NAMES, (1792, 1000)),
            (10_000, 56, (56, 56)),
        ] {
            assert_eq!(list(count, most, |_| true), expected, "{count}");
        }
        // Removed variants make space for others.
        let (room, listed) = list(10_000, MOST_NAMES, |name| name % 1000 == 0);
        assert!(room <= 28 && listed >= 10, "{room} {listed}");
    }
}
