//! Servers, whose turn it is, and the connections to them: [`Servers`] (shared by all workers), [`Lease`] (a server held for
//! one exchange), [`Pools`] (one per worker), [`Channel`] (a connection at work), [`Call`] (a request at a server).
//!
//! A connection is driven by the exchange that uses it, within the same task: no task per connection, no hand-over
//! between tasks per request. An idle one rests in its pool undriven; whether its server has closed it is seen when it
//! is taken out, and by the sweep.

mod call;
mod checks;
mod connect;
pub(crate) mod discover;
pub(crate) mod fetch;
mod group;
mod health;
mod pool;
mod proxy_protocol;
mod race;
mod resolve;
mod shared;
mod sticky;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::time::Instant;

pub(crate) use self::call::{Call, Http1, Http2, Refused, Unanswered, Waits, http2_head};
pub(crate) use self::checks::keep_checking;
pub(crate) use self::connect::Dialler;
pub(crate) use self::discover::keep_discovering;
pub(crate) use self::group::{Group, Lease, Wish};
pub(crate) use self::pool::{Channel, Pools};
pub(crate) use self::proxy_protocol::announce;
pub(crate) use self::resolve::keep_resolving;
pub(crate) use self::shared::SharedPools;
use crate::balance::Load;
use crate::settings::{self, Address, Settings};
use crate::site::{self, Place, Site};
use crate::upstream::health::Health;

/// All servers of a site, with what changes while it runs.
pub(crate) struct Servers {
    pub(crate) groups: Vec<Group>,
    pub(crate) servers: Vec<Server>,
}

/// A server.
pub(crate) struct Server {
    /// Where it stands in [`Servers::servers`].
    pub(crate) index: usize,
    /// Its address as written or given.
    address: String,
    pub(crate) place: Place,
    pub(crate) target: TargetAddress,
    /// Its share, relative to the others'.
    weight: AtomicU32,
    /// What the cookie of `sticky` calls it.
    called: AtomicU64,
    /// Counts up when the place is given to another server.
    generation: AtomicU32,
    /// Exchanges at once.
    pub(crate) limit: u64,
    pub(crate) load: Load,
    pub(crate) health: Health,
    pub(crate) kept: Kept,
}

/// Which connections to a server are kept.
pub(crate) struct Kept {
    /// So many per worker.
    pub(crate) max_idle: u64,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_age: Duration,
    pub(crate) tcp_keepalive: Duration,
}

/// Where to connect.
pub(crate) enum TargetAddress {
    Unix(String),
    Fixed(SocketAddr),
    Name(Name),
    /// A place for a server that is found while the proxy runs.
    Found(ArcSwapOption<Found>),
}

/// The name of a server.
pub(crate) struct Name {
    host: String,
    port: u16,
    /// What it last resolved to; no more than [`race::MAX_ADDRESSES`].
    addresses: ArcSwap<Vec<SocketAddr>>,
    /// Which of them is tried first.
    turn: AtomicUsize,
    /// Those that could not be connected to since the last look-up, or were overtaken: bits, by index.
    failed: AtomicU64,
}

/// A server that was found.
pub(crate) struct Found {
    address: SocketAddr,
    /// The same as text.
    name: &'static str,
}

impl Servers {
    /// Makes the servers of a site; what is said of them may come from parameters.
    pub(crate) fn new(site: &'static Site, settings: &Settings) -> Servers {
        Servers::of(site.upstreams, settings)
    }

    fn of(upstreams: &'static [site::Upstream], settings: &Settings) -> Servers {
        let (mut servers, mut groups) = (Vec::new(), Vec::new());
        let start = Instant::now();
        for (index, upstream) in upstreams.iter().enumerate() {
            let first = servers.len();
            for server in upstream.servers.iter() {
                servers.push(Server::written(servers.len(), server, upstream, settings));
            }
            if let Some(discover) = &upstream.discover {
                let places = (0..discover.max).map(|at| first + at as usize);
                servers.extend(places.map(|index| Server::to_be_found(index, discover, upstream, settings)));
            }
            groups.push(Group::new((index, upstream), settings, &servers[first..], start));
        }
        Servers { groups, servers }
    }

    /// All servers, with the upstreams they are of.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Group, &Server)> {
        self.groups
            .iter()
            .flat_map(|group| self.servers[group.members.clone()].iter().map(move |server| (group, server)))
    }
}

impl Server {
    fn written(index: usize, server: &site::Server, upstream: &site::Upstream, settings: &Settings) -> Server {
        let address = server.address.get(settings);
        let name = |host: &str, port| {
            TargetAddress::Name(Name {
                host: host.to_owned(),
                port,
                addresses: ArcSwap::from_pointee(Vec::new()),
                turn: AtomicUsize::new(0),
                failed: AtomicU64::new(0),
            })
        };
        let target = match settings::address(address) {
            Ok(Address::Unix(path)) => TargetAddress::Unix(path.to_owned()),
            Ok(Address::Tcp(host, port)) => match host.parse() {
                Ok(ip) => TargetAddress::Fixed(SocketAddr::new(ip, port)),
                Err(_) => name(host, port),
            },
            // The compiler and the start refuse these; a server without addresses is never chosen.
            Err(_) => name("", 0),
        };
        Server {
            address: address.to_owned(),
            // The compiler and the parameter's type hold it to 1000.
            weight: AtomicU32::new(server.weight.get(settings).min(1000) as u32),
            limit: server.max_connections.get(settings),
            ..Server::new(index, target, &server.place, upstream, settings)
        }
    }

    fn to_be_found(index: usize, discover: &site::Discover, upstream: &site::Upstream, settings: &Settings) -> Server {
        let target = TargetAddress::Found(ArcSwapOption::empty());
        Server::new(index, target, &discover.place, upstream, settings)
    }

    fn new(
        index: usize,
        target: TargetAddress,
        place: &Place,
        upstream: &site::Upstream,
        settings: &Settings,
    ) -> Server {
        let pool = &upstream.pool;
        Server {
            index,
            address: String::new(),
            place: place.clone(),
            target,
            weight: AtomicU32::new(0),
            called: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            limit: u64::MAX,
            load: Load::default(),
            health: Health::default(),
            kept: Kept {
                // A connection that was announced as one client's is of no use to another.
                max_idle: if upstream.proxy_protocol.is_some() { 0 } else { pool.max_idle.get(settings) },
                idle_timeout: pool.idle_timeout.get(settings),
                max_age: pool.max_age.get(settings),
                tcp_keepalive: pool.tcp_keepalive.get(settings),
            },
        }
    }

    /// Its address, for people.
    pub(crate) fn name(&self) -> &str {
        match &self.target {
            TargetAddress::Found(found) => found.load().as_ref().map_or("", |found| found.name),
            _ => &self.address,
        }
    }

    /// Its address, as a `Host`.
    pub(crate) fn host(&self) -> &str {
        if matches!(self.target, TargetAddress::Unix(_)) { "localhost" } else { self.name() }
    }

    /// Its address without the port, to ask for in a handshake.
    fn bare_host(&self) -> &str {
        match settings::address(self.name()) {
            Ok(Address::Tcp(host, _)) => host,
            Ok(Address::Unix(_)) | Err(_) => "localhost",
        }
    }

    /// Its share, relative to the others'.
    pub(crate) fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Which of the servers that have had its place it is.
    fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether there is an address to connect to.
    pub(crate) fn resolved(&self) -> bool {
        match &self.target {
            TargetAddress::Name(name) => !name.addresses.load().is_empty(),
            TargetAddress::Found(found) => found.load().is_some(),
            TargetAddress::Unix(_) | TargetAddress::Fixed(_) => true,
        }
    }
}
