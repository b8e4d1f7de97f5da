//! Files on disk: how they are found and opened, and never another ([`find`]).
//!
//! A path is opened by `openat2(2)` with `RESOLVE_BENEATH`: the kernel itself sees to it that no name, link or race leads out of the
//! folder. The folder is opened for each request, so that one that is exchanged as a whole (a link to a release) is the new one
//! from then on. What is opened is looked at after it was opened, by its handle: there is no moment between a look and
//! a use.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::SystemTime;

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::{Below, ENCODINGS};
use crate::site::Files;

/// What a path led to.
pub(crate) enum Found {
    /// A file.
    File(Opened),
    /// A folder, asked for without the slash at its end.
    Folder,
    /// A folder without an index: its names, those of folders with a slash behind them.
    Listing(Vec<String>),
    /// Nothing, or nothing that may be served.
    Nothing,
    /// It is there and can't be read.
    Unreadable,
}

/// A file that was opened.
pub(crate) struct Opened {
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

/// No more names than this are listed.
const LISTED: usize = 10_000;

/// Finds what answers for a path. `folder`: it ends with a slash. `taken` are the encodings that the client takes. Blocks.
pub(crate) fn find(files: &Files, root: &str, below: &Below, folder: bool, taken: [bool; 3]) -> Found {
    let Ok(root) = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
        return Found::Unreadable;
    };
    let root = File::from(root);
    let found = look(files, &root, below, folder, taken);
    match (&files.fallback, found) {
        (Some(fallback), Found::Nothing) => {
            let below = Below(fallback.trim_start_matches('/').as_bytes().to_vec());
            look(files, &root, &below, false, taken)
        }
        (_, found) => found,
    }
}

fn look(files: &Files, root: &File, below: &Below, folder: bool, taken: [bool; 3]) -> Found {
    let there = match open(files, root, below) {
        Ok(there) => there,
        Err(failed) => return failed,
    };
    let Ok(about) = there.metadata() else { return Found::Unreadable };
    if about.is_dir() {
        if !folder {
            return Found::Folder;
        }
        for name in files.index.iter() {
            match look(files, root, &below.join(name), false, taken) {
                Found::Nothing | Found::Folder => {}
                found => return found,
            }
        }
        return if files.listing { list(files, &there) } else { Found::Nothing };
    }
    // Neither a file with a slash behind it, nor what is no file: reading a pipe or a device would wait, or worse.
    if folder || !about.is_file() {
        return Found::Nothing;
    }
    let Ok(changed) = about.modified() else { return Found::Unreadable };
    let (mut file, mut length, mut encoding) = (there, about.len(), "");
    if files.precompressed {
        for ((name, suffix), _) in ENCODINGS.iter().zip(taken).filter(|(_, taken)| *taken) {
            let Ok(beside) = open(files, root, &below.with(suffix)) else { continue };
            // One that is older was made of something else.
            if let Ok(about) = beside.metadata()
                && about.is_file()
                && about.modified().is_ok_and(|made| made >= changed)
            {
                (file, length, encoding) = (beside, about.len(), name);
                break;
            }
        }
    }
    let content = if length <= SMALL {
        match read(&file, 0, length) {
            Ok(content) if content.len() as u64 == length => Some(content),
            _ => return Found::Unreadable,
        }
    } else {
        None
    };
    Found::File(Opened { file, name: below.name(), length, changed, encoding, content })
}

fn open(files: &Files, root: &File, below: &Below) -> Result<File, Found> {
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if !files.symlinks {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    let path: &[u8] = if below.as_bytes().is_empty() { b"." } else { below.as_bytes() };
    // Opening a pipe does not wait.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut tries = 0;
    loop {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Ok(file) => return Ok(File::from(file)),
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
            ) => {
                return Err(Found::Nothing);
            }
            Err(_) => return Err(Found::Unreadable),
        }
    }
}

fn list(files: &Files, folder: &File) -> Found {
    let Ok(entries) = rustix::fs::Dir::read_from(folder) else { return Found::Unreadable };
    let mut names = Vec::new();
    for entry in entries.take(LISTED) {
        let Ok(entry) = entry else { return Found::Unreadable };
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type();
        let served = kind.is_file() || kind.is_dir() || (kind.is_symlink() && files.symlinks);
        if served && (files.dotfiles || !name.starts_with('.')) && name != "." && name != ".." {
            names.push(if kind.is_dir() { name + "/" } else { name });
        }
    }
    names.sort_by_key(|name| (!name.ends_with('/'), name.clone()));
    Found::Listing(names)
}

/// Reads a part of a file; less where it has become shorter. Blocks.
pub(crate) fn read(file: &File, from: u64, length: u64) -> io::Result<Bytes> {
    let mut content = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < content.len() {
        match file.read_at(&mut content[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.truncate(filled);
    Ok(content.into())
}
