//! Reads from a store's folders and writes to them, always in the background.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::body_file::BodyFile;
use super::cached_body::CachedBody;
use super::disk::{Disk, DiskLookup, FileWriter};
use super::entry::{CacheEntry, CachedHead};
use super::freshness::NotStored;
use super::groups;
use super::record;
use super::store::{CacheStore, StoreLocation};
use super::vary_index::VaryIndex;
use crate::file_pool::Unavailable;
use crate::net::descriptors;
use crate::observe::notice;
use crate::protocol::date::Moment;

/// The most responses that are queued to be written to a disk; further ones are only stored in memory.
const MOST_WRITING: u64 = 256;

impl CacheStore {
    /// Returns the largest body that can be stored, in bytes.
    pub(crate) fn largest(&self) -> u64 {
        self.disks.max_object().map_or(self.max_object, |largest| largest.max(self.max_object))
    }

    /// Opens a body on disk. `None`: it can't be read now; if it never will be, it is removed.
    pub(crate) async fn open(&self, place: StoreLocation, body_file: Arc<BodyFile>) -> Option<CachedBody> {
        let is_this =
            |entry: &CacheEntry| matches!(entry, CacheEntry::BodyFile(_, stored) if Arc::ptr_eq(stored, &body_file));
        let opening = Arc::clone(&body_file);
        let opened = match body_file.pool().run(move || opening.open()).await {
            Ok(opened) => opened,
            Err(Unavailable::Refused) => return None,
            Err(Unavailable::TimedOut) => Err(io::ErrorKind::TimedOut.into()),
        };
        match opened {
            Ok(opened) => Some(CachedBody::BodyFile(Arc::new(opened))),
            // The file is another process's: if several processes use the folder, the disk has the file that was written
            // last.
            Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => {
                self.entries.remove_if(&place.own, is_this);
                None
            }
            Err(error) => {
                if !descriptors::are_exhausted(&error) {
                    self.forget(place.own, is_this);
                }
                None
            }
        }
    }

    /// Returns whether the content of its folders is known.
    pub(crate) fn is_learned(&self) -> bool {
        self.disks.iter().all(|disk| disk.is_scanned())
    }

    /// Waits for pending writes, but no longer than `patience`. Blocks.
    pub(crate) fn settle(&self, patience: Duration) {
        let until = Instant::now() + patience;
        for disk in self.disks.iter() {
            disk.pool().settle(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Returns whether the disk may have an entry that is not in memory.
    pub(crate) fn may_recall(&self, place: &StoreLocation) -> bool {
        place.recalled.is_some_and(|name| self.disks.of(name).is_some_and(|disk| disk.may_have(name)))
    }

    /// Loads an entry from disk into memory. Returns whether there was one; a disk that does not respond counts as
    /// empty.
    pub(crate) async fn recall(&'static self, place: StoreLocation) -> bool {
        let Some(name) = place.recalled else { return false };
        let Some(disk) = self.disks.of(name) else { return false };
        match disk.pool().run(move || self.read_back(disk, name)).await {
            Ok(found) => found,
            Err(Unavailable::Refused) => false,
            // A file that can't be read must not block one thread after another.
            Err(Unavailable::TimedOut) => {
                disk.forget(name);
                false
            }
        }
    }

    /// Reads an entry from disk. Blocks.
    fn read_back(&self, disk: &Disk, name: u128) -> bool {
        let (before, groups) = (self.purges(), self.groups.count());
        let entry = match disk.read(name) {
            None => return false,
            Some(DiskLookup::Varies(url, fields, number, softly)) => {
                let varies = CacheEntry::Varies(Arc::new(VaryIndex::new(url.into(), fields.into(), number)));
                if softly {
                    // Its variants in memory did not see the purge, as they are found by the index alone.
                    varies.outdate(Moment::now());
                }
                varies
            }
            Some(DiskLookup::Answer(head, opened)) if opened.length() > self.max_object => {
                CacheEntry::BodyFile(head, opened.body_file)
            }
            Some(DiskLookup::Answer(head, opened)) => match opened.whole() {
                Ok(blocks) => CacheEntry::Answer(head, CachedBody::of(&blocks)),
                Err(_) => {
                    drop(disk.remove(name));
                    return false;
                }
            },
        };
        if let CacheEntry::Answer(head, _) | CacheEntry::BodyFile(head, _) = &entry {
            head.groups_seen.store(groups::seen(&head.tags, groups), Ordering::Relaxed);
        }
        // An entry that was stored meanwhile is newer than the file.
        self.put(name, entry.clone(), |stored| {
            matches!(stored, None | Some(CacheEntry::Marker(_) | CacheEntry::Encoded(..)))
        });
        // The entry may have been purged while it was read.
        if self.purges() != before {
            self.entries.remove_if(&name, |stored| stored.is_same(&entry));
        }
        true
    }

    /// Writes a response in memory to disk.
    pub(super) fn write_behind(&'static self, name: u128, head: Arc<CachedHead>, content: CachedBody, since: u64) {
        let Some(disk) = self.disks.of(name).filter(|_| !matches!(content, CachedBody::BodyFile(_))) else { return };
        let given_up = move |head: &Arc<CachedHead>| {
            let newer = |entry| matches!(entry, CacheEntry::Answer(kept, _) | CacheEntry::BodyFile(kept, _) if !Arc::ptr_eq(&kept, head));
            self.is_purged(since, head) || self.entries.peek(&name).is_some_and(newer)
        };
        self.behind(disk, name, move |disk| disk.keep(name, &head, content.pieces(), || given_up(&head)));
    }

    /// Writes a `Vary` index to disk.
    pub(super) fn note(&'static self, name: u128, varies: &Arc<VaryIndex>) {
        let Some(disk) = self.disks.of(name) else { return };
        let (varies, since) = (Arc::clone(varies), self.purges());
        self.behind(disk, name, move |disk| {
            let newer = |entry| matches!(entry, CacheEntry::Varies(noted) if noted.number != varies.number);
            let is_purged = || self.purges.since(since, &varies.url, "") == Some(false);
            disk.keep_note(name, &varies, || is_purged() || self.entries.peek(&name).is_some_and(newer))
        });
    }

    /// Writes on a separate thread. If it fails, an older file must not stay in its place.
    fn behind(
        &'static self,
        disk: &Arc<Disk>,
        name: u128,
        write: impl FnOnce(&Disk) -> io::Result<()> + Send + 'static,
    ) {
        if disk.writing.fetch_add(1, Ordering::Relaxed) >= MOST_WRITING || !disk.pool().is_ready() {
            disk.writing.fetch_sub(1, Ordering::Relaxed);
            disk.forget(name);
            return;
        }
        let disk = Arc::clone(disk);
        drop(disk.pool().begin(move || {
            if disk.wrote(write(&disk)).is_none() {
                disk.forget(name);
            }
            disk.writing.fetch_sub(1, Ordering::Relaxed);
        }));
    }

    fn is_purged(&self, since: u64, head: &CachedHead) -> bool {
        self.purges.since(since, &head.url, &head.tags).is_some()
    }

    /// Begins to write a response that is too large for memory, with its chunks so far. `None`: it can't be written.
    pub(crate) async fn begin(&'static self, name: u128, head: Arc<CachedHead>, come: Vec<Bytes>) -> Option<DiskWrite> {
        let disk = self.disks.of(name)?;
        let begin = move || {
            let begun = disk.begin(name, &record::of_answer(&head)).and_then(|mut writer| {
                come.iter().try_for_each(|chunk| disk.write(&mut writer, chunk))?;
                Ok(writer)
            });
            disk.wrote(begun).map(|writer| DiskWrite { disk: Arc::clone(disk), writer })
        };
        disk.pool().run(begin).await.ok().flatten()
    }

    /// Writes another chunk. `None`: it can't be written.
    pub(crate) async fn file(&'static self, mut filing: DiskWrite, chunk: Bytes) -> Option<DiskWrite> {
        let pool = filing.disk.pool();
        let write = move || {
            let written = filing.disk.write(&mut filing.writer, &chunk);
            filing.disk.wrote(written).map(|()| filing)
        };
        pool.run(write).await.ok().flatten()
    }

    /// Names the file, so that it is stored.
    ///
    /// # Errors
    /// The reason why it is not stored.
    pub(crate) async fn finish(
        &'static self,
        filing: DiskWrite,
        name: u128,
        head: Arc<CachedHead>,
        since: u64,
    ) -> Result<(), NotStored> {
        let DiskWrite { disk, writer } = filing;
        let pool = disk.pool();
        let finish = move || {
            let given_up = || self.is_purged(since, &head) || self.is_superseded(name, &head);
            // While no other file gets the name: memory and disk must have the same response.
            let put =
                |body_file| self.put_newer(name, &head, CacheEntry::BodyFile(Arc::clone(&head), Arc::new(body_file)));
            match disk.wrote(disk.finish(writer, given_up, put)).ok_or(NotStored::NoRoom)? {
                Some(put) => put?,
                None if self.is_purged(since, &head) => return Err(NotStored::Purged),
                None => return Err(NotStored::Superseded),
            }
            // Checked after the write, as in `keep`.
            if self.is_purged(since, &head) {
                self.forget_this(name, &head);
                return Err(NotStored::Purged);
            }
            self.counters.stored();
            Ok(())
        };
        pool.run(finish).await.unwrap_or(Err(NotStored::NoRoom))
    }
}

impl Disk {
    /// Logs when writes begin to fail, and when they succeed again.
    fn wrote<T>(&self, outcome: io::Result<T>) -> Option<T> {
        let folder = self.path_of_folder().display();
        match outcome {
            Ok(done) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    notice::info(&format!("cache: {folder} can be written again"));
                }
                Some(done)
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    notice(&format!("cache: {folder} can't be written: {error}; responses are cached in memory"));
                }
                None
            }
        }
    }
}

/// A large response that is being written to disk.
pub(crate) struct DiskWrite {
    disk: Arc<Disk>,
    writer: FileWriter,
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::purges::Purge;
    use super::super::store::Lookup;
    use super::super::store::tests::{KEY, fields, get, put, store_with};
    use super::*;
    use crate::site::{DiskStore, Setting};

    /// A soft purge of a URL applies to variants in memory whose index is only on disk.
    #[tokio::test]
    async fn purged_without_an_index_in_memory() {
        let folder = std::env::temp_dir().join(format!("kiln-behind-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let disk = DiskStore {
            folder: Setting::Fixed(folder.to_str().expect("text").to_owned().into()),
            size: Setting::Fixed(1 << 30),
            max_files: Setting::Fixed(1 << 20),
            min_free: Setting::Fixed(0),
        };
        let store = store_with(8 << 20, Cow::Owned(vec![disk]));
        let (url, request) = ("http://a/x", fields(&[("accept-language", "de")]));
        put(store, url, &request, &["accept-language"], "", "deutsch");
        let name = store.name_of_url(url);
        let disk = store.disks.of(name).expect("a disk");
        store.settle(Duration::from_secs(60));
        for soft in [false, true] {
            if soft {
                // To its end: what is read while a purge is under way is not kept.
                let purge = store.purge(&[Purge::Url(url.to_owned())], true, Moment(3000));
                purge.carry_out().await.expect("carried out");
            }
            drop(store.entries.remove(&name));
            assert!(matches!(store.look_up(&KEY, url, &request, Moment(2000)), Lookup::Nothing(..)));
            assert!(store.read_back(disk, name));
            assert_eq!(get(store, url, &request), Some(("deutsch".to_owned(), soft)));
        }
        let _ = std::fs::remove_dir_all(folder);
    }
}
