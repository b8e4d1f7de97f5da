//! A server of an upstream ([`ServerState`]): its address, health and counts. Shared by all workers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::health::Health;
use crate::balance::Load;
use crate::context::settings::{self, Address, Settings};
use crate::site::{self, Place};

/// A server.
pub(crate) struct ServerState {
    /// Where it stands in [`Servers::servers`].
    pub(crate) index: usize,
    /// Its address as written or given.
    pub(super) address: String,
    pub(crate) place: Place,
    pub(crate) target: TargetAddress,
    /// Its share, relative to the others'.
    pub(super) weight: AtomicU32,
    /// What the cookie of `sticky` calls it.
    pub(super) called: AtomicU64,
    /// Counts up when the place is given to another server.
    pub(super) generation: AtomicU32,
    /// Exchanges at once.
    pub(crate) limit: u64,
    pub(crate) load: Load,
    pub(crate) health: Health,
    pub(crate) kept: IdleSettings,
}

/// Which connections to a server are kept.
pub(crate) struct IdleSettings {
    /// So many per worker.
    pub(crate) max_idle: u64,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_age: Duration,
    pub(crate) tcp_keepalive: Duration,
}

/// The address to connect to.
pub(crate) enum TargetAddress {
    Unix(String),
    Fixed(SocketAddr),
    Name(ResolvedName),
    /// A place for a server that is found while the proxy runs.
    Discovered(ArcSwapOption<DiscoveredEndpoint>),
}

/// The name of a server.
pub(crate) struct ResolvedName {
    pub(super) host: String,
    pub(super) port: u16,
    /// What it last resolved to; no more than [`race::MAX_ADDRESSES`].
    pub(super) addresses: ArcSwap<Vec<SocketAddr>>,
    /// Which of them is tried first.
    pub(super) turn: AtomicUsize,
    /// Those that could not be connected to since the last look-up, or were overtaken: bits, by index.
    pub(super) failed: AtomicU64,
}

/// A server that was found.
pub(crate) struct DiscoveredEndpoint {
    pub(super) address: SocketAddr,
    /// The same as text.
    pub(super) name: &'static str,
}

impl ServerState {
    pub(super) fn written(
        index: usize,
        server: &site::Server,
        upstream: &site::Upstream,
        settings: &Settings,
    ) -> ServerState {
        let address = server.address.get(settings);
        let name = |host: &str, port| {
            TargetAddress::Name(ResolvedName {
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
        ServerState {
            address: address.to_owned(),
            // The compiler and the parameter's type hold it to 1000.
            weight: AtomicU32::new(server.weight.get(settings).min(1000) as u32),
            limit: server.max_connections.get(settings),
            ..ServerState::new(index, target, &server.place, upstream, settings)
        }
    }

    pub(super) fn to_be_found(
        index: usize,
        discover: &site::Discover,
        upstream: &site::Upstream,
        settings: &Settings,
    ) -> ServerState {
        let target = TargetAddress::Discovered(ArcSwapOption::empty());
        ServerState::new(index, target, &discover.place, upstream, settings)
    }

    fn new(
        index: usize,
        target: TargetAddress,
        place: &Place,
        upstream: &site::Upstream,
        settings: &Settings,
    ) -> ServerState {
        let pool = &upstream.pool;
        ServerState {
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
            kept: IdleSettings {
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
            TargetAddress::Discovered(found) => found.load().as_ref().map_or("", |found| found.name),
            _ => &self.address,
        }
    }

    /// Its address, as a `Host`.
    pub(crate) fn host(&self) -> &str {
        if matches!(self.target, TargetAddress::Unix(_)) { "localhost" } else { self.name() }
    }

    /// Its address without the port, to ask for in a handshake.
    pub(super) fn bare_host(&self) -> &str {
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
    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether there is an address to connect to.
    pub(crate) fn resolved(&self) -> bool {
        match &self.target {
            TargetAddress::Name(name) => !name.addresses.load().is_empty(),
            TargetAddress::Discovered(found) => found.load().is_some(),
            TargetAddress::Unix(_) | TargetAddress::Fixed(_) => true,
        }
    }
}
