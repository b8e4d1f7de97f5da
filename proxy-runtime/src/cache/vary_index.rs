//! Several responses under one URL (RFC 9111 section 4.1): the note about them ([`VaryIndex`]). It lists the fields that select among them, and the
//! names that they are stored under, so that they are removed with it.
//!
//! The name of a variant is a hash of the URL, the note's number and the request's values of the note's fields. Removing or replacing the note
//! removes all of them: their names are never used again.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::identity_hasher::IdentityHasher;
use crate::protocol::date::Moment;

/// The most fields by which responses under one URL are told apart.
pub(super) const MOST_FIELDS: usize = 16;

/// See above.
pub(super) struct VaryIndex {
    pub(super) url: Box<str>,
    /// Told apart by these fields, in lower case.
    pub(super) fields: Box<[Box<str>]>,
    /// A part of their names.
    pub(super) number: u64,
    /// Those that were received before are stale; in milliseconds since 1970. It is one with that of the note which this was enlarged from, so
    /// that whoever has that one outdates both.
    pub(super) outdated_before: Arc<AtomicU64>,
    names: Mutex<Names>,
    /// So many names fit. It never changes, as the note weighs accordingly.
    room: usize,
}

type Names = HashSet<u128, BuildHasherDefault<IdentityHasher>>;

/// A note has room for so many names at first, and for twice as many whenever they don't fit: a table of this size has no slot too many.
const FEW_NAMES: usize = 7;

/// The most names that a note has room for. Further variants are stored, too, but stay until they are evicted.
pub(super) const MOST_NAMES: usize = FEW_NAMES << 9;

/// What a name takes, in bytes.
pub(super) const NAME: usize = 20;

impl VaryIndex {
    pub(super) fn new(url: Box<str>, fields: Box<[Box<str>]>, number: u64) -> VaryIndex {
        VaryIndex { url, fields, number, outdated_before: Arc::default(), names: Mutex::default(), room: FEW_NAMES }
    }

    pub(super) fn weight(&self) -> u64 {
        (size_of::<VaryIndex>() + self.url.len() + 64 * self.fields.len() + NAME * self.room) as u64
    }

    /// Whether what was received at this moment is stale, as the note was declared so since.
    pub(super) fn outdates(&self, received: Moment) -> bool {
        received.0 < self.outdated_before.load(Ordering::Relaxed)
    }

    /// Whether it tells responses apart by all fields that this one depends on.
    pub(super) fn knows(&self, vary: &[Box<str>]) -> bool {
        vary.iter().all(|name| self.fields.contains(name))
    }

    /// Lists one more variant. Whether that is done: where it is not, there must be an enlarged one, which may have room for `most`.
    pub(super) fn list(&self, variant: u128, most: usize, is_stored: impl Fn(u128) -> bool) -> bool {
        let is_full = |names: &Names| names.len() >= self.room && !names.contains(&variant);
        // Looking at all of them is rare: half of the room is free then, or there is twice as much, or chance decides.
        let looks = is_full(&self.names()) && (self.room < most || variant.is_multiple_of(64));
        // Not under the lock: who enlarges a note has that of the table first.
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

    /// The same note with twice the room, and one variant more. It takes the names over.
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

    /// Lists many variants, of which those that `is_stored` are there: the room that the note has in the end, and how many it has listed.
    pub(super) fn list(count: u128, most: usize, is_stored: impl Fn(u128) -> bool) -> (usize, usize) {
        let mut note = VaryIndex::new("http://a/".into(), Box::new([]), 1);
        for name in 1..=count {
            if !note.list(name, most, &is_stored) {
                let larger = note.enlarged(name);
                assert!(note.names().is_empty() && larger.weight() > note.weight());
                // Whoever still has the one before means this one, too.
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
        // What is gone makes room for others.
        let (room, listed) = list(10_000, MOST_NAMES, |name| name % 1000 == 0);
        assert!(room <= 28 && listed >= 10, "{room} {listed}");
    }
}
