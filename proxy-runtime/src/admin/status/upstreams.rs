//! Upstreams and their servers in a snapshot ([`list`]).

use serde::Serialize;

use super::{OfHistogram, by_class};
use crate::admin::members::Members;
use crate::metrics::counters::{AttemptFailure, Metrics};
use crate::upstream::{ServerState, Servers, UpstreamState};

/// The most servers that are listed, of all upstreams together, and the most upstreams.
const MOST: usize = 500;

#[derive(Serialize)]
pub(super) struct OfUpstream<'a> {
    name: &'a str,
    /// How many exchanges are active; `waiting` is how many requests wait for room.
    active: u32,
    waiting: usize,
    /// Whether so few servers are healthy that unhealthy ones receive requests, too.
    panicking: bool,
    retries: u64,
    /// The time from the beginning of an attempt to the head of the server's response.
    response: Option<OfHistogram>,
    servers: Vec<ServerSnapshot<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ServerSnapshot<'a> {
    address: &'a str,
    /// `healthy`, `unhealthy`, `ejected` or `unresolved`.
    state: &'static str,
    weight: u32,
    active: u32,
    connections_active: u64,
    connections_idle: u64,
    /// How many responses, by the class of the status.
    responses: Members<u64>,
    /// How many attempts without a response, by kind.
    failures: Members<u64>,
}

/// The listed upstreams, and how many upstreams and servers were left out.
pub(super) struct ListedUpstreams<'a> {
    pub(super) upstreams: Vec<OfUpstream<'a>>,
    pub(super) upstreams_left_out: usize,
    pub(super) servers_left_out: usize,
}

/// Returns the upstreams with their servers. If there are too many servers, healthy ones are left out first.
pub(super) fn list<'a>(servers: &'a Servers, metrics: Option<&Metrics>) -> ListedUpstreams<'a> {
    let members = servers.members().filter(|(_, server)| !server.name().is_empty());
    let mut listed: Vec<_> = members.map(|(of, server)| (of.index, server, state(of, server))).collect();
    let servers_left_out = listed.len().saturating_sub(MOST);
    if servers_left_out > 0 {
        let (healthy, others): (Vec<_>, Vec<_>) = listed.into_iter().partition(|(_, _, state)| *state == "healthy");
        listed = others.into_iter().chain(healthy).take(MOST).collect();
    }
    let mut shown = vec![false; servers.upstreams.len()];
    for (of, ..) in &listed {
        shown[*of] = true;
    }
    // Upstreams without listed servers are added as far as there is room.
    let room = MOST.saturating_sub(shown.iter().filter(|shown| **shown).count());
    shown.iter_mut().filter(|shown| !**shown).take(room).for_each(|shown| *shown = true);
    let of_upstream = |upstream: &'a UpstreamState| OfUpstream {
        name: &upstream.config.name,
        active: upstream.active(),
        waiting: upstream.waiting(),
        panicking: upstream.is_panicking(),
        retries: metrics.map_or(0, |metrics| metrics.retries(upstream.index)),
        response: metrics.map(|metrics| metrics.responses_took(upstream.index).into()),
        servers: Vec::new(),
    };
    let all = servers.upstreams.iter().zip(&shown);
    let mut upstreams: Vec<_> = all.map(|(upstream, shown)| shown.then(|| of_upstream(upstream))).collect();
    for (of, server, state) in listed {
        if let Some(Some(upstream)) = upstreams.get_mut(of) {
            upstream.servers.push(of_server(server, state, metrics));
        }
    }
    let upstreams: Vec<_> = upstreams.into_iter().flatten().collect();
    ListedUpstreams { upstreams_left_out: servers.upstreams.len() - upstreams.len(), upstreams, servers_left_out }
}

fn of_server<'a>(server: &'a ServerState, state: &'static str, metrics: Option<&Metrics>) -> ServerSnapshot<'a> {
    let (responses, failures) = metrics.map(|metrics| metrics.attempts(server.index)).unwrap_or_default();
    let [active, idle] = metrics.map(|metrics| metrics.connections(server.index)).unwrap_or_default();
    ServerSnapshot {
        address: server.name(),
        state,
        weight: server.weight(),
        active: server.load.active(),
        connections_active: active,
        connections_idle: idle,
        responses: by_class(responses),
        failures: AttemptFailure::NAMES.into_iter().zip(failures).filter(|(_, count)| *count > 0).collect(),
    }
}

fn state(upstream: &UpstreamState, server: &ServerState) -> &'static str {
    if !server.resolved() {
        "unresolved"
    } else if server.is_drained() {
        if server.load.active() == 0 { "drained" } else { "draining" }
    } else if upstream.is_ejected(server) {
        "ejected"
    } else if upstream.is_healthy(server) {
        "healthy"
    } else {
        "unhealthy"
    }
}
