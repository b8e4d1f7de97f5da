//! A log file ([`LogFileOutput`]): opened for appending, reopened after it was moved, and renamed when it is too large.
//!
//! Another process may write to the same file, for instance a successor while this one drains: the first one that renames it does so for
//! both.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Access, FileType, Mode, OFlags};

use super::super::queue::Output;
use super::super::tell::Tell;

/// An open log file.
pub(in crate::observe) struct LogFileOutput {
    path: PathBuf,
    /// The size above which the file is renamed, and how many old files are kept.
    rotate: Option<(u64, u16)>,
    open: OwnedFd,
    /// The file's size, as far as this process knows; `None` if it is no regular file, which is never renamed.
    size: Option<u64>,
    /// Whether the last line is incomplete.
    torn: bool,
    /// The earliest time of the next attempt to rename the file, after a failure.
    rotate_again: Option<Instant>,
    tell: Tell,
}

/// The file's mode: owner and group may read it, and only the owner write, because lines contain clients' addresses.
const MODE: u32 = 0o640;

/// The pause after a file could not be renamed.
const PAUSE: Duration = Duration::from_secs(10);

impl LogFileOutput {
    /// Opens a file, which is created if it is missing.
    ///
    /// # Errors
    /// Fails if the system can't open it, or the path is a symbolic link: others may own its folder.
    pub(in crate::observe) fn open(path: &str, rotate: Option<(u64, u16)>, tell: Tell) -> io::Result<LogFileOutput> {
        let path = PathBuf::from(path);
        let (open, size) = open(&path)?;
        Ok(LogFileOutput { path, rotate, open, size, torn: false, rotate_again: None, tell })
    }

    fn open_again(&mut self) -> io::Result<()> {
        (self.open, self.size) = open(&self.path)?;
        self.torn = false;
        Ok(())
    }

    /// Renames the file and the older ones, and opens a new file.
    fn rotate(&mut self, keep: u16) -> io::Result<()> {
        if self.is_the_one_at_its_path()? {
            for number in (1..keep).rev() {
                match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            std::fs::rename(&self.path, self.numbered(1))?;
        }
        self.open_again()
    }

    /// Returns whether the path still leads to the open file: no other process has renamed or removed it.
    fn is_the_one_at_its_path(&self) -> io::Result<bool> {
        let ours = rustix::fs::fstat(&self.open)?;
        match rustix::fs::lstat(&self.path) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn numbered(&self, number: u16) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }

    /// Returns how many old files are kept if the file must be renamed before this many bytes are written.
    fn is_full(&self, bytes: usize) -> Option<u16> {
        let (limit, keep) = self.rotate?;
        let size = self.size.filter(|size| *size > 0 && size.saturating_add(bytes as u64) > limit);
        let waits = self.rotate_again.is_some_and(|again| Instant::now() < again);
        size.filter(|_| !waits).map(|_| keep)
    }
}

impl Output for LogFileOutput {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Some(keep) = self.is_full(lines.len()) {
            self.rotate_again = None;
            if let Err(error) = self.rotate(keep) {
                self.rotate_again = Some(Instant::now() + PAUSE);
                self.tell.warn(&format!("`{}` can't be rotated, and grows: {error}", self.path.display()));
            }
        }
        if self.torn {
            // The next line starts on a line of its own.
            super::write_all(&self.open, b"\n").map_err(|(error, _)| error)?;
            self.torn = false;
            self.size = self.size.map(|size| size + 1);
        }
        let outcome = super::write_all(&self.open, lines);
        let written = outcome.as_ref().map_or_else(|(_, written)| *written, |()| lines.len());
        self.size = self.size.map(|size| size + written as u64);
        outcome.map_err(|(error, written)| {
            self.torn = written > 0 && lines[written - 1] != b'\n';
            error
        })
    }

    fn reopen(&mut self) {
        match self.open_again() {
            Ok(()) => self.tell.info(&format!("`{}` was reopened", self.path.display())),
            Err(error) => {
                let path = self.path.display();
                self.tell.warn(&format!("`{path}` can't be reopened, lines go where they went before: {error}"));
            }
        }
    }
}

/// Checks that a file can be opened. Creates none.
///
/// # Errors
/// Fails if the system can't open it, or can't create it in its folder.
pub(in crate::observe) fn check(path: &str) -> io::Result<()> {
    match open_as(Path::new(path), OFlags::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
            rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
        }
        outcome => outcome.map(drop),
    }
}

/// Opens a file, which is created if it is missing, and returns its size if it is a regular file.
fn open(path: &Path) -> io::Result<(OwnedFd, Option<u64>)> {
    open_as(path, OFlags::CREATE)
}

fn open_as(path: &Path, how: OFlags) -> io::Result<(OwnedFd, Option<u64>)> {
    // No flag makes this wait: a pipe that has no reader is an error.
    let flags = how | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let open = rustix::fs::open(path, flags, Mode::from_raw_mode(MODE)).map_err(|error| match error {
        rustix::io::Errno::LOOP => io::Error::other("it is a symbolic link, which is not followed"),
        rustix::io::Errno::NXIO => io::Error::other("it is a pipe that nobody reads, or a socket"),
        error => error.into(),
    })?;
    let found = rustix::fs::fstat(&open)?;
    let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    Ok((open, is_file.then(|| u64::try_from(found.st_size).unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("kiln-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Folder(path)
        }

        fn file(&self, name: &str) -> String {
            self.0.join(name).to_str().expect("a path").to_owned()
        }

        fn text(&self, name: &str) -> Option<String> {
            std::fs::read_to_string(self.0.join(name)).ok()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn rotation() {
        let folder = Folder::new("rotation");
        let path = folder.file("log");
        let mut file = LogFileOutput::open(&path, Some((4, 2)), Tell::nobody()).expect("a file");
        for line in ["1\n", "2\n", "3\n", "4\n", "longer than all\n", "5\n", "6\n", "7\n"] {
            file.write(line.as_bytes()).expect("written");
        }
        let texts = ["log", "log.1", "log.2", "log.3"].map(|name| folder.text(name));
        assert_eq!(
            texts,
            [Some("7\n".to_owned()), Some("5\n6\n".to_owned()), Some("longer than all\n".to_owned()), None]
        );
        // After another process has renamed the file, it is not renamed again.
        let mut other = LogFileOutput::open(&path, Some((4, 2)), Tell::nobody()).expect("a file");
        other.write(b"8\n").expect("written");
        other.write(b"9\n").expect("written");
        file.write(b"a\n").expect("written");
        file.write(b"b\n").expect("written");
        let texts = ["log", "log.1", "log.2"].map(|name| folder.text(name));
        assert_eq!(texts, ["9\nb\n", "7\n8\na\n", "5\n6\n"].map(|text| Some(text.to_owned())));
    }

    #[test]
    fn refused_paths() {
        let folder = Folder::new("refused");
        let link = folder.file("link");
        std::os::unix::fs::symlink(folder.file("elsewhere"), &link).expect("a link");
        for path in [link, folder.file(""), folder.file("absent/log")] {
            assert!(LogFileOutput::open(&path, None, Tell::nobody()).is_err(), "{path}");
        }
        assert_eq!(folder.text("elsewhere"), None);
    }

    #[test]
    fn lines_on_a_full_disk_are_lost() {
        let mut file = LogFileOutput::open("/dev/full", Some((1, 1)), Tell::nobody()).expect("a device");
        assert!(file.write(b"1\n").is_err());
        assert!(!file.torn);
    }
}
