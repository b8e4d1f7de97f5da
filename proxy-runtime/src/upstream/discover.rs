//! `discover`: discovers servers while the proxy runs, from a file or by DNS. One task per upstream, on the main thread.
//!
//! An upstream has `max` slots for them. A discovered server gets a slot, a removed one leaves it:
//! its exchanges continue, and its idle connections are not used again. At each moment, requests find the servers of before or the new
//! ones. A result that can't be read, is empty, or has more servers than
//! slots, changes nothing, and causes a notice.

#[cfg(feature = "dns")]
pub(crate) mod dns;
mod file;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use super::server::{DiscoveredEndpoint, ServerState, TargetAddress};
use super::servers::Servers;
use super::state::UpstreamState;
use crate::context::settings::Settings;
use crate::file_pool::{self, Unavailable};
use crate::site::{Discover, DiscoverFrom, Discovered, Resolve};

/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// How often a file is checked by default.
const LOOK: Duration = Duration::from_secs(1);

/// The most distinct addresses that are kept as text, for logs; further ones share a name.
const NAMES: usize = 20_000;

/// Keeps the servers of an upstream up to date for as long as the process runs. Returns at once if the site lists them.
pub(crate) async fn keep_discovering(
    servers: &'static Servers,
    upstream: &'static UpstreamState,
    settings: &'static Settings,
    resolve: Option<Resolve>,
) {
    let Some(discover) = &upstream.config.discover else { return };
    let refresh = discover.refresh.as_ref().map(|refresh| refresh.get(settings));
    let mut file = file::WatchedFile::default();
    let (mut before, mut failing) = (Vec::new(), false);
    loop {
        let answer = match &discover.from {
            DiscoverFrom::File(path) => {
                let mut watched = std::mem::take(&mut file);
                let read = file_pool::run_static(move || (watched.read(path), watched)).await;
                read.map_err(|_: Unavailable| format!("{path}: the disk does not respond")).and_then(
                    |(found, watched)| {
                        file = watched;
                        found.map(|found| (found, LOOK))
                    },
                )
            }
            DiscoverFrom::Dns(..) | DiscoverFrom::Srv(_) => match resolve {
                Some(resolve) => resolve(discover).await.map(|(found, good_for)| (Some(found), good_for)),
                // The compiler links the resolver into every site that uses it.
                None => Err("there is no name server".to_owned()),
            },
        };
        let good_for = match answer.and_then(|(found, good_for)| Ok((usable(found, discover)?, good_for))) {
            Ok((found, good_for)) => {
                // `None` does not end a failure: after one, the file is read again, changed or not.
                if std::mem::take(&mut failing) {
                    upstream.info("its servers are discovered again");
                }
                if let Some(found) = found.filter(|found| *found != before) {
                    upstream.settle(servers, &found);
                    before = found;
                }
                good_for
            }
            Err(reason) => {
                file = file::WatchedFile::default();
                if !std::mem::replace(&mut failing, true) {
                    let kept = if before.is_empty() { "there are none" } else { "the last ones stay in use" };
                    upstream.notice(&format!("its servers can't be discovered, {kept}: {reason}"));
                }
                RETRY
            }
        };
        tokio::time::sleep(if failing { RETRY } else { refresh.unwrap_or(good_for) }.max(Duration::from_millis(10)))
            .await;
    }
}

/// Sorts the servers; an error if there are none or too many. `None`: nothing has changed.
fn usable(found: Option<Vec<Discovered>>, discover: &Discover) -> Result<Option<Vec<Discovered>>, String> {
    let Some(mut found) = found else { return Ok(None) };
    found.sort();
    found.dedup_by_key(|server| server.address);
    if found.is_empty() {
        return Err("the result is empty".to_owned());
    }
    if found.iter().all(|server| server.weight == 0) {
        return Err("all weights are 0".to_owned());
    }
    if found.len() as u64 > discover.max {
        return Err(format!("{} servers are more than `max`, {}", found.len(), discover.max));
    }
    Ok(Some(found))
}

impl UpstreamState {
    /// Replaces the servers.
    fn settle(&self, servers: &Servers, found: &[Discovered]) {
        let _alone = self.changing();
        let Assigned { tiers, come, gone, leaving } = self.assign(servers, found);
        self.change(tiers);
        // Not before: until here, requests had only these to choose among.
        leaving.iter().for_each(|slot| slot.leave());
        let list = |sign: char, names: &[&str]| names.iter().map(|name| format!(" {sign}{name}")).collect::<String>();
        self.info(&format!("{} servers:{}{}", found.len(), list('+', &come), list('-', &gone)));
    }

    /// Assigns slots to servers. Those that leave keep theirs, unless it is needed.
    fn assign<'a>(&self, servers: &'a Servers, found: &[Discovered]) -> Assigned<'a> {
        let slots = &servers.servers[self.members.clone()];
        let wanted: HashSet<SocketAddr> = found.iter().map(|server| server.address).collect();
        let leaves = |slot: &&ServerState| slot.found().is_some_and(|address| !wanted.contains(&address));
        let mut leaving: Vec<&ServerState> = slots.iter().filter(leaves).collect();
        let gone = leaving.iter().map(|slot| slot.name()).collect();
        let (mut come, mut tiers) = (Vec::new(), [Vec::new(), Vec::new()]);
        for server in found {
            let stays = slots.iter().find(|slot| slot.found() == Some(server.address));
            // Prefer a slot without exchanges of its previous server.
            let free = || slots.iter().filter(|slot| slot.found().is_none()).min_by_key(|slot| slot.load.active());
            let reused = || {
                let least = (0..leaving.len()).min_by_key(|&at| leaving[at].load.active())?;
                Some(leaving.swap_remove(least))
            };
            let Some(slot) = stays.or_else(free).or_else(reused) else { continue };
            if stays.is_none() || !slot.overrides.has_weight() {
                slot.weight.store(server.weight, Ordering::Relaxed);
            }
            if stays.is_none() {
                let name = name(server.address);
                slot.arrive(server.address, name, self.cookie_key.map_or(0, |key| super::sticky::name(key, name)));
                come.push(name);
            }
            tiers[usize::from(server.backup)].push(slot);
        }
        // If all are backups, they become the primary servers.
        if tiers[0].is_empty() {
            tiers.swap(0, 1);
        }
        Assigned { tiers, come, gone, leaving }
    }
}

/// The servers that were discovered, each in its slot.
struct Assigned<'a> {
    /// The primary servers, and the backups.
    tiers: [Vec<&'a ServerState>; 2],
    /// The names of those that are new.
    come: Vec<&'static str>,
    /// The names of those that are gone.
    gone: Vec<&'a str>,
    /// The slots that are no longer needed.
    leaving: Vec<&'a ServerState>,
}

impl ServerState {
    fn found(&self) -> Option<SocketAddr> {
        match &self.target {
            TargetAddress::Discovered(found) => found.load().as_ref().map(|found| found.address),
            _ => None,
        }
    }

    fn leave(&self) {
        if let TargetAddress::Discovered(found) = &self.target {
            found.store(None);
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn arrive(&self, address: SocketAddr, name: &'static str, called: u64) {
        if let TargetAddress::Discovered(found) = &self.target {
            // Twice, as the slot may have a server until now: a connection that is opened meanwhile, to one or the other, belongs to neither.
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.health.reset();
            self.overrides.reset();
            self.load.latency.reset();
            self.called.store(called, Ordering::Relaxed);
            found.store(Some(Arc::new(DiscoveredEndpoint { address, name })));
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Returns an address as text, kept for as long as the process runs.
fn name(address: SocketAddr) -> &'static str {
    static KNOWN: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let text = address.to_string();
    let Ok(mut known) = KNOWN.lock() else { return "found" };
    match known.get(text.as_str()) {
        Some(name) => name,
        None if known.len() >= NAMES => "found",
        None => {
            let name: &'static str = Box::leak(text.into_boxed_str());
            known.insert(name);
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::PickRequest;
    use super::*;
    use crate::dice::Dice;
    use crate::failure::Failure;
    use crate::site::{BalancePolicy, Place, Upstream};
    use crate::upstream::{Lease, ServerId};

    /// An upstream with this many slots.
    fn servers(max: u64) -> &'static Servers {
        let place = Place { file: "site.kdl".into(), line: 1 };
        let from = DiscoverFrom::File("servers".into());
        let discover = Discover { from, refresh: None, resolvers: Vec::new().into(), max, place: place.clone() };
        let upstream = Upstream {
            discover: Some(discover),
            balance: BalancePolicy::First,
            ..Upstream::new("app".into(), Vec::new(), place)
        };
        // Leaked: a test is short-lived.
        let upstreams: &'static [Upstream] = Box::leak(vec![upstream].into_boxed_slice());
        Box::leak(Box::new(Servers::of(upstreams, &Settings::default())))
    }

    fn found(hosts: &[u8]) -> Vec<Discovered> {
        let server = |&host| Discovered { address: ([10, 0, 0, host], 80).into(), weight: 1, backup: false };
        hosts.iter().map(server).collect()
    }

    fn lease(servers: &'static Servers, tried: &[ServerId]) -> Result<Lease, Failure> {
        let dice = Dice::new(1);
        let pick = PickRequest { key: 0, dice: &dice, tried, sticky: None };
        servers.upstreams[0].lease(&servers.servers, &pick, tokio::time::Instant::now())
    }

    #[track_caller]
    fn chosen(servers: &'static Servers) -> String {
        lease(servers, &[]).expect("a server").server.name().to_owned()
    }

    /// At each step of a change, requests find a server, even if all of them are replaced, and even if no slot is free for new ones.
    #[test]
    fn a_change_leaves_no_moment_without_servers() {
        let check = |max: u64, before: &[u8], after: &[u8], during: &str| {
            let servers = servers(max);
            let upstream = &servers.upstreams[0];
            upstream.settle(servers, &found(before));
            assert_eq!(chosen(servers), "10.0.0.1:80");
            let Assigned { tiers, leaving, .. } = upstream.assign(servers, &found(after));
            assert_eq!(chosen(servers), during, "{max}: assigned");
            upstream.change(tiers);
            assert_eq!(chosen(servers), "10.0.0.2:80", "{max}: changed");
            leaving.iter().for_each(|slot| slot.leave());
            assert_eq!(chosen(servers), "10.0.0.2:80", "{max}: left");
        };
        check(64, &[1], &[2], "10.0.0.1:80");
        check(1, &[1], &[2], "10.0.0.2:80");
        check(2, &[1], &[2, 3], "10.0.0.3:80");
    }

    /// A request that has looked up the servers, and finds that all of them have left, looks them up once more.
    #[test]
    fn servers_that_are_replaced_during_a_choice() {
        let servers = servers(64);
        let upstream = &servers.upstreams[0];
        upstream.settle(servers, &found(&[1]));
        let dice = Dice::new(1);
        let pick = PickRequest { key: 0, dice: &dice, tried: &[], sticky: None };
        let lease = upstream.lease_after(|| upstream.settle(servers, &found(&[2])), &servers.servers, &pick);
        assert_eq!(lease.expect("a server").server.name(), "10.0.0.2:80");
    }

    /// A slot that has another server is not the one that was tried.
    #[test]
    fn a_new_server_in_a_slot_was_not_tried() {
        let servers = servers(2);
        let upstream = &servers.upstreams[0];
        upstream.settle(servers, &found(&[1, 2]));
        let first = lease(servers, &[]).expect("a server").id;
        let second = lease(servers, &[first]).expect("a server").id;
        let tried = [first, second];
        assert!(matches!(lease(servers, &tried), Err(Failure::NoHealthyUpstream)));
        upstream.settle(servers, &found(&[2, 3]));
        assert_eq!(lease(servers, &tried).expect("a server").server.name(), "10.0.0.3:80");
        upstream.settle(servers, &found(&[3, 4]));
        let mut names: Vec<&str> = Vec::new();
        let mut ids = tried.to_vec();
        while let Ok(lease) = lease(servers, &ids) {
            ids.push(lease.id);
            names.push(lease.server.name());
        }
        names.sort_unstable();
        assert_eq!(names, ["10.0.0.3:80", "10.0.0.4:80"]);
    }

    /// A connection that was opened while a slot changed its server belongs to neither.
    #[test]
    fn generations() {
        let servers = servers(1);
        let (upstream, slot) = (&servers.upstreams[0], &servers.servers[0]);
        let mut seen = vec![slot.generation()];
        for host in [1, 2, 3] {
            upstream.settle(servers, &found(&[host]));
            seen.push(slot.generation());
        }
        assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 2), "{seen:?}");
    }
}
