//! Stores and finds the variants of a URL, by its `Vary` index.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quick_cache::sync::EntryAction;

use super::entry::{CacheEntry, CachedHead};
use super::flight::Follower;
use super::freshness::NotStored;
use super::key::{self, SelectingRequest};
use super::store::{CacheStore, StoreLocation};
use super::vary_index::{MOST_FIELDS, MOST_NAMES, NAME, VaryIndex};
use crate::site;

impl CacheStore {
    /// Returns the location for a response that has a `Vary`, or variants by its policy, or is a part: updates the `Vary`
    /// index if needed.
    ///
    /// # Errors
    /// Fails if the response depends on too many fields, or there is a newer one.
    pub(crate) fn place(
        &'static self,
        key: &site::Key,
        url: &str,
        request: &dyn SelectingRequest,
        head: &CachedHead,
        part: Option<&str>,
    ) -> Result<StoreLocation, NotStored> {
        let name = self.name_of_url(url);
        let is_one_of_several = part.is_some() || !head.vary.is_empty() || key::has_variants(key);
        let varies = match self.noted(name) {
            Some(noted) if noted.knows(&head.vary) => noted,
            None if !is_one_of_several => return Ok(StoreLocation { own: name, varies: false, recalled: Some(name) }),
            _ => self.note_several(name, head)?,
        };
        let place = self.of_several(key, url, (&varies.fields, varies.number), request);
        Ok(part.map_or(place, |part| self.part_of(place, part)))
    }

    /// Joins the fetch that began before the URL was known to have variants, as long as its response, which told so, can't be joined under its
    /// own name.
    pub(crate) fn join_undecided(&self, place: StoreLocation, url: &str) -> Option<Follower> {
        if place.varies { self.flights.join_undecided(self.name_of_url(url)) } else { None }
    }

    /// Returns whether a response, or part, stored under `name` may be used for this request, by its `Vary`.
    pub(crate) fn is_at(
        &self,
        name: u128,
        key: &site::Key,
        url: &str,
        request: &dyn SelectingRequest,
        (head, part): (&CachedHead, Option<&str>),
    ) -> bool {
        let of_url = self.name_of_url(url);
        match self.noted(of_url) {
            Some(noted) => {
                let place = self.of_several(key, url, (&noted.fields, noted.number), request);
                noted.knows(&head.vary) && part.map_or(place, |part| self.part_of(place, part)).own == name
            }
            None => part.is_none() && name == of_url && head.vary.is_empty() && !key::has_variants(key),
        }
    }

    pub(super) fn noted(&self, name: u128) -> Option<Arc<VaryIndex>> {
        match self.entries.peek(&name)? {
            CacheEntry::Varies(varies) => Some(varies),
            _ => None,
        }
    }

    /// Records that a URL has variants, by the fields of this response and the known ones. If that is too many, the index is restarted
    /// with this response's fields, so that a URL can be cached whatever it once depended on.
    fn note_several(&'static self, name: u128, head: &CachedHead) -> Result<Arc<VaryIndex>, NotStored> {
        if head.vary.len() > MOST_FIELDS {
            return Err(NotStored::Vary);
        }
        let locked = self.lock_name(name);
        let (noted, stored) = match self.entries.peek(&name) {
            Some(CacheEntry::Varies(noted)) => (Some(noted), None),
            stored => (None, stored),
        };
        if stored.as_ref().and_then(CacheEntry::head).is_some_and(|stored| !head.supersedes(stored)) {
            return Err(NotStored::Superseded);
        }
        let known = noted.as_ref().map_or(&[][..], |noted| &noted.fields);
        let new = || head.vary.iter().filter(|name| !known.contains(name));
        // Another request has recorded the same meanwhile.
        if let Some(noted) = noted.as_ref().filter(|_| new().next().is_none()) {
            return Ok(Arc::clone(noted));
        }
        let mut fields: Vec<Box<str>> = known.iter().chain(new()).cloned().collect();
        if fields.len() > MOST_FIELDS {
            fields = head.vary.to_vec();
        }
        let number = self.numbers.hash_one(self.made.fetch_add(1, Ordering::Relaxed));
        let varies = Arc::new(VaryIndex::new(head.url.clone(), fields.into(), number));
        self.entries.insert(name, CacheEntry::Varies(Arc::clone(&varies)));
        drop(locked);
        self.note(name, &varies);
        for replaced in noted.map(CacheEntry::Varies).into_iter().chain(stored) {
            self.release(&replaced);
        }
        Ok(varies)
    }

    /// Lists a stored response in the `Vary` index of its URL, if there is one.
    pub(super) fn list_variant(&self, name: u128, head: &CachedHead) {
        let of_url = self.name_of_url(&head.url);
        if name == of_url {
            return;
        }
        let Some(noted) = self.noted(of_url) else { return };
        // An entry that exceeds a shard of the table can't be stored.
        let most = MOST_NAMES.min(usize::try_from(self.entries.shard_capacity()).unwrap_or(usize::MAX) / (8 * NAME));
        if noted.list(name, most, |name| self.entries.contains_key(&name)) {
            return;
        }
        // Replaced in one step: a purge finds either of the two.
        let _ = self.entries.entry(&of_url, Some(Duration::ZERO), |_, stored| {
            if matches!(stored, CacheEntry::Varies(stored) if Arc::ptr_eq(stored, &noted)) {
                *stored = CacheEntry::Varies(Arc::new(noted.enlarged(name)));
            }
            EntryAction::Retain(())
        });
    }

    /// Removes the `Vary` index of a URL, if it has this number, and thereby all of its variants.
    pub(super) fn forget_note(&self, name: u128, number: u64) {
        let is_this = |entry: &CacheEntry| matches!(entry, CacheEntry::Varies(varies) if varies.number == number);
        let Some((_, entry)) = self.entries.remove_if(&name, is_this) else { return };
        if let Some(disk) = self.disks.of(name) {
            disk.forget(name);
        }
        self.release(&entry);
    }

    /// Removes entries that depend on a removed one, as they can't be found any more. Uses only memory; files are removed in the
    /// background.
    pub(super) fn release(&self, entry: &CacheEntry) {
        self.forget_forms(entry);
        let CacheEntry::Varies(varies) = entry else { return };
        for name in std::mem::take(&mut *varies.names()) {
            if let Some((_, variant)) = self.entries.remove(&name) {
                self.forget_forms(&variant);
            }
            if let Some(disk) = self.disks.of(name) {
                disk.forget(name);
            }
        }
    }
}
