//! The size limits of a folder of cached responses: [`DiskLimits`]. They count the space that is occupied on the disk: the blocks of
//! files, their entries in directories, and the journal. Sixty thousand small files occupy 240 MiB, whatever their lengths are.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::context::settings::Settings;
use crate::site;

/// The size limits of a folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiskLimits {
    /// Bytes, as files and directories occupy them.
    pub(in crate::cache) bytes: u64,
    pub(in crate::cache) files: u64,
    /// Bytes that stay free on the file system.
    pub(in crate::cache) min_free: u64,
}

/// File systems give space away by so many bytes, most of them.
pub(super) const UNIT: u64 = 4 << 10;

/// What directories occupy before there is a file, and the few other files of a folder.
pub(super) const FOLDERS: u64 = 264 * UNIT;

/// What a directory grows by for each file.
pub(super) const ENTRY: u64 = 64;

/// So many times room is made on a full file system before a write is given up: what was removed may be open still, or taken by others.
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

/// What a file occupies: its blocks, or what they will be once the system has written them.
pub(super) fn occupied(about: &fs::Metadata) -> u64 {
    about.len().next_multiple_of(UNIT).max(about.blocks().saturating_mul(512))
}
