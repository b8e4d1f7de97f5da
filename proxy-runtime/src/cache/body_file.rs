//! Reads files of a folder: a [`BodyFile`] is opened for each use ([`OpenBodyFile`]), and read in blocks, each of which is
//! verified before it is sent. Open files have a budget, and are closed outside the event loop ([`FileHandle`]).

use std::fs::File;
use std::hash::Hasher as _;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use siphasher::sip::SipHasher13;

use crate::file_pool::FilePool;
use crate::net::descriptors::{self, DescriptorBudget, DescriptorPermit};

/// The size of the header: magic, lengths of the parts, and the position in the order of purges.
pub(super) const HEADER: usize = 48;

/// The size of the blocks in which a body is written, verified and read.
pub(super) const BLOCK: usize = 64 << 10;

/// The size of the checksum before each block.
pub(super) const SUM: usize = 8;

/// A folder of files, with the budget to open them.
pub(crate) struct Folder {
    pub(super) path: PathBuf,
    /// The key of names and checksums.
    pub(in crate::cache) secret: (u64, u64),
    /// The pool for its file operations.
    pub(crate) pool: &'static FilePool,
    /// The budget of open files.
    pub(super) descriptors: &'static DescriptorBudget,
    /// The bytes of files that are being written and have no name yet.
    pub(super) writing: AtomicU64,
}

impl Folder {
    pub(super) fn of(&self, name: u128) -> PathBuf {
        let name = format!("{name:032x}");
        self.path.join(&name[..2]).join(name)
    }

    /// Opens a file, within the budget. Blocks.
    pub(super) fn open(&self, name: u128) -> io::Result<FileHandle> {
        self.handle(|| File::open(self.of(name)))
    }

    pub(super) fn handle(&self, open: impl FnOnce() -> io::Result<File>) -> io::Result<FileHandle> {
        let held = self.descriptors.take().ok_or_else(descriptors::exhausted)?;
        Ok(FileHandle { open: Some((open()?, held)), pool: self.pool })
    }
}

/// An open file, with its share of the descriptor budget.
pub(super) struct FileHandle {
    /// Present until it is dropped.
    open: Option<(File, DescriptorPermit)>,
    pool: &'static FilePool,
}

impl FileHandle {
    pub(super) fn get(&self) -> io::Result<&File> {
        self.open.as_ref().map(|(file, _)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        // Closing the last handle of an unlinked file frees its blocks, which may block like other file operations.
        let open = self.open.take();
        self.pool.aside(move || drop(open));
    }
}

/// Returns the checksum of a block, or of the head.
pub(super) fn sum(secret: (u64, u64), name: u128, block: u64, parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(secret.0, secret.1);
    hasher.write_u128(name);
    hasher.write_u64(block);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}

/// The location of a response's body on disk. It is opened for each use, so a cached response costs no descriptor.
pub(crate) struct BodyFile {
    pub(super) folder: Arc<Folder>,
    pub(super) name: u128,
    /// The header of its file, whose checksum distinguishes it from any other response of this name.
    pub(super) header: [u8; HEADER],
    pub(super) offset: u64,
    pub(crate) length: u64,
    /// The file could not be read, or is damaged.
    pub(super) spoilt: AtomicBool,
}

impl BodyFile {
    /// Opens the file and verifies its first block, so that a damaged file is detected before the response begins. Blocks.
    ///
    /// # Errors
    /// Fails if the file can't be opened or read; with ESTALE if the file belongs to another response of this name.
    pub(in crate::cache) fn open(self: Arc<Self>) -> io::Result<OpenBodyFile> {
        let handle = self.folder.open(self.name)?;
        let mut header = [0; HEADER];
        handle.get()?.read_exact_at(&mut header, 0)?;
        if header != self.header {
            return Err(io::ErrorKind::StaleNetworkFileHandle.into());
        }
        let opened = OpenBodyFile::new(self, handle);
        if opened.length() > 0 {
            let (first, _) = opened.block(0)?;
            *opened.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        }
        Ok(opened)
    }

    /// Marks it as unusable: the next request goes to the origin.
    pub(in crate::cache) fn spoil(&self) {
        self.spoilt.store(true, Ordering::Relaxed);
    }

    /// Returns whether a block could not be read.
    pub(in crate::cache) fn is_spoilt(&self) -> bool {
        self.spoilt.load(Ordering::Relaxed)
    }

    /// Returns the pool for its file operations.
    pub(in crate::cache) fn pool(&self) -> &'static FilePool {
        self.folder.pool
    }
}

/// An open body file. It can be read until it is dropped, even if it is removed.
pub(crate) struct OpenBodyFile {
    pub(in crate::cache) body_file: Arc<BodyFile>,
    handle: FileHandle,
    /// Its first block, until a block is read.
    first: Mutex<Option<Bytes>>,
}

impl OpenBodyFile {
    pub(super) fn new(body_file: Arc<BodyFile>, handle: FileHandle) -> OpenBodyFile {
        OpenBodyFile { body_file, handle, first: Mutex::default() }
    }

    pub(crate) fn length(&self) -> u64 {
        self.body_file.length
    }

    /// Returns the pool for its file operations.
    pub(crate) fn pool(&self) -> &'static FilePool {
        self.body_file.pool()
    }

    /// See [`BodyFile::spoil`].
    pub(crate) fn spoil(&self) {
        self.body_file.spoil();
    }

    /// Returns the block with the byte at an offset of the body, and the offset within the block. Blocks.
    ///
    /// # Errors
    /// Fails if the block can't be read, or is damaged.
    pub(crate) fn block(&self, at: u64) -> io::Result<(Bytes, usize)> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(first) = first.filter(|_| at < BLOCK as u64) {
            return Ok((first, at as usize));
        }
        self.read(at).inspect_err(|_| self.spoil())
    }

    fn read(&self, at: u64) -> io::Result<(Bytes, usize)> {
        let BodyFile { folder, name, offset, length, .. } = &*self.body_file;
        let number = at / BLOCK as u64;
        let length = (length - number * BLOCK as u64).min(BLOCK as u64) as usize;
        let mut block = vec![0; SUM + length];
        self.handle.get()?.read_exact_at(&mut block, offset + number * (SUM + BLOCK) as u64)?;
        if sum(folder.secret, *name, number, &[&block[SUM..]]).to_le_bytes() != block[..SUM] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let data = Bytes::from(block).slice(SUM..);
        Ok((data, (at % BLOCK as u64) as usize))
    }

    /// Reads the complete body. Blocks.
    ///
    /// # Errors
    /// Fails if a block can't be read, or is damaged.
    pub(in crate::cache) fn whole(&self) -> io::Result<Vec<Bytes>> {
        let mut all = Vec::new();
        let mut at = 0;
        while at < self.length() {
            let (block, _) = self.block(at)?;
            at += block.len() as u64;
            all.push(block);
        }
        Ok(all)
    }
}
