//! Servers of upstreams as JSON ([`list`]), and changes by operators ([`change`]).

use std::net::SocketAddr;

use http::StatusCode;
use serde::Serialize;

use super::form::Refused;
use super::table;
use crate::protocol::{canonical, escape};
use crate::upstream::{MAX_WEIGHT, ServerChange, Servers, UpstreamState};

/// A server and its state.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct OfServer<'s> {
    upstream: &'s str,
    server: &'s str,
    addresses: Vec<SocketAddr>,
    backup: bool,
    discovered: bool,
    weight: u32,
    /// `enabled`, `draining` or `drained`.
    state: &'static str,
    /// `healthy`, `unhealthy`, `ejected` or `unresolved`.
    health: &'static str,
    /// How many exchanges it has now.
    active: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<u64>,
}

/// Returns all servers.
pub(super) fn list(servers: &Servers) -> Vec<OfServer<'_>> {
    servers.upstreams.iter().flat_map(|upstream| of_upstream(upstream, servers)).collect()
}

fn of_upstream<'s>(upstream: &'s UpstreamState, servers: &'s Servers) -> impl Iterator<Item = OfServer<'s>> {
    upstream.status(&servers.servers).into_iter().map(|status| OfServer {
        upstream: &upstream.config.name,
        server: status.server.name(),
        addresses: status.addresses,
        backup: status.backup,
        discovered: status.discovered,
        weight: status.server.weight(),
        state: status.state,
        health: status.health,
        active: status.server.load.active(),
        max_connections: (status.server.limit != u64::MAX).then_some(status.server.limit),
    })
}

/// Returns servers as a table, for people.
pub(super) fn table(servers: &[OfServer<'_>]) -> String {
    let row = |of: &OfServer<'_>| {
        let notes = [(of.backup, "backup"), (of.discovered, "discovered")];
        let notes: Vec<_> = notes.into_iter().filter(|(holds, _)| *holds).map(|(_, note)| note).collect();
        let mut row = [of.upstream, of.server, of.state, of.health].map(str::to_owned).to_vec();
        row.extend([of.weight.to_string(), of.active.to_string(), notes.join(", ")]);
        row
    };
    let heads = ["UPSTREAM", "SERVER", "STATE", "HEALTH", "WEIGHT", "ACTIVE", ""];
    table::write(&heads, servers.iter().map(row).collect())
}

/// A change that was made: the current servers, and a description for the log.
pub(super) struct ChangedServer<'s> {
    pub(super) servers: Vec<OfServer<'s>>,
    pub(super) done: String,
}

/// Changes a server. `place` is `UPSTREAM/SERVER`, with slashes in names percent-encoded; `parameters` has the form
/// `a=b&c=d`.
///
/// # Errors
/// Fails if there is no such server, or the change is not valid.
pub(super) fn change<'s>(servers: &'s Servers, place: &str, parameters: &str) -> Result<ChangedServer<'s>, Refused> {
    let change = parse(parameters).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    let (upstream, server) = place.split_once('/').unwrap_or((place, ""));
    let (wanted, name) = (decoded(upstream), decoded(server));
    // An upstream that is a URL is named by its address: there may be one with TLS and one without.
    let upstreams: Vec<_> = servers.upstreams.iter().filter(|upstream| *upstream.config.name == *wanted).collect();
    if upstreams.is_empty() {
        let known = servers.upstreams.iter().map(|upstream| &*upstream.config.name);
        return Err((StatusCode::NOT_FOUND, format!("there is no upstream `{wanted}`{}", near(&wanted, known))));
    }
    let changed = |upstream: &&&UpstreamState| upstream.change_server(&servers.servers, &name, change);
    if upstreams.iter().filter(changed).count() == 0 {
        let known = upstreams.iter().flat_map(|upstream| of_upstream(upstream, servers)).map(|known| known.server);
        let why = format!("upstream `{wanted}` has no server `{name}`{}", near(&name, known));
        return Err((StatusCode::NOT_FOUND, why));
    }
    let now = upstreams.iter().flat_map(|upstream| of_upstream(upstream, servers));
    let state = change.drained.map(|drained| if drained { "drained" } else { "enabled" }.to_owned());
    let weight = change.weight.map(|weight| format!("given the weight {weight}"));
    let done: Vec<_> = state.into_iter().chain(weight).collect();
    Ok(ChangedServer {
        servers: now.filter(|known| known.server == name).collect(),
        done: format!("server {name} of upstream `{wanted}` was {}", done.join(" and ")),
    })
}

fn parse(parameters: &str) -> Result<ServerChange, String> {
    let mut change = ServerChange::default();
    for pair in parameters.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let again = match name {
            "state" => change
                .drained
                .replace(match value {
                    "drain" => true,
                    "enabled" => false,
                    _ => return Err("`state` is drain or enabled".to_owned()),
                })
                .is_some(),
            "weight" => {
                let weight = value.parse().ok().filter(|weight| *weight <= MAX_WEIGHT);
                change.weight.replace(weight.ok_or_else(|| format!("`weight` is 0 to {MAX_WEIGHT}"))?).is_some()
            }
            _ => return Err("the parameters are state=drain, state=enabled and weight=N".to_owned()),
        };
        if again {
            return Err(format!("`{name}` is there twice"));
        }
    }
    match change {
        ServerChange { drained: None, weight: None } => Err("write state=drain, state=enabled or weight=N".to_owned()),
        change => Ok(change),
    }
}

/// Returns a part of a path decoded and escaped, as names are shown.
fn decoded(spelt: &str) -> String {
    let mut out = Vec::new();
    canonical::decode(spelt, &mut out);
    escape::shown(&out).into_owned()
}

/// How many names a message has.
const MOST_NAMES: usize = 5;

/// Returns the known names that are most similar.
fn near<'n>(wanted: &str, known: impl Iterator<Item = &'n str>) -> String {
    // Comparing takes time by the length of the name.
    let short: String = wanted.chars().take(64).collect();
    let mut known: Vec<_> = known.map(|name| (strsim::levenshtein(&short, name), name)).collect();
    known.sort_unstable();
    known.dedup();
    let more = if known.len() > MOST_NAMES { ", ..." } else { "" };
    let names: Vec<_> = known.iter().take(MOST_NAMES).map(|(_, name)| format!("`{name}`")).collect();
    if names.is_empty() { String::new() } else { format!("; there are {}{more}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_servers() {
        let check = |parameters: &str, expected: Result<(Option<bool>, Option<u32>), &str>| {
            let found = parse(parameters).map(|change| (change.drained, change.weight));
            assert_eq!(found, expected.map_err(str::to_owned), "{parameters}");
        };
        check("state=drain", Ok((Some(true), None)));
        check("&weight=0&state=enabled&", Ok((Some(false), Some(0))));
        check("weight=1000", Ok((None, Some(1000))));
        check("weight=1001", Err("`weight` is 0 to 1000"));
        check("weight=-1", Err("`weight` is 0 to 1000"));
        check("weight=99999999999999999999", Err("`weight` is 0 to 1000"));
        check("state=up", Err("`state` is drain or enabled"));
        check("weight=1&weight=2", Err("`weight` is there twice"));
        check("drain", Err("the parameters are state=drain, state=enabled and weight=N"));
        check("", Err("write state=drain, state=enabled or weight=N"));
    }

    #[test]
    fn similar_names() {
        let check = |wanted: &str, known: &[&str], expected: &str| {
            assert_eq!(near(wanted, known.iter().copied()), expected, "{wanted}");
        };
        check("ap", &["shop", "app"], "; there are `app`, `shop`");
        check("x", &[], "");
        check("g", &["a", "b", "c", "d", "e", "g"], "; there are `g`, `a`, `b`, `c`, `d`, ...");
        check(&"ä".repeat(4000), &["a"], "; there are `a`");
    }
}
