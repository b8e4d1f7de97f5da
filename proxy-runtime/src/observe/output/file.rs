//! A log file ([`LogFileOutput`]): opened for appending, opened again when it was moved, and renamed when it is too large.
//!
//! Another process may write to the same file, for instance a successor while this one drains: whoever renames it first does so for both.

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
    /// It is renamed before it becomes larger than this, and how many old ones are kept.
    rotate: Option<(u64, u16)>,
    open: OwnedFd,
    /// Its size, as far as this process knows; `None` for what is no file, and never renamed.
    size: Option<u64>,
    /// The last line is incomplete.
    torn: bool,
    /// It can't be renamed; this is not tried again before then.
    rotate_again: Option<Instant>,
    tell: Tell,
}

/// Owner and group may read it, and only the owner write: lines have addresses of clients.
const MODE: u32 = 0o640;

/// How long nothing is tried after a file could not be renamed.
const PAUSE: Duration = Duration::from_secs(10);

impl LogFileOutput {
    /// Opens a file, which is made where there is none.
    ///
    /// # Errors
    /// Those of the system; a symbolic link is refused, as others may own its folder.
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

    /// Renames the file, and those that were renamed before it; then there is a new one.
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

    /// Whether nobody else has renamed or removed it, and its size is what it is thought to be.
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

    /// Whether it is time to rename it, before so many bytes are written.
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
            // What comes next is a line of its own.
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

/// Whether a file could be opened. None is made.
///
/// # Errors
/// Why not.
pub(in crate::observe) fn check(path: &str) -> io::Result<()> {
    match open_as(Path::new(path), OFlags::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
            rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
        }
        outcome => outcome.map(drop),
    }
}

/// An open file, and its size where it is one. It is made where there is none.
fn open(path: &Path) -> io::Result<(OwnedFd, Option<u64>)> {
    open_as(path, OFlags::CREATE)
}

fn open_as(path: &Path, how: OFlags) -> io::Result<(OwnedFd, Option<u64>)> {
    // Nothing of this waits: a pipe that nobody reads is an error.
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
        // Another process has renamed it: nothing more is.
        let mut other = LogFileOutput::open(&path, Some((4, 2)), Tell::nobody()).expect("a file");
        other.write(b"8\n").expect("written");
        other.write(b"9\n").expect("written");
        file.write(b"a\n").expect("written");
        file.write(b"b\n").expect("written");
        let texts = ["log", "log.1", "log.2"].map(|name| folder.text(name));
        assert_eq!(texts, ["9\nb\n", "7\n8\na\n", "5\n6\n"].map(|text| Some(text.to_owned())));
    }

    #[test]
    fn what_is_refused() {
        let folder = Folder::new("refused");
        let link = folder.file("link");
        std::os::unix::fs::symlink(folder.file("elsewhere"), &link).expect("a link");
        for path in [link, folder.file(""), folder.file("absent/log")] {
            assert!(LogFileOutput::open(&path, None, Tell::nobody()).is_err(), "{path}");
        }
        assert_eq!(folder.text("elsewhere"), None);
    }

    #[test]
    fn a_full_disk() {
        let mut file = LogFileOutput::open("/dev/full", Some((1, 1)), Tell::nobody()).expect("a device");
        assert!(file.write(b"1\n").is_err());
        assert!(!file.torn);
    }
}
