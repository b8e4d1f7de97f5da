//! Several responses under one URL (RFC 9111 section 4.1): the note that there are ([`Varies`]). It says what tells them apart, and lists the
//! names they are stored under, so that they go with it.
//!
//! Where they are is a hash of the URL, the note's number and what the request says of the note's fields. Who removes or replaces the note
//! removes all of them: their names are never made again.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::EntryAction;

use super::entry::{Entry, Head};
use super::freshness::Unkept;
use super::key::{self, Selecting};
use super::store::{AsIs, Place, Store};
use crate::ranges::Only;
use crate::site;

/// The most fields by which responses under one URL are told apart.
const MOST_FIELDS: usize = 16;

/// See above.
pub(super) struct Varies {
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

type Names = HashSet<u128, BuildHasherDefault<AsIs>>;

/// A note has room for so many names at first, and for twice as many whenever they don't fit: a table of this size has no slot too many.
const FEW_NAMES: usize = 7;

/// The most names that a note has room for. Further variants are stored, too, but stay until they are evicted.
const MOST_NAMES: usize = FEW_NAMES << 9;

/// What a name takes, in bytes.
const NAME: usize = 20;

impl Varies {
    pub(super) fn new(url: Box<str>, fields: Box<[Box<str>]>, number: u64) -> Varies {
        Varies { url, fields, number, outdated_before: Arc::default(), names: Mutex::default(), room: FEW_NAMES }
    }

    pub(super) fn weight(&self) -> u64 {
        (size_of::<Varies>() + self.url.len() + 64 * self.fields.len() + NAME * self.room) as u64
    }

    /// What was received before the note was declared stale is stale, too.
    pub(super) fn outdates(&self, head: &Head) {
        if head.life.received.0 < self.outdated_before.load(Ordering::Relaxed) {
            head.outdated.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it tells responses apart by all fields that this one depends on.
    fn knows(&self, head: &Head) -> bool {
        head.vary.iter().all(|name| self.fields.contains(name))
    }

    /// Lists one more variant. Whether that is done: where it is not, there must be an enlarged one, which may have room for `most`.
    fn list(&self, variant: u128, most: usize, is_stored: impl Fn(u128) -> bool) -> bool {
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
    fn enlarged(&self, variant: u128) -> Varies {
        let mut names = std::mem::take(&mut *self.names());
        names.insert(variant);
        Varies {
            names: Mutex::new(names),
            room: 2 * self.room,
            outdated_before: Arc::clone(&self.outdated_before),
            ..Varies::new(self.url.clone(), self.fields.clone(), self.number)
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Where a response will be stored that depends on these fields by its `Vary`, or on more by its policy, or is a part: notes
    /// that there are several, if there are.
    ///
    /// # Errors
    /// It depends on more than can be told apart, or there is a newer one.
    pub(crate) fn place(
        &'static self,
        key: &site::Key,
        url: &str,
        request: &dyn Selecting,
        head: &Head,
        part: Option<Only>,
    ) -> Result<Place, Unkept> {
        let name = self.name_of_url(url);
        let is_one_of_several = part.is_some() || !head.vary.is_empty() || key::has_variants(key);
        let varies = match self.noted(name) {
            Some(noted) if noted.knows(head) => noted,
            None if !is_one_of_several => return Ok(Place { own: name, varies: false, recalled: Some(name) }),
            _ => self.note_several(name, head)?,
        };
        let place = self.of_several(key, url, (&varies.fields, varies.number), request);
        Ok(part.map_or(place, |part| self.part_of(place, part)))
    }

    /// Whether a response that is stored under `name` is one to this request, by what it says it depends on.
    pub(crate) fn is_at(&self, name: u128, key: &site::Key, url: &str, request: &dyn Selecting, head: &Head) -> bool {
        let of_url = self.name_of_url(url);
        match self.noted(of_url) {
            Some(noted) => {
                noted.knows(head) && self.of_several(key, url, (&noted.fields, noted.number), request).own == name
            }
            None => name == of_url && head.vary.is_empty() && !key::has_variants(key),
        }
    }

    pub(super) fn noted(&self, name: u128) -> Option<Arc<Varies>> {
        match self.entries.peek(&name)? {
            Entry::Varies(varies) => Some(varies),
            _ => None,
        }
    }

    /// Notes that there are several responses under a URL, which depend on the fields of this one and those that were known before. Where
    /// that is too much, the note begins again with this one's, so that a URL can be cached whatever it once depended on.
    fn note_several(&'static self, name: u128, head: &Head) -> Result<Arc<Varies>, Unkept> {
        if head.vary.len() > MOST_FIELDS {
            return Err(Unkept::Vary);
        }
        let locked = self.lock_name(name);
        let (noted, stored) = match self.entries.peek(&name) {
            Some(Entry::Varies(noted)) => (Some(noted), None),
            stored => (None, stored),
        };
        if stored.as_ref().and_then(Entry::head).is_some_and(|stored| !head.supersedes(stored)) {
            return Err(Unkept::Superseded);
        }
        let known = noted.as_ref().map_or(&[][..], |noted| &noted.fields);
        let new = || head.vary.iter().filter(|name| !known.contains(name));
        // Somebody has noted the same meanwhile.
        if let Some(noted) = noted.as_ref().filter(|_| new().next().is_none()) {
            return Ok(Arc::clone(noted));
        }
        let mut fields: Vec<Box<str>> = known.iter().chain(new()).cloned().collect();
        if fields.len() > MOST_FIELDS {
            fields = head.vary.to_vec();
        }
        let number = self.numbers.hash_one(self.made.fetch_add(1, Ordering::Relaxed));
        let varies = Arc::new(Varies::new(head.url.clone(), fields.into(), number));
        self.entries.insert(name, Entry::Varies(Arc::clone(&varies)));
        drop(locked);
        self.note(name, &varies);
        for replaced in noted.map(Entry::Varies).into_iter().chain(stored) {
            self.release(&replaced);
        }
        Ok(varies)
    }

    /// Lists a stored response in the note of its URL, if it is one of several.
    pub(super) fn list_variant(&self, name: u128, head: &Head) {
        let of_url = self.name_of_url(&head.url);
        if name == of_url {
            return;
        }
        let Some(noted) = self.noted(of_url) else { return };
        // What does not fit into a shard of the table is not stored.
        let most = MOST_NAMES.min(usize::try_from(self.entries.shard_capacity()).unwrap_or(usize::MAX) / (8 * NAME));
        if noted.list(name, most, |name| self.entries.contains_key(&name)) {
            return;
        }
        // In its place and in one step: whoever purges it finds one of both.
        let _ = self.entries.entry(&of_url, Some(Duration::ZERO), |_, stored| {
            if matches!(stored, Entry::Varies(stored) if Arc::ptr_eq(stored, &noted)) {
                *stored = Entry::Varies(Arc::new(noted.enlarged(name)));
            }
            EntryAction::Retain(())
        });
    }

    /// Removes what goes with an entry that was removed: what nobody can find any more. Looks at memory alone; files go behind it.
    pub(super) fn release(&self, entry: &Entry) {
        self.forget_forms(entry);
        let Entry::Varies(varies) = entry else { return };
        for name in std::mem::take(&mut *varies.names()) {
            if let Some((_, variant)) = self.entries.remove(&name) {
                self.forget_forms(&variant);
            }
            if let Some(disk) = &self.disk {
                disk.forget(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists many variants, of which those that `is_stored` are there: the room that the note has in the end, and how many it has listed.
    fn list(count: u128, most: usize, is_stored: impl Fn(u128) -> bool) -> (usize, usize) {
        let mut note = Varies::new("http://a/".into(), Box::new([]), 1);
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
