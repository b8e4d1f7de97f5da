//! Finds and opens files on disk, only within their folder ([`find`]).
//!
//! A path is opened by `openat2(2)` with `RESOLVE_BENEATH`: the kernel ensures that no name, link or race leads out of the
//! folder. The folder is opened for each request, so that a folder that was replaced as a whole (a link to a release) is used
//! at once. A file is examined after it was opened, by its handle: there is no time between check and
//! use.
//!
//! Most requested files are in memory: the kernel is asked first in a way that never waits for a disk
//! (`RESOLVE_CACHED`, `RWF_NOWAIT`), and only the rest is left to a thread that may wait ([`Patience`]).

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::time::SystemTime;

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::{ENCODINGS, RelativePath};
use crate::site::Files;

/// The result of a path's look-up.
pub(crate) enum FileLookup {
    /// A file.
    File(OpenedFile),
    /// A folder, asked for without the slash at its end.
    Folder,
    /// A folder without an index: its names, those of folders with a slash behind them.
    Listing(Listing),
    /// Nothing, or nothing that may be served.
    Nothing,
    /// It is there and can't be read.
    Unreadable,
    /// A disk would have to be waited for.
    WouldWait,
}

/// Whether an operation may wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It may not: this is the event loop.
    None,
    /// It may.
    Any,
}

/// A file that was opened.
pub(crate) struct OpenedFile {
    pub(crate) file: File,
    /// The name its type goes by.
    pub(crate) name: String,
    pub(crate) length: u64,
    pub(crate) changed: SystemTime,
    /// `Content-Encoding`; empty for none.
    pub(crate) encoding: &'static str,
    /// All of it, where it is small.
    pub(crate) content: Option<Bytes>,
}

/// Files up to this length are read as they are opened, in bytes.
pub(crate) const SMALL: u64 = 64 << 10;

/// The names in a folder.
pub(crate) struct Listing {
    pub(crate) names: Vec<String>,
    /// There are more; which ones are left out is up to the file system.
    pub(crate) cut: bool,
}

/// No more names than this are listed.
pub(crate) const LISTED: usize = 10_000;

/// No more entries of a folder are looked at, those included that are not listed.
const READ: usize = 100_000;

/// A path, and how it is asked for.
#[derive(Clone)]
pub(crate) struct FileQuery {
    pub(crate) files: &'static Files,
    /// Where the folder is.
    pub(crate) root: &'static str,
    pub(crate) below: RelativePath,
    /// It ends with a slash.
    pub(crate) folder: bool,
    /// The encodings that the client takes.
    pub(crate) taken: [bool; 3],
}

/// Finds what answers for a path. May block, with patience.
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
            look(&RelativePath(fallback.trim_start_matches('/').as_bytes().to_vec()), false)
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

/// A look into a folder.
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
                // With `else`, a folder without an index is not there.
                false => match self.at(&below.join(&self.files.index), false) {
                    FileLookup::File(_) => FileLookup::Folder,
                    FileLookup::Folder => FileLookup::Nothing,
                    found => found,
                },
            };
        }
        // Neither a file with a slash behind it, nor what is no file: reading a pipe or a device would wait, or worse.
        if folder || !about.is_file() {
            return FileLookup::Nothing;
        }
        let Ok(changed) = about.modified() else { return FileLookup::Unreadable };
        let (mut file, mut length, mut encoding) = (there, about.len(), "");
        for ((name, suffix), _) in ENCODINGS.iter().zip(self.taken).filter(|(_, taken)| *taken) {
            let beside = match self.open(&below.with(suffix)) {
                Ok(beside) => beside,
                Err(FileLookup::WouldWait) => return FileLookup::WouldWait,
                Err(_) => continue,
            };
            // One that is older was made of something else.
            if let Ok(about) = beside.metadata()
                && about.is_file()
                && about.modified().is_ok_and(|made| made >= changed)
            {
                (file, length, encoding) = (beside, about.len(), name);
                break;
            }
        }
        let content = match length {
            0..=SMALL => match read(&file, 0, length, self.patience) {
                Ok(content) if content.len() as u64 == length => Some(content),
                _ if self.patience == Patience::None => return FileLookup::WouldWait,
                _ => return FileLookup::Unreadable,
            },
            _ => None,
        };
        FileLookup::File(OpenedFile { file, name: below.name(), length, changed, encoding, content })
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
        // Opening a pipe does not wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut tries = 0;
        loop {
            match openat2(self.root, path, flags, Mode::empty(), resolve) {
                Ok(file) => return Ok(File::from(file)),
                // It is not known without a look, or the kernel can't tell (before Linux 5.12).
                Err(Errno::AGAIN | Errno::INVAL) if self.patience == Patience::None => {
                    return Err(FileLookup::WouldWait);
                }
                // Something was renamed meanwhile: the kernel wants to be asked again.
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

/// Reads a part of a file; less where it has become shorter, or, without patience, where the rest is not in memory. May block,
/// with patience.
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
