//! A server of an upstream ([`ServerState`]): its address, health and counts. Shared by all workers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::health::Health;
use super::overrides::Overrides;
use crate::balance::Load;
use crate::context::settings::{self, Address, Settings};
use crate::site::{self, Place};

/// A server and its state.
pub(crate) struct ServerState {
    /// Its index in [`Servers::servers`].
    pub(crate) index: usize,
    /// Its address as configured.
    pub(super) address: String,
    pub(crate) place: Place,
    pub(crate) target: TargetAddress,
    /// Its weight, relative to the others'.
    pub(super) weight: AtomicU32,
    /// Its name in the cookie of `sticky`.
    pub(super) called: AtomicU64,
    /// Incremented when the slot is assigned to another server.
    pub(super) generation: AtomicU32,
    /// The most concurrent exchanges.
    pub(crate) limit: u64,
    pub(crate) load: Load,
    pub(crate) health: Health,
    /// What operators have set of it.
    pub(super) overrides: Overrides,
    pub(crate) kept: IdleSettings,
}

/// A server as an exchange has chosen it: its slot may get another one meanwhile (`discover`), which is not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerId {
    /// Its index in [`Servers::servers`].
    pub(crate) index: usize,
    generation: u32,
}

/// The settings for idle connections to a server.
pub(crate) struct IdleSettings {
    /// The most per worker.
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
    /// A slot for a discovered server.
    Discovered(ArcSwapOption<DiscoveredEndpoint>),
}

/// The name of a server.
pub(crate) struct ResolvedName {
    pub(super) host: String,
    pub(super) port: u16,
    /// The addresses of the last result, at most [`race::MAX_ADDRESSES`].
    pub(super) addresses: ArcSwap<Vec<SocketAddr>>,
    /// The index of the address that is tried first.
    pub(super) turn: AtomicUsize,
    /// A bit set of those that failed or were overtaken since the last result, by index.
    pub(super) failed: AtomicU64,
}

/// A discovered server.
pub(crate) struct DiscoveredEndpoint {
    pub(super) address: SocketAddr,
    /// The address as text.
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
            // The compiler and the start reject these; a server without addresses is never chosen.
            Err(_) => name("", 0),
        };
        ServerState {
            address: address.to_owned(),
            // The compiler and the parameter's type limit it to 1000.
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
            overrides: Overrides::default(),
            kept: IdleSettings {
                // A connection that was opened with one client's PROXY header can't be used for others.
                max_idle: if upstream.proxy_protocol.is_some() { 0 } else { pool.max_idle.get(settings) },
                idle_timeout: pool.idle_timeout.get(settings),
                max_age: pool.max_age.get(settings),
                tcp_keepalive: pool.tcp_keepalive.get(settings),
            },
        }
    }

    /// Returns its address, for logs and metrics.
    pub(crate) fn name(&self) -> &str {
        match &self.target {
            TargetAddress::Discovered(found) => found.load().as_ref().map_or("", |found| found.name),
            _ => &self.address,
        }
    }

    /// Returns its address, as the value of `Host`.
    pub(crate) fn host(&self) -> &str {
        if matches!(self.target, TargetAddress::Unix(_)) { "localhost" } else { self.name() }
    }

    /// Returns its address without the port, for the TLS handshake.
    pub(super) fn bare_host(&self) -> &str {
        match settings::address(self.name()) {
            Ok(Address::Tcp(host, _)) => host,
            Ok(Address::Unix(_)) | Err(_) => "localhost",
        }
    }

    /// Returns its weight, relative to the others'.
    pub(crate) fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Returns which server it is now.
    pub(super) fn id(&self) -> ServerId {
        ServerId { index: self.index, generation: self.generation() }
    }

    /// Returns the generation of its slot.
    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns whether it has an address to connect to.
    pub(crate) fn resolved(&self) -> bool {
        match &self.target {
            TargetAddress::Name(name) => !name.addresses.load().is_empty(),
            TargetAddress::Discovered(found) => found.load().is_some(),
            TargetAddress::Unix(_) | TargetAddress::Fixed(_) => true,
        }
    }
}
