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

/// So many responses may wait to be written to a disk; more are kept in memory alone.
const MOST_WRITING: u64 = 256;

impl CacheStore {
    /// The largest body that is kept anywhere, in bytes.
    pub(crate) fn largest(&self) -> u64 {
        self.disks.max_object().map_or(self.max_object, |largest| largest.max(self.max_object))
    }

    /// Opens a body on disk. `None`: it can't be read now; where it never will be, it is forgotten.
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
            // The file is another process's: while it has the folder, too, the last who has written something has it on disk.
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

    /// Whether it is known what its folders have.
    pub(crate) fn is_learned(&self) -> bool {
        self.disks.iter().all(|disk| disk.is_scanned())
    }

    /// Waits for what is being written, but no longer than this. Blocks.
    pub(crate) fn settle(&self, patience: Duration) {
        let until = Instant::now() + patience;
        for disk in self.disks.iter() {
            disk.pool().settle(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Whether what is not in memory may be on disk.
    pub(crate) fn may_recall(&self, place: &StoreLocation) -> bool {
        place.recalled.is_some_and(|name| self.disks.of(name).is_some_and(|disk| disk.may_have(name)))
    }

    /// Brings it into memory. Whether there was something; where the disk does not respond, it is taken to have nothing.
    pub(crate) async fn recall(&'static self, place: StoreLocation) -> bool {
        let Some(name) = place.recalled else { return false };
        let Some(disk) = self.disks.of(name) else { return false };
        match disk.pool().run(move || self.read_back(disk, name)).await {
            Ok(found) => found,
            Err(Unavailable::Refused) => false,
            // One file that can't be read must not take one thread after the other.
            Err(Unavailable::TimedOut) => {
                disk.forget(name);
                false
            }
        }
    }

    /// Blocks.
    fn read_back(&self, disk: &Disk, name: u128) -> bool {
        let (before, groups) = (self.purges(), self.groups.count());
        let entry = match disk.read(name) {
            None => return false,
            Some(DiskLookup::Varies(url, fields, number)) => {
                CacheEntry::Varies(Arc::new(VaryIndex::new(url.into(), fields.into(), number)))
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
        // What has come into memory meanwhile is newer than what was read.
        self.put(name, entry.clone(), |stored| {
            matches!(stored, None | Some(CacheEntry::Marker(_) | CacheEntry::Encoded(..)))
        });
        // Somebody may have purged it while it was read.
        if self.purges() != before {
            self.entries.remove_if(&name, |stored| stored.is_same(&entry));
        }
        true
    }

    /// Writes a response that is in memory.
    pub(super) fn write_behind(&'static self, name: u128, head: Arc<CachedHead>, content: CachedBody, since: u64) {
        let Some(disk) = self.disks.of(name).filter(|_| !matches!(content, CachedBody::BodyFile(_))) else { return };
        let given_up = move |head: &Arc<CachedHead>| {
            let newer = |entry| matches!(entry, CacheEntry::Answer(kept, _) | CacheEntry::BodyFile(kept, _) if !Arc::ptr_eq(&kept, head));
            self.is_purged(since, head) || self.entries.peek(&name).is_some_and(newer)
        };
        self.behind(disk, name, move |disk| disk.keep(name, &head, content.pieces(), || given_up(&head)));
    }

    /// Writes a note that there are several responses.
    pub(super) fn note(&'static self, name: u128, varies: &Arc<VaryIndex>) {
        let Some(disk) = self.disks.of(name) else { return };
        let (varies, since) = (Arc::clone(varies), self.purges());
        self.behind(disk, name, move |disk| {
            let newer = |entry| matches!(entry, CacheEntry::Varies(noted) if noted.number != varies.number);
            let is_purged = || self.purges.since(since, &varies.url, "") == Some(false);
            disk.keep_note(name, &varies, || is_purged() || self.entries.peek(&name).is_some_and(newer))
        });
    }

    /// Writes on a thread for that. What is not written must not leave an older one in its place.
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

    /// Begins to write a response that is too large for memory, with what has come of it. `None`: it can't be written.
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

    /// More of it. `None`: it can't be written.
    pub(crate) async fn file(&'static self, mut filing: DiskWrite, chunk: Bytes) -> Option<DiskWrite> {
        let pool = filing.disk.pool();
        let write = move || {
            let written = filing.disk.write(&mut filing.writer, &chunk);
            filing.disk.wrote(written).map(|()| filing)
        };
        pool.run(write).await.ok().flatten()
    }

    /// Gives it its name, so that it is kept.
    ///
    /// # Errors
    /// Why it is not.
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
            // While no other file gets the name: memory and disk have the same one.
            let put =
                |body_file| self.put_newer(name, &head, CacheEntry::BodyFile(Arc::clone(&head), Arc::new(body_file)));
            match disk.wrote(disk.finish(writer, given_up, put)).ok_or(NotStored::NoRoom)? {
                Some(put) => put?,
                None if self.is_purged(since, &head) => return Err(NotStored::Purged),
                None => return Err(NotStored::Superseded),
            }
            // Looked at behind it, as in `keep`.
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
    /// Tells the operator when writing begins to fail, and when it is over.
    fn wrote<T>(&self, outcome: io::Result<T>) -> Option<T> {
        let folder = self.path_of_folder().display();
        match outcome {
            Ok(done) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    notice(&format!("cache: {folder} can be written again"));
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

/// A large answer on its way to disk.
pub(crate) struct DiskWrite {
    disk: Arc<Disk>,
    writer: FileWriter,
}
