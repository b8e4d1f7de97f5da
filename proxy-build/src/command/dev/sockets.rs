//! The listening sockets of `kiln dev` ([`Sockets`]).

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use command_fds::FdMapping;
use proxy_build::Compiled;
use proxy_runtime::context::settings::{self, Address};
use proxy_runtime::site::Setting;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::super::failed;

/// The listening sockets by address, opened once and kept for as long as the command runs.
#[derive(Default)]
pub(super) struct Sockets(Vec<(String, OwnedFd)>);

impl Sockets {
    pub(super) fn open(&mut self, compiled: &Compiled) -> Result<(), String> {
        let Some(model) = &compiled.model else { return Ok(()) };
        for listener in &model.listeners {
            let Setting::Fixed(address) = &listener.address else { continue };
            if !self.0.iter().any(|(open, _)| open == address) {
                let socket = open(address).map_err(failed(format!("can't listen on `{address}`")))?;
                self.0.push((address.to_string(), socket));
            }
        }
        // Sockets that the site no longer has are closed, because connections to them would wait forever.
        self.0.retain(|(open, _)| {
            model.listeners.iter().any(|listener| listener.address == Setting::Fixed(open.clone().into()))
        });
        Ok(())
    }

    /// Descriptors from 3 on, as the protocol requires.
    pub(super) fn mappings(&self) -> Result<Vec<FdMapping>, String> {
        let mapping = |(index, (_, socket)): (usize, &(String, OwnedFd))| {
            let parent_fd = socket.try_clone().map_err(failed("can't hand sockets over"))?;
            Ok(FdMapping { parent_fd, child_fd: 3 + index as i32 })
        };
        self.0.iter().enumerate().map(mapping).collect()
    }
}

fn open(address: &str) -> std::io::Result<OwnedFd> {
    match settings::address(address).map_err(std::io::Error::other)? {
        Address::Unix(path) => {
            remove_left_behind(path)?;
            Ok(UnixListener::bind(path)?.into())
        }
        Address::Tcp("" | "::", port) => {
            // Dual stack if the machine has IPv6, like the proxy itself.
            TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))).map(Into::into)
        }
        Address::Tcp(host, port) => Ok(TcpListener::bind((host, port))?.into()),
    }
}

/// Removes the socket of a process that has ended, and nothing else.
fn remove_left_behind(path: &str) -> io::Result<()> {
    let in_use = |what: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, what.to_owned()));
    match Path::new(path).symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return in_use("there is a file that is not a socket"),
        Ok(_) => {}
    }
    // A process whose queue is full would let a blocking socket wait.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(rustix::io::Errno::CONNREFUSED) => std::fs::remove_file(path),
        Err(rustix::io::Errno::ACCESS) => Err(rustix::io::Errno::ACCESS.into()),
        _ => in_use("another process has this socket"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn what_is_at_the_path_of_a_socket() {
        let folder = std::env::temp_dir().join(format!("kiln-sockets-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("made");
        let path = |name: &str| folder.join(name).to_str().expect("text").to_owned();
        let check = |name: &str, expected: Result<(), &str>| {
            let there = Path::new(&path(name)).symlink_metadata().is_ok();
            let removed = remove_left_behind(&path(name)).map_err(|error| error.to_string());
            assert_eq!(removed, expected.map_err(str::to_owned), "{name}");
            let stays = there && expected.is_err();
            assert_eq!(Path::new(&path(name)).symlink_metadata().is_ok(), stays, "{name}");
        };
        check("nothing", Ok(()));
        std::fs::write(path("file"), "precious").expect("written");
        check("file", Err("there is a file that is not a socket"));
        std::fs::create_dir(path("folder")).expect("made");
        check("folder", Err("there is a file that is not a socket"));
        let live = UnixListener::bind(path("live")).expect("bound");
        check("live", Err("another process has this socket"));
        drop(live);
        std::os::unix::fs::symlink(path("live"), path("link")).expect("linked");
        check("link", Err("there is a file that is not a socket"));
        check("live", Ok(()));
        let _other = UnixDatagram::bind(path("datagrams")).expect("bound");
        check("datagrams", Err("another process has this socket"));
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
