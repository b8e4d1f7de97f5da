//! Listening sockets: bound before anything is served, one per worker and listener ([`Bound`]).
//!
//! Sockets that others pass on ([`Inherited`]) are used instead of binding: a parent process (`LISTEN_FDS`), or the running process at a takeover.

mod inherited;
mod local;
#[cfg(feature = "h3")]
pub(crate) mod quic;
mod unix;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

pub(crate) use self::inherited::Inherited;
#[cfg(feature = "h3")]
use self::quic::QuicListeners;
use self::unix::settle_file;
pub(crate) use self::unix::{bind_unix, probe_unix};
use crate::context::settings::{self, Address, Settings, StartError};
#[cfg(feature = "h3")]
use crate::net::quic::QuicSocket;
use crate::site::{Listener, Site, SocketFile};

/// The listen backlog; the kernel may limit it further.
pub(crate) const BACKLOG: i32 = 4096;

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

impl Bound {
    /// Returns another descriptor of the socket.
    pub(crate) fn try_clone(&self) -> io::Result<Bound> {
        Ok(match self {
            Bound::Tcp(socket) => Bound::Tcp(socket.try_clone()?),
            Bound::Unix(socket) => Bound::Unix(socket.try_clone()?),
        })
    }
}

/// A socket that a worker accepts from.
#[derive(Debug)]
pub(crate) enum AcceptFrom {
    Stream(Bound),
    #[cfg(feature = "h3")]
    Quic(QuicSocket),
}

/// The listener's index, and its socket.
pub(crate) type Accepting = (u32, AcceptFrom);

/// The bound sockets.
pub(crate) struct AllBound {
    /// Those of each worker.
    pub(crate) workers: Vec<Vec<Accepting>>,
    pub(crate) admin: Option<Bound>,
    pub(crate) handed_over: HandedOver,
}

/// What is handed over to the next process, if the site has `takeover`.
#[cfg_attr(not(feature = "takeover"), allow(dead_code, reason = "read by takeovers alone"))]
pub(crate) struct HandedOver {
    /// Another descriptor of each socket, with the index of its listener.
    pub(crate) sockets: Vec<(u32, Bound)>,
    /// The listeners with HTTP/3.
    #[cfg(feature = "h3")]
    pub(crate) quic: QuicListeners,
}

/// Binds every listener, once per worker, and that of `admin` once. Inherited sockets are used first.
///
/// # Errors
/// One for each address that can't be bound.
pub(crate) fn bind_all(
    site: &Site,
    settings: &Settings,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<AllBound, Vec<StartError>> {
    let measures = site.policies().any(|policy| policy.limits.min_rate > 0);
    let queue = if measures { FINE_QUEUE as u32 } else { QUEUE };
    let mut per_worker: Vec<Vec<Accepting>> = (0..workers).map(|_| Vec::new()).collect();
    let (mut admin, mut handed_over) = (None, Vec::new());
    #[cfg(feature = "h3")]
    let mut listeners = QuicListeners::new(inherited.quic.identity);
    let mut refused = Vec::new();
    for (index, listener) in (0..).zip(site.listeners) {
        let count = if listener.speaks.admin { 1 } else { workers };
        let mut bound = || -> io::Result<()> {
            let mut sockets = bind(listener, settings, count, inherited)?;
            if site.process.takeover.is_some() {
                for socket in &sockets {
                    handed_over.push((index, socket.try_clone()?));
                }
            }
            if listener.speaks.admin {
                admin = sockets.pop();
                return Ok(());
            }
            sockets.iter().for_each(|socket| socket.bound_queue(queue));
            for (worker, socket) in spread(sockets, workers)? {
                per_worker[worker].push((index, AcceptFrom::Stream(socket)));
            }
            #[cfg(feature = "h3")]
            if listener.speaks.http3 {
                let (mut bound, sockets) =
                    quic::bind((index, listener), settings, workers, (&mut inherited.quic, listeners.identity))?;
                if site.process.takeover.is_none() {
                    bound.sockets.clear();
                }
                listeners.listeners.push(bound);
                for (number, socket) in sockets.into_iter().enumerate() {
                    per_worker[number % workers].push((index, AcceptFrom::Quic(socket)));
                }
            }
            Ok(())
        };
        if let Err(error) = bound() {
            refused.push(cannot_listen(listener, settings, &error));
        }
    }
    if refused.is_empty() {
        Ok(AllBound {
            workers: per_worker,
            admin,
            handed_over: HandedOver {
                sockets: handed_over,
                #[cfg(feature = "h3")]
                quic: listeners,
            },
        })
    } else {
        Err(refused)
    }
}

fn cannot_listen(listener: &Listener, settings: &Settings, error: &io::Error) -> StartError {
    let message = format!("can't listen on `{}`: {error}", listener.address.get(settings));
    StartError { message, place: listener.place.clone() }
}

/// Distributes sockets over workers, so that each socket has a worker, and each worker a socket. Workers share a socket if there are more of
/// them, and have several if there are fewer: both happen if another process has bound them.
fn spread(sockets: Vec<Bound>, workers: usize) -> io::Result<Vec<(usize, Bound)>> {
    let count = sockets.len();
    let shared = (count..workers).map(|worker| Ok((worker, sockets[worker % count].try_clone()?)));
    let shared = shared.collect::<io::Result<Vec<_>>>()?;
    Ok(sockets.into_iter().enumerate().map(|(index, socket)| (index % workers, socket)).chain(shared).collect())
}

/// Returns the sockets of a listener: at least one.
fn bind(listener: &Listener, settings: &Settings, workers: usize, inherited: &mut Inherited) -> io::Result<Vec<Bound>> {
    let address = settings::address(listener.address.get(settings)).map_err(io::Error::other)?;
    let file = &listener.file;
    if *file != SocketFile::default() && !matches!(address, Address::Unix(_)) {
        return Err(io::Error::other("`mode` and `owner` are for unix sockets, and this is not one"));
    }
    let found = inherited.take_all(&address)?;
    match address {
        Address::Unix(path) if !found.is_empty() => {
            settle_file(path, file)?;
            Ok(found)
        }
        Address::Tcp(..) if !found.is_empty() => Ok(found),
        Address::Unix(path) => Ok(vec![Bound::Unix(bind_unix(path, file)?)]),
        // One socket per worker: the kernel distributes connections over them.
        Address::Tcp(host, port) => {
            let bound: io::Result<_> = (0..workers).map(|_| bind_tcp(host, port).map(Bound::Tcp)).collect();
            bound.map_err(|error| match inherited.unused().find(|(_, passed)| *passed == Some(port)) {
                Some((other, _)) => {
                    let other =
                        format!("{error}; the parent process passes a socket of `{other}`, which is another address");
                    io::Error::new(error.kind(), other)
                }
                None => error,
            })
        }
    }
}

fn bind_tcp(host: &str, port: u16) -> io::Result<std::net::TcpListener> {
    let socket = bind_address((host, port), Type::STREAM, true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds a socket without listening.
fn bind_address((host, port): (&str, u16), kind: Type, shared: bool) -> io::Result<Socket> {
    let all = host.is_empty() || host == "::";
    let address = match host {
        "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().map_err(io::Error::other)?,
    };
    match bind_socket(SocketAddr::new(address, port), kind, shared) {
        // Without IPv6 on this machine, bind to its IPv4 addresses.
        Err(error) if all && matches!(error.raw_os_error(), Some(NO_FAMILY | NO_ADDRESS)) => {
            bind_socket(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), kind, shared)
        }
        outcome => outcome,
    }
}

/// `EAFNOSUPPORT` and `EADDRNOTAVAIL` on Linux.
const NO_FAMILY: i32 = 97;
const NO_ADDRESS: i32 = 99;

fn bind_socket(address: SocketAddr, kind: Type, shared: bool) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
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
    let inherited = Inherited::take();
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for listener in site.listeners {
        match probe(listener.address.get(settings), &inherited) {
            Ok(availability) => found.push(availability),
            Err(error) => refused.push(cannot_listen(listener, settings, &error)),
        }
        #[cfg(feature = "h3")]
        if listener.speaks.http3
            && let Err(error) = quic::bind_udp(listener.address.get(settings))
        {
            refused.push(cannot_listen(listener, settings, &error));
        }
    }
    if refused.is_empty() { Ok(found) } else { Err(refused) }
}

/// Returns the listeners whose addresses another process of this user has bound; of `admin`, which a process that drains has until its end, only unix
/// sockets, as two processes can have the same port.
#[cfg(feature = "takeover")]
pub(crate) fn shared<'a>(site: &'a Site, settings: &Settings, inherited: &Inherited) -> Vec<&'a Listener> {
    let is_shared = |listener: &&Listener| {
        probe(listener.address.get(settings), inherited).is_ok_and(|found| found == Availability::Shared)
    };
    let is_alone = |listener: &&Listener| !listener.speaks.admin || listener.address.get(settings).starts_with("unix:");
    site.listeners.iter().filter(is_alone).filter(is_shared).collect()
}

fn probe(address: &str, inherited: &Inherited) -> io::Result<Availability> {
    let address = settings::address(address).map_err(io::Error::other)?;
    if inherited.has(&address) {
        return Ok(Availability::Inherited);
    }
    match address {
        Address::Unix(path) => probe_unix(path),
        // A socket that is only bound takes no connections from one that listens. The kernel shares an address among the
        // processes of one user if all request that (SO_REUSEPORT, socket(7)).
        Address::Tcp(host, port) => match bind_address((host, port), Type::STREAM, false) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                bind_address((host, port), Type::STREAM, true).map(|_| Availability::Shared)
            }
            outcome => outcome.map(|_| Availability::Free),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_inherited() {
        let socket = bind_socket((Ipv4Addr::LOCALHOST, 0).into(), Type::STREAM, true).expect("a socket");
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

    #[test]
    fn each_socket_has_a_worker_and_each_worker_a_socket() {
        let check = |sockets: usize, workers: usize, expected: &[usize]| {
            let bound = (0..sockets).map(|_| bind_tcp("127.0.0.1", 0).map(Bound::Tcp)).collect::<io::Result<_>>();
            let spread = spread(bound.expect("sockets"), workers).expect("descriptors");
            let found: Vec<_> = spread.iter().map(|(worker, _)| *worker).collect();
            assert_eq!(found, expected, "{sockets} sockets, {workers} workers");
        };
        check(1, 1, &[0]);
        check(1, 3, &[0, 1, 2]);
        check(3, 3, &[0, 1, 2]);
        check(5, 2, &[0, 1, 0, 1, 0]);
        check(2, 5, &[0, 1, 2, 3, 4]);
    }
}
