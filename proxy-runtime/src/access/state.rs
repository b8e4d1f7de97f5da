//! The state of access control, shared by all workers: counters of requests, and lists as they were last read
//! ([`AccessState`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::in_flight::ConcurrencyLimiter;
use super::key_sets::KeySets;
use super::limiter::Limiter;
use super::users::{CredentialList, Verifier};
use crate::access::inspect::Inspector;
use crate::context::addresses::{self, Addresses};
use crate::context::settings::{Settings, StartError};
use crate::file_pool;
use crate::site::{Access, AdminScheme, Algorithm, Auth, AuthScheme, Listed, Maintenance, NetworkRule, Site};

/// How long the result of looking for a file is cached, in milliseconds.
const LOOK: u64 = 1000;

/// The state of access control for a site.
pub(crate) struct AccessState {
    /// By the index of `rate-limit`.
    pub(crate) limiters: Vec<Limiter>,
    /// By the index of `maintenance`: when its file was last looked for, in milliseconds, and in the lowest bit whether it
    /// exists.
    maintained: Vec<AtomicU64>,
    /// By the index of `concurrency-limit`.
    pub(crate) in_flight: Vec<ConcurrencyLimiter>,
    /// By the index of `Networks::listed`.
    pub(crate) listed: Vec<ArcSwap<Addresses>>,
    /// By the file that a list is in, and whether it has keys.
    lists: BTreeMap<(u16, bool), ArcSwap<CredentialList>>,
    pub(crate) verifier: Verifier,
    /// By the index of `Blocks`.
    pub(crate) inspectors: Vec<Inspector>,
    /// The keys of tokens.
    pub(crate) key_sets: KeySets,
    /// The start of the limiters' clock.
    pub(crate) since: Instant,
}

impl AccessState {
    /// # Errors
    /// One for each invalid list.
    pub(crate) fn new(site: &Site, settings: &Settings) -> Result<AccessState, Vec<StartError>> {
        let mut refused = Vec::new();
        let mut listed = Vec::new();
        for networks in site.listed {
            match flatten(networks, site, settings) {
                Ok(addresses) => listed.push(ArcSwap::from_pointee(addresses)),
                Err(error) => refused.push(error),
            }
        }
        let mut lists = BTreeMap::new();
        for key in wanted(site) {
            match list(key, site, settings) {
                Ok(list) => drop(lists.insert(key, ArcSwap::from_pointee(list))),
                Err(error) => refused.push(error),
            }
        }
        // Policies are shared, and so are the indices in them.
        let (mut limiters, mut in_flight, mut maintained) = (BTreeMap::new(), 0, 0);
        for access in access_policies(site) {
            for limit in access.rate_limits.iter() {
                limiters.entry(limit.id).or_insert_with(|| Limiter::new(limit));
            }
            maintained = access.maintenance.iter().map(|known| known.id as usize + 1).fold(maintained, usize::max);
            in_flight = access.in_flight.iter().map(|limit| limit.id as usize + 1).fold(in_flight, usize::max);
        }
        let key_sets = match KeySets::new(site, settings, algorithms(site)) {
            Ok(key_sets) => key_sets,
            Err(errors) => {
                refused.extend(errors);
                return Err(refused);
            }
        };
        let mut blocks: Vec<_> = access_policies(site).filter_map(|access| access.blocks.as_ref()).collect();
        blocks.sort_unstable_by_key(|blocks| blocks.id);
        blocks.dedup_by_key(|blocks| blocks.id);
        let state = AccessState {
            inspectors: blocks.into_iter().map(Inspector::new).collect(),
            key_sets,
            maintained: std::iter::repeat_with(AtomicU64::default).take(maintained).collect(),
            limiters: limiters.into_values().collect(),
            in_flight: std::iter::repeat_with(ConcurrencyLimiter::default).take(in_flight).collect(),
            listed,
            lists,
            verifier: Verifier::new(),
            since: Instant::now(),
        };
        if refused.is_empty() { Ok(state) } else { Err(refused) }
    }

    /// Returns the state of rate limits, to be handed over in messages of at most `longest` bytes.
    #[cfg(feature = "takeover")]
    pub(crate) fn limits_to_hand_over(&self, site: &Site, longest: usize) -> Vec<Vec<u8>> {
        let (scopes, now) = (limit_scopes(site), self.since.elapsed());
        let share = MOST_KEYS / scopes.len().max(1);
        let limiters = scopes.iter().zip(&self.limiters);
        let parts = limiters.flat_map(|(scope, limiter)| {
            let parts = limiter.snapshot(now, share, longest - LimitScope::SIZE);
            parts.into_iter().map(|part| [&scope.encode()[..], &part].concat())
        });
        parts.collect()
    }

    /// Goes on with the state of rate limits that was handed over, where there is a limit for it.
    #[cfg(feature = "takeover")]
    pub(crate) fn adopt_limits(&mut self, site: &Site, handed_over: &[Vec<u8>]) {
        let (scopes, now) = (limit_scopes(site), self.since.elapsed());
        for (scope, part) in handed_over.iter().filter_map(|message| message.split_at_checked(LimitScope::SIZE)) {
            if let Some(index) = scopes.iter().position(|own| own.encode() == scope)
                && let Some(limiter) = self.limiters.get_mut(index)
            {
                limiter.adopt(part, now);
            }
        }
    }

    /// Reads all lists again; invalid ones keep their previous content. Returns the errors.
    pub(crate) fn reload(&self, site: &Site, settings: &Settings) -> Vec<StartError> {
        let mut refused = Vec::new();
        for (networks, kept) in site.listed.iter().zip(&self.listed) {
            match flatten(networks, site, settings) {
                Ok(addresses) => kept.store(Arc::new(addresses)),
                Err(error) => refused.push(error),
            }
        }
        for (key, kept) in &self.lists {
            match list(*key, site, settings) {
                Ok(list) => kept.store(Arc::new(list)),
                Err(error) => refused.push(error),
            }
        }
        refused.extend(self.key_sets.reload(site, settings));
        refused
    }

    /// Returns whether the file of `maintenance` exists. It is looked for once a second, by one request, outside the event
    /// loop; while the disk does not respond, the last result is used.
    pub(crate) async fn is_maintained(
        &self,
        maintenance: &'static Maintenance,
        settings: &'static Settings,
        now: Instant,
    ) -> bool {
        let Some(seen) = self.maintained.get(maintenance.id as usize) else { return false };
        // Starts at 1, as 0 means never.
        let now = now.saturating_duration_since(self.since).as_millis() as u64 + 1;
        let last = seen.load(Ordering::Relaxed);
        if last != 0 && now.saturating_sub(last >> 1) < LOOK {
            return last & 1 == 1;
        }
        if last != 0 {
            // Other requests use the last result meanwhile.
            seen.store(now << 1 | (last & 1), Ordering::Relaxed);
        }
        let path = std::path::Path::new(maintenance.when.get(settings));
        let there = Box::pin(file_pool::run_static(move || path.exists())).await;
        let there = there.unwrap_or(last & 1 == 1);
        seen.store(now << 1 | u64::from(there), Ordering::Relaxed);
        there
    }

    /// Returns the list of a file.
    pub(crate) fn list(&self, file: u16, keys: bool) -> Option<Arc<CredentialList>> {
        self.lists.get(&(file, keys)).map(ArcSwap::load_full)
    }
}

/// The most keys of rate limits that are handed over, of all limits together.
#[cfg(feature = "takeover")]
const MOST_KEYS: usize = 1 << 18;

/// Stands for a rate limit in two versions of a site: its settings, its place among those that have the same, and how many have. If there are
/// more or fewer of them now, it is not known which is which.
#[cfg(feature = "takeover")]
#[derive(Debug, PartialEq, Eq)]
struct LimitScope {
    settings: u64,
    place: u32,
    count: u32,
}

#[cfg(feature = "takeover")]
impl LimitScope {
    const SIZE: usize = 16;

    fn encode(&self) -> [u8; LimitScope::SIZE] {
        let mut bytes = [0; LimitScope::SIZE];
        bytes[..8].copy_from_slice(&self.settings.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.place.to_be_bytes());
        bytes[12..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }
}

/// Returns the scopes of all rate limits, in the order of their indices.
#[cfg(feature = "takeover")]
fn limit_scopes(site: &Site) -> Vec<LimitScope> {
    let limits = access_policies(site).flat_map(|access| access.rate_limits.iter());
    let settings: BTreeMap<_, _> = limits.map(|limit| (limit.id, Limiter::scope(limit))).collect();
    let (mut places, mut scopes) = (BTreeMap::<_, u32>::new(), Vec::new());
    for settings in settings.into_values() {
        let next = places.entry(settings).or_default();
        scopes.push(LimitScope { settings, place: *next, count: 0 });
        *next += 1;
    }
    scopes.iter_mut().for_each(|scope| scope.count = places[&scope.settings]);
    scopes
}

fn access_policies(site: &Site) -> impl Iterator<Item = &'static Access> {
    site.policies().filter_map(|policy| policy.access.as_ref())
}

/// Returns the algorithms that are accepted with the keys of each source.
fn algorithms(site: &Site) -> Vec<Vec<Algorithm>> {
    let mut algorithms = vec![Vec::new(); site.key_sources.len()];
    for access in access_policies(site) {
        if let Some(Auth { scheme: AuthScheme::Jwt(rules), .. }) = &access.auth
            && let Some(found) = algorithms.get_mut(rules.key_source as usize)
        {
            found.extend(rules.algorithms.iter());
        }
    }
    for unused in algorithms.iter_mut().filter(|found| found.is_empty()) {
        // All sites and routes have other rules.
        unused.extend(Algorithm::NAMES.iter().map(|(_, algorithm)| *algorithm));
    }
    algorithms
}

/// Returns the files of lists, without duplicates.
fn wanted(site: &Site) -> Vec<(u16, bool)> {
    let key = |access: &Access| match access.auth.as_ref()?.scheme {
        AuthScheme::Basic(file) => Some((file, false)),
        AuthScheme::ApiKey(file, _) => Some((file, true)),
        AuthScheme::Jwt(_) | AuthScheme::Forward(_) => None,
    };
    let admin = site.admin.and_then(|admin| admin.auth.as_ref()).map(|auth| match auth.scheme {
        AdminScheme::Basic(file) => (file, false),
        AdminScheme::Bearer(file) => (file, true),
    });
    let mut wanted: Vec<_> = access_policies(site).filter_map(key).chain(admin).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

fn list((file, keys): (u16, bool), site: &Site, settings: &Settings) -> Result<CredentialList, StartError> {
    CredentialList::parse(&settings.file(file), keys)
        .map_err(|why| settings.refuse(&site.files[usize::from(file)], &why))
}

fn flatten(networks: &Listed, site: &Site, settings: &Settings) -> Result<Addresses, StartError> {
    let mut rules = Vec::new();
    for rule in networks.rules.iter() {
        match rule {
            NetworkRule::Network(network, allow) => rules.push((*network, *allow)),
            NetworkRule::File(file, allow) => {
                let list = addresses::parse(&settings.file(*file)).map_err(|line| {
                    let why = format!("line {line} is not a network (as in 10.0.0.0/8) or an address");
                    settings.refuse(&site.files[usize::from(*file)], &why)
                })?;
                rules.extend(list.into_iter().map(|network| (network, *allow)));
            }
        }
    }
    Ok(Addresses::of(&rules, networks.default))
}
