//! The order of purges in a folder of cached responses: [`Journal`], an append-only file, under a lock, with a line for each
//! purge. All processes with the folder follow it, so a purge reaches an old and a new binary alike, and outlives both.
//!
//! A position in the order is a sequence number: the number of bytes that were in the journal before, including those of rewritten
//! journals. A cached response records how far its process had followed when it was written. A followed line is on the disk, so no
//! number is used twice.
//!
//! The response to a purge is sent once its line is on the disk and in effect in every process with the folder. Each process confirms this
//! in a file of its own, a [`slot`](super::slots). A hit therefore looks only at its process's memory; only the purge waits. A counter in
//! shared memory would cost each hit a read, and would say nothing about responses that another process is about to send or to write.
//!
//! Unreadable data fails closed: an incomplete or damaged line counts as a purge of everything, and a journal that is shorter than
//! the position of a process, or missing, is replaced by another one, which invalidates all files from before.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use siphasher::sip::SipHasher13;

use super::bans::Ban;
use super::pattern::Pattern;
use super::purges::Purge;
use super::slots::Slot;

/// The journal of a folder.
pub(super) struct Journal {
    folder: PathBuf,
    secret: (u64, u64),
    /// The position up to which this process has followed.
    followed: AtomicU64,
    /// Distinguishes the journal from a replacement.
    identity: AtomicU64,
    reading: Mutex<JournalReader>,
    /// In bytes.
    length: AtomicU64,
    /// The file in which this process confirms its position.
    slot: Slot,
}

/// The reading position in a journal.
struct JournalReader {
    file: File,
    /// The offset in the file.
    offset: u64,
    /// The sequence number of the file's beginning.
    base: u64,
    /// The size at which the journal is compacted.
    large: u64,
}

/// A journal that is locked for appending.
pub(super) struct LockedJournal<'a> {
    journal: &'a Journal,
    reading: MutexGuard<'a, JournalReader>,
    _lock: File,
}

/// The content of a line.
#[derive(Debug, PartialEq, Eq)]
enum JournalLine {
    /// The first line: the journal's identity, and the sequence number of its beginning.
    Journal {
        identity: u64,
        base: u64,
    },
    Purge(Ban),
}

/// How long the lock is waited for; less than `file_pool::WAIT`.
const PATIENCE: Duration = Duration::from_secs(1);

/// The interval between attempts to lock.
const TRIAL: Duration = Duration::from_millis(2);

/// The smallest journal that is compacted, in bytes.
const LARGE: u64 = 1 << 20;

impl Journal {
    /// Opens or creates a folder's journal, and passes all of its purges to `each`. Blocks.
    ///
    /// # Errors
    /// Fails if the journal can't be read or written.
    pub(super) fn open(folder: &Path, secret: (u64, u64), each: &mut dyn FnMut(&Ban)) -> io::Result<Journal> {
        // From now on, purges of other processes wait until this process has followed.
        let slot = Slot::take(folder, secret)?;
        let _lock = lock(folder)?;
        let path = folder.join("journal");
        let opened = match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file?),
        };
        let length = opened.as_ref().map_or(Ok(0), |file| file.metadata().map(|about| about.len()))?;
        let known = slot.furthest();
        let begins = opened.and_then(|file| {
            let (identity, base) = read_first(&file, secret)?;
            (base.saturating_add(length) >= known).then_some((file, identity, base))
        });
        let (file, identity, base) = match begins {
            Some(begins) => begins,
            None => {
                let (identity, base) = (RandomState::new().hash_one(0), known);
                let everything = JournalLine::Purge(Ban { sequence: base + 1, soft: false, purge: Purge::All });
                let lines = [JournalLine::Journal { identity, base }, everything].map(|line| line.text(secret));
                replace(folder, &lines.concat())?;
                (open(&path)?, identity, base)
            }
        };
        let journal = Journal {
            folder: folder.to_owned(),
            secret,
            followed: AtomicU64::new(0),
            identity: AtomicU64::new(identity),
            reading: Mutex::new(JournalReader { file, offset: 0, base, large: LARGE }),
            length: AtomicU64::new(length),
            slot,
        };
        {
            let mut reading = journal.locked();
            journal.end_last_line(&reading.file)?;
            journal.read_on(&mut reading, each)?;
        }
        Ok(journal)
    }

    fn locked(&self) -> MutexGuard<'_, JournalReader> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the position up to which this process has followed. Uses only memory.
    pub(super) fn followed(&self) -> u64 {
        self.followed.load(Ordering::Acquire)
    }

    /// Distinguishes the journal from any other. Uses only memory.
    pub(super) fn identity(&self) -> u64 {
        self.identity.load(Ordering::Acquire)
    }

    /// Returns its size on disk, in bytes. Uses only memory.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    /// Passes the purges that were appended since the last call to `each`. Blocks.
    ///
    /// # Errors
    /// Fails if the journal can't be read.
    pub(super) fn follow(&self, each: &mut dyn FnMut(&Ban)) -> io::Result<()> {
        self.read_on(&mut self.locked(), each)
    }

    /// Calls `each` for each new line. A line counts as followed once `each` has been called, and it is on the disk.
    fn read_on(&self, reading: &mut JournalReader, each: &mut dyn FnMut(&Ban)) -> io::Result<()> {
        let mut about = reading.file.metadata()?;
        if about.nlink() == 0 {
            // The journal was rewritten: skip the lines that were read already.
            let file = open(&self.folder.join("journal"))?;
            let (identity, base) = read_first(&file, self.secret).ok_or(io::ErrorKind::InvalidData)?;
            self.identity.store(identity, Ordering::Release);
            about = file.metadata()?;
            *reading = JournalReader { file, offset: 0, base, ..*reading };
        }
        if about.len() < reading.offset {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the folder's journal was cut off"));
        }
        if about.len() > reading.offset {
            let mut text = vec![0; usize::try_from(about.len() - reading.offset).unwrap_or(usize::MAX)];
            reading.file.read_exact_at(&mut text, reading.offset)?;
            let whole = memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1);
            let followed = self.followed();
            let mut at = reading.base + reading.offset;
            for line in text[..whole].split_inclusive(|byte| *byte == b'\n') {
                let unknown = || JournalLine::Purge(Ban { sequence: at + 1, soft: false, purge: Purge::All });
                match JournalLine::read(line, self.secret).unwrap_or_else(unknown) {
                    JournalLine::Purge(ban) if ban.sequence > followed => each(&ban),
                    JournalLine::Purge(_) | JournalLine::Journal { .. } => {}
                }
                at += line.len() as u64;
            }
            if whole > 0 {
                reading.file.sync_data()?;
                reading.offset += whole as u64;
                self.length.store(reading.offset, Ordering::Relaxed);
                self.followed.fetch_max(at, Ordering::AcqRel);
            }
        }
        self.slot.say(self.followed())
    }

    /// Terminates an unterminated last line, which then counts as damaged.
    fn end_last_line(&self, file: &File) -> io::Result<()> {
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        if last == *b"\n" { Ok(()) } else { file.write_all_at(b"\n", length) }
    }

    /// Locks the journal, and passes the purges of other processes to `each`. Blocks.
    ///
    /// # Errors
    /// Fails if the journal can't be locked in time, read or written.
    pub(super) fn lock(&self, each: &mut dyn FnMut(&Ban)) -> io::Result<LockedJournal<'_>> {
        let mut reading = self.locked();
        let lock = lock(&self.folder)?;
        self.read_on(&mut reading, each)?;
        self.end_last_line(&reading.file)?;
        self.read_on(&mut reading, each)?;
        Ok(LockedJournal { journal: self, reading, _lock: lock })
    }

    /// Returns whether no other process uses the folder. Blocks.
    ///
    /// # Errors
    /// The slots can't be read.
    pub(super) fn is_alone(&self) -> io::Result<bool> {
        Ok(self.slot.others()?.is_empty())
    }

    /// Returns whether all processes with the folder have followed up to this position. Blocks.
    ///
    /// # Errors
    /// The slots can't be read.
    pub(super) fn is_followed(&self, so_far: u64) -> io::Result<bool> {
        Ok(self.slot.others()?.iter().all(|followed| *followed >= so_far))
    }
}

impl LockedJournal<'_> {
    /// Appends purges. Blocks.
    ///
    /// # Errors
    /// Fails if the purges are not on the disk. Some may still have been appended, and take effect.
    pub(super) fn append(&mut self, purges: &[(Purge, bool)]) -> io::Result<()> {
        let file = &self.reading.file;
        let begin = file.metadata()?.len();
        let mut text = Vec::new();
        for (purge, soft) in purges {
            let sequence = self.reading.base + begin + text.len() as u64 + 1;
            text.extend(
                JournalLine::Purge(Ban { sequence, soft: *soft, purge: purge.clone() }).text(self.journal.secret),
            );
        }
        if let Err(error) = file.write_all_at(&text, begin) {
            // Lines that others may have read stay; an incomplete one is removed.
            let written = usize::try_from(file.metadata()?.len().saturating_sub(begin)).unwrap_or(0);
            let whole = memchr::memrchr(b'\n', &text[..written.min(text.len())]).map_or(0, |end| end + 1);
            file.set_len(begin + whole as u64)?;
            return Err(error);
        }
        file.sync_data()
    }

    /// Passes the appended purges to `each`, and returns the journal's end position. Blocks.
    ///
    /// # Errors
    /// Fails if the journal can't be read, or the position can't be confirmed.
    pub(super) fn follow(&mut self, each: &mut dyn FnMut(&Ban)) -> io::Result<u64> {
        self.journal.read_on(&mut self.reading, each)?;
        Ok(self.journal.followed())
    }

    /// Rewrites the journal, if it is too large, with the purges that are still in effect. Blocks.
    ///
    /// # Errors
    /// Fails if the new journal can't be written; the current one stays in use.
    pub(super) fn compact(&mut self, all: impl FnOnce() -> Vec<Ban>) -> io::Result<()> {
        let (journal, reading) = (self.journal, &mut *self.reading);
        if reading.offset <= reading.large {
            return Ok(());
        }
        // A URL that is no longer listed has no files: ensure that their removal is on the disk.
        rustix::fs::syncfs(File::open(&journal.folder)?)?;
        let (identity, end) = (journal.identity(), reading.base + reading.offset);
        let mut purges = Vec::new();
        for mut ban in all() {
            // A purge of this process that is not written yet has no position of its own.
            ban.sequence = ban.sequence.min(end);
            purges.extend(JournalLine::Purge(ban).text(journal.secret));
        }
        let length = JournalLine::Journal { identity, base: 0 }.text(journal.secret).len() + purges.len();
        let base = end.saturating_sub(length as u64);
        let mut text = JournalLine::Journal { identity, base }.text(journal.secret);
        text.extend(purges);
        replace(&journal.folder, &text)?;
        // The next compaction is due when the journal has doubled.
        reading.large = reading.large.max(2 * text.len() as u64);
        journal.read_on(reading, &mut |_| {})
    }
}

/// Locks the journal for writers, until the result is dropped.
fn lock(folder: &Path) -> io::Result<File> {
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))?;
    let until = Instant::now() + PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(TRIAL),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds the folder's lock"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// Replaces the journal. The caller holds the lock.
fn replace(folder: &Path, text: &[u8]) -> io::Result<()> {
    let new = folder.join("journal.new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&new, folder.join("journal"))) {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// Reads the journal's identity, and the position of its beginning.
fn read_first(file: &File, secret: (u64, u64)) -> Option<(u64, u64)> {
    let mut text = JournalLine::Journal { identity: 0, base: 0 }.text(secret);
    file.read_exact_at(&mut text, 0).ok()?;
    match JournalLine::read(&text, secret)? {
        JournalLine::Journal { identity, base } => Some((identity, base)),
        JournalLine::Purge(_) => None,
    }
}

impl JournalLine {
    /// Serializes the line. The first line of a journal has a fixed length.
    fn text(&self, secret: (u64, u64)) -> Vec<u8> {
        let said = match self {
            JournalLine::Journal { identity, base } => format!("{base:016x} journal {identity:016x} "),
            JournalLine::Purge(Ban { sequence, soft, purge }) => {
                let (kind, text) = match purge {
                    Purge::Url(url) => ("url", url.clone()),
                    Purge::Below(url) => ("below", url.clone()),
                    Purge::Pattern(pattern) => ("pattern", pattern.as_str().to_owned()),
                    Purge::Tags(tags) => ("tags", tags.join(" ")),
                    Purge::All => ("all", String::new()),
                };
                let mode = if *soft { "soft" } else { "hard" };
                // URLs are normalized and tags come from a field: neither contains a line end.
                format!("{sequence:016x} {kind} {mode} {}", text.replace(['\n', '\r'], ""))
            }
        };
        format!("{:016x} {said}\n", checksum(said.as_bytes(), secret)).into_bytes()
    }

    fn read(line: &[u8], secret: (u64, u64)) -> Option<JournalLine> {
        let (sum, said) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
        if u64::from_str_radix(sum, 16).ok()? != checksum(said.as_bytes(), secret) {
            return None;
        }
        let mut parts = said.splitn(4, ' ');
        let (number, kind) = (u64::from_str_radix(parts.next()?, 16).ok()?, parts.next()?);
        let (mode, text) = (parts.next()?, parts.next()?.to_owned());
        let purge = match kind {
            "journal" => {
                return Some(JournalLine::Journal { identity: u64::from_str_radix(mode, 16).ok()?, base: number });
            }
            "url" => Purge::Url(text),
            "below" => Purge::Below(text),
            "pattern" => Purge::Pattern(Pattern::of(&text)?),
            "tags" => Purge::Tags(text.split(' ').map(str::to_owned).collect()),
            "all" => Purge::All,
            _ => return None,
        };
        Some(JournalLine::Purge(Ban { sequence: number, soft: mode == "soft", purge }))
    }
}

fn checksum(said: &[u8], secret: (u64, u64)) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(secret.0, secret.1);
    hasher.write(b"journal");
    hasher.write(said);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: (u64, u64) = (1, 2);

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("kiln-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn url(text: &str) -> Purge {
        Purge::Url(text.to_owned())
    }

    /// A process with the folder, and the purges that it has followed.
    struct Process {
        journal: Journal,
        told: Vec<String>,
    }

    /// Returns a purge as a word.
    fn word(ban: &Ban) -> String {
        match &ban.purge {
            Purge::Url(url) => url.clone(),
            Purge::All => "everything".to_owned(),
            other => format!("{other:?}"),
        }
    }

    impl Process {
        fn start(folder: &Path) -> Process {
            let mut told = Vec::new();
            let journal = Journal::open(folder, SECRET, &mut |ban| told.push(word(ban))).expect("a journal");
            Process { journal, told }
        }

        /// Returns the journal's end position.
        fn purge(&mut self, texts: &[&str]) -> u64 {
            let purges: Vec<_> = texts.iter().map(|text| (url(text), false)).collect();
            let told = &mut self.told;
            let mut locked = self.journal.lock(&mut |ban| told.push(word(ban))).expect("locked");
            let before = locked.journal.followed();
            locked.append(&purges).expect("appended");
            let mut own = Vec::new();
            let after = locked.follow(&mut |ban| own.push((ban.sequence, word(ban)))).expect("followed");
            assert!(own.is_sorted() && own.iter().all(|(at, _)| (before + 1..=after).contains(at)));
            assert!(own.iter().map(|(_, word)| word).eq(texts));
            after
        }

        fn follow(&mut self) -> &[String] {
            let told = &mut self.told;
            self.journal.follow(&mut |ban| told.push(word(ban))).expect("followed");
            &self.told
        }
    }

    #[test]
    fn lines() {
        let purges = [url("http://a/x?a b"), Purge::Below("http://a/x".to_owned()), Purge::All];
        let tags = Purge::Tags(vec!["one".to_owned(), "two".to_owned()]);
        let pattern = Purge::Pattern(Pattern::parse("*.a/x*?a=*", "").expect("a pattern"));
        for purge in purges.into_iter().chain([tags, pattern]) {
            for soft in [false, true] {
                let line = JournalLine::Purge(Ban { sequence: 7, soft, purge: purge.clone() });
                let text = line.text(SECRET);
                assert_eq!(JournalLine::read(&text, SECRET), Some(line));
                for at in 0..text.len() {
                    let mut torn = text.clone();
                    torn[at] ^= 2;
                    assert_eq!(JournalLine::read(&torn, SECRET), None, "{:?}", String::from_utf8_lossy(&torn));
                    assert_eq!(JournalLine::read(&text[..at], SECRET), None);
                }
                assert_eq!(JournalLine::read(&text, (1, 3)), None, "another folder's");
            }
        }
        for base in [0, u64::MAX] {
            let line = JournalLine::Journal { identity: 9, base };
            assert_eq!(
                line.text(SECRET).len(),
                JournalLine::Journal { identity: u64::MAX, base: 0 }.text(SECRET).len()
            );
            assert_eq!(JournalLine::read(&line.text(SECRET), SECRET), Some(line));
        }
    }

    /// Each of two processes follows the purges of the other, in one order, and a purge waits for both.
    #[test]
    fn all_processes_follow() {
        let folder = folder("followed");
        let mut one = Process::start(&folder);
        assert!(one.journal.is_alone().expect("known"));
        one.purge(&["a"]);
        let mut two = Process::start(&folder);
        assert_eq!(two.told, ["everything", "a"]);
        assert!(!one.journal.is_alone().expect("known") && one.journal.followed() == two.journal.followed());
        let so_far = two.purge(&["b", "c"]);
        assert!(!two.journal.is_followed(so_far).expect("known"), "the first process has not followed");
        assert_eq!(one.follow(), ["everything", "b", "c"]);
        assert!(two.journal.is_followed(so_far).expect("known"));
        one.purge(&["d"]);
        assert_eq!(two.follow(), ["everything", "a", "d"]);
        assert_eq!(one.follow(), ["everything", "b", "c"], "a process does not get its own purges");
        drop(two);
        assert!(one.journal.is_alone().expect("known"));
        assert_eq!(Process::start(&folder).told, ["everything", "a", "b", "c", "d"]);
        let _ = fs::remove_dir_all(folder);
    }

    /// However a journal is damaged, a purge is only lost if everything is purged instead, and no number is used twice.
    #[test]
    fn damaged_journals() {
        let folder = folder("torn");
        let path = folder.join("journal");
        let mut process = Process::start(&folder);
        process.purge(&["a"]);
        let after = process.purge(&["b"]);
        let identity = process.journal.identity();
        drop(process);
        let (whole, said) = (fs::read(&path).expect("a journal"), fs::read(folder.join("slot-0")).expect("a slot"));
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            for torn in [&flipped[..], &whole[..at]] {
                fs::write(&path, torn).expect("torn");
                fs::write(folder.join("slot-0"), &said).expect("restored");
                let mut process = Process::start(&folder);
                let is_new = process.journal.identity() != identity;
                // Each journal begins with a purge of everything; then `a`, `b`, or everything in their place.
                let told = process.told.join(" ");
                let holds = told.ends_with("a b") || told.ends_with("everything b") || told.ends_with("everything");
                assert!(is_new || holds, "{at}: {told}");
                assert!(is_new || torn.len() == whole.len(), "{at}: the truncation is detected");
                assert!(process.journal.followed() >= after, "{at}");
                assert!(process.purge(&["c"]) > after);
                drop(process);
                assert!(Process::start(&folder).told.ends_with(&["c".to_owned()]), "{at}");
            }
        }
        fs::remove_file(&path).expect("removed");
        let process = Process::start(&folder);
        assert!(process.journal.identity() != identity && process.journal.followed() > after);
        let _ = fs::remove_dir_all(folder);
    }

    /// A rewritten journal has the same effect for processes that have read it before, and for others.
    #[test]
    fn compaction_keeps_purges() {
        let folder = folder("compacted");
        let (mut one, mut two) = (Process::start(&folder), Process::start(&folder));
        one.purge(&["a"]);
        two.follow();
        for number in 0..100 {
            one.purge(&[&format!("x{number}")]);
        }
        let after = one.purge(&["b"]);
        {
            let mut locked = one.journal.lock(&mut |_| panic!("nothing is new")).expect("locked");
            locked.compact(|| panic!("it is small")).expect("nothing to do");
            locked.reading.large = 100;
            let bans = || {
                let all = Ban { sequence: after - 100, soft: false, purge: Purge::All };
                vec![all, Ban { sequence: after - 10, soft: false, purge: url("b") }]
            };
            locked.compact(bans).expect("written");
            assert!(locked.reading.offset < 300 && locked.journal.followed() >= after);
        }
        one.purge(&["c"]);
        assert_eq!(two.follow(), ["everything", "a", "everything", "b", "c"]);
        assert_eq!(two.journal.followed(), one.journal.followed());
        assert_eq!(Process::start(&folder).told, ["everything", "b", "c"]);
        let _ = fs::remove_dir_all(folder);
    }
}
