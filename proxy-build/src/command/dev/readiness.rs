//! Learns when a proxy serves: it tells so to a socket, as it tells service managers (sd_notify(3)), whatever it logs and where to.

use std::fs::{DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

/// How many names for the folder are tried: those of a command that was killed are left.
const NAMES: u32 = 100;

/// The folder of the sockets, one for each proxy.
pub(super) struct ReadySockets {
    folder: PathBuf,
    started: u32,
}

/// A proxy that is being started.
pub(super) struct StartingProxy {
    /// The path of the socket that it tells.
    pub(super) socket: PathBuf,
    /// Has a value when the proxy serves; closed when the proxy ends.
    pub(super) ready: Receiver<()>,
}

impl ReadySockets {
    /// Makes the folder. A proxy that has become another user must reach its socket, but not change the folder.
    pub(super) fn new() -> std::io::Result<ReadySockets> {
        let name = |n| std::env::temp_dir().join(format!("kiln-dev-{}-{n}", std::process::id()));
        let mut made =
            (0..NAMES).map(name).map(|folder| DirBuilder::new().mode(0o700).create(&folder).map(|()| folder));
        let folder = made.find(|made| !matches!(made, Err(error) if error.kind() == ErrorKind::AlreadyExists));
        let folder = folder.unwrap_or_else(|| Err(ErrorKind::AlreadyExists.into()))?;
        std::fs::set_permissions(&folder, Permissions::from_mode(0o711))?;
        Ok(ReadySockets { folder, started: 0 })
    }

    /// Returns the folder, which is to be removed in the end.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Listens to another proxy, until [`ended`].
    pub(super) fn listen(&mut self) -> std::io::Result<StartingProxy> {
        self.started += 1;
        let path = self.folder.join(self.started.to_string());
        let socket = UnixDatagram::bind(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        let (sender, ready) = channel();
        std::thread::spawn({
            let path = path.clone();
            move || {
                follow(&socket, &sender);
                let _ = std::fs::remove_file(path);
            }
        });
        Ok(StartingProxy { socket: path, ready })
    }
}

impl Drop for ReadySockets {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Ends what listens to a proxy that has ended.
pub(super) fn ended(socket: &Path) {
    let _ = UnixDatagram::unbound().and_then(|own| own.send_to(b"", socket));
}

/// Takes messages until there is an empty one, and passes on that the proxy serves.
fn follow(socket: &UnixDatagram, ready: &Sender<()>) {
    let mut message = [0; 4096];
    while let Ok(length @ 1..) = socket.recv(&mut message) {
        if message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
            // The waiting side may have given up.
            let _ = ready.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;
    use std::time::Duration;

    use super::*;

    #[test]
    fn messages() {
        let mut readiness = ReadySockets::new().expect("a folder");
        let mut check = |messages: &[&str], expected: Result<(), RecvTimeoutError>| {
            let starting = readiness.listen().expect("a socket");
            let proxy = UnixDatagram::unbound().expect("a socket");
            for message in messages {
                proxy.send_to(message.as_bytes(), &starting.socket).expect("sent");
            }
            ended(&starting.socket);
            assert_eq!(starting.ready.recv_timeout(Duration::from_secs(20)), expected, "{messages:?}");
        };
        check(&["READY=1\n"], Ok(()));
        check(&["STATUS=x\nREADY=1"], Ok(()));
        check(&["WATCHDOG=1\n", "READY=1\n"], Ok(()));
        check(&["STOPPING=1\n", "NOT_READY=1\n", "READY=10\n"], Err(RecvTimeoutError::Disconnected));
        check(&[], Err(RecvTimeoutError::Disconnected));
        let other = ReadySockets::new().expect("a folder of its own");
        assert_ne!(other.folder(), readiness.folder());
        let folder = readiness.folder().to_owned();
        drop(readiness);
        assert!(!folder.exists());
    }
}
