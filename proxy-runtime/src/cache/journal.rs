//! The order of purges in a folder of cached responses: [`Journal`], an append-only file, under a lock, with a line for each
//! purge. All processes with the folder follow it, so a purge reaches an old and a new binary alike, and outlives both.
//!
//! A position in the order is a sequence number: the number of bytes that were in the journal before, including rewritten ones. A cached
//! response records how far its process had followed when it was written. A followed line is on the disk, so no number is given twice.
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

/// See above.
pub(super) struct Journal {
    folder: PathBuf,
    secret: (u64, u64),
    /// How much of the order this process holds to.
    followed: AtomicU64,
    /// Tells the journal from another one in its place.
    identity: AtomicU64,
    reading: Mutex<JournalReader>,
    /// In bytes.
    length: AtomicU64,
    /// Where this process says how far it has followed.
    slot: Slot,
}

/// How far a journal was read.
struct JournalReader {
    file: File,
    /// In the file.
    offset: u64,
    /// What its beginning is in the order.
    base: u64,
    /// If it is larger, it is rewritten, with what still counts.
    large: u64,
}

/// A journal that nobody else appends to.
pub(super) struct LockedJournal<'a> {
    journal: &'a Journal,
    reading: MutexGuard<'a, JournalReader>,
    _lock: File,
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
enum JournalLine {
    /// The first one: which journal it is, and where it begins in the order.
    Journal {
        identity: u64,
        base: u64,
    },
    Purge(Ban),
}

/// How long the lock is waited for; less than `file_pool::WAIT`.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is tried meanwhile.
const TRIAL: Duration = Duration::from_millis(2);

/// Smaller ones are not rewritten, in bytes.
const LARGE: u64 = 1 << 20;

impl Journal {
    /// Opens a folder's journal, or makes it, and tells `each` all purges in it. Blocks.
    ///
    /// # Errors
    /// It can't be read or written.
    pub(super) fn open(folder: &Path, secret: (u64, u64), each: &mut dyn FnMut(&Ban)) -> io::Result<Journal> {
        // Whoever purges from now on waits until this process has followed.
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

    /// How much of the order this process holds to. Looks at memory alone.
    pub(super) fn followed(&self) -> u64 {
        self.followed.load(Ordering::Acquire)
    }

    /// Tells the journal from any other. Looks at memory alone.
    pub(super) fn identity(&self) -> u64 {
        self.identity.load(Ordering::Acquire)
    }

    /// How much of the disk it takes, in bytes. Looks at memory alone.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    /// Tells `each` what has been appended since. Blocks.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) fn follow(&self, each: &mut dyn FnMut(&Ban)) -> io::Result<()> {
        self.read_on(&mut self.locked(), each)
    }

    /// What is read counts as followed once `each` has been told, and is on the disk.
    fn read_on(&self, reading: &mut JournalReader, each: &mut dyn FnMut(&Ban)) -> io::Result<()> {
        let mut about = reading.file.metadata()?;
        if about.nlink() == 0 {
            // It was rewritten: what is known already is passed over.
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

    /// A line that was not ended is one from now on, and nobody knows what it says.
    fn end_last_line(&self, file: &File) -> io::Result<()> {
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        if last == *b"\n" { Ok(()) } else { file.write_all_at(b"\n", length) }
    }

    /// Has the journal for itself, and tells `each` what others have appended. Blocks.
    ///
    /// # Errors
    /// It can't be locked in time, or read or written.
    pub(super) fn lock(&self, each: &mut dyn FnMut(&Ban)) -> io::Result<LockedJournal<'_>> {
        let mut reading = self.locked();
        let lock = lock(&self.folder)?;
        self.read_on(&mut reading, each)?;
        self.end_last_line(&reading.file)?;
        self.read_on(&mut reading, each)?;
        Ok(LockedJournal { journal: self, reading, _lock: lock })
    }

    /// Whether nobody else has the folder. Blocks.
    ///
    /// # Errors
    /// It can't be found out.
    pub(super) fn is_alone(&self) -> io::Result<bool> {
        Ok(self.slot.others()?.is_empty())
    }

    /// Whether all who have the folder have followed so far. Blocks.
    ///
    /// # Errors
    /// It can't be found out.
    pub(super) fn is_followed(&self, so_far: u64) -> io::Result<bool> {
        Ok(self.slot.others()?.iter().all(|followed| *followed >= so_far))
    }
}

impl LockedJournal<'_> {
    /// Appends purges. Blocks.
    ///
    /// # Errors
    /// They are not on the disk. Some may be there nevertheless, and hold.
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
            // What others may have read stays; half a line goes.
            let written = usize::try_from(file.metadata()?.len().saturating_sub(begin)).unwrap_or(0);
            let whole = memchr::memrchr(b'\n', &text[..written.min(text.len())]).map_or(0, |end| end + 1);
            file.set_len(begin + whole as u64)?;
            return Err(error);
        }
        file.sync_data()
    }

    /// Tells `each` what was appended. Gives how much of the order there is. Blocks.
    ///
    /// # Errors
    /// It can't be read, or others can't be told that it was.
    pub(super) fn follow(&mut self, each: &mut dyn FnMut(&Ban)) -> io::Result<u64> {
        self.journal.read_on(&mut self.reading, each)?;
        Ok(self.journal.followed())
    }

    /// Writes the journal again, if it has become too large, with what still counts. Blocks.
    ///
    /// # Errors
    /// It can't be written; the one that is there goes on.
    pub(super) fn compact(&mut self, all: impl FnOnce() -> Vec<Ban>) -> io::Result<()> {
        let (journal, reading) = (self.journal, &mut *self.reading);
        if reading.offset <= reading.large {
            return Ok(());
        }
        // A URL that is forgotten has no file any more: on the disk neither.
        rustix::fs::syncfs(File::open(&journal.folder)?)?;
        let (identity, end) = (journal.identity(), reading.base + reading.offset);
        let mut purges = Vec::new();
        for mut ban in all() {
            // What is purged here and not written yet has no place of its own.
            ban.sequence = ban.sequence.min(end);
            purges.extend(JournalLine::Purge(ban).text(journal.secret));
        }
        let length = JournalLine::Journal { identity, base: 0 }.text(journal.secret).len() + purges.len();
        let base = end.saturating_sub(length as u64);
        let mut text = JournalLine::Journal { identity, base }.text(journal.secret);
        text.extend(purges);
        replace(&journal.folder, &text)?;
        // As much again is appended before it is written the next time.
        reading.large = reading.large.max(2 * text.len() as u64);
        journal.read_on(reading, &mut |_| {})
    }
}

/// The lock for all who write the journal, until it is dropped.
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

/// Puts another journal in the place of what is there. Whoever calls this has the lock.
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

/// Which journal it is, and where it begins.
fn read_first(file: &File, secret: (u64, u64)) -> Option<(u64, u64)> {
    let mut text = JournalLine::Journal { identity: 0, base: 0 }.text(secret);
    file.read_exact_at(&mut text, 0).ok()?;
    match JournalLine::read(&text, secret)? {
        JournalLine::Journal { identity, base } => Some((identity, base)),
        JournalLine::Purge(_) => None,
    }
}

impl JournalLine {
    /// The first line has the same length whatever it says.
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
                // URLs are in normal form and tags come from a field: neither has a line end.
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

    /// Who has a folder, and what it was told.
    struct Process {
        journal: Journal,
        told: Vec<String>,
    }

    /// A purge as a word.
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

        /// Gives how much of the order there is then.
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

    /// Two who have a folder: each is told what the other has appended, in one order, and a purge waits for both.
    #[test]
    fn followed_by_all() {
        let folder = folder("followed");
        let mut one = Process::start(&folder);
        assert!(one.journal.is_alone().expect("known"));
        one.purge(&["a"]);
        let mut two = Process::start(&folder);
        assert_eq!(two.told, ["everything", "a"]);
        assert!(!one.journal.is_alone().expect("known") && one.journal.followed() == two.journal.followed());
        let so_far = two.purge(&["b", "c"]);
        assert!(!two.journal.is_followed(so_far).expect("known"), "the first has not followed");
        assert_eq!(one.follow(), ["everything", "b", "c"]);
        assert!(two.journal.is_followed(so_far).expect("known"));
        one.purge(&["d"]);
        assert_eq!(two.follow(), ["everything", "a", "d"]);
        assert_eq!(one.follow(), ["everything", "b", "c"], "nobody is told its own");
        drop(two);
        assert!(one.journal.is_alone().expect("known"));
        assert_eq!(Process::start(&folder).told, ["everything", "a", "b", "c", "d"]);
        let _ = fs::remove_dir_all(folder);
    }

    /// Whatever becomes of a journal: no purge is lost without everything being purged, and no number is given twice.
    #[test]
    fn torn() {
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
                // Everything, at the beginning of each journal; then `a`, `b`, or everything in their place.
                let told = process.told.join(" ");
                let holds = told.ends_with("a b") || told.ends_with("everything b") || told.ends_with("everything");
                assert!(is_new || holds, "{at}: {told}");
                assert!(is_new || torn.len() == whole.len(), "{at}: what is cut off is missed");
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

    /// A journal that is rewritten says the same to who has read it before, and to who has not.
    #[test]
    fn compacted() {
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
