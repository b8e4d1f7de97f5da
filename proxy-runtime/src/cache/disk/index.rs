//! The in-memory list of a folder's files: [`FileIndex`]. It also lists files that will be removed, which no longer count.
//! Pure.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use crate::protocol::date::Moment;

/// The list of files.
#[derive(Default)]
pub(super) struct FileIndex {
    pub(super) places: HashMap<u128, usize>,
    pub(super) list: Vec<IndexedFile>,
    pub(super) total: u64,
    /// The names of files that will be removed, and count as removed already.
    pub(super) doomed: HashSet<u128>,
    /// More files were to be removed than could be listed: all files that are not in the list count as removed.
    pub(super) lost: bool,
    /// A task is removing them.
    pub(super) removing: bool,
}

pub(super) struct IndexedFile {
    pub(super) name: u128,
    pub(super) size: u64,
    pub(super) used: u64,
}

/// The most names of files to remove that are listed while the disk hangs.
pub(super) const MOST_DOOMED: usize = 1 << 16;

/// The sample size of an eviction.
pub(super) const SAMPLE: usize = 16;

impl FileIndex {
    /// Returns whether a file counts as removed, though it may still exist.
    pub(super) fn is_doomed(&self, name: u128) -> bool {
        self.doomed.contains(&name) || (self.lost && !self.places.contains_key(&name))
    }

    pub(super) fn doom(&mut self, name: u128) {
        self.remove(name);
        if self.doomed.len() < MOST_DOOMED {
            self.doomed.insert(name);
        } else if !self.doomed.contains(&name) {
            self.lose();
        }
    }

    /// Marks all files as removed.
    pub(super) fn lose(&mut self) {
        *self = FileIndex { lost: true, removing: self.removing, ..FileIndex::default() };
    }

    /// Removes all files from the list, whatever happens to them.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.list.clear();
        self.total = 0;
    }

    pub(super) fn add(&mut self, name: u128, size: u64, used: SystemTime) {
        self.doomed.remove(&name);
        let used = used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.total += size;
        match self.places.get(&name) {
            Some(&place) => {
                self.total -= self.list[place].size;
                (self.list[place].size, self.list[place].used) = (size, used);
            }
            None => {
                self.places.insert(name, self.list.len());
                self.list.push(IndexedFile { name, size, used });
            }
        }
    }

    pub(super) fn touch(&mut self, name: u128) {
        if let Some(&place) = self.places.get(&name) {
            self.list[place].used = Moment::now().0 / 1000;
        }
    }

    pub(super) fn remove(&mut self, name: u128) {
        let Some(place) = self.places.remove(&name) else { return };
        let item = self.list.swap_remove(place);
        self.total -= item.size;
        if let Some(moved) = self.list.get(place) {
            self.places.insert(moved.name, place);
        }
    }

    /// Names are hashes, so neighbouring ones are a random sample.
    pub(super) fn victim(&self, seed: u64) -> Option<(u128, u64)> {
        let start = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16) as usize;
        let sample = (0..SAMPLE.min(self.list.len())).map(|at| &self.list[(start + at) % self.list.len()]);
        sample.min_by_key(|item| item.used).map(|item| (item.name, item.size))
    }
}
