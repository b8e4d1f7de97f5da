//! Servers as operators see and change them: draining, weights, and states ([`UpstreamState::status`]).
//!
//! A change acts on all workers at once: whether a server is drained is an atomic, and a weight makes a new snapshot of the balancing policies,
//! as discovery does. Changes of one upstream, by operators and by discovery, take turns under a lock that no request takes.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::server::{ServerState, TargetAddress};
use super::state::UpstreamState;

/// The largest weight of a server.
pub(crate) const MAX_WEIGHT: u32 = 1000;

/// A change of a server by an operator.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ServerChange {
    /// Whether it receives no more new exchanges.
    pub(crate) drained: Option<bool>,
    /// The weight, at most [`MAX_WEIGHT`].
    pub(crate) weight: Option<u32>,
}

/// The current state of a server.
pub(crate) struct ServerStatus<'s> {
    pub(crate) server: &'s ServerState,
    /// The addresses that connections are opened to; none for a unix socket.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) backup: bool,
    pub(crate) discovered: bool,
    /// `enabled`, `draining` while exchanges are left, or `drained`.
    pub(crate) state: &'static str,
    /// `healthy`, `unhealthy`, `ejected`, or `unresolved`.
    pub(crate) health: &'static str,
}

impl ServerState {
    /// Returns whether an operator drains the server.
    pub(crate) fn is_drained(&self) -> bool {
        self.overrides.is_drained()
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        match &self.target {
            TargetAddress::Unix(_) => Vec::new(),
            TargetAddress::Fixed(address) => vec![*address],
            TargetAddress::Name(name) => name.addresses.load().to_vec(),
            TargetAddress::Discovered(found) => found.load().iter().map(|found| found.address).collect(),
        }
    }
}

impl UpstreamState {
    /// Returns the upstream's servers. A slot without a server is left out.
    pub(crate) fn status<'s>(&self, servers: &'s [ServerState]) -> Vec<ServerStatus<'s>> {
        let (now, backups) = (self.time(Instant::now()), self.backups());
        let status = |server: &'s ServerState| {
            let discovered = matches!(server.target, TargetAddress::Discovered(_));
            ServerStatus {
                server,
                addresses: server.addresses(),
                backup: backups.contains(&server.index),
                discovered,
                state: match (server.is_drained(), server.load.active()) {
                    (false, _) => "enabled",
                    (true, 0) => "drained",
                    (true, _) => "draining",
                },
                health: match () {
                    () if !server.resolved() => "unresolved",
                    () if server.health.is_ejected(now) => "ejected",
                    () if !server.health.is_healthy(now) => "unhealthy",
                    () => "healthy",
                },
            }
        };
        let members = servers[self.members.clone()].iter().filter(|server| !server.name().is_empty());
        members.map(status).collect()
    }

    /// Changes the server with this name. Returns whether there is one.
    pub(crate) fn change_server(&self, servers: &[ServerState], name: &str, change: ServerChange) -> bool {
        let _alone = self.changing();
        let Some(server) = servers[self.members.clone()].iter().find(|server| server.name() == name) else {
            return false;
        };
        if let Some(weight) = change.weight {
            server.overrides.weight.store(true, Ordering::Relaxed);
            server.weight.store(weight, Ordering::Relaxed);
            self.rebalance(servers);
        }
        if let Some(drained) = change.drained {
            let before = server.overrides.drained.swap(drained, Ordering::Relaxed);
            if before && !drained {
                // The server warms up like one that has become healthy.
                server.health.returned(self.time(Instant::now()));
            }
        }
        // A waiting request may have a server now, or none to wait for.
        self.wake();
        true
    }
}
