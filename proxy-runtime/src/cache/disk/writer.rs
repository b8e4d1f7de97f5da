//! Writes a file of a folder: [`FileWriter`]. The file gets its name only when it is complete, and is removed otherwise; space is freed
//! before each piece is written.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{FlockOperation, flock};

use crate::cache::body_file::{FileHandle, Folder};

/// The magic number of a response's file.
pub(super) const MAGIC: &[u8; 6] = b"KILN2\n";

/// A file that is being written. It is removed if it is dropped before it is complete.
pub(in crate::cache) struct FileWriter {
    pub(super) handle: FileHandle,
    pub(super) path: PathBuf,
    pub(super) name: u128,
    pub(super) head: Vec<u8>,
    /// Space for a checksum, and the beginning of the next block.
    pub(super) block: Vec<u8>,
    /// The length of the body.
    pub(super) length: u64,
    pub(super) blocks: u64,
    /// The offset of the next block.
    pub(super) position: u64,
    /// The occupied space that it accounts for.
    pub(super) charged: u64,
    pub(super) folder: Arc<Folder>,
}

impl FileWriter {
    /// Its space is now accounted for by the named file, or not at all.
    pub(super) fn discharge(&mut self) {
        self.folder.writing.fetch_sub(std::mem::take(&mut self.charged), Ordering::Relaxed);
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        self.discharge();
        if !self.path.as_os_str().is_empty() {
            let path = std::mem::take(&mut self.path);
            self.folder.pool.aside(move || drop(fs::remove_file(path)));
        }
    }
}

/// Creates a file that is locked while it is written, so that abandoned files can be recognized.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        let _ = fs::remove_file(path);
        return Err(error.into());
    }
    Ok(file)
}

/// Removes files of processes that have ended. Other processes may be writing here, for example during an upgrade of the binary.
pub(super) fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder.join("new")).into_iter().flatten().flatten() {
        let file = File::open(entry.path());
        if file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
