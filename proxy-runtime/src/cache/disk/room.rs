//! Frees space in a folder: for bytes, files, and the space to leave free on the file system.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::Disk;
use super::limits::{ENTRY, FOLDERS, TRIES, UNIT};

impl Disk {
    fn is_within_limits(&self) -> bool {
        let (files, bytes) = self.size();
        let writing = self.folder.writing.load(Ordering::Relaxed);
        let others = FOLDERS + files * ENTRY + self.journal.length().saturating_sub(UNIT);
        bytes + writing + others <= self.limits.bytes && files <= self.limits.files
    }

    /// Removes files until the folder is within its limits, or empty: of a small sample, the least recently used one.
    pub(super) fn evict(&self) {
        while !self.is_within_limits() && self.remove_one().is_some() {}
    }

    /// Removes one file, and returns its size.
    fn remove_one(&self) -> Option<u64> {
        let (name, size) = self.locked().victim(self.temporary.fetch_add(1, Ordering::Relaxed))?;
        let _ = self.remove(name);
        self.evicted.fetch_add(1, Ordering::Relaxed);
        Some(size)
    }

    /// Frees space for bytes that are counted as being written already.
    ///
    /// # Errors
    /// There is no space.
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

    /// Returns how many bytes must be freed before this many are written.
    fn missing(&self, bytes: u64) -> io::Result<u64> {
        let about = rustix::fs::statvfs(&self.folder.path)?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        Ok(self.limits.min_free.saturating_add(bytes).saturating_sub(free))
    }

    /// Runs an operation that writes to the file system. If that is full, removes files and tries again.
    ///
    /// # Errors
    /// Returns the operation's errors.
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
            // One task at a time, or each would remove what all need.
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

    /// Removes files of this total size, and a little more, so that not every write must do it; returns whether there was one.
    fn free(&self, bytes: u64) -> bool {
        let (mut freed, mut removed, enough) = (0, false, bytes.max(self.size().1 / 64));
        while freed < enough || !removed {
            let Some(size) = self.remove_one() else { break };
            (freed, removed) = (freed + size, true);
        }
        removed
    }
}
