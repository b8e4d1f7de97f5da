//! `discover`: discovers servers while the proxy runs, from a file or by DNS. One task per upstream, on the main thread.
//!
//! An upstream has `max` slots for them. A discovered server gets a slot, a removed one leaves it:
//! its exchanges continue, and its idle connections are not used again. A result that can't be read, is empty, or has more servers than
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
    /// Assigns slots to servers.
    fn settle(&self, servers: &Servers, found: &[Discovered]) {
        let _alone = self.changing();
        let places = &servers.servers[self.members.clone()];
        let wanted: HashSet<SocketAddr> = found.iter().map(|server| server.address).collect();
        let (mut come, mut gone) = (Vec::new(), Vec::new());
        for place in places {
            if place.found().is_some_and(|address| !wanted.contains(&address)) {
                gone.push(place.name().to_owned());
                place.leave();
            }
        }
        let mut tiers = [Vec::new(), Vec::new()];
        for server in found {
            let stays = places.iter().find(|place| place.found() == Some(server.address));
            // Prefer a slot without exchanges of its previous server.
            let free = || places.iter().filter(|place| place.found().is_none()).min_by_key(|place| place.load.active());
            let Some(place) = stays.or_else(free) else { continue };
            if stays.is_none() || !place.overrides.has_weight() {
                place.weight.store(server.weight, Ordering::Relaxed);
            }
            if stays.is_none() {
                let name = name(server.address);
                place.arrive(server.address, name, self.cookie_key.map_or(0, |key| super::sticky::name(key, name)));
                come.push(name.to_owned());
            }
            tiers[usize::from(server.backup)].push(place);
        }
        // If all are backups, they become the primary servers.
        if tiers[0].is_empty() {
            tiers.swap(0, 1);
        }
        self.change(tiers);
        let list = |sign: char, names: &[String]| names.iter().map(|name| format!(" {sign}{name}")).collect::<String>();
        self.info(&format!("{} servers:{}{}", found.len(), list('+', &come), list('-', &gone)));
    }
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
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn arrive(&self, address: SocketAddr, name: &'static str, called: u64) {
        if let TargetAddress::Discovered(found) = &self.target {
            self.generation.fetch_add(1, Ordering::Relaxed);
            self.health.reset();
            self.overrides.reset();
            self.load.latency.reset();
            self.called.store(called, Ordering::Relaxed);
            found.store(Some(Arc::new(DiscoveredEndpoint { address, name })));
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
