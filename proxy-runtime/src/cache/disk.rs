//! Responses on disk: [`Disk`], a folder with a file for each, which survives restarts and crashes.
//!
//! A file is written without its final name and gets the name when it is complete, so that files with a name are complete as far as
//! the system guarantees; checksums of the head and of each block of the body detect files that a crash of the machine has damaged, before
//! a byte is sent. The checksums and the names are keyed with a secret of the folder. At start only the names and sizes of files
//! are read, in the background.
//!
//! A disk may hang. File operations run in the folder's pool ([`FilePool`]); workers call only [`Disk::may_have`] and
//! [`Disk::forget`], which look at memory.

mod index;
mod limits;
mod room;
mod writer;
mod writing;

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use self::index::FileIndex;
pub(crate) use self::limits::DiskLimits;
use self::limits::occupied;
pub(super) use self::writer::FileWriter;
use super::bans::{Ban, Bans};
use super::body_file::{BodyFile, FileHandle, Folder, HEADER, OpenBodyFile, SUM, sum};
use super::entry::CachedHead;
use super::journal::Journal;
use super::purge_queue::PurgeQueue;
use super::purges::Purge;
use super::record::{self, StoredRecord};
use super::vary_index::VaryIndex;
use crate::file_pool::FilePool;
use crate::net::descriptors;
use crate::net::descriptors::DescriptorBudget;

/// A folder of responses.
pub(crate) struct Disk {
    pub(super) folder: Arc<Folder>,
    limits: DiskLimits,
    /// The largest body that it stores.
    pub(super) max_object: u64,
    index: Mutex<FileIndex>,
    /// The index contains all files that existed at the start.
    scanned: AtomicBool,
    /// The purges that were recorded without looking at each file.
    pub(super) bans: Bans,
    /// The order of purges, shared with other processes that use the folder.
    pub(super) journal: Journal,
    /// Purges that are queued for the journal.
    pub(super) orders: PurgeQueue,
    /// The number of responses that are being written.
    pub(super) writing: AtomicU64,
    /// The last write has failed.
    pub(super) failing: AtomicBool,
    /// Held while a file is named or removed.
    naming: Mutex<()>,
    /// Held while files are removed because the file system is full.
    freeing: Mutex<()>,
    /// Distinguishes files that are being written from those of other processes.
    process: u64,
    temporary: AtomicU64,
    /// The number of evicted files.
    evicted: AtomicU64,
}

/// The file of a name.
pub(super) enum DiskLookup {
    Answer(Arc<CachedHead>, OpenBodyFile),
    /// A [`VaryIndex`]: URL, fields, number; and whether it was purged softly.
    Varies(String, Vec<Box<str>>, u64, bool),
}

/// The largest head that is read.
const MAX_HEAD: usize = 1 << 20;

impl Disk {
    /// Opens a folder, or creates it.
    ///
    /// # Errors
    /// Fails if the folder can't be created or written to.
    pub(crate) fn open(folder: &Path, limits: DiskLimits, descriptors: &'static DescriptorBudget) -> io::Result<Disk> {
        fs::create_dir_all(folder.join("new"))?;
        for first in 0..=255_u8 {
            fs::create_dir_all(folder.join(format!("{first:02x}")))?;
        }
        let (secret, bans) = (secret(folder)?, Bans::new(limits.bytes / 16));
        let journal = Journal::open(folder, secret, &mut |ban| bans.add(ban))?;
        Ok(Disk {
            folder: Arc::new(Folder {
                path: folder.to_owned(),
                secret,
                pool: FilePool::new()?,
                descriptors,
                writing: AtomicU64::new(0),
            }),
            limits,
            max_object: limits.bytes / 8,
            index: Mutex::default(),
            scanned: AtomicBool::new(false),
            bans,
            journal,
            orders: PurgeQueue::default(),
            writing: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            naming: Mutex::new(()),
            freeing: Mutex::new(()),
            process: RandomState::new().hash_one(0),
            temporary: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        })
    }

    fn path(&self, name: u128) -> PathBuf {
        self.folder.of(name)
    }

    /// Returns the pool for its file operations.
    pub(super) fn pool(&self) -> &'static FilePool {
        self.folder.pool
    }

    /// Returns whether the content of the folder is known.
    pub(super) fn is_scanned(&self) -> bool {
        self.scanned.load(Ordering::Acquire)
    }

    /// Lists the folder's files, and removes those that exceed the limits or belong elsewhere. Reads no file. Blocks.
    pub(super) fn scan(&self, is_own: impl Fn(u128) -> bool) {
        self.each_file(|name, entry| {
            if !is_own(name) {
                let _ = self.remove(name);
                return;
            }
            let Ok(metadata) = entry.metadata() else { return };
            {
                let mut index = self.locked();
                if !index.is_doomed(name) && !index.places.contains_key(&name) {
                    let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    index.add(name, occupied(&metadata), used);
                }
            }
            self.evict();
        });
        writer::remove_abandoned(&self.folder.path);
        self.scanned.store(true, Ordering::Release);
    }

    fn locked(&self) -> MutexGuard<'_, FileIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the path of the folder.
    pub(super) fn path_of_folder(&self) -> &Path {
        &self.folder.path
    }

    /// Returns the most bytes that it may occupy.
    pub(super) fn capacity(&self) -> u64 {
        self.limits.bytes
    }

    /// Returns the number of files, and the space that they occupy.
    pub(super) fn size(&self) -> (u64, u64) {
        let index = self.locked();
        (index.list.len() as u64, index.total)
    }

    #[cfg(feature = "admin")]
    /// Returns the number of evicted files.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Returns whether there may be a file of this name, on a disk that responds. Uses only memory.
    pub(super) fn may_have(&self, name: u128) -> bool {
        let index = self.locked();
        let known = index.places.contains_key(&name) || !self.scanned.load(Ordering::Acquire);
        known && !index.is_doomed(name) && self.folder.pool.is_ready()
    }

    /// Removes the file of a name: immediately for all later lookups, and then from the disk. Uses only memory; returns whether
    /// there was one, as far as is known.
    pub(super) fn forget(self: &Arc<Self>, name: u128) -> bool {
        let known = {
            let mut index = self.locked();
            let known = index.places.contains_key(&name);
            index.doom(name);
            known
        };
        self.begin_removing();
        known
    }

    /// Starts to remove the files that are marked, in the background, unless that is running.
    fn begin_removing(self: &Arc<Self>) {
        if !std::mem::replace(&mut self.locked().removing, true) {
            let disk = Arc::clone(self);
            drop(self.folder.pool.begin(move || disk.remove_doomed()));
        }
    }

    /// Removes the files that are marked. Blocks.
    fn remove_doomed(&self) {
        loop {
            let (name, lost) = {
                let mut index = self.locked();
                index.removing = index.lost || !index.doomed.is_empty();
                if !index.removing {
                    return;
                }
                (index.doomed.iter().next().copied(), index.lost)
            };
            if let Some(name) = name {
                self.remove_if_doomed(name);
            } else if lost {
                self.each_file(|name, _| self.remove_if_doomed(name));
                self.locked().lost = false;
            }
        }
    }

    fn remove_if_doomed(&self, name: u128) {
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        // The file may have been written again in the meantime.
        if self.locked().is_doomed(name) {
            let _ = fs::remove_file(self.path(name));
            self.locked().doomed.remove(&name);
        }
    }

    /// Calls `each` for each named file. Blocks.
    fn each_file(&self, mut each: impl FnMut(u128, &fs::DirEntry)) {
        for first in 0..=255_u8 {
            for entry in fs::read_dir(self.folder.path.join(format!("{first:02x}"))).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if let Some(name) = name.to_str().and_then(|name| u128::from_str_radix(name, 16).ok()) {
                    each(name, &entry);
                }
            }
        }
    }

    /// Reads a file's head. A file that is damaged, of another folder or purged is removed. Blocks.
    pub(super) fn read(&self, name: u128) -> Option<DiskLookup> {
        if self.locked().is_doomed(name) {
            return None;
        }
        let file = match self.folder.open(name) {
            // This is temporary, and says nothing about the file.
            Err(error) if descriptors::are_exhausted(&error) => return None,
            file => file.ok(),
        };
        let found = file.and_then(|file| self.read_head(name, file)).and_then(|(mut found, followed)| {
            let purged = match &found {
                DiskLookup::Answer(head, _) => self.bans.mean(&head.url, &head.tags, followed),
                DiskLookup::Varies(url, ..) => self.bans.mean(url, "", followed),
            };
            match &mut found {
                DiskLookup::Answer(head, _) if purged == Some(true) => head.outdated.store(true, Ordering::Relaxed),
                DiskLookup::Answer(..) => {}
                DiskLookup::Varies(.., softly) => *softly = purged == Some(true),
            }
            (purged != Some(false)).then_some(found)
        });
        match found {
            Some(_) => self.locked().touch(name),
            None => drop(self.remove(name)),
        }
        found
    }

    /// Reads a file's head, with the position in the journal at which it was written.
    fn read_head(&self, name: u128, handle: FileHandle) -> Option<(DiskLookup, u64)> {
        let mut file = handle.get().ok()?;
        let mut header = [0; HEADER];
        file.read_exact(&mut header).ok()?;
        let (lengths, sum) = header.split_at(HEADER - SUM);
        let head_length = u32::from_le_bytes(lengths[8..12].try_into().ok()?) as usize;
        let number = |at: usize| Some(u64::from_le_bytes(lengths.get(at..at + 8)?.try_into().ok()?));
        let (length, journal, followed) = (number(12)?, number(20)?, number(28)?);
        // Without that journal, it is unknown what was purged.
        if &lengths[..6] != writer::MAGIC || head_length > MAX_HEAD || journal != self.journal.identity() {
            return None;
        }
        let mut head = vec![0; head_length];
        file.read_exact(&mut head).ok()?;
        if self.sum(name, u64::MAX, &[lengths, &head]).to_le_bytes() != sum {
            return None;
        }
        let found = match record::read(&head)? {
            StoredRecord::Varies(url, fields, number) => DiskLookup::Varies(url, fields, number, false),
            StoredRecord::Answer(head) => {
                let offset = (HEADER + head_length) as u64;
                let body_file = self.body_file(name, header, (offset, length));
                DiskLookup::Answer(Arc::new(head), OpenBodyFile::new(Arc::new(body_file), handle))
            }
        };
        Some((found, followed))
    }

    /// Stores a response whose body is in memory, unless it was `purged` at the last moment.
    ///
    /// # Errors
    /// Fails if the file can't be written.
    pub(super) fn keep(
        &self,
        name: u128,
        head: &CachedHead,
        body: &[Bytes],
        purged: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        let mut writer = self.begin(name, &record::of_answer(head))?;
        for piece in body {
            self.write(&mut writer, piece)?;
        }
        self.finish(writer, purged, drop).map(drop)
    }

    /// Stores a `Vary` index.
    ///
    /// # Errors
    /// Fails if the file can't be written.
    pub(super) fn keep_note(&self, name: u128, note: &VaryIndex, given_up: impl FnOnce() -> bool) -> io::Result<()> {
        let writer = self.begin(name, &record::of_varies(&note.url, &note.fields, note.number))?;
        self.finish(writer, given_up, drop).map(drop)
    }

    fn body_file(&self, name: u128, header: [u8; HEADER], (offset, length): (u64, u64)) -> BodyFile {
        BodyFile { folder: Arc::clone(&self.folder), name, header, offset, length, spoilt: AtomicBool::new(false) }
    }

    /// Removes the file of a name; returns whether there was one. Blocks.
    ///
    /// # Errors
    /// Fails if the file can't be removed.
    pub(super) fn remove(&self, name: u128) -> io::Result<bool> {
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        self.locked().remove(name);
        let removed = match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            outcome => outcome.map(|()| true),
        };
        self.locked().doomed.remove(&name);
        removed
    }

    /// Purges: immediately for all later requests of this process. Uses only memory. Returns how many files are gone immediately; the
    /// others go when they are read. `name` is that of a URL.
    pub(super) fn purge(self: &Arc<Self>, purge: &Purge, soft: bool, name: u128) -> usize {
        // Its sequence number will be the next one, or later.
        self.bans.add(&Ban { sequence: self.journal.followed() + 1, soft, purge: purge.clone() });
        match purge {
            Purge::Url(_) if !soft => usize::from(self.forget(name)),
            Purge::All if !soft => self.clear(),
            _ => 0,
        }
    }

    /// Removes files from the list that another process has purged and removes. Uses only memory.
    pub(super) fn unlist(&self, purge: &Purge, soft: bool, name: u128) {
        let mut index = self.locked();
        match purge {
            Purge::Url(_) if !soft => index.remove(name),
            Purge::All if !soft => index.clear(),
            _ => {}
        }
    }

    /// Removes everything: immediately for all later requests, and then from the disk. Uses only memory. Returns how many files are
    /// known.
    fn clear(self: &Arc<Self>) -> usize {
        let count = {
            let mut index = self.locked();
            let count = index.list.len();
            index.lose();
            count
        };
        self.begin_removing();
        count
    }

    fn sum(&self, name: u128, block: u64, parts: &[&[u8]]) -> u64 {
        sum(self.folder.secret, name, block, parts)
    }
}

/// The key of a folder's names and checksums.
pub(super) type Secret = (u64, u64);

/// Reads a folder's key.
pub(super) fn read_secret(folder: &Path) -> Option<Secret> {
    let bytes: [u8; 16] = fs::read(folder.join("secret")).ok()?.try_into().ok()?;
    let bytes = u128::from_le_bytes(bytes);
    Some((bytes as u64, (bytes >> 64) as u64))
}

/// Sets a folder's key. Files with another key become unusable.
pub(super) fn give_secret(folder: &Path, secret: Secret) -> io::Result<()> {
    if read_secret(folder) == Some(secret) {
        return Ok(());
    }
    fs::create_dir_all(folder.join("new"))?;
    match fs::remove_file(folder.join("secret")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => write_secret(folder, secret).map(drop),
    }
}

/// Returns a folder's key, which is created once.
fn secret(folder: &Path) -> io::Result<Secret> {
    let random = RandomState::new();
    match read_secret(folder) {
        Some(secret) => Ok(secret),
        None => write_secret(folder, (random.hash_one(2), random.hash_one(1))),
    }
}

/// Creates a key; returns the one that the folder has in the end.
fn write_secret(folder: &Path, (low, high): Secret) -> io::Result<Secret> {
    let path = folder.join("secret");
    let made = (u128::from(high) << 64) | u128::from(low);
    let new = folder.join("new").join(format!("secret-{}", std::process::id()));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&made.to_le_bytes())?;
    file.sync_all()?;
    // The first of two processes that start at the same time wins.
    let linked = fs::hard_link(&new, &path);
    fs::remove_file(&new)?;
    match read_secret(folder) {
        Some(secret) => Ok(secret),
        // The file exists but is invalid, and so is everything that uses it.
        None => {
            linked.or_else(|_| fs::write(&path, made.to_le_bytes()))?;
            read_secret(folder).ok_or_else(|| io::Error::other("the folder's secret can't be stored"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::body_file::BLOCK;
    use super::super::store::tests::head;
    use super::*;

    const AMPLE: DiskLimits = DiskLimits { bytes: 1 << 30, files: 1 << 30, min_free: 0 };

    /// Limits that allow this many bytes of files.
    fn room_for(bytes: u64) -> DiskLimits {
        DiskLimits { bytes: limits::FOLDERS + bytes, ..AMPLE }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("kiln-disk-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn body(length: usize) -> Vec<Bytes> {
        let all: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        vec![Bytes::from(all)]
    }

    fn read(disk: &Disk, name: u128) -> Option<Vec<u8>> {
        match disk.read(name)? {
            DiskLookup::Answer(_, opened) => opened.whole().ok().map(|blocks| blocks.concat()),
            DiskLookup::Varies(..) => panic!("an answer"),
        }
    }

    #[test]
    fn survives_a_restart() {
        let folder = folder("survives");
        let lengths = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7];
        {
            let disk = Disk::open(&folder, AMPLE, DescriptorBudget::ample()).expect("a folder");
            for (name, length) in (1..).zip(lengths) {
                disk.keep(name, &head("http://a/", &[], ""), &body(length), || false).expect("written");
            }
            disk.keep(99, &head("http://a/", &[], ""), &body(5), || true).expect("purged meanwhile");
            let note = VaryIndex::new("http://a/v".into(), Box::new(["accept".into()]), 7);
            disk.keep_note(100, &note, || false).expect("written");
        }
        let disk = Disk::open(&folder, AMPLE, DescriptorBudget::ample()).expect("a folder");
        assert!(disk.may_have(99), "before the scan, any file may exist");
        disk.scan(|_| true);
        assert!(!disk.may_have(99) && disk.read(99).is_none());
        for (name, length) in (1..).zip(lengths) {
            assert_eq!(read(&disk, name), Some(body(length).concat()), "{length}");
        }
        let Some(DiskLookup::Answer(_, opened)) = disk.read(6) else { panic!("there") };
        let (block, at) = opened.block(BLOCK as u64 + 5).expect("a block");
        assert_eq!((block.len(), at), (BLOCK, 5));
        assert!(matches!(disk.read(100), Some(DiskLookup::Varies(url, _, 7, false)) if url == "http://a/v"));
        let _ = fs::remove_dir_all(folder);
    }

    /// However a file is truncated or changed, a read returns what was written, or nothing.
    #[test]
    fn damaged_files() {
        let folder = folder("torn");
        let disk = Disk::open(&folder, AMPLE, DescriptorBudget::ample()).expect("a folder");
        let whole = body(2 * BLOCK + 100);
        disk.keep(7, &head("http://a/", &[], ""), &whole, || false).expect("written");
        let written = fs::read(disk.path(7)).expect("a file");
        let ends = (0..300).chain([BLOCK, BLOCK + 300, 2 * BLOCK, written.len() - 1]);
        for at in ends {
            fs::write(disk.path(7), &written[..at]).expect("cut off");
            assert_eq!(read(&disk, 7), None, "cut off at {at}");
            let mut changed = written.clone();
            changed[at] ^= 0x40;
            fs::write(disk.path(7), &changed).expect("changed");
            assert_eq!(read(&disk, 7), None, "changed at {at}");
        }
        // Another response's file under this name.
        fs::write(disk.path(8), &written).expect("copied");
        assert_eq!(read(&disk, 8), None);
        fs::write(disk.path(7), &written).expect("restored");
        assert_eq!(read(&disk, 7), Some(whole.concat()));
        let _ = fs::remove_dir_all(folder);
    }

    /// Purges, soft or not, persist after a restart, and do not apply to later files.
    #[test]
    fn purges_survive_a_restart() {
        let folder = folder("purged");
        let tags = |tag: &str| Purge::Tags(vec![tag.to_owned()]);
        {
            let disk = Arc::new(Disk::open(&folder, AMPLE, DescriptorBudget::ample()).expect("a folder"));
            for (name, tag) in (1..).zip(["soft", "hard", "kept"]) {
                disk.keep(name, &head("http://a/", &[], tag), &body(5), || false).expect("written");
            }
            for (tag, soft) in [("soft", true), ("hard", false)] {
                disk.purge(&tags(tag), soft, 0);
                assert!(disk.read(2).is_none() || soft, "a purge takes effect before it is written");
                let mut locked = disk.journal.lock(&mut |_| {}).expect("locked");
                locked.append(&[(tags(tag), soft)]).expect("written");
                locked.follow(&mut |ban| disk.bans.add(ban)).expect("followed");
            }
            disk.keep(4, &head("http://a/", &[], "hard"), &body(5), || false).expect("written");
            assert!(disk.read(4).is_some(), "the file is newer than the purge");
        }
        let disk = Disk::open(&folder, AMPLE, DescriptorBudget::ample()).expect("a folder");
        assert!(matches!(disk.read(1), Some(DiskLookup::Answer(head, _)) if head.is_outdated()));
        let found: Vec<bool> = (1..=4).map(|name| disk.read(name).is_some()).collect();
        assert_eq!(found, [true, false, true, true]);
        drop(disk);
        // Without its journal, it is unknown what was purged.
        fs::remove_file(folder.join("journal")).expect("removed");
        let disk = Disk::open(&folder, AMPLE, DescriptorBudget::ample()).expect("a folder");
        assert!((1..=4).all(|name| disk.read(name).is_none()));
        let _ = fs::remove_dir_all(folder);
    }

    /// Open files are counted; without a free descriptor, no file counts as missing. Another response of the same name is not mistaken
    /// for the requested one.
    #[test]
    fn open_files() {
        let folder = folder("open");
        let two: &'static DescriptorBudget = Box::leak(Box::new(DescriptorBudget::of(2)));
        let disk = Disk::open(&folder, AMPLE, two).expect("a folder");
        disk.keep(1, &head("http://a/", &[], ""), &body(5), || false).expect("written");
        disk.folder.pool.settle(Duration::from_secs(60));
        let opened = |disk: &Disk| match disk.read(1) {
            Some(DiskLookup::Answer(_, opened)) => Some(opened),
            _ => None,
        };
        let (first, second) = (opened(&disk).expect("open"), opened(&disk).expect("open"));
        assert!(opened(&disk).is_none() && disk.path(1).exists());
        let body_file = Arc::clone(&first.body_file);
        assert!(Arc::clone(&body_file).open().is_err_and(|error| descriptors::are_exhausted(&error)));
        drop((first, second));
        disk.folder.pool.settle(Duration::from_secs(60));
        assert!(Arc::clone(&body_file).open().is_ok());
        disk.folder.pool.settle(Duration::from_secs(60));
        disk.keep(1, &head("http://a/", &[], "another"), &body(5), || false).expect("written");
        assert!(body_file.open().is_err());
        let _ = fs::remove_dir_all(folder);
    }

    #[test]
    fn size_is_bounded() {
        let folder = folder("bounded");
        let disk = Arc::new(Disk::open(&folder, room_for(100 << 10), DescriptorBudget::ample()).expect("a folder"));
        disk.scan(|_| true);
        for name in 0..40 {
            disk.keep(name, &head("http://a/", &[], ""), &body(10 << 10), || false).expect("written");
            assert!(disk.locked().total <= 100 << 10);
        }
        let files: usize = (0..40).filter(|name| disk.path(*name).exists()).count();
        assert_eq!(disk.locked().total, files as u64 * (12 << 10));
        assert!((7..=8).contains(&files), "{files}");
        assert_eq!(disk.folder.writing.load(Ordering::Relaxed), 0);
        assert_eq!(disk.clear(), files);
        assert_eq!(disk.locked().total, 0);
        assert!(!disk.may_have(39));
        // A file that is written now exists, whether the others are already removed or not.
        disk.keep(39, &head("http://a/", &[], ""), &body(10), || false).expect("written");
        disk.folder.pool.settle(Duration::from_secs(60));
        assert_eq!((0..40).filter(|name| disk.path(*name).exists()).count(), 1);
        assert_eq!(read(&disk, 39), Some(body(10).concat()));
        let _ = fs::remove_dir_all(folder);
    }

    /// Small files count with the space that they occupy, and their number is bounded; the configured free space is respected,
    /// and no partial file is left.
    #[test]
    fn limits() {
        let check = |limits: DiskLimits, size: usize, expected: std::ops::RangeInclusive<usize>| {
            let folder = folder("limits");
            let disk = Disk::open(&folder, limits, DescriptorBudget::ample()).expect("a folder");
            for name in 0..100 {
                let _ = disk.keep(name, &head("http://a/", &[], ""), &body(size), || false);
            }
            let files = (0..100).filter(|name| disk.path(*name).exists()).count();
            assert!(expected.contains(&files), "{limits:?} {size}: {files}");
            disk.folder.pool.settle(Duration::from_secs(60));
            assert_eq!(fs::read_dir(folder.join("new")).expect("a folder").count(), 0, "{limits:?}");
            drop(disk);
            // A start with lower limits removes the excess.
            let disk =
                Disk::open(&folder, DiskLimits { files: 5, ..limits }, DescriptorBudget::ample()).expect("a folder");
            disk.scan(|_| true);
            assert_eq!(disk.size().0, files.min(5) as u64);
            assert_eq!((0..100).filter(|name| disk.path(*name).exists()).count(), files.min(5));
            let _ = fs::remove_dir_all(folder);
        };
        check(AMPLE, 1, 100..=100);
        // One file at a time is being written beside the existing ones; directory entries take space, too.
        check(room_for(64 << 10), 1, 14..=16);
        check(DiskLimits { files: 10, ..AMPLE }, 1, 10..=10);
        check(room_for(64 << 10), 100 << 10, 0..=0);
        check(DiskLimits { min_free: u64::MAX, ..AMPLE }, 1, 0..=0);
        check(DiskLimits { min_free: 1, ..AMPLE }, 1, 100..=100);
    }

    /// Unfinished files of processes that have ended are removed; those that another process is writing are not.
    #[test]
    fn abandoned_files() {
        let folder = folder("abandoned");
        let disk = Disk::open(&folder, AMPLE, DescriptorBudget::ample()).expect("a folder");
        let writer = disk.begin(1, b"head").expect("begun");
        fs::write(folder.join("new/0123-4"), b"half").expect("written");
        Disk::open(&folder, AMPLE, DescriptorBudget::ample()).expect("a folder").scan(|_| true);
        assert_eq!(fs::read_dir(folder.join("new")).expect("a folder").count(), 1);
        disk.finish(writer, || false, drop).expect("finished");
        assert_eq!(fs::read_dir(folder.join("new")).expect("a folder").count(), 0);
        let _ = fs::remove_dir_all(folder);
    }
}
