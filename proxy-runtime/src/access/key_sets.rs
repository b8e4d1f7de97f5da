//! The keys of `auth jwt`, from files or servers, and recently verified tokens ([`KeySets`]).
//!
//! Keys of a server are fetched before the first request, at intervals, and at once if a token names an unknown one, as after
//! a rotation, but not more often than [`SOON`]. While the server can't be reached, the fetched keys are used for some
//! time; after that all requests are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use quick_cache::sync::Cache;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::claims::{self, ClaimsError};
use super::fingerprint::Fingerprints;
use super::tokens::{Keys, TokenError};
use crate::context::claims::Claims;
use crate::context::settings::{Settings, StartError};
use crate::failure::Failure;
use crate::observe::notice;
use crate::site::{Algorithm, Jwt, KeySource, KeyUrl, Site};
use crate::upstream::{Dialler, Servers, fetch};

/// The shortest interval between fetches of keys.
const SOON: Duration = Duration::from_secs(10);

/// Keys may be used for this many refresh intervals.
const GRACE: u32 = 6;

/// The first pause after a failed fetch; it doubles each time, up to a minute.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// How long a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(3);

/// The time-out of a fetch.
const FETCH: Duration = Duration::from_secs(10);

/// The largest key set, in bytes.
const MAX_KEYS: usize = 256 << 10;

/// How many verified tokens are remembered, each of at most [`LONGEST`] bytes.
const REMEMBERED: usize = 4096;
const LONGEST: usize = 4096;

/// The keys of a site.
pub(crate) struct KeySets {
    sets: Vec<KeySet>,
    verified: Cache<u128, Arc<Claims>>,
    fingerprints: Fingerprints,
    since: Instant,
}

/// The keys of one source.
struct KeySet {
    /// The algorithms that some rule accepts for them.
    algorithms: Vec<Algorithm>,
    keys: ArcSwapOption<Keys>,
    /// Until when they may be used, in milliseconds since the start.
    until: AtomicU64,
    /// Notified when other keys are needed.
    wanted: Notify,
    arrived: Notify,
    /// When the last fetch was attempted, in milliseconds since the start.
    tried: AtomicU64,
}

impl KeySets {
    /// `algorithms` are those that are accepted with the keys of each source.
    ///
    /// # Errors
    /// One for each file without valid keys.
    pub(crate) fn new(
        site: &Site,
        settings: &Settings,
        algorithms: Vec<Vec<Algorithm>>,
    ) -> Result<KeySets, Vec<StartError>> {
        let sets = algorithms.into_iter().map(|algorithms| KeySet {
            algorithms,
            keys: ArcSwapOption::empty(),
            until: AtomicU64::new(0),
            wanted: Notify::new(),
            arrived: Notify::new(),
            tried: AtomicU64::new(0),
        });
        let sets = KeySets {
            sets: sets.collect(),
            verified: Cache::new(REMEMBERED),
            fingerprints: Fingerprints::new(),
            since: Instant::now(),
        };
        let refused = sets.reload(site, settings);
        if refused.is_empty() { Ok(sets) } else { Err(refused) }
    }

    /// Reads all files again; invalid ones keep their previous keys. Returns the errors.
    pub(crate) fn reload(&self, site: &Site, settings: &Settings) -> Vec<StartError> {
        let mut refused = Vec::new();
        for (source, set) in site.key_sources.iter().zip(&self.sets) {
            let KeySource::File(file) = source else { continue };
            match Keys::parse(&settings.file(*file), &set.algorithms, true) {
                Ok(keys) => set.put(keys, u64::MAX),
                Err(why) => refused.push(settings.refuse(&site.files[usize::from(*file)], &why)),
            }
        }
        refused
    }

    /// Verifies a token and returns its claims, if it is valid and satisfies the rules.
    ///
    /// # Errors
    /// The token is rejected.
    pub(crate) async fn claims(&self, rules: &Jwt, token: &str, now: Duration) -> Result<Arc<Claims>, Failure> {
        let set = self.sets.get(rules.key_source as usize).ok_or(Failure::Internal)?;
        let seen = set.generation();
        let claims = match self.verify(set, rules, token) {
            Err(failure @ (Failure::KeysUnavailable | Failure::UnknownKey))
                if self.fetched_again(set, seen, failure).await =>
            {
                self.verify(set, rules, token)
            }
            outcome => outcome,
        }?;
        match claims::meet(&claims, rules, now) {
            Ok(()) => Ok(claims),
            Err(ClaimsError::Invalid) => Err(Failure::InvalidToken),
            Err(ClaimsError::Expired) => Err(Failure::ExpiredToken),
            Err(ClaimsError::Insufficient) => Err(Failure::InsufficientToken),
        }
    }

    fn verify(&self, set: &KeySet, rules: &Jwt, token: &str) -> Result<Arc<Claims>, Failure> {
        let keys = set.keys.load();
        let keys = keys.as_ref().filter(|_| self.now() <= set.until.load(Ordering::Relaxed));
        let keys = keys.ok_or(Failure::KeysUnavailable)?;
        let fingerprint = self.fingerprints.of([&keys.generation.to_le_bytes(), token.as_bytes()]);
        if let Some(claims) = self.verified.get(&fingerprint) {
            return Ok(claims);
        }
        let claims = keys.verify(token, &rules.algorithms).map_err(|flaw| match flaw {
            TokenError::Invalid => Failure::InvalidToken,
            TokenError::UnknownKey => Failure::UnknownKey,
        })?;
        let claims = Arc::new(claims);
        if token.len() <= LONGEST {
            self.verified.insert(fingerprint, Arc::clone(&claims));
        }
        Ok(claims)
    }

    /// Waits for newer keys than those that were `seen`; returns whether there are any.
    async fn fetched_again(&self, set: &KeySet, seen: Option<u64>, failure: Failure) -> bool {
        let tried = set.tried.load(Ordering::Relaxed);
        let soon = self.now().saturating_sub(tried) < SOON.as_millis() as u64;
        // Keys in files are not fetched, and those that were just fetched are current.
        if set.until.load(Ordering::Relaxed) == u64::MAX || failure == Failure::UnknownKey && soon {
            return false;
        }
        // From here on no notification is missed; newer keys are checked for afterwards.
        let arrived = set.arrived.notified();
        if set.generation() != seen {
            return true;
        }
        set.wanted.notify_one();
        tokio::time::timeout(PATIENCE, arrived).await.is_ok()
    }

    /// Fetches the keys of a source for as long as the process runs. Returns at once for keys in files.
    pub(crate) async fn keep(
        &self,
        source: &'static KeySource,
        index: usize,
        servers: &'static Servers,
        dialler: Dialler,
    ) {
        let KeySource::Url(url) = source else { return };
        let set = &self.sets[index];
        let mut again = AGAIN;
        loop {
            let began = Instant::now();
            set.tried.store(self.now(), Ordering::Relaxed);
            let pause = match get((url, &set.algorithms), servers, dialler).await {
                Ok(keys) => {
                    again = AGAIN;
                    let until = url.refresh.saturating_mul(GRACE).as_millis();
                    set.put(
                        keys,
                        self.now().saturating_add(u64::try_from(until).unwrap_or(u64::MAX)).min(u64::MAX - 1),
                    );
                    url.refresh
                }
                Err(why) => {
                    let name = &servers.upstreams[usize::from(url.upstream)].config.name;
                    notice(&format!("no keys from {name}{}: {why}", url.path));
                    let pause = again.min(url.refresh);
                    again = (again * 2).min(AGAIN_AT_MOST);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = set.wanted.notified() => tokio::time::sleep_until(began + SOON.min(pause)).await,
            }
        }
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }
}

impl KeySet {
    /// Returns the generation of the current keys.
    fn generation(&self) -> Option<u64> {
        self.keys.load().as_ref().map(|keys| keys.generation)
    }

    fn put(&self, keys: Keys, until: u64) {
        // In this order: a task that sees the keys must see their expiry.
        self.until.store(until, Ordering::Relaxed);
        self.keys.store(Some(Arc::new(keys)));
        self.arrived.notify_waiters();
    }
}

async fn get(
    (url, algorithms): (&KeyUrl, &[Algorithm]),
    servers: &'static Servers,
    dialler: Dialler,
) -> Result<Keys, String> {
    let upstream = &servers.upstreams[usize::from(url.upstream)];
    let mut why = "it has no server".to_owned();
    for server in fetch::members(servers, upstream) {
        let fetched = tokio::time::timeout(FETCH, fetch::get(upstream, server, dialler, &url.path, MAX_KEYS)).await;
        match fetched.unwrap_or_else(|_| Err(format!("no response within {FETCH:?}"))) {
            Ok(body) => return Keys::parse(&body, algorithms, false),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}
