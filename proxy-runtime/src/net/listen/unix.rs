//! Unix sockets, which have a file: its permissions, its owner, and what a process that has ended leaves behind.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, Uid};
use socket2::{Domain, SockAddr, Socket, Type};

use super::Availability;
use crate::net::accounts;
use crate::site::SocketFile;

/// How long another process may take to bind a socket in the same folder.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before looking again.
const AGAIN: Duration = Duration::from_millis(20);

/// Binds a unix socket, whose file may have been left behind by a process that has ended.
///
/// # Errors
/// Fails if another process listens there, or the file can't be created.
pub(crate) fn bind_unix(path: &str, file: &SocketFile) -> io::Result<UnixListener> {
    let _lock = lock_folder(path)?;
    if is_left_behind(path) {
        std::fs::remove_file(path)?;
    }
    // The file must have its permissions from the start: a client that connects before they are set stays connected. No other
    // thread runs yet, so the process's umask can be changed.
    let before = file.mode.map(|mode| rustix::process::umask(Mode::from_raw_mode(!u32::from(mode) & 0o777)));
    let socket = UnixListener::bind(path);
    before.map(rustix::process::umask);
    let socket = socket?;
    if let Err(error) = set_owner(path, file) {
        std::fs::remove_file(path)?;
        return Err(error);
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Locks the folder of a socket, until the value is dropped: of two processes that start at once, one could take the new socket of the other for one
/// that was left behind. A folder that this process may not read can't be locked.
fn lock_folder(path: &str) -> io::Result<Option<OwnedFd>> {
    let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(folder.unwrap_or(Path::new(".")), flags, Mode::empty()) {
        Err(rustix::io::Errno::ACCESS) => return Ok(None),
        opened => opened?,
    };
    let until = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(folder)),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(AGAIN),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(io::Error::other("another process has locked the folder (flock) for too long"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns whether a path is a socket of a process that has ended.
fn is_left_behind(path: &str) -> bool {
    let refused = || {
        // A process whose queue is full would let a blocking socket wait.
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    is_socket(path) && refused().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn is_socket(path: &str) -> bool {
    Path::new(path).symlink_metadata().is_ok_and(|file| file.file_type().is_socket())
}

/// Gives the file of an inherited socket its permissions and its owner, if it has others: this process may not be allowed to set even the same.
///
/// # Errors
/// They can't be set.
pub(super) fn settle_file(path: &str, file: &SocketFile) -> io::Result<()> {
    let Ok(found) = Path::new(path).symlink_metadata() else { return Ok(()) };
    let other_mode = file.mode.filter(|mode| found.mode() & 0o777 != u32::from(*mode));
    if let Some(mode) = other_mode.filter(|_| found.file_type().is_socket()) {
        rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(u32::from(mode)), AtFlags::empty())?;
    }
    set_owner(path, file)
}

/// Sets what the owner of a socket's file is not yet.
fn set_owner(path: &str, file: &SocketFile) -> io::Result<()> {
    let user = file.user.as_deref().map(accounts::user).transpose()?;
    let group = file.group.as_deref().map(accounts::group).transpose()?;
    let found = Path::new(path).symlink_metadata()?;
    let user = user.filter(|user| *user != found.uid()).map(Uid::from_raw);
    let group = group.filter(|group| *group != found.gid()).map(Gid::from_raw);
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    let set = rustix::fs::chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW);
    set.map_err(|error| io::Error::other(format!("its owner can't be set: {}", io::Error::from(error))))
}

/// Returns whether this process may use a file of this user.
fn is_mine(user: u32) -> bool {
    let own = rustix::process::geteuid();
    own.is_root() || own.as_raw() == user
}

/// Checks whether a unix socket can be created, or a process of this user listens there.
///
/// # Errors
/// Neither is possible.
pub(crate) fn probe_unix(path: &str) -> io::Result<Availability> {
    match Path::new(path).symlink_metadata() {
        Ok(_) if is_left_behind(path) => Ok(Availability::Free),
        Ok(file) if file.file_type().is_socket() && is_mine(file.uid()) => Ok(Availability::Shared),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => {
            // Binding a temporary name shows whether a socket can be created there.
            let beside = format!("{path}.{}", std::process::id());
            UnixListener::bind(&beside)?;
            std::fs::remove_file(&beside).map(|()| Availability::Free)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Barrier;

    use super::*;

    fn folder(name: &str) -> String {
        let folder = std::env::temp_dir().join(format!("kiln-unix-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).expect("a folder");
        folder.display().to_string()
    }

    #[test]
    fn one_of_many_gets_the_place_of_one_that_has_ended() {
        const PROCESSES: usize = 8;
        let folder = folder("left");
        let path = format!("{folder}/a.sock");
        for _ in 0..50 {
            drop(UnixListener::bind(&path).expect("bound"));
            assert_eq!(probe_unix(&path).expect("free"), Availability::Free);
            let start = Barrier::new(PROCESSES);
            let bound: Vec<_> = std::thread::scope(|scope| {
                let bind = || {
                    start.wait();
                    bind_unix(&path, &SocketFile::default())
                };
                let all: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(bind)).collect();
                all.into_iter().map(|one| one.join().expect("it ends")).collect()
            });
            let [socket] = &bound.iter().flatten().collect::<Vec<_>>()[..] else { panic!("not one: {bound:?}") };
            let _client = UnixStream::connect(&path).expect("connected");
            socket.accept().expect("to this one");
            std::fs::remove_file(&path).expect("removed");
        }
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_full_queue_is_not_waited_for() {
        let folder = folder("full");
        let path = format!("{folder}/a.sock");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        socket.bind(&SockAddr::unix(&path).expect("a path")).expect("bound");
        socket.listen(0).expect("it listens");
        let _first = UnixStream::connect(&path).expect("connected");
        assert!(!is_left_behind(&path));
        let error = bind_unix(&path, &SocketFile::default()).expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_file_that_is_right_is_not_touched() {
        let folder = folder("file");
        let path = format!("{folder}/a.sock");
        let wanted = SocketFile { mode: Some(0o640), ..SocketFile::default() };
        let _socket = bind_unix(&path, &wanted).expect("bound");
        let changed = || Path::new(&path).metadata().map(|file| (file.ctime(), file.ctime_nsec())).expect("a file");
        let before = changed();
        let own = Path::new(&path).metadata().expect("a file");
        let (user, group) = (own.uid().to_string(), own.gid().to_string());
        let same = SocketFile { user: Some(user.into()), group: Some(group.into()), ..wanted };
        settle_file(&path, &same).expect("settled");
        assert_eq!(changed(), before);
        settle_file(&path, &SocketFile { mode: Some(0o600), ..same }).expect("settled");
        assert_eq!(Path::new(&path).metadata().expect("a file").mode() & 0o777, 0o600);
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
