//! The store of cached responses: [`CacheStore`], in memory, shared by all workers and bounded in bytes; and, if the site says so, also on
//! disk, from where responses come back into memory when they are requested.
//!
//! `quick_cache` decides about evictions (a CLOCK with ghosts, sharded, scan-resistant); a hit is a read lock on a shard
//! and two counts. Names of entries are 128-bit hashes with a key of the process, so nobody outside can produce a collision.
//!
//! The entry of a URL is either its response, or an index of its variants ([`super::vary_index`]).
//!
//! A response replaces only an older one (RFC 9111 section 4), and removing a stale response removes only that one, even if another was
//! stored meanwhile: checking and acting are one step, under the lock of the name.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::OptionsBuilder;
use quick_cache::sync::Cache;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::body_file::BodyFile;
use super::cached_body::CachedBody;
use super::counters::{Evictions, StoreCounters, WORDS, WorkerCounts};
use super::disks::Disks;
use super::entry::{CacheEntry, CachedHead, EntryWeighter, LastFetch, MissMarker, PAUSE};
use super::flight::Flights;
use super::freshness::NotStored;
use super::groups::{self, Groups};
use super::identity_hasher::IdentityHasher;
use super::key::{self, SelectingRequest};
use super::purges::Purges;
use super::search::SearchRules;
use crate::context::settings::Settings;
use crate::net::descriptors::DescriptorBudget;
use crate::protocol::date::Moment;
use crate::site;

/// The store of cached responses.
pub(crate) struct CacheStore {
    /// Its name in the site.
    pub(crate) name: String,
    pub(super) entries: Cache<u128, CacheEntry, EntryWeighter, BuildHasherDefault<IdentityHasher>, Evictions>,
    pub(super) counters: StoreCounters,
    /// A task that replaces an entry depending on its current value holds the lock of its name. No task waits for a disk while it holds
    /// one.
    name_locks: [Mutex<()>; 16],
    pub(crate) flights: Flights,
    /// The key of the entries' names.
    secret: (u64, u64),
    /// Generates the numbers of [`VaryIndex`](super::vary_index::VaryIndex), which are never reused.
    pub(super) numbers: RandomState,
    pub(super) made: AtomicU64,
    /// The largest body that is stored in memory, in bytes.
    pub(crate) max_object: u64,
    /// The bytes of responses that are being received.
    receiving: AtomicU64,
    /// The limit of `receiving`.
    max_receiving: u64,
    pub(super) purges: Purges,
    pub(super) groups: Groups,
    /// The `No-Vary-Search` rules of servers.
    pub(super) searches: SearchRules,
    pub(super) disks: Disks,
}

/// The names under which a request's response is stored.
#[derive(Clone, Copy)]
pub(crate) struct StoreLocation {
    /// The name of the URL, if it has one response.
    pub(crate) own: u128,
    /// The URL has variants.
    pub(crate) varies: bool,
    /// The name that the disk may have.
    pub(super) recalled: Option<u128>,
}

/// The result of a lookup.
pub(crate) enum Lookup {
    Answer(StoreLocation, Arc<CachedHead>, CachedBody),
    Nothing(StoreLocation, LastFetch),
    /// A response whose body is on disk.
    BodyFile(StoreLocation, Arc<CachedHead>, Arc<BodyFile>),
}

impl CacheStore {
    /// Creates a store. The content of its folders is listed in the background.
    ///
    /// # Errors
    /// A folder can't be created or written to, or a size parameter is invalid.
    pub(crate) fn new(
        store: &site::Store,
        settings: &Settings,
        workers: usize,
        descriptors: &'static DescriptorBudget,
    ) -> Result<CacheStore, String> {
        let memory = store.memory.get(settings);
        let max_object = store.max_object.map_or(memory / 16, |size| size.get(settings));
        if memory < site::Store::LEAST {
            return Err("the cache's `memory` must be 1MiB at least".to_owned());
        }
        if max_object > memory / 4 {
            return Err("the cache's `max-object` must be a quarter of its `memory` at most".to_owned());
        }
        // A response must fit into a shard, with space to spare.
        let mut shards = (4 * workers).next_power_of_two();
        while shards > 1 && memory / (shards as u64) < 4 * max_object {
            shards /= 2;
        }
        let options = OptionsBuilder::new()
            .shards(shards)
            .weight_capacity(memory)
            .estimated_items_capacity(usize::try_from(memory >> 13).unwrap_or(usize::MAX).clamp(64 * shards, 1 << 22))
            .build()
            .unwrap_or_else(|_| unreachable!("both capacities are given"));
        let random = RandomState::new();
        let disks = Disks::open(&store.disks, settings, descriptors)?;
        for disk in disks.iter() {
            let scan = std::thread::Builder::new().name("cache-scan".to_owned());
            scan.spawn(disks.scan(disk)).map_err(|error| format!("the cache's folder: {error}"))?;
        }
        let secret = disks.secret().unwrap_or_else(|| (random.hash_one(0), random.hash_one(1)));
        let counters = StoreCounters::new(workers);
        Ok(CacheStore {
            name: store.name.to_string(),
            entries: Cache::with_options(options, EntryWeighter, BuildHasherDefault::default(), counters.evictions()),
            counters,
            name_locks: Default::default(),
            flights: Flights::default(),
            secret,
            numbers: random,
            made: AtomicU64::new(0),
            max_object,
            receiving: AtomicU64::new(0),
            max_receiving: memory / 4,
            purges: Purges::default(),
            groups: Groups::default(),
            searches: SearchRules::new(memory),
            disks,
        })
    }

    pub(super) fn name_of(&self, parts: [&[u8]; 3]) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        for part in parts {
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }

    /// Returns the name of a URL's response, or of its `Vary` index.
    pub(super) fn name_of_url(&self, url: &str) -> u128 {
        self.name_of([url.as_bytes(), b"", b""])
    }

    /// Counts a request by its cache result. Only called by the worker of this number, so no other thread writes its counts.
    pub(crate) fn count(&self, worker: usize, word: &str) {
        let index = WORDS.iter().position(|known| *known == word);
        if let Some((WorkerCounts(counts), index)) = self.counters.workers.get(worker).zip(index) {
            let count = &counts[index];
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Looks up the response to a request for `url`.
    pub(crate) fn look_up(&self, key: &site::Key, url: &str, request: &dyn SelectingRequest, now: Moment) -> Lookup {
        let name = self.name_of_url(url);
        let place = StoreLocation { own: name, varies: false, recalled: Some(name) };
        let found = self.entries.get(&name);
        match found {
            // The response's `Vary` is not known yet, so this name is only used to join in-flight fetches.
            None | Some(CacheEntry::Answer(..) | CacheEntry::BodyFile(..)) if key::has_variants(key) => {
                let place = self.of_several(key, url, (&[], u64::MAX), request);
                let last_fetch =
                    self.entries.peek(&place.own).map_or(LastFetch::Unknown, |entry| entry.last_fetch(now));
                let recalled = found.is_none().then_some(name);
                Lookup::Nothing(StoreLocation { varies: false, recalled, ..place }, last_fetch)
            }
            Some(CacheEntry::Varies(varies)) => {
                let place = self.of_several(key, url, (&varies.fields, varies.number), request);
                let found = self.entries.get(&place.own);
                if let Some(CacheEntry::Answer(head, _) | CacheEntry::BodyFile(head, _)) = &found {
                    head.outdate_by(&varies);
                }
                self.looked(place, found, now)
            }
            found => self.looked(place, found, now),
        }
    }

    /// Returns the lookup result for an entry at a location.
    fn looked(&self, place: StoreLocation, found: Option<CacheEntry>, now: Moment) -> Lookup {
        match found {
            Some(CacheEntry::BodyFile(ref head, _) | CacheEntry::Answer(ref head, _))
                if self.groups.have_changed(head) =>
            {
                self.forget_this(place.own, head);
                Lookup::Nothing(place, LastFetch::Unknown)
            }
            Some(CacheEntry::BodyFile(head, body_file)) => self.look_at(place, head, body_file),
            Some(CacheEntry::Answer(head, content)) => Lookup::Answer(place, head, content),
            found => Lookup::Nothing(place, found.map_or(LastFetch::Unknown, |entry| entry.last_fetch(now))),
        }
    }

    /// Returns the lookup result for a response on disk, if the disk responds.
    fn look_at(&self, place: StoreLocation, head: Arc<CachedHead>, body_file: Arc<BodyFile>) -> Lookup {
        if body_file.is_spoilt() {
            self.forget(place.own, |entry| entry.is_of(&head));
        } else if body_file.pool().is_ready() {
            return Lookup::BodyFile(place, head, body_file);
        }
        Lookup::Nothing(place, LastFetch::Unknown)
    }

    /// Returns the location of a variant.
    pub(super) fn of_several(
        &self,
        key: &site::Key,
        url: &str,
        (fields, number): (&[Box<str>], u64),
        request: &dyn SelectingRequest,
    ) -> StoreLocation {
        let mut variant = Vec::with_capacity(128);
        key::variant_of(key, fields.iter().map(AsRef::as_ref), request, &mut variant);
        let own = self.name_of([url.as_bytes(), &number.to_be_bytes(), &variant]);
        StoreLocation { own, varies: true, recalled: Some(own) }
    }

    pub(super) fn lock_name(&self, name: u128) -> MutexGuard<'_, ()> {
        self.name_locks[(name >> 64) as usize % self.name_locks.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an entry, if it may replace the current one.
    pub(super) fn put(
        &self,
        name: u128,
        entry: CacheEntry,
        may_replace: impl FnOnce(Option<&CacheEntry>) -> bool,
    ) -> bool {
        self.put_made(name, |stored| may_replace(stored).then_some(entry))
    }

    /// Replaces an entry with one that is derived from it, if `make` returns one.
    pub(super) fn put_made(&self, name: u128, make: impl FnOnce(Option<&CacheEntry>) -> Option<CacheEntry>) -> bool {
        let head = {
            let _locked = self.lock_name(name);
            let Some(entry) = make(self.entries.peek(&name).as_ref()) else { return false };
            let head = entry.head().map(Arc::clone);
            self.entries.insert(name, entry);
            head
        };
        if let Some(head) = head {
            self.list_variant(name, &head);
        }
        true
    }

    /// Stores a response, if it is newer than the current one.
    pub(super) fn put_newer(&self, name: u128, head: &CachedHead, entry: CacheEntry) -> Result<(), NotStored> {
        let put = self.put(name, entry, |stored| match stored {
            Some(CacheEntry::Answer(stored, _) | CacheEntry::BodyFile(stored, _)) => head.supersedes(stored),
            Some(CacheEntry::Varies(_)) => false,
            Some(CacheEntry::Marker(_) | CacheEntry::Encoded(..)) | None => true,
        });
        if put { Ok(()) } else { Err(NotStored::Superseded) }
    }

    /// Returns whether the current response of a name is newer than this one.
    pub(super) fn is_superseded(&self, name: u128, head: &CachedHead) -> bool {
        let stored = self.entries.peek(&name);
        stored.as_ref().and_then(CacheEntry::head).is_some_and(|stored| !head.supersedes(stored))
    }

    /// Returns the location of a part of the response at a location.
    pub(super) fn part_of(&self, place: StoreLocation, part: &str) -> StoreLocation {
        let own = self.name_of([b"", &place.own.to_be_bytes(), part.as_bytes()]);
        StoreLocation { own, recalled: Some(own), ..place }
    }

    /// Returns a name for fetching a part, before its `Vary` is known.
    pub(crate) fn part_on_its_way(
        &self,
        key: &site::Key,
        url: &str,
        request: &dyn SelectingRequest,
        part: &str,
    ) -> u128 {
        self.part_of(self.of_several(key, url, (&[], u64::MAX), request), part).own
    }

    /// Returns the location of a part, if the URL has variants.
    pub(crate) fn part_place(
        &self,
        key: &site::Key,
        url: &str,
        request: &dyn SelectingRequest,
        part: &str,
    ) -> Option<StoreLocation> {
        let Some(CacheEntry::Varies(varies)) = self.entries.get(&self.name_of_url(url)) else {
            return None;
        };
        let place = self.part_of(self.of_several(key, url, (&varies.fields, varies.number), request), part);
        if let Some(CacheEntry::Answer(head, _) | CacheEntry::BodyFile(head, _)) = self.entries.peek(&place.own) {
            head.outdate_by(&varies);
        }
        Some(place)
    }

    /// Returns whether there is an entry at a location that `is_usable`; an entry that is only on disk counts as
    /// usable.
    pub(crate) fn has_usable(&self, place: &StoreLocation, is_usable: impl Fn(&CachedHead) -> bool) -> bool {
        match self.entries.peek(&place.own) {
            Some(CacheEntry::Answer(head, _) | CacheEntry::BodyFile(head, _)) => {
                !self.groups.have_changed(&head) && is_usable(&head)
            }
            _ => self.may_recall(place),
        }
    }

    /// Returns the response at a location.
    pub(crate) async fn at(&self, place: StoreLocation) -> Option<(Arc<CachedHead>, CachedBody)> {
        match self.entries.get(&place.own)? {
            CacheEntry::Answer(head, _) | CacheEntry::BodyFile(head, _) if self.groups.have_changed(&head) => {
                self.forget_this(place.own, &head);
                None
            }
            CacheEntry::Answer(head, content) => Some((head, content)),
            CacheEntry::BodyFile(head, body_file) => Some((head, self.open(place, body_file).await?)),
            CacheEntry::Varies(_) | CacheEntry::Marker(_) | CacheEntry::Encoded(..) => None,
        }
    }

    /// Stores a response. Fails if it was purged since its request was sent, or a newer one is stored.
    pub(crate) fn keep(
        &'static self,
        name: u128,
        head: Arc<CachedHead>,
        content: CachedBody,
        since: u64,
    ) -> Result<(), NotStored> {
        self.put_newer(name, &head, CacheEntry::of(&head, &content))?;
        self.keep_put(name, head, content, since)?;
        self.counters.stored();
        Ok(())
    }

    /// Stores a revalidated response, unless the stale one has been replaced.
    pub(crate) fn renew(
        &'static self,
        name: u128,
        before: &Arc<CachedHead>,
        head: Arc<CachedHead>,
        content: CachedBody,
        since: u64,
    ) -> Result<(), NotStored> {
        let is_there = |stored: Option<&CacheEntry>| stored.is_some_and(|stored| stored.is_of(before));
        if !self.put(name, CacheEntry::of(&head, &content), is_there) {
            return Err(NotStored::Superseded);
        }
        self.keep_put(name, head, content, since)?;
        self.counters.stored();
        Ok(())
    }

    /// Completes the storing of a response that was just put under a name.
    pub(super) fn keep_put(
        &'static self,
        name: u128,
        head: Arc<CachedHead>,
        content: CachedBody,
        since: u64,
    ) -> Result<(), NotStored> {
        // Checked afterwards: a later purge finds the entry.
        match self.purges.since(since, &head.url, &head.tags) {
            Some(false) => {
                self.entries.remove_if(&name, |entry| entry.is_of(&head));
                return Err(NotStored::Purged);
            }
            Some(true) => head.outdated.store(true, Ordering::Relaxed),
            None => {}
        }
        self.write_behind(name, head, content, since);
        Ok(())
    }

    /// Marks a response as not shareable for a moment (hit-for-miss); never replaces a stored one.
    pub(crate) fn mark_unshared(&self, name: u128, url: &str, now: Moment) {
        self.mark(name, url, Moment(now.0.saturating_add(UNSHARED.as_millis() as u64)), LastFetch::Unshared);
    }

    /// Marks a fetch as failed for a moment.
    pub(crate) fn mark_failed(&self, name: u128, url: &str, now: Moment) {
        let until = Moment(now.0.saturating_add(PAUSE.as_millis() as u64));
        match self.entries.peek(&name) {
            Some(CacheEntry::Answer(head, _) | CacheEntry::BodyFile(head, _)) => {
                head.not_before.store(until.0 as u32, Ordering::Relaxed)
            }
            _ => self.mark(name, url, until, LastFetch::Failed(until)),
        }
    }

    /// Only stores the marker if there is no other entry: it is about the last response, not about a stored one.
    fn mark(&self, name: u128, url: &str, until: Moment, last_fetch: LastFetch) {
        let marker = CacheEntry::Marker(Arc::new(MissMarker { url: url.into(), until, last_fetch }));
        self.put(name, marker, |stored| matches!(stored, None | Some(CacheEntry::Marker(_))));
    }

    /// Removes a hit-for-miss marker, because the server fails now.
    pub(crate) fn unmark(&self, name: u128) {
        self.entries.remove_if(&name, |entry| matches!(entry, CacheEntry::Marker(_)));
    }

    /// Removes a response, unless it has been replaced.
    pub(crate) fn forget_this(&self, name: u128, head: &Arc<CachedHead>) {
        self.forget(name, |entry| entry.is_of(head));
    }

    /// Removes the entry of a name, in memory and on disk, if `is_this`. An entry that is no longer in memory may still be on disk.
    pub(super) fn forget(&self, name: u128, is_this: impl Fn(&CacheEntry) -> bool) {
        match self.entries.remove_if(&name, is_this) {
            Some((_, entry)) => self.forget_forms(&entry),
            None if self.entries.peek(&name).is_some() => return,
            None => {}
        }
        if let Some(disk) = self.disks.of(name) {
            disk.forget(name);
        }
    }

    /// Reserves memory for bytes that will be received.
    pub(crate) fn reserve(&'static self, bytes: u64) -> Option<Reservation> {
        let before = self.receiving.fetch_add(bytes, Ordering::Relaxed);
        let reserved = Reservation { store: self, bytes };
        (before + bytes <= self.max_receiving).then_some(reserved)
    }

    /// Returns the initial [`CachedHead::groups_seen`] of a response that arrives now.
    pub(crate) fn groups_seen(&self, tags: &str) -> AtomicU64 {
        AtomicU64::new(groups::seen(tags, self.groups.count()))
    }

    /// Returns the number of purges; it is recorded when a request is sent, and compared when its response is stored.
    pub(crate) fn purges(&self) -> u64 {
        self.purges.count()
    }
}

/// The lifetime of a hit-for-miss marker.
const UNSHARED: Duration = Duration::from_secs(10);

/// Memory that is reserved for a response that is being received.
pub(crate) struct Reservation {
    store: &'static CacheStore,
    bytes: u64,
}

impl Reservation {
    /// Enlarges the reservation to this many bytes in total. `false`: there is no memory.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let before = self.store.receiving.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        before + more <= self.store.max_receiving
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.receiving.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::borrow::Cow;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::AtomicU32;

    use bytes::Bytes;
    use http::StatusCode;

    use super::super::entry::ResponseOrder;
    use super::super::freshness::Freshness;
    use super::super::pattern::Pattern;
    use super::super::purges::{Purge, REMEMBERED};
    use super::*;
    use crate::protocol::fields::Fields;
    use crate::site::{DiskStore, Key, Place, Query, Setting};

    pub(crate) fn store(memory: u64) -> &'static CacheStore {
        store_with(memory, Cow::Borrowed(&[]))
    }

    pub(crate) fn store_with(memory: u64, disks: site::List<DiskStore>) -> &'static CacheStore {
        let place = Place { file: "site.kdl".into(), line: 1 };
        let store = site::Store {
            name: "main".into(),
            memory: Setting::Fixed(memory),
            max_object: None,
            disks,
            warm: None,
            place,
        };
        Box::leak(Box::new(
            CacheStore::new(&store, &Settings::default(), 2, DescriptorBudget::ample()).expect("a store"),
        ))
    }

    pub(crate) fn head(url: &str, vary: &[&str], tags: &str) -> Arc<CachedHead> {
        let freshness = Freshness {
            received: Moment(1000),
            age: Duration::ZERO,
            lifetime: Duration::from_secs(60),
            while_revalidate: Duration::ZERO,
            if_error: Duration::ZERO,
            no_cache: false,
            must_revalidate: false,
            for_authorized: false,
        };
        Arc::new(CachedHead {
            status: StatusCode::OK,
            fields: [("content-type", "text/plain"), ("etag", "\"a\"")].into_iter().collect(),
            freshness,
            url: url.into(),
            vary: vary.iter().map(|name| Box::from(*name)).collect(),
            tags: tags.into(),
            groups_seen: AtomicU64::new(groups::seen(tags, 0)),
            outdated: AtomicBool::new(false),
            not_before: AtomicU32::new(0),
            number: super::super::number(),
            order: ResponseOrder { asked: super::super::number(), came: super::super::number(), made: None },
        })
    }

    pub(crate) const KEY: Key = Key {
        query: Query::Whole,
        send_keyed: false,
        follows_search: false,
        headers: Cow::Borrowed(&[]),
        cookies: Cow::Borrowed(&[]),
        device: None,
        zone: 0,
        site: 0,
    };

    pub(crate) fn put(store: &'static CacheStore, url: &str, request: &Fields, vary: &[&str], tags: &str, body: &str) {
        let head = head(url, vary, tags);
        let place = store.place(&KEY, url, request, &head, None).expect("a place");
        let content = CachedBody::One(Bytes::copy_from_slice(body.as_bytes()));
        store.keep(place.own, head, content, store.purges()).expect("kept");
    }

    pub(crate) fn get(store: &CacheStore, url: &str, request: &Fields) -> Option<(String, bool)> {
        match store.look_up(&KEY, url, request, Moment(2000)) {
            Lookup::Answer(_, head, content) => {
                Some((String::from_utf8(content.pieces().concat()).expect("text"), head.is_outdated()))
            }
            Lookup::BodyFile(..) | Lookup::Nothing(..) => None,
        }
    }

    pub(crate) fn fields(lines: &[(&str, &str)]) -> Fields {
        lines.iter().copied().collect()
    }

    fn fresh(body: &str) -> Option<(String, bool)> {
        Some((body.to_owned(), false))
    }

    #[test]
    fn variants_by_vary() {
        let store = store(8 << 20);
        let (none, de, en) = (fields(&[]), fields(&[("accept-language", "de")]), fields(&[("accept-language", "en")]));
        put(store, "http://a/x", &de, &["accept-language"], "", "deutsch");
        put(store, "http://a/x", &en, &["accept-language"], "", "english");
        assert_eq!(get(store, "http://a/x", &de), fresh("deutsch"));
        assert_eq!(get(store, "http://a/x", &en), fresh("english"));
        assert_eq!(get(store, "http://a/x", &none), None);
        // A response without `Vary` is one more variant.
        put(store, "http://a/x", &none, &[], "", "any");
        assert_eq!(get(store, "http://a/x", &none), fresh("any"));
        assert_eq!(get(store, "http://a/x", &de), fresh("deutsch"));
        // With another field in `Vary`, the earlier responses can't be found any more.
        put(store, "http://a/x", &de, &["accept"], "", "neu");
        assert_eq!(get(store, "http://a/x", &de), fresh("neu"));
        assert_eq!(get(store, "http://a/x", &en), None);
        // Softly, then hard: all variants of the URL.
        drop(store.purge(&[Purge::Url("http://a/x".to_owned())], true, Moment(3000)));
        assert_eq!(get(store, "http://a/x", &de), Some(("neu".to_owned(), true)));
        store.invalidate("http://a/x".to_owned(), Moment(3000));
        assert_eq!(get(store, "http://a/x", &de), None);
        let names: Vec<String> = (0..40).map(|at| format!("x-{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let hostile = head("http://a/y", &names, "");
        assert!(matches!(store.place(&KEY, "http://a/y", &none, &hostile, None), Err(NotStored::Vary)));
        // However many fields there were, the last response can be stored.
        for name in &names {
            put(store, "http://a/z", &none, &["accept", name], "", name);
            assert_eq!(get(store, "http://a/z", &none), fresh(name));
        }
    }

    /// Variants that can't be found any more are removed.
    #[test]
    fn many_variants() {
        let store = store(8 << 20);
        let of = |number: usize| fields(&[("x-kind", number.to_string().as_str())]);
        let fill = |vary: &[&str]| {
            for number in 0..1000 {
                put(store, "http://a/x", &of(number), vary, "", "it");
            }
            assert_eq!(store.entries.len(), 1001);
        };
        fill(&["x-kind"]);
        fill(&["x-kind"]);
        drop(store.purge(&[Purge::Url("http://a/x".to_owned())], false, Moment(0)));
        assert_eq!((store.entries.len(), store.entries.weight()), (0, 0));
        fill(&["x-kind"]);
        // With another field in `Vary`, the earlier variants can't be found any more.
        put(store, "http://a/x", &of(0), &["x-kind", "accept"], "", "it");
        assert_eq!(store.entries.len(), 2);
    }

    /// Lookups store nothing.
    #[test]
    fn lookups_store_nothing() {
        let store = store(4 << 20);
        let (none, varying) = (fields(&[]), head("http://a/", &["accept"], ""));
        let name = store.name_of_url("http://a/");
        let is_at = |head: &CachedHead, name| store.is_at(name, &KEY, "http://a/", &none, (head, None));
        assert!(!is_at(&varying, name) && is_at(&head("http://a/", &[], ""), name));
        assert_eq!(store.entries.len(), 0);
        let place = store.place(&KEY, "http://a/", &none, &varying, None).expect("a place");
        assert!(
            is_at(&varying, place.own) && !is_at(&varying, name) && !is_at(&head("http://a/", &["x"], ""), place.own)
        );
    }

    /// Of concurrent responses, the newest stays, whichever arrives last.
    #[test]
    fn newer_responses_stay() {
        let check = |stored: (u64, u64, u64), comes: (u64, u64, u64), stays: bool| {
            let store = store(4 << 20);
            let keep = |(asked, came, made): (u64, u64, u64)| {
                let mut head = Arc::into_inner(head("http://a/", &[], "")).expect("one");
                head.order = ResponseOrder { asked, came, made: (made > 0).then_some(Moment(made)) };
                store.keep(1, Arc::new(head), CachedBody::One(Bytes::new()), 0)
            };
            assert_eq!(keep(stored), Ok(()));
            let expected = if stays { Err(NotStored::Superseded) } else { Ok(()) };
            assert_eq!(keep(comes), expected, "{stored:?} {comes:?}");
        };
        // One after another: whatever their dates.
        check((1, 2, 8), (3, 4, 8), false);
        check((1, 2, 9), (3, 4, 8), false);
        // Concurrent: by date, and then by the order of requests.
        check((1, 3, 8), (2, 4, 9), false);
        check((1, 3, 9), (2, 4, 8), true);
        check((2, 3, 8), (1, 4, 8), true);
        check((2, 3, 8), (1, 4, 9), false);
        check((1, 3, 8), (2, 4, 8), false);
        // Without a date, or if one has none.
        for (stored, comes) in [(0, 0), (0, 9), (9, 0)] {
            check((1, 3, stored), (2, 4, comes), false);
            check((2, 3, stored), (1, 4, comes), true);
        }
    }

    /// A marker replaces nothing, and removing an old response does not remove its successor.
    #[test]
    fn markers_and_removals_keep_newer_entries() {
        let store = store(4 << 20);
        let (old, new) = (head("http://a/", &[], ""), head("http://a/", &[], ""));
        let kept = |head: &Arc<CachedHead>| store.entries.peek(&1).is_some_and(|entry| entry.is_of(head));
        for one in [&old, &new] {
            store.keep(1, Arc::clone(one), CachedBody::One(Bytes::new()), 0).expect("kept");
        }
        store.forget_this(1, &old);
        store.mark_unshared(1, "http://a/", Moment(0));
        assert!(kept(&new));
        store.forget_this(1, &new);
        assert!(store.entries.is_empty());
        // A 304 only renews the response that was revalidated.
        let renewed = |before| store.renew(1, before, head("http://a/", &[], ""), CachedBody::One(Bytes::new()), 0);
        assert_eq!(renewed(&old), Err(NotStored::Superseded));
        assert!(store.entries.is_empty());
        store.keep(1, Arc::clone(&new), CachedBody::One(Bytes::new()), 0).expect("kept");
        assert_eq!(
            (renewed(&old), renewed(&new), renewed(&new)),
            (Err(NotStored::Superseded), Ok(()), Err(NotStored::Superseded))
        );
        // A `Vary` index is not replaced by a response.
        let place =
            store.place(&KEY, "http://b/", &fields(&[]), &head("http://b/", &["a"], ""), None).expect("a place");
        let name = store.name_of_url("http://b/");
        let plain = store.keep(name, head("http://b/", &[], ""), CachedBody::One(Bytes::new()), 0);
        assert!(plain == Err(NotStored::Superseded) && place.own != name && store.noted(name).is_some());
    }

    #[test]
    fn purges_by_url_path_and_tag() {
        let check = |purge: Purge, soft: bool, left: &[&str], stale: &[&str]| {
            let store = store(8 << 20);
            let urls =
                [("http://a/x", "one two"), ("http://a/x/y", "two"), ("http://a/xy", ""), ("http://b/x?q", "three")];
            for (url, tags) in urls {
                put(store, url, &fields(&[]), &[], tags, "it");
            }
            drop(store.purge(std::slice::from_ref(&purge), soft, Moment(3000)));
            for (url, _) in urls {
                let expected = match (left.contains(&url), stale.contains(&url)) {
                    (true, _) => fresh("it"),
                    (false, true) => Some(("it".to_owned(), true)),
                    (false, false) => None,
                };
                assert_eq!(get(store, url, &fields(&[])), expected, "{purge:?} {url}");
            }
        };
        check(Purge::Url("http://a/x".to_owned()), false, &["http://a/x/y", "http://a/xy", "http://b/x?q"], &[]);
        check(Purge::Below("http://a/x".to_owned()), false, &["http://a/xy", "http://b/x?q"], &[]);
        check(Purge::Below("http://b/".to_owned()), false, &["http://a/x", "http://a/x/y", "http://a/xy"], &[]);
        check(Purge::Tags(vec!["two".to_owned()]), false, &["http://a/xy", "http://b/x?q"], &[]);
        check(
            Purge::Tags(vec!["tw".to_owned(), "three".to_owned()]),
            true,
            &["http://a/x", "http://a/x/y", "http://a/xy"],
            &["http://b/x?q"],
        );
        let pattern = |text: &str| Purge::Pattern(Pattern::parse(text, "a").expect("a pattern"));
        check(pattern("/x*"), false, &["http://b/x?q"], &[]);
        check(pattern("*/x"), false, &["http://a/x/y", "http://a/xy"], &[]);
        check(pattern("/x/*"), true, &["http://a/x", "http://a/xy", "http://b/x?q"], &["http://a/x/y"]);
        check(Purge::All, false, &[], &[]);
    }

    /// A response that was requested before a purge and arrives after it is not stored.
    #[test]
    fn purges_apply_to_requests_in_flight() {
        let keep = |purges: &[(Purge, bool)]| {
            let store = store(8 << 20);
            let since = store.purges();
            for (purge, soft) in purges {
                drop(store.purge(std::slice::from_ref(purge), *soft, Moment(3000)));
            }
            let kept = store.keep(1, head("http://a/x", &[], "one"), CachedBody::One(Bytes::new()), since);
            kept.map(|()| matches!(store.entries.get(&1), Some(CacheEntry::Answer(head, _)) if head.is_outdated()))
        };
        let (tag, other) = (Purge::Tags(vec!["one".to_owned()]), Purge::Url("http://b/".to_owned()));
        assert_eq!(keep(&[]), Ok(false));
        assert_eq!(keep(&[(other.clone(), false)]), Ok(false));
        assert_eq!(keep(&[(tag.clone(), true), (other.clone(), false)]), Ok(true));
        assert_eq!(keep(&[(tag.clone(), true), (tag, false)]), Err(NotStored::Purged));
        assert_eq!(keep(&vec![(other, false); REMEMBERED + 1]), Ok(false));
        let another = Purge::Tags(vec!["two".to_owned()]);
        assert_eq!(keep(&vec![(another, false); REMEMBERED + 1]), Err(NotStored::Purged));
    }

    /// An invalidation of a group applies to stored responses, without a pass over them, and to those in flight; only
    /// within its origin.
    #[test]
    fn groups_invalidated() {
        let store = store(8 << 20);
        let none = fields(&[]);
        let group = |origin: &str| groups::tag("g", origin);
        let urls = [("http://a/x", "http://a"), ("http://b/x", "http://b"), ("http://a/y", "http://a")];
        for (url, origin) in &urls[..2] {
            put(store, url, &none, &[], &group(origin), "old");
        }
        put(store, "http://a/none", &none, &[], "g", "old");
        let since = store.purges();
        let on_its_way = head("http://a/y", &[], &group("http://a"));
        store.invalidate_groups(vec![group("http://a")]);
        assert_eq!(get(store, "http://a/x", &none), None);
        assert_eq!((get(store, "http://b/x", &none), get(store, "http://a/none", &none)), (fresh("old"), fresh("old")));
        let place = store.place(&KEY, "http://a/y", &none, &on_its_way, None).expect("a place");
        assert_eq!(store.keep(place.own, on_its_way, CachedBody::One(Bytes::new()), since), Err(NotStored::Purged));
        // A later response is in the group, too, and fresh.
        let head = head("http://a/x", &[], &group("http://a"));
        head.groups_seen.store(store.groups_seen(&head.tags).into_inner(), Ordering::Relaxed);
        let place = store.place(&KEY, "http://a/x", &none, &head, None).expect("a place");
        store.keep(place.own, head, CachedBody::One(Bytes::from_static(b"new")), store.purges()).expect("kept");
        assert_eq!(get(store, "http://a/x", &none), fresh("new"));
        drop(store.purge(&[Purge::Tags(vec![group("http://a")])], false, Moment(3000)));
        assert_eq!(get(store, "http://a/x", &none), None);
    }

    /// The memory limit holds, however many responses arrive, and however large they are.
    #[test]
    fn memory_is_bounded() {
        let store = store(4 << 20);
        let body = "x".repeat(10_000);
        for number in 0..2000 {
            put(store, &format!("http://a/{number}"), &fields(&[]), &[], "", &body);
            assert!(store.entries.weight() <= 4 << 20);
        }
        assert!(store.entries.weight() > 3 << 20);
        let kept = store.reserve(1 << 20).expect("room");
        assert!(store.reserve(1).is_none());
        drop(kept);
        let mut reserved = store.reserve(10).expect("room");
        assert!(reserved.grow(1 << 20) && !reserved.grow((1 << 20) + 1));
    }

    #[test]
    fn markers() {
        let store = store(4 << 20);
        let none = fields(&[]);
        let last_fetch = |now| match store.look_up(&KEY, "http://a/", &none, Moment(now)) {
            Lookup::Nothing(place, last_fetch) => (place.own, last_fetch),
            Lookup::Answer(..) | Lookup::BodyFile(..) => panic!("nothing is there"),
        };
        let (name, unknown) = last_fetch(0);
        assert_eq!(unknown, LastFetch::Unknown);
        store.mark_unshared(name, "http://a/", Moment(0));
        assert_eq!((last_fetch(9_999).1, last_fetch(10_000).1), (LastFetch::Unshared, LastFetch::Unknown));
        store.unmark(name);
        assert_eq!(last_fetch(1).1, LastFetch::Unknown);
        store.mark_failed(name, "http://a/", Moment(1000));
        assert_eq!((last_fetch(1249).1, last_fetch(1250).1), (LastFetch::Failed(Moment(1250)), LastFetch::Unknown));
        put(store, "http://a/", &none, &[], "", "it");
        store.mark_unshared(name, "http://a/", Moment(0));
        store.unmark(name);
        assert_eq!(get(store, "http://a/", &none), fresh("it"));
        // A stored response stays, with the time until which it is not revalidated.
        store.mark_failed(name, "http://a/", Moment(1000));
        let Lookup::Answer(_, head, _) = store.look_up(&KEY, "http://a/", &none, Moment(1000)) else { panic!("it is") };
        assert_eq!((head.failed_until(Moment(1249)), head.failed_until(Moment(1250))), (Some(Moment(1250)), None));
    }
}
