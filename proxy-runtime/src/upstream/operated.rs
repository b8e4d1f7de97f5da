//! Servers as operators see and change them: draining, weights, and their states ([`UpstreamState::status`]).
//!
//! A change acts on all workers at once: whether a server is drained is an atomic, and a weight makes a new snapshot of the balancing policies,
//! as discovery does. Changes of one upstream, by operators and by discovery, take turns under a lock that no request ever takes.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::server::{ServerState, TargetAddress};
use super::state::UpstreamState;

/// The largest weight of a server.
pub(crate) const MAX_WEIGHT: u32 = 1000;

/// What an operator changes of a server.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ServerChange {
    /// It gets new exchanges again, or no more.
    pub(crate) drained: Option<bool>,
    /// No more than [`MAX_WEIGHT`].
    pub(crate) weight: Option<u32>,
}

/// A server as it is now.
pub(crate) struct ServerStatus<'s> {
    pub(crate) server: &'s ServerState,
    /// Where connections are opened to; none for a unix socket.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) backup: bool,
    pub(crate) discovered: bool,
    /// `enabled`, `draining` while exchanges are left, or `drained`.
    pub(crate) state: &'static str,
    /// `healthy`, `unhealthy`, `ejected`, or `unresolved`.
    pub(crate) health: &'static str,
}

impl ServerState {
    /// Whether an operator drains it.
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
    /// Its servers. A slot that no server has is none.
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

    /// Changes the server of this name; returns whether there is one.
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
                // It warms up, as one does that was unhealthy.
                server.health.returned(self.time(Instant::now()));
            }
        }
        // Who waits may have a server now, or none to wait for.
        self.wake();
        true
    }
}
