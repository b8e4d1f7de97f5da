//! Listening sockets: bound before anything is served, one per worker and listener ([`Bound`]).
//!
//! Sockets that a parent process passes on (`LISTEN_FDS`) are used instead of binding.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};
use socket2::{Domain, Protocol, Socket, Type};

use crate::context::settings::{self, Address, Settings, StartError};
use crate::net::accounts;
use crate::site::{Listener, Site, SocketFile};

/// The listen backlog; the kernel may limit it further.
const BACKLOG: i32 = 4096;

/// The most unsent bytes that the kernel buffers per connection: more of it is memory that slow readers cost, megabytes each
/// (tcp(7), `TCP_NOTSENT_LOWAT`).
const QUEUE: u32 = 128 << 10;

/// The same if `limits min-rate` must measure how fast clients read: writability is signalled when half of it is free.
pub(crate) const FINE_QUEUE: u64 = 16 << 10;

/// A bound socket, not registered with an event loop yet.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Bound {
    /// Limits the kernel's send queue of accepted connections: they inherit it, which saves a system call for each.
    fn bound_queue(&self, queue: u32) {
        if let Bound::Tcp(socket) = self {
            // Kernels without this option buffer more.
            let _ = socket2::SockRef::from(socket).set_tcp_notsent_lowat(queue);
        }
    }
}

/// The listener's index, and its socket.
pub(crate) type Accepting = (u32, Bound);

/// The sockets of each worker; and the socket of `admin`.
type AllBound = (Vec<Vec<Accepting>>, Option<Bound>);

/// Binds every listener, once per worker, and that of `admin` once.
///
/// # Errors
/// One for each address that can't be bound.
pub(crate) fn bind_all(site: &Site, settings: &Settings, workers: usize) -> Result<AllBound, Vec<StartError>> {
    let mut inherited = Inherited::take();
    let measures = site.policies().any(|policy| policy.limits.min_rate > 0);
    let queue = if measures { FINE_QUEUE as u32 } else { QUEUE };
    let mut per_worker: Vec<Vec<Accepting>> = (0..workers).map(|_| Vec::new()).collect();
    let mut admin = None;
    let mut refused = Vec::new();
    for (index, listener) in (0..).zip(site.listeners) {
        let count = if listener.speaks.admin { 1 } else { workers };
        match bind(listener, settings, count, &mut inherited) {
            Ok(mut sockets) if listener.speaks.admin => admin = sockets.pop(),
            Ok(sockets) => {
                sockets.iter().for_each(|socket| socket.bound_queue(queue));
                for (worker, socket) in per_worker.iter_mut().zip(sockets) {
                    worker.push((index, socket));
                }
            }
            Err(error) => {
                let message = format!("can't listen on `{}`: {error}", listener.address.get(settings));
                refused.push(StartError { message, place: listener.place.clone() });
            }
        }
    }
    if refused.is_empty() { Ok((per_worker, admin)) } else { Err(refused) }
}

fn bind(listener: &Listener, settings: &Settings, workers: usize, inherited: &mut Inherited) -> io::Result<Vec<Bound>> {
    let address = settings::address(listener.address.get(settings)).map_err(io::Error::other)?;
    let file = &listener.file;
    if *file != SocketFile::default() && !matches!(address, Address::Unix(_)) {
        return Err(io::Error::other("`mode` and `owner` are for unix sockets, and this is not one"));
    }
    let first = match (inherited.find(&address), address) {
        (Some(socket), Address::Unix(path)) => {
            set_mode(path, file)?;
            set_owner(path, file)?;
            socket
        }
        (Some(socket), _) => socket,
        (None, Address::Unix(path)) => Bound::Unix(bind_unix(path, file)?),
        (None, Address::Tcp(host, port)) => {
            // One socket per worker: the kernel distributes connections over them.
            return (0..workers).map(|_| bind_tcp(host, port).map(Bound::Tcp)).collect();
        }
    };
    let mut sockets = vec![first];
    for _ in 1..workers {
        let another = match &sockets[0] {
            Bound::Tcp(socket) => Bound::Tcp(socket.try_clone()?),
            Bound::Unix(socket) => Bound::Unix(socket.try_clone()?),
        };
        sockets.push(another);
    }
    Ok(sockets)
}

fn bind_tcp(host: &str, port: u16) -> io::Result<std::net::TcpListener> {
    let socket = bind_address(host, port, true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds a socket without listening.
fn bind_address(host: &str, port: u16, shared: bool) -> io::Result<Socket> {
    let all = host.is_empty() || host == "::";
    let address = match host {
        "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().map_err(io::Error::other)?,
    };
    match bind_socket(SocketAddr::new(address, port), shared) {
        // Without IPv6 on this machine, bind to its IPv4 addresses.
        Err(error) if all && matches!(error.raw_os_error(), Some(NO_FAMILY | NO_ADDRESS)) => {
            bind_socket(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), shared)
        }
        outcome => outcome,
    }
}

/// `EAFNOSUPPORT` and `EADDRNOTAVAIL` on Linux.
const NO_FAMILY: i32 = 97;
const NO_ADDRESS: i32 = 99;

fn bind_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_unix(path: &str, file: &SocketFile) -> io::Result<std::os::unix::net::UnixListener> {
    if is_left_behind(path) {
        std::fs::remove_file(path)?;
    }
    // The file must have its permissions from the start: a client that connects before they are set stays connected. No other
    // thread runs yet, so the process's umask can be changed.
    let before = file.mode.map(|mode| rustix::process::umask(Mode::from_raw_mode(!u32::from(mode) & 0o777)));
    let socket = std::os::unix::net::UnixListener::bind(path);
    before.map(rustix::process::umask);
    let socket = socket?;
    if let Err(error) = set_owner(path, file) {
        std::fs::remove_file(path)?;
        return Err(error);
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Returns whether a path is a socket of a process that has ended.
fn is_left_behind(path: &str) -> bool {
    let answer = is_socket(path).then(|| std::os::unix::net::UnixStream::connect(path));
    answer.is_some_and(|answer| answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

fn is_socket(path: &str) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    Path::new(path).symlink_metadata().is_ok_and(|file| file.file_type().is_socket())
}

/// Sets the permissions of an existing socket's file.
fn set_mode(path: &str, file: &SocketFile) -> io::Result<()> {
    match file.mode {
        Some(mode) if is_socket(path) => {
            let mode = Mode::from_raw_mode(u32::from(mode));
            Ok(rustix::fs::chmodat(CWD, path, mode, AtFlags::empty())?)
        }
        _ => Ok(()),
    }
}

fn set_owner(path: &str, file: &SocketFile) -> io::Result<()> {
    let user = file.user.as_deref().map(accounts::user).transpose()?;
    let group = file.group.as_deref().map(accounts::group).transpose()?;
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
    let set = rustix::fs::chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW);
    set.map_err(|error| io::Error::other(format!("its owner can't be set: {}", io::Error::from(error))))
}

/// The availability of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    Free,
    /// The parent process passes it on.
    Inherited,
    /// A process of this user has bound it and shares it, as another instance of the proxy does.
    Shared,
}

impl std::fmt::Display for Availability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Availability::Free => "free",
            Availability::Inherited => "inherited",
            Availability::Shared => "in use by a running instance",
        })
    }
}

/// Checks whether the listeners' addresses can be bound, without accepting a connection there, and without side effects, as
/// another instance may be serving on them.
///
/// # Errors
/// One for each address that can't be bound.
pub(crate) fn probe_all(site: &Site, settings: &Settings) -> Result<Vec<Availability>, Vec<StartError>> {
    let mut inherited = Inherited::take();
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for listener in site.listeners {
        match probe(listener.address.get(settings), &mut inherited) {
            Ok(availability) => found.push(availability),
            Err(error) => {
                let message = format!("can't listen on `{}`: {error}", listener.address.get(settings));
                refused.push(StartError { message, place: listener.place.clone() });
            }
        }
    }
    if refused.is_empty() { Ok(found) } else { Err(refused) }
}

fn probe(address: &str, inherited: &mut Inherited) -> io::Result<Availability> {
    let address = settings::address(address).map_err(io::Error::other)?;
    match (inherited.find(&address), address) {
        (Some(_), _) => Ok(Availability::Inherited),
        (None, Address::Unix(path)) => probe_unix(path),
        // A socket that is only bound takes no connections from one that listens. The kernel shares an address among the
        // processes of one user if all request that (SO_REUSEPORT, socket(7)).
        (None, Address::Tcp(host, port)) => match bind_address(host, port, false) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                bind_address(host, port, true).map(|_| Availability::Shared)
            }
            outcome => outcome.map(|_| Availability::Free),
        },
    }
}

fn probe_unix(path: &str) -> io::Result<Availability> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    match Path::new(path).symlink_metadata() {
        Ok(_) if is_left_behind(path) => Ok(Availability::Free),
        Ok(file) if file.file_type().is_socket() && file.uid() == rustix::process::geteuid().as_raw() => {
            Ok(Availability::Shared)
        }
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => {
            // Binding a temporary name shows whether a socket can be created there.
            let beside = format!("{path}.{}", std::process::id());
            std::os::unix::net::UnixListener::bind(&beside)?;
            std::fs::remove_file(&beside).map(|()| Availability::Free)
        }
    }
}

/// Sockets that a parent process passes on.
struct Inherited(Vec<Bound>);

impl Inherited {
    fn take() -> Inherited {
        let mut handed = listenfd::ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..handed.len() {
            if let Ok(Some(socket)) = handed.take_tcp_listener(index) {
                sockets.push(Bound::Tcp(socket));
            } else if let Ok(Some(socket)) = handed.take_unix_listener(index) {
                sockets.push(Bound::Unix(socket));
            }
        }
        Inherited(sockets)
    }

    fn find(&mut self, address: &Address<'_>) -> Option<Bound> {
        let index = self.0.iter().position(|socket| match (socket, address) {
            (Bound::Tcp(socket), Address::Tcp(host, port)) => socket.local_addr().is_ok_and(|local| {
                let wanted = match *host {
                    "" => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
                    "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                    host => host.parse().ok(),
                };
                let any = |ip: IpAddr| ip.is_unspecified();
                local.port() == *port && wanted.is_some_and(|ip| ip == local.ip() || (any(ip) && any(local.ip())))
            }),
            (Bound::Unix(socket), Address::Unix(path)) => {
                socket.local_addr().is_ok_and(|local| local.as_pathname() == Some(Path::new(path)))
            }
            _ => false,
        })?;
        let socket = self.0.swap_remove(index);
        let nonblocking = match &socket {
            Bound::Tcp(socket) => socket.set_nonblocking(true),
            Bound::Unix(socket) => socket.set_nonblocking(true),
        };
        nonblocking.ok().map(|()| socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_inherited() {
        let socket = bind_socket((Ipv4Addr::LOCALHOST, 0).into(), true).expect("a socket");
        socket.listen(1).expect("it listens");
        let socket = std::net::TcpListener::from(socket);
        let address = socket.local_addr().expect("an address");
        let bound = Bound::Tcp(socket.try_clone().expect("a clone"));
        bound.bound_queue(QUEUE);
        let _client = std::net::TcpStream::connect(address).expect("connected");
        socket.set_nonblocking(false).expect("a socket");
        let (accepted, _) = socket.accept().expect("accepted");
        assert_eq!(socket2::SockRef::from(&accepted).tcp_notsent_lowat().expect("an option"), QUEUE);
    }
}
