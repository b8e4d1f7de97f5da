//! The processes with a folder of cached responses, and how far each has followed its [journal](super::journal): [`Slot`], a file that a
//! process keeps locked as long as it lives. The kernel releases the lock however a process ends, so no process waits for one that has
//! ended. Slots are reused, so that a start needs no space on a full disk.

use std::fs::File;
use std::hash::Hasher as _;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use siphasher::sip::SipHasher13;

/// This process's slot.
pub(super) struct Slot {
    folder: PathBuf,
    secret: (u64, u64),
    number: u32,
    file: File,
    /// The position in the file.
    said: AtomicU64,
    furthest: u64,
}

/// The most processes with one folder.
const MOST: u32 = 16;

/// The size of a position and a checksum.
const LENGTH: usize = 16;

impl Slot {
    /// Takes a free slot. Blocks.
    ///
    /// # Errors
    /// All are taken, or the folder can't be written.
    pub(super) fn take(folder: &Path, secret: (u64, u64)) -> io::Result<Slot> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        for number in 0..MOST {
            let file = options.open(path(folder, number))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => continue,
                locked => locked?,
            }
            let said = read(&file, secret);
            let folder = folder.to_owned();
            let mut slot = Slot { folder, secret, number, file, said: AtomicU64::new(said), furthest: said };
            let mut furthest = said;
            slot.each_other(|_, followed| furthest = furthest.max(followed))?;
            slot.furthest = furthest;
            return Ok(slot);
        }
        Err(io::Error::other("too many processes have the cache's folder"))
    }

    /// Returns the furthest position of any process when this slot was taken, whether it still runs or not.
    pub(super) fn furthest(&self) -> u64 {
        self.furthest
    }

    /// Confirms the position of this process. Blocks.
    ///
    /// # Errors
    /// Fails if the position can't be written.
    pub(super) fn say(&self, followed: u64) -> io::Result<()> {
        if self.said.load(Ordering::Relaxed) != followed {
            let mut said = [0; LENGTH];
            said[..8].copy_from_slice(&followed.to_le_bytes());
            said[8..].copy_from_slice(&checksum(followed, self.secret).to_le_bytes());
            self.file.write_all_at(&said, 0)?;
            self.said.store(followed, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Returns the positions of the other processes that use the folder. Blocks.
    ///
    /// # Errors
    /// The slots can't be read.
    pub(super) fn others(&self) -> io::Result<Vec<u64>> {
        let mut others = Vec::new();
        self.each_other(|file, followed| {
            if flock(file, FlockOperation::NonBlockingLockShared).is_err() {
                others.push(followed);
            }
        })?;
        Ok(others)
    }

    /// Calls `each` for all other slots, taken or not.
    fn each_other(&self, mut each: impl FnMut(&File, u64)) -> io::Result<()> {
        for number in (0..MOST).filter(|number| *number != self.number) {
            match File::open(path(&self.folder, number)) {
                Ok(file) => each(&file, read(&file, self.secret)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("slot-{number}"))
}

/// Returns the position of a process; 0 if it has not confirmed any.
fn read(file: &File, secret: (u64, u64)) -> u64 {
    let mut said = [0; LENGTH];
    let read = file.read_exact_at(&mut said, 0);
    let number = |from: usize| u64::from_le_bytes(std::array::from_fn(|at| said[from + at]));
    let (followed, sum) = (number(0), number(8));
    if read.is_ok() && sum == checksum(followed, secret) { followed } else { 0 }
}

fn checksum(followed: u64, secret: (u64, u64)) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(secret.0, secret.1);
    hasher.write(b"slot");
    hasher.write_u64(followed);
    hasher.finish()
}
