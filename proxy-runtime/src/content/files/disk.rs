//! Finds and opens files on disk, only within their folder ([`find`]).
//!
//! A path is opened by `openat2(2)` with `RESOLVE_BENEATH`: the kernel ensures that no name, link or race leads out of the
//! folder. The folder is opened for each lookup, so that a folder that was replaced as a whole (a link to a release) is used
//! at once. A file is examined after it was opened, by its handle: there is no time between check and use.
//!
//! Most requested files are in memory: the kernel is asked first in a way that never waits for a disk
//! (`RESOLVE_CACHED`, `RWF_NOWAIT`), and only the rest is left to a thread that may wait ([`Patience`]).

use std::fs::{File, Metadata};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, StatxTimestamp, openat2, statx};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::{ENCODINGS, RelativePath};
use crate::site::Files;

/// The result of looking up a path.
pub(crate) enum FileLookup {
    /// A file.
    File(OpenedFile),
    /// A folder, requested without a trailing slash.
    Folder,
    /// A folder without an index: its names, with a slash after those of folders.
    Listing(Listing),
    /// Not found, or must not be served.
    Nothing,
    /// The file exists and can't be read.
    Unreadable,
    /// The lookup would wait for a disk.
    WouldWait,
}

/// Whether an operation may wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It must not wait: it runs in the event loop.
    None,
    /// It may wait.
    Any,
}

/// An opened file.
pub(crate) struct OpenedFile {
    pub(crate) file: File,
    /// The name that determines its media type.
    pub(crate) name: String,
    pub(crate) changed: SystemTime,
    /// `Content-Encoding`, or empty.
    pub(crate) encoding: &'static str,
    /// The complete content of a small file.
    pub(crate) content: Option<Bytes>,
    pub(crate) stamp: FileStamp,
    /// It is served in place of a file that does not exist (`fallback`).
    pub(crate) is_fallback: bool,
}

impl OpenedFile {
    /// Returns whether the file may be used again for requests of the next second: it has not changed for two seconds, nor
    /// while it was read. Its times would not tell versions of the same moment from each other. One system call.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
        let age = now.saturating_sub(self.stamp.changed);
        age >= SETTLED && !self.is_fallback && self.stamp.holds(&self.file)
    }
}

/// How long a file must not have changed, in nanoseconds.
const SETTLED: i64 = 2_000_000_000;

/// The state of an open file: its length, and what changes with its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    pub(crate) length: u64,
    /// The times of the last changes of the content and of the inode, in nanoseconds. A program can set only the first.
    modified: i64,
    changed: i64,
}

impl FileStamp {
    fn of(about: &Metadata) -> FileStamp {
        FileStamp {
            length: about.len(),
            modified: nanos(about.mtime(), about.mtime_nsec()),
            changed: nanos(about.ctime(), about.ctime_nsec()),
        }
    }

    /// Returns the modification time of the bytes that are sent: another than that of the file that they were compressed from.
    pub(crate) fn modified(&self) -> SystemTime {
        let since = Duration::from_nanos(self.modified.unsigned_abs());
        let time = if self.modified < 0 { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) };
        time.unwrap_or(UNIX_EPOCH)
    }

    /// Returns whether an open file is still in this state, as far as the kernel knows: no server of a network file system is
    /// waited for. One system call.
    pub(crate) fn holds(&self, file: &File) -> bool {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let wanted = StatxFlags::SIZE | StatxFlags::MTIME | StatxFlags::CTIME;
        let time = |time: StatxTimestamp| nanos(time.tv_sec, time.tv_nsec.into());
        statx(file, c"", flags, wanted).is_ok_and(|now| {
            let (modified, changed) = (time(now.stx_mtime), time(now.stx_ctime));
            *self == FileStamp { length: now.stx_size, modified, changed }
        })
    }
}

/// Returns a time in nanoseconds.
fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// The largest file that is read when it is opened, in bytes.
pub(crate) const SMALL: u64 = 64 << 10;

/// The names in a folder.
pub(crate) struct Listing {
    pub(crate) names: Vec<String>,
    /// There are more; the file system determines which ones are omitted.
    pub(crate) cut: bool,
}

/// The most names that are listed.
pub(crate) const LISTED: usize = 10_000;

/// The most entries of a folder that are read, including unlisted ones.
const READ: usize = 100_000;

/// A path to look up.
#[derive(Clone)]
pub(crate) struct FileQuery {
    pub(crate) files: &'static Files,
    /// The path of the folder.
    pub(crate) root: &'static str,
    pub(crate) below: RelativePath,
    /// The requested path ends with a slash.
    pub(crate) folder: bool,
    /// The encodings that the client accepts.
    pub(crate) taken: [bool; 3],
}

/// Looks up the file for a path. May block, with patience.
pub(crate) fn find(asked: &FileQuery, patience: Patience) -> FileLookup {
    let FileQuery { files, root, below, folder, taken } = asked;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match openat2(CWD, *root, flags, Mode::empty(), patience.resolve()) {
        Ok(root) => File::from(root),
        Err(Errno::AGAIN | Errno::INVAL) if patience == Patience::None => return FileLookup::WouldWait,
        Err(_) => return FileLookup::Unreadable,
    };
    let look =
        |below: &RelativePath, folder| FolderLookup { files, root: &root, taken: *taken, patience }.at(below, folder);
    match (&files.fallback, look(below, *folder)) {
        (Some(fallback), FileLookup::Nothing) => {
            match look(&RelativePath(fallback.trim_start_matches('/').as_bytes().to_vec()), false) {
                FileLookup::File(file) => FileLookup::File(OpenedFile { is_fallback: true, ..file }),
                found => found,
            }
        }
        (_, found) => found,
    }
}

impl Patience {
    fn resolve(self) -> ResolveFlags {
        match self {
            Patience::None => ResolveFlags::CACHED,
            Patience::Any => ResolveFlags::empty(),
        }
    }
}

/// A lookup in a folder.
struct FolderLookup<'a> {
    files: &'a Files,
    root: &'a File,
    taken: [bool; 3],
    patience: Patience,
}

impl FolderLookup<'_> {
    fn at(&self, below: &RelativePath, folder: bool) -> FileLookup {
        let there = match self.open(below) {
            Ok(there) => there,
            Err(failed) => return failed,
        };
        let Ok(about) = there.metadata() else { return FileLookup::Unreadable };
        if about.is_dir() {
            return match folder {
                true => self.folder(below, &there),
                false if self.files.or_else.is_empty() => FileLookup::Folder,
                // With `else`, a folder without an index counts as not found.
                false => match self.at(&below.join(&self.files.index), false) {
                    FileLookup::File(_) => FileLookup::Folder,
                    FileLookup::Folder => FileLookup::Nothing,
                    found => found,
                },
            };
        }
        // A file requested with a slash, or a special file: reading a pipe or a device could block, or worse.
        if folder || !about.is_file() {
            return FileLookup::Nothing;
        }
        let Ok(changed) = about.modified() else { return FileLookup::Unreadable };
        let (mut file, mut stamp, mut encoding) = (there, FileStamp::of(&about), "");
        for ((name, suffix), _) in ENCODINGS.iter().zip(self.taken).filter(|(_, taken)| *taken) {
            let beside = match self.open(&below.with(suffix)) {
                Ok(beside) => beside,
                Err(FileLookup::WouldWait) => return FileLookup::WouldWait,
                Err(_) => continue,
            };
            // An older one was made from other content.
            if let Ok(about) = beside.metadata()
                && about.is_file()
                && about.modified().is_ok_and(|made| made >= changed)
            {
                (file, stamp, encoding) = (beside, FileStamp::of(&about), name);
                break;
            }
        }
        let length = stamp.length;
        let content = match length {
            0..=SMALL => match read(&file, 0, length, self.patience) {
                Ok(content) if content.len() as u64 == length => Some(content),
                _ if self.patience == Patience::None => return FileLookup::WouldWait,
                _ => return FileLookup::Unreadable,
            },
            _ => None,
        };
        let name = below.name();
        let is_fallback = false;
        FileLookup::File(OpenedFile { file, name, changed, encoding, content, stamp, is_fallback })
    }

    fn folder(&self, below: &RelativePath, there: &File) -> FileLookup {
        match self.at(&below.join(&self.files.index), false) {
            FileLookup::Nothing | FileLookup::Folder if !self.files.listing => FileLookup::Nothing,
            FileLookup::Nothing | FileLookup::Folder if self.patience == Patience::None => FileLookup::WouldWait,
            FileLookup::Nothing | FileLookup::Folder => list(self.files, there),
            found => found,
        }
    }

    fn open(&self, below: &RelativePath) -> Result<File, FileLookup> {
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | self.patience.resolve();
        if !self.files.symlinks {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        let path: &[u8] = if below.as_bytes().is_empty() { b"." } else { below.as_bytes() };
        // Opening a pipe must not block.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut tries = 0;
        loop {
            match openat2(self.root, path, flags, Mode::empty(), resolve) {
                Ok(file) => return Ok(File::from(file)),
                // This needs disk I/O, or the kernel can't tell (before Linux 5.12).
                Err(Errno::AGAIN | Errno::INVAL) if self.patience == Patience::None => {
                    return Err(FileLookup::WouldWait);
                }
                // A concurrent rename: the kernel asks for a retry.
                Err(Errno::AGAIN) if tries < 8 => tries += 1,
                Err(
                    Errno::NOENT
                    | Errno::NOTDIR
                    | Errno::LOOP
                    | Errno::XDEV
                    | Errno::NAMETOOLONG
                    | Errno::INVAL
                    | Errno::NXIO,
                ) => return Err(FileLookup::Nothing),
                Err(_) => return Err(FileLookup::Unreadable),
            }
        }
    }
}

fn list(files: &Files, folder: &File) -> FileLookup {
    let Ok(entries) = rustix::fs::Dir::read_from(folder) else { return FileLookup::Unreadable };
    let mut names = Vec::new();
    let mut cut = false;
    for (number, entry) in entries.enumerate() {
        let Ok(entry) = entry else { return FileLookup::Unreadable };
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type();
        let served = kind.is_file() || kind.is_dir() || (kind.is_symlink() && files.symlinks);
        let listed = served && (files.dotfiles || !name.starts_with('.')) && name != "." && name != "..";
        if number >= READ || (listed && names.len() >= LISTED) {
            cut = true;
            break;
        }
        if listed {
            names.push(if kind.is_dir() { name + "/" } else { name });
        }
    }
    names.sort_by_key(|name| (!name.ends_with('/'), name.clone()));
    FileLookup::Listing(Listing { names, cut })
}

/// Reads a part of a file; less if it was truncated, or, without patience, if the rest is not in memory. May block, with
/// patience.
pub(crate) fn read(file: &File, from: u64, length: u64, patience: Patience) -> io::Result<Bytes> {
    let mut content = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < content.len() {
        let (into, at) = (&mut content[filled..], from + filled as u64);
        let read = match patience {
            Patience::Any => file.read_at(into, at),
            Patience::None => {
                preadv2(file, &mut [IoSliceMut::new(into)], at, ReadWriteFlags::NOWAIT).map_err(io::Error::from)
            }
        };
        match read {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if patience == Patience::None => break,
            Err(error) => return Err(error),
        }
    }
    content.truncate(filled);
    Ok(content.into())
}
