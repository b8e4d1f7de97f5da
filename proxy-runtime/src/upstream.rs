//! Servers and the connections to them: [`Servers`] (shared by all workers), [`Pools`] (one per worker), [`Channel`] (a
//! connection at work).
//!
//! A connection is driven by the exchange that uses it, within the same task: no task per connection, no hand-over
//! between tasks per request. An idle one rests in its pool undriven; whether its server has closed it is seen when it
//! is taken out, and by the sweep.

mod call;
mod connect;
mod resolve;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::balance::Rotation;
use crate::failure::Failure;
use crate::settings::{self, Address, Settings};
use crate::site::{Place, Site, Upstream};
use crate::stream::{Buffers, Link};

pub(crate) use call::{Call, Unanswered, Waits};
pub(crate) use resolve::keep_resolving;

/// The most idle connections a worker keeps per server.
const MAX_IDLE: usize = 64;

/// How long an idle connection is kept. Most servers close theirs after 60 seconds or more.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// All servers of a site, with what changes while it runs.
pub(crate) struct Servers {
    pub(crate) upstreams: Vec<UpstreamServers>,
    pub(crate) servers: Vec<Server>,
}

/// The servers of an upstream: whose turn it is, and where they stand in [`Servers::servers`].
pub(crate) struct UpstreamServers {
    pub(crate) rotation: Rotation,
    pub(crate) first: usize,
}

/// A server.
pub(crate) struct Server {
    /// Its address as written or given.
    pub(crate) address: String,
    /// The same as a `Host`.
    pub(crate) host: String,
    pub(crate) place: Place,
    pub(crate) target: TargetAddress,
}

/// Where to connect.
pub(crate) enum TargetAddress {
    Unix(String),
    Fixed(SocketAddr),
    /// A name, and the addresses it last resolved to.
    Name {
        host: String,
        port: u16,
        found: ArcSwap<Vec<SocketAddr>>,
        next: AtomicUsize,
    },
}

impl Servers {
    /// Makes the servers of a site; addresses and weights may come from parameters.
    pub(crate) fn new(site: &Site, settings: &Settings) -> Servers {
        let mut servers = Vec::new();
        let upstreams = site.upstreams.iter().map(|upstream| {
            let first = servers.len();
            servers.extend(
                upstream.servers.iter().map(|server| Server::new(server.address.get(settings), server.place.clone())),
            );
            UpstreamServers { rotation: rotation(upstream, settings), first }
        });
        Servers { upstreams: upstreams.collect(), servers }
    }
}

fn rotation(upstream: &Upstream, settings: &Settings) -> Rotation {
    let weights: Vec<u64> = upstream.servers.iter().map(|server| server.weight.get(settings)).collect();
    Rotation::new(&weights)
}

impl Server {
    fn new(address: &str, place: Place) -> Server {
        let target = match settings::address(address) {
            Ok(Address::Unix(path)) => TargetAddress::Unix(path.to_owned()),
            Ok(Address::Tcp(host, port)) => match host.parse() {
                Ok(ip) => TargetAddress::Fixed(SocketAddr::new(ip, port)),
                Err(_) => TargetAddress::Name {
                    host: host.to_owned(),
                    port,
                    found: ArcSwap::from_pointee(Vec::new()),
                    next: AtomicUsize::new(0),
                },
            },
            // The compiler and the start refuse these; a server without addresses is never chosen.
            Err(_) => TargetAddress::Name {
                host: String::new(),
                port: 0,
                found: ArcSwap::from_pointee(Vec::new()),
                next: AtomicUsize::new(0),
            },
        };
        let host = if matches!(target, TargetAddress::Unix(_)) { "localhost" } else { address };
        Server { address: address.to_owned(), host: host.to_owned(), place, target }
    }

    /// Whether there is an address to connect to.
    pub(crate) fn resolved(&self) -> bool {
        match &self.target {
            TargetAddress::Name { found, .. } => !found.load().is_empty(),
            TargetAddress::Unix(_) | TargetAddress::Fixed(_) => true,
        }
    }

    /// The address to connect to; those of a name by turns.
    fn socket_address(&self) -> Option<SocketAddr> {
        match &self.target {
            TargetAddress::Fixed(address) => Some(*address),
            TargetAddress::Name { found, next, .. } => {
                let found: Arc<Vec<SocketAddr>> = found.load_full();
                let turn = next.fetch_add(1, Ordering::Relaxed);
                (!found.is_empty()).then(|| found[turn % found.len()])
            }
            TargetAddress::Unix(_) => None,
        }
    }
}

/// A worker's connections to servers.
pub(crate) struct Pools {
    buffers: &'static Buffers,
    idle: Vec<RefCell<Vec<Idle>>>,
}

struct Idle {
    link: Link,
    since: Instant,
}

/// A connection at work for one exchange. Dropped, it closes.
pub(crate) struct Channel {
    pub(crate) link: Link,
    pools: Rc<Pools>,
    server: usize,
}

impl Pools {
    pub(crate) fn new(servers: &Servers, buffers: &'static Buffers) -> Pools {
        Pools { buffers, idle: servers.servers.iter().map(|_| RefCell::default()).collect() }
    }

    /// An idle connection that is still good; the one used last, so that the others may run out.
    pub(crate) fn take(self: &Rc<Self>, server: usize) -> Option<Channel> {
        loop {
            let Idle { mut link, .. } = self.idle[server].borrow_mut().pop()?;
            if is_quiet(&mut link) {
                return Some(Channel { link, pools: Rc::clone(self), server });
            }
        }
    }

    /// A fresh one.
    ///
    /// # Errors
    /// See [`connect::connect`].
    pub(crate) async fn connect(
        self: &Rc<Self>,
        server: &Server,
        index: usize,
        patience: Duration,
    ) -> Result<Channel, Failure> {
        let stream = connect::connect(server, patience).await?;
        Ok(Channel { link: Link::new(stream, self.buffers), pools: Rc::clone(self), server: index })
    }

    /// Closes connections that have been idle for too long, or whose server has closed them.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        for idle in &self.idle {
            idle.borrow_mut().retain_mut(|idle| now - idle.since < IDLE_TIME && is_quiet(&mut idle.link));
        }
    }
}

/// Whether an idle connection is open and its server has nothing to say: it has closed it, or sent what nobody has asked
/// for. Costs a system call only if something has happened.
fn is_quiet(link: &mut Link) -> bool {
    link.poll_fill(&mut Context::from_waker(Waker::noop())).is_pending()
}

impl Channel {
    /// The exchange is over: the connection rests until the next.
    fn release(self) {
        let mut idle = self.pools.idle[self.server].borrow_mut();
        if idle.len() < MAX_IDLE {
            idle.push(Idle { link: self.link, since: Instant::now() });
        }
    }
}
