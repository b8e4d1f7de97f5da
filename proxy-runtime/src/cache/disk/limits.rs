//! How much a folder of cached responses may take: [`Limits`], and how room is made. What counts is what the disk gives away: the blocks that
//! files occupy, their entries in directories, and the journal. Sixty thousand small files are 240 MiB to a disk, whatever they say themselves.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::Disk;
use crate::settings::Settings;
use crate::site;

/// How much a folder takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes, as files and directories occupy them.
    pub(in crate::cache) bytes: u64,
    pub(in crate::cache) files: u64,
    /// Bytes that stay free on the file system.
    pub(in crate::cache) min_free: u64,
}

/// File systems give space away by so many bytes, most of them.
pub(super) const UNIT: u64 = 4 << 10;

/// What directories occupy before there is a file, and the few other files of a folder.
pub(super) const FOLDERS: u64 = 264 * UNIT;

/// What a directory grows by for each file.
const ENTRY: u64 = 64;

/// So many times room is made on a full file system before a write is given up: what was removed may be open still, or taken by others.
const TRIES: usize = 3;

impl Limits {
    pub(in crate::cache) fn of(disk: &site::DiskStore, settings: &Settings) -> Limits {
        Limits {
            bytes: disk.size.get(settings),
            files: disk.max_files.get(settings),
            min_free: disk.min_free.get(settings),
        }
    }
}

impl Disk {
    fn is_within_limits(&self) -> bool {
        let (files, bytes) = self.size();
        let writing = self.folder.writing.load(Ordering::Relaxed);
        let others = FOLDERS + files * ENTRY + self.journal.length().saturating_sub(UNIT);
        bytes + writing + others <= self.limits.bytes && files <= self.limits.files
    }

    /// Removes files until all are within the limits, or there are none: of some that come to hand the one goes that was not asked for
    /// for the longest time.
    pub(super) fn evict(&self) {
        while !self.is_within_limits() && self.remove_one().is_some() {}
    }

    /// Gives how large it was.
    fn remove_one(&self) -> Option<u64> {
        let (name, size) = self.locked().victim(self.temporary.fetch_add(1, Ordering::Relaxed))?;
        let _ = self.remove(name);
        self.evicted.fetch_add(1, Ordering::Relaxed);
        Some(size)
    }

    /// Makes room for so many bytes, which count as being written already.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn make_room(&self, bytes: u64) -> io::Result<()> {
        self.evict();
        if !self.is_within_limits() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "more is being written than `size` has room for"));
        }
        if self.limits.min_free == 0 || self.missing(bytes)? == 0 {
            return Ok(());
        }
        let _freeing = self.freeing.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let missing = self.missing(bytes)?;
            if missing == 0 {
                return Ok(());
            }
            self.free(missing);
        }
        Err(io::Error::new(io::ErrorKind::StorageFull, "less is free than `min-free`"))
    }

    /// How much less is free than has to be, if so many bytes are written.
    fn missing(&self, bytes: u64) -> io::Result<u64> {
        let about = rustix::fs::statvfs(&self.folder.path)?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        Ok(self.limits.min_free.saturating_add(bytes).saturating_sub(free))
    }

    /// Runs what takes so many bytes of the file system. Where that is full, files are removed for it.
    ///
    /// # Errors
    /// Its own.
    pub(in crate::cache) fn with_room<T>(
        &self,
        bytes: u64,
        mut operation: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let is_full = |done: &io::Result<T>| {
            let kind = done.as_ref().err().map(io::Error::kind);
            matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
        };
        let mut done = operation();
        if is_full(&done) {
            // One at a time, or each removes what all need.
            let _freeing = self.freeing.lock().unwrap_or_else(PoisonError::into_inner);
            done = operation();
            for _ in 0..TRIES {
                if !is_full(&done) || !self.free(bytes) {
                    break;
                }
                done = operation();
            }
        }
        done
    }

    /// Removes files of so many bytes together, and a little more, so that it is not to be done for each write; whether there was one.
    fn free(&self, bytes: u64) -> bool {
        let (mut freed, mut removed, enough) = (0, false, bytes.max(self.size().1 / 64));
        while freed < enough || !removed {
            let Some(size) = self.remove_one() else { break };
            (freed, removed) = (freed + size, true);
        }
        removed
    }
}

/// What a file occupies: its blocks, or what they will be once the system has written them.
pub(super) fn occupied(about: &fs::Metadata) -> u64 {
    about.len().next_multiple_of(UNIT).max(about.blocks().saturating_mul(512))
}
