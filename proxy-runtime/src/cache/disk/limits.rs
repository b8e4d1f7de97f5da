//! The size limits of a folder of cached responses: [`DiskLimits`]. They count the space that is occupied on the disk: the blocks of
//! files, their directory entries, and the journal. Sixty thousand small files occupy 240 MiB, whatever their lengths are.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::context::settings::Settings;
use crate::site;

/// The size limits of a folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiskLimits {
    /// The most bytes that files and directories may occupy.
    pub(in crate::cache) bytes: u64,
    pub(in crate::cache) files: u64,
    /// The bytes that must stay free on the file system.
    pub(in crate::cache) min_free: u64,
}

/// The allocation unit of most file systems, in bytes.
pub(super) const UNIT: u64 = 4 << 10;

/// The space of the empty directories, and of the few other files of a folder.
pub(super) const FOLDERS: u64 = 264 * UNIT;

/// The space of a file's directory entry.
pub(super) const ENTRY: u64 = 64;

/// How often space is freed on a full file system before a write fails: removed files may still be open, or other programs may take the
/// space.
pub(super) const TRIES: usize = 3;

impl DiskLimits {
    pub(in crate::cache) fn of(disk: &site::DiskStore, settings: &Settings) -> DiskLimits {
        DiskLimits {
            bytes: disk.size.get(settings),
            files: disk.max_files.get(settings),
            min_free: disk.min_free.get(settings),
        }
    }
}

/// Returns the space that a file occupies: its blocks, or what they will be once the system has written them.
pub(super) fn occupied(about: &fs::Metadata) -> u64 {
    about.len().next_multiple_of(UNIT).max(about.blocks().saturating_mul(512))
}
