//! Writes a file of a folder: [`FileWriter`]. The file gets its name only when it is complete, and is removed otherwise; room is made for
//! each piece before it is written.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{FlockOperation, flock};

use crate::cache::body_file::{FileHandle, Folder};

/// What a file of a response begins with.
pub(super) const MAGIC: &[u8; 6] = b"KILN2\n";

/// A file on its way. Dropped before its end, it is removed.
pub(in crate::cache) struct FileWriter {
    pub(super) handle: FileHandle,
    pub(super) path: PathBuf,
    pub(super) name: u128,
    pub(super) head: Vec<u8>,
    /// Room for a checksum, and what has come of the next block.
    pub(super) block: Vec<u8>,
    /// Of the body.
    pub(super) length: u64,
    pub(super) blocks: u64,
    /// Where the next block goes.
    pub(super) position: u64,
    /// What counts as occupied by it.
    pub(super) charged: u64,
    pub(super) folder: Arc<Folder>,
}

impl FileWriter {
    /// What it occupies counts as that of a file with a name from now on, or as nothing.
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

/// Makes a file that is locked as long as somebody writes it, by which those are known that nobody does.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        let _ = fs::remove_file(path);
        return Err(error.into());
    }
    Ok(file)
}

/// Removes what processes have left behind that are gone. Others may be writing here, as while a binary takes over from the one before.
pub(super) fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder.join("new")).into_iter().flatten().flatten() {
        let file = File::open(entry.path());
        if file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
