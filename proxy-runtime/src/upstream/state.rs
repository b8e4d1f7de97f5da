//! An upstream at run time: chooses a server ([`UpstreamState::lease`]), and records the result ([`Lease::report`]).
//!
//! A [`Lease`] holds a server for the duration of an exchange; its drop decrements the count, however the exchange ends.
//! When all available servers are full, requests wait, within the limits of `circuit-breaker`.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::time::{Instant, timeout_at};

use super::server::{ServerId, ServerState};
use super::wait_queue::WaitQueue;
use crate::balance::{self, Balancer, Candidates, Dice, Load, PickContext};
use crate::context::settings::Settings;
use crate::failure::Failure;
use crate::observe;
use crate::site::{BalancePolicy, Upstream};

/// An upstream with its servers and counters.
pub(crate) struct UpstreamState {
    pub(crate) config: &'static Upstream,
    /// The primary servers, and the backups.
    tiers: ArcSwap<[Priority; 2]>,
    /// Held by who changes servers or tiers; requests never take it.
    changing: Mutex<()>,
    /// The range of its servers among all servers.
    pub(crate) members: std::ops::Range<usize>,
    /// The key for the names of servers in the cookie of `sticky`.
    pub(crate) cookie_key: Option<[u64; 2]>,
    /// Its concurrent exchanges.
    load: Load,
    limit: u64,
    /// The waiting requests, with their limits.
    pending: WaitQueue,
    max_waiting: u64,
    patience: Duration,
    /// The number of retries under way.
    retrying: AtomicUsize,
    /// The time of `slow-start`, in nanoseconds.
    slow_start: u64,
    /// The ejection time of `outlier`, in nanoseconds.
    eject: u64,
    /// Whether too few servers are healthy, and when that was last computed.
    panics: AtomicBool,
    counted: AtomicU64,
    start: Instant,
    /// Its index among the upstreams.
    pub(crate) index: usize,
}

/// The servers of a priority level.
struct Priority {
    policy: Balancer,
    members: Vec<usize>,
}

impl Priority {
    fn new<'a>(policy: BalancePolicy, members: impl Iterator<Item = &'a ServerState>) -> Priority {
        let members: Vec<&ServerState> = members.collect();
        let named: Vec<_> = members.iter().map(|server| (server.name(), server.weight())).collect();
        Priority { policy: Balancer::new(policy, &named), members: members.iter().map(|server| server.index).collect() }
    }
}

/// The requirements for a server.
pub(crate) struct PickRequest<'a> {
    /// The hash of the key, for policies that use one.
    pub(crate) key: u64,
    pub(crate) dice: &'a Dice,
    /// The servers that were already tried.
    pub(crate) tried: &'a [ServerId],
    /// The server that a cookie names.
    pub(crate) sticky: Option<usize>,
}

/// A server held for one exchange.
pub(crate) struct Lease {
    pub(crate) upstream: &'static UpstreamState,
    pub(crate) server: &'static ServerState,
    /// The result is reported only if the slot still has the same server.
    pub(crate) id: ServerId,
}

/// How long the number of healthy servers is cached, in nanoseconds.
const COUNT_HOLDS: u64 = 100_000_000;

/// The number of retries that are always allowed.
const MIN_RETRIES: u64 = 3;

impl UpstreamState {
    /// Returns the state of an upstream with these servers.
    pub(crate) fn new(
        (index, upstream): (usize, &'static Upstream),
        settings: &Settings,
        servers: &[ServerState],
        start: Instant,
    ) -> UpstreamState {
        let tier = |backup: bool| {
            let members = servers.iter().zip(&*upstream.servers).filter(|(_, server)| server.backup == backup);
            Priority::new(upstream.balance, members.map(|(server, _)| server))
        };
        let cookie_key = super::sticky::key(upstream, settings);
        for server in servers {
            let name = cookie_key.map_or(0, |key| super::sticky::name(key, server.name()));
            server.called.store(name, Ordering::Relaxed);
        }
        let first = servers.first().map_or(0, |server| server.index);
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let breaker = &upstream.circuit_breaker;
        UpstreamState {
            config: upstream,
            tiers: ArcSwap::from_pointee([tier(false), tier(true)]),
            changing: Mutex::default(),
            members: first..first + servers.len(),
            cookie_key,
            load: Load::default(),
            limit: breaker.max_connections.get(settings),
            pending: WaitQueue::default(),
            max_waiting: breaker.max_pending.get(settings),
            patience: breaker.pending_timeout.get(settings),
            retrying: AtomicUsize::new(0),
            slow_start: nanoseconds(upstream.slow_start.get(settings)),
            eject: upstream.outlier.as_ref().map_or(0, |outlier| nanoseconds(outlier.eject.get(settings))),
            panics: AtomicBool::new(false),
            counted: AtomicU64::new(0),
            start,
            index,
        }
    }

    /// Returns the time in nanoseconds since the start.
    pub(crate) fn time(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Chooses a server for an exchange. After [`Failure::UpstreamOverloaded`], the request may
    /// [wait](UpstreamState::wait).
    ///
    /// # Errors
    /// [`Failure::NameUnresolved`], [`Failure::NoHealthyUpstream`] or [`Failure::UpstreamOverloaded`].
    pub(crate) fn lease(
        &'static self,
        servers: &'static [ServerState],
        pick: &PickRequest<'_>,
        now: Instant,
    ) -> Result<Lease, Failure> {
        if !self.load.begin(self.limit) {
            return Err(Failure::UpstreamOverloaded);
        }
        self.lease_among(self.tiers.load(), servers, pick, self.time(now))
    }

    /// Chooses among the servers as they were when these tiers were read. If it finds none and discovery has replaced them meanwhile, it
    /// chooses among the new ones: those may all have left.
    fn lease_among(
        &'static self,
        mut tiers: Guard<Arc<[Priority; 2]>>,
        servers: &'static [ServerState],
        pick: &PickRequest<'_>,
        now: u64,
    ) -> Result<Lease, Failure> {
        let panics = self.panics(servers, now);
        loop {
            let view = PriorityView { upstream: self, servers, tier: &tiers[0], pick, now, panics, warm: true };
            if let Some(server) = self.choose(&tiers, &view) {
                return Ok(self.held(server));
            }
            let current = self.tiers.load();
            if Arc::ptr_eq(&tiers, &current) {
                self.load.end();
                return Err(self.why_not(&view));
            }
            tiers = current;
        }
    }

    #[cfg(test)]
    /// Chooses a server, while something happens after the servers were looked up.
    pub(super) fn lease_after(
        &'static self,
        happens: impl FnOnce(),
        servers: &'static [ServerState],
        pick: &PickRequest<'_>,
    ) -> Result<Lease, Failure> {
        assert!(self.load.begin(self.limit));
        let tiers = self.tiers.load();
        happens();
        self.lease_among(tiers, servers, pick, 0)
    }

    /// Returns a lease of a server that was already counted.
    fn held(&'static self, server: &'static ServerState) -> Lease {
        Lease { upstream: self, server, id: server.id() }
    }

    /// Waits for a server that has capacity.
    ///
    /// # Errors
    /// [`Failure::NameUnresolved`], [`Failure::NoHealthyUpstream`], [`Failure::UpstreamOverloaded`] if too many requests wait
    /// already, or [`Failure::PendingTimeout`].
    pub(crate) async fn wait(
        &'static self,
        servers: &'static [ServerState],
        pick: &PickRequest<'_>,
    ) -> Result<Lease, Failure> {
        let waiting = self.pending.join();
        if waiting.others >= self.max_waiting {
            return Err(Failure::UpstreamOverloaded);
        }
        let deadline = Instant::now() + self.patience.min(Duration::from_secs(1 << 30));
        loop {
            let mut freed = std::pin::pin!(waiting.room());
            // From here on, no notification is missed.
            freed.as_mut().enable();
            match self.lease(servers, pick, Instant::now()) {
                Err(Failure::UpstreamOverloaded) => {}
                outcome => return outcome,
            }
            timeout_at(deadline, freed).await.map_err(|_| Failure::PendingTimeout)?;
        }
    }

    /// Returns the number of its servers.
    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    /// Returns how many servers one exchange tries at most that can't be connected to: discovery may go on replacing them.
    pub(crate) fn max_unreachable(&self) -> usize {
        self.size() + 8
    }

    /// Returns whether the results of exchanges are used.
    pub(crate) fn observes(&self) -> bool {
        self.config.outlier.is_some() || self.config.balance == BalancePolicy::Ewma
    }

    /// Chooses and counts a server: first among the primary ones, then the backups, then, if none is healthy, any.
    fn choose(&'static self, tiers: &[Priority; 2], view: &PriorityView<'_>) -> Option<&'static ServerState> {
        if let Some(sticky) = view.pick.sticky.map(|index| &view.servers[index])
            && view.may(sticky)
            && sticky.load.begin(sticky.limit)
        {
            return Some(sticky);
        }
        for tier in tiers {
            for warm in [true, false] {
                if let Some(server) = (PriorityView { tier, warm, ..*view }).chosen() {
                    return Some(server);
                }
            }
        }
        let ignoring = PriorityView { panics: true, warm: false, ..*view };
        (self.config.panic_threshold > 0).then(|| ignoring.chosen())?
    }

    fn why_not(&self, view: &PriorityView<'_>) -> Failure {
        let servers = &view.servers[self.members.clone()];
        let any = PriorityView { panics: self.config.panic_threshold > 0, warm: false, ..*view };
        if servers.iter().all(|server| !server.resolved()) {
            Failure::NameUnresolved
        } else if servers.iter().any(|server| server.weight() > 0 && any.might(server)) {
            Failure::UpstreamOverloaded
        } else {
            Failure::NoHealthyUpstream
        }
    }

    /// Whether no server gets requests: none is healthy, as far as checks and ejections tell, or those that are have no weight or are drained.
    pub(crate) fn is_down(&self, servers: &[ServerState]) -> bool {
        let now = self.time(Instant::now());
        self.count(servers, |server| server.weight() > 0 && server.health.is_healthy(now)).1 == 0
    }

    #[cfg(feature = "admin")]
    /// Returns whether a server is healthy, by checks and ejections, and has an address.
    pub(crate) fn is_healthy(&self, server: &ServerState) -> bool {
        server.resolved() && server.health.is_healthy(self.time(Instant::now()))
    }

    #[cfg(feature = "admin")]
    /// Returns whether `outlier` has ejected a server.
    pub(crate) fn is_ejected(&self, server: &ServerState) -> bool {
        server.health.is_ejected(self.time(Instant::now()))
    }

    #[cfg(feature = "admin")]
    /// Returns the number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.count()
    }

    #[cfg(feature = "admin")]
    /// All its exchanges now.
    pub(crate) fn active(&self) -> u32 {
        self.load.active()
    }

    #[cfg(feature = "admin")]
    /// Whether so few servers were healthy, when that was last counted, that all are asked.
    pub(crate) fn is_panicking(&self) -> bool {
        self.panics.load(Ordering::Relaxed)
    }

    /// Returns whether so few servers are healthy that health is ignored (`panic-threshold`).
    fn panics(&self, servers: &[ServerState], now: u64) -> bool {
        let threshold = self.config.panic_threshold;
        // The case of no healthy server needs no counting.
        if threshold <= 1 {
            return false;
        }
        if now.saturating_sub(self.counted.load(Ordering::Relaxed)) >= COUNT_HOLDS {
            self.counted.store(now, Ordering::Relaxed);
            let (all, well) = self.count(servers, |server| server.health.is_healthy(now));
            let panics = 100 * well < threshold * all;
            if self.panics.swap(panics, Ordering::Relaxed) != panics {
                let what = if panics { "all are asked" } else { "the others get no requests again" };
                self.notice(&format!("{well} of {all} servers are healthy: {what}"));
            }
        }
        self.panics.load(Ordering::Relaxed)
    }

    /// How many servers there are, and for how many of them something holds. A place that no server has, one whose name does not resolve, and
    /// one that is drained, is none: it is left out anyway.
    fn count(&self, servers: &[ServerState], holds: impl Fn(&ServerState) -> bool) -> (u64, u64) {
        let servers = servers[self.members.clone()].iter();
        let servers = servers.filter(|server| server.resolved() && !server.overrides.is_drained());
        servers.fold((0, 0), |(all, some), server| (all + 1, some + u64::from(holds(server))))
    }

    /// Returns the server that a cookie names.
    pub(crate) fn named(&self, servers: &[ServerState], cookie: &[u8]) -> Option<usize> {
        let digit = |name: u64, &byte: &u8| Some(name << 4 | u64::from(char::from(byte).to_digit(16)?));
        let name = cookie.iter().try_fold(0, digit).filter(|_| cookie.len() == 16)?;
        let members = &servers[self.members.clone()];
        let found = members.iter().find(|server| server.called.load(Ordering::Relaxed) == name && server.resolved());
        found.map(|server| server.index)
    }

    /// Returns the name of a server in the cookie.
    pub(crate) fn name(&self, server: &ServerState) -> Option<u64> {
        self.cookie_key.map(|_| server.called.load(Ordering::Relaxed))
    }

    /// Allows a retry, if the budget permits it.
    pub(crate) fn retry(&'static self, percent: u64) -> Option<RetryGuard> {
        let others = self.retrying.fetch_add(1, Ordering::Relaxed) as u64;
        // Its drop decrements the count.
        let retrying = RetryGuard(&self.retrying);
        // A retrying request counts as an exchange, even while it holds no server.
        let exchanges = u64::from(self.load.active()).max(others + 1);
        (others < MIN_RETRIES.max(exchanges * percent / 100)).then_some(retrying)
    }

    /// Lets one thread after the other change servers.
    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the servers: the primary ones, and the backups.
    pub(crate) fn change(&self, tiers: [Vec<&ServerState>; 2]) {
        let tiers = tiers.map(|members| Priority::new(self.config.balance, members.into_iter()));
        self.tiers.store(Arc::new(tiers));
        self.wake();
    }

    #[cfg(feature = "admin")]
    /// Balances by weights as they are now.
    pub(super) fn rebalance(&self, servers: &[ServerState]) {
        let tiers = self.tiers.load();
        let tier =
            |tier: &Priority| Priority::new(self.config.balance, tier.members.iter().map(|&index| &servers[index]));
        self.tiers.store(Arc::new([tier(&tiers[0]), tier(&tiers[1])]));
    }

    #[cfg(feature = "admin")]
    /// The backups, by index.
    pub(super) fn backups(&self) -> Vec<usize> {
        self.tiers.load()[1].members.clone()
    }

    /// Wakes waiting requests after a server has recovered.
    pub(crate) fn wake(&self) {
        self.pending.wake_all();
    }

    /// Warns the operator of something about it.
    #[track_caller]
    pub(crate) fn notice(&self, what: &str) {
        observe::notice(&self.about(what));
    }

    /// Tells the operator that something about it is well again, or has changed.
    #[track_caller]
    pub(crate) fn info(&self, what: &str) {
        observe::notice::info(&self.about(what));
    }

    fn about(&self, what: &str) -> String {
        let Upstream { name, place, .. } = self.config;
        format!("{}:{}: upstream `{name}`: {what}", place.file, place.line)
    }
}

/// The servers of a priority level as a load-balancing policy sees them.
#[derive(Clone, Copy)]
struct PriorityView<'a> {
    upstream: &'static UpstreamState,
    servers: &'static [ServerState],
    tier: &'a Priority,
    pick: &'a PickRequest<'a>,
    now: u64,
    /// Health is ignored.
    panics: bool,
    /// `slow-start` applies.
    warm: bool,
}

impl PriorityView<'_> {
    /// Returns the server that the policy chooses, counted.
    fn chosen(&self) -> Option<&'static ServerState> {
        let ask = PickContext { key: self.pick.key, dice: self.pick.dice, now: self.now };
        // Another worker may take the last slot meanwhile; then that server is full and not eligible any more.
        (0..self.tier.members.len().min(16)).find_map(|_| {
            let server = self.server(self.tier.policy.choose(self, ask)?);
            server.load.begin(server.limit).then_some(server)
        })
    }

    fn server(&self, position: usize) -> &'static ServerState {
        &self.servers[self.tier.members[position]]
    }

    /// Returns whether a server may be used, if it has capacity.
    fn might(&self, server: &ServerState) -> bool {
        !self.pick.tried.contains(&server.id())
            && (self.panics || server.health.is_healthy(self.now))
            && server.resolved()
            && !server.overrides.is_drained()
    }

    fn may(&self, server: &ServerState) -> bool {
        self.might(server) && u64::from(server.load.active()) < server.limit
    }

    /// Returns whether a server in `slow-start` is eligible: with a probability that grows from a tenth to one. For
    /// policies with a key, the key decides, so that its server changes once.
    fn is_warm(&self, server: &ServerState) -> bool {
        if self.upstream.slow_start == 0 {
            return true;
        }
        let Some(since) = server.health.back_since() else { return true };
        let passed = self.now.saturating_sub(since) as f64 / self.upstream.slow_start as f64;
        let chance = match self.upstream.config.key {
            Some(_) => balance::hash(&self.pick.key.to_le_bytes(), server.index as u64),
            None => self.pick.dice.number(),
        };
        chance as f64 / u64::MAX as f64 <= passed.max(0.1)
    }
}

impl Candidates for PriorityView<'_> {
    fn count(&self) -> usize {
        self.tier.members.len()
    }

    fn weight(&self, position: usize) -> u32 {
        self.server(position).weight()
    }

    fn load(&self, position: usize) -> &Load {
        &self.server(position).load
    }

    fn can(&self, position: usize) -> bool {
        let server = self.server(position);
        self.may(server) && (!self.warm || self.is_warm(server))
    }
}

impl Lease {
    /// Reports the result of an exchange: its latency, or none after a time-out; a 5xx response is a failure.
    pub(crate) fn report(&self, servers: &[ServerState], good: bool, took: Option<Duration>, now: Instant) {
        let (upstream, health) = (self.upstream, &self.server.health);
        if self.id != self.server.id() {
            return;
        }
        let now = upstream.time(now);
        if let Some(took) = took {
            self.server.load.latency.observe(took.as_nanos() as u64, now);
        }
        let Some(outlier) = &upstream.config.outlier else { return };
        if good {
            if health.succeeded() {
                upstream.info(&format!("server {} responds again", self.server.name()));
            }
            return;
        }
        let failures = health.failed();
        if failures < outlier.consecutive_5xx || !health.is_healthy(now) {
            return;
        }
        let (all, ejected) = upstream.count(servers, |server| server.health.is_ejected(now));
        if ejected < (all * outlier.max_ejected_percent / 100).max(1)
            && let Some(length) = health.eject(upstream.eject, now)
        {
            let length = Duration::from_nanos(length);
            upstream.notice(&format!(
                "server {} is ejected for {length:?}: {failures} failures in a row",
                self.server.name()
            ));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.server.load.end();
        self.upstream.load.end();
        self.upstream.pending.wake_one();
    }
}

/// Counts a retry under way.
pub(crate) struct RetryGuard(&'static AtomicUsize);

impl Drop for RetryGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{self, Place, Setting};
    use crate::upstream::servers::Servers;

    /// Three servers, the last a backup, each with a limit of two exchanges; one request may wait, for a second.
    fn servers(change: impl FnOnce(&mut Upstream)) -> &'static Servers {
        let place = Place { file: "site.kdl".into(), line: 1 };
        let server = |number: usize| site::Server {
            backup: number == 3,
            max_connections: Setting::Fixed(2),
            ..site::Server::new(Setting::Fixed(format!("10.0.0.{number}:80").into()), place.clone())
        };
        let mut upstream = Upstream::new("app".into(), (1..=3).map(server).collect(), place.clone());
        upstream.circuit_breaker.max_pending = Setting::Fixed(1);
        change(&mut upstream);
        // Leaked: a test is short-lived.
        let upstreams: &'static [Upstream] = Box::leak(vec![upstream].into_boxed_slice());
        Box::leak(Box::new(Servers::of(upstreams, &Settings::default())))
    }

    fn with_paused_clock(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(test);
    }

    const PICK: fn(&Dice) -> PickRequest<'_> = |dice| PickRequest { key: 0, dice, tried: &[], sticky: None };

    /// Returns the index of the server that is chosen.
    fn given(servers: &'static Servers, dice: &Dice) -> Result<(usize, Lease), Failure> {
        servers.upstreams[0]
            .lease(&servers.servers, &PICK(dice), Instant::now())
            .map(|lease| (lease.server.index, lease))
    }

    #[test]
    fn full_servers_are_waited_for() {
        with_paused_clock(async {
            let (servers, dice) = (servers(|_| {}), Dice::new(1));
            let upstream = &servers.upstreams[0];
            let mut held: Vec<_> = (0..6).map(|_| given(servers, &dice).expect("room")).collect();
            let order: Vec<_> = held.iter().map(|(index, _)| *index).collect();
            assert_eq!(order, [0, 1, 0, 1, 2, 2], "the backup is used last");
            assert!(matches!(given(servers, &dice), Err(Failure::UpstreamOverloaded)));
            // The time-out is one second.
            let began = Instant::now();
            assert!(matches!(upstream.wait(&servers.servers, &PICK(&dice)).await, Err(Failure::PendingTimeout)));
            assert_eq!(began.elapsed(), Duration::from_secs(1));
            // One may wait and gets the released slot; another one is refused.
            let pick = PICK(&dice);
            let waiting = upstream.wait(&servers.servers, &pick);
            let freed = async {
                assert!(matches!(
                    upstream.wait(&servers.servers, &PICK(&dice)).await,
                    Err(Failure::UpstreamOverloaded)
                ));
                tokio::time::sleep(Duration::from_millis(300)).await;
                drop(held.remove(1));
            };
            let (lease, ()) = tokio::join!(waiting, freed);
            assert_eq!(lease.expect("room").server.index, 1);
        });
    }

    #[test]
    fn unhealthy_servers() {
        with_paused_clock(async {
            let (servers, dice) = (servers(|upstream| upstream.panic_threshold = 50), Dice::new(1));
            tokio::time::advance(Duration::from_secs(1)).await;
            let failing = |index: usize| assert!(servers.servers[index].health.checked(false, (1, 1), 1));
            failing(0);
            assert_eq!(
                (given(servers, &dice).expect("a server").0, given(servers, &dice).expect("a server").0),
                (1, 1)
            );
            // One of three is healthy, which is below the panic threshold once they are counted again.
            failing(1);
            tokio::time::advance(Duration::from_secs(1)).await;
            let (first, second) = (given(servers, &dice).expect("a server"), given(servers, &dice).expect("a server"));
            assert_eq!([first.0, second.0].iter().sum::<usize>(), 1, "both servers are used");
        });
    }

    #[test]
    fn no_unhealthy_server_without_a_panic_threshold() {
        with_paused_clock(async {
            let (servers, dice) = (servers(|upstream| upstream.panic_threshold = 0), Dice::new(1));
            for server in &servers.servers {
                server.health.checked(false, (1, 1), 1);
            }
            assert!(matches!(given(servers, &dice), Err(Failure::NoHealthyUpstream)));
        });
    }

    #[test]
    fn a_server_that_comes_back_warms_up() {
        with_paused_clock(async {
            let slow = |upstream: &mut Upstream| upstream.slow_start = Setting::Fixed(Duration::from_secs(100));
            let (servers, dice) = (servers(slow), Dice::new(1));
            tokio::time::advance(Duration::from_secs(1)).await;
            let health = &servers.servers[0].health;
            health.checked(false, (1, 1), 0);
            health.checked(true, (1, 1), servers.upstreams[0].time(Instant::now()));
            let share = || (0..10_000).filter(|_| given(servers, &dice).expect("a server").0 == 0).count();
            // Like a weight of a tenth, of a half, of one.
            let begins = share();
            tokio::time::advance(Duration::from_secs(50)).await;
            let half = share();
            tokio::time::advance(Duration::from_secs(50)).await;
            let all = share();
            assert!(
                (800..1_000).contains(&begins) && (3_100..3_500).contains(&half) && all == 5_000,
                "{begins} {half} {all}"
            );
        });
    }

    #[test]
    fn servers_that_fail_are_ejected() {
        with_paused_clock(async {
            let outlier = site::Outlier {
                consecutive_5xx: 2,
                eject: Setting::Fixed(Duration::from_secs(10)),
                max_ejected_percent: 1,
            };
            let (servers, dice) = (servers(|upstream| upstream.outlier = Some(outlier)), Dice::new(1));
            let fail = |index: usize| {
                let upstream = &servers.upstreams[0];
                assert!(servers.servers[index].load.begin(9) && upstream.load.begin(9));
                upstream.held(&servers.servers[index]).report(&servers.servers, false, None, Instant::now());
            };
            fail(0);
            assert_eq!(given(servers, &dice).expect("a server").0, 0);
            fail(0);
            assert_eq!(
                (given(servers, &dice).expect("a server").0, given(servers, &dice).expect("a server").0),
                (1, 1)
            );
            // One at a time: the other stays, however often it fails.
            (0..5).for_each(|_| fail(1));
            assert_eq!(given(servers, &dice).expect("a server").0, 1);
            tokio::time::advance(Duration::from_secs(10)).await;
            let both = [given(servers, &dice).expect("a server").0, given(servers, &dice).expect("a server").0];
            assert_eq!(both.iter().sum::<usize>(), 1);
        });
    }

    #[test]
    fn retries_have_a_budget() {
        let servers = servers(|_| {});
        let upstream = &servers.upstreams[0];
        // All may retry at once, while none holds a server.
        drop((0..50).map(|_| upstream.retry(100).expect("all of them are allowed")).collect::<Vec<_>>());
        let three: Vec<_> = (0..3).map(|_| upstream.retry(10).expect("three are always allowed")).collect();
        assert!(upstream.retry(10).is_none());
        // A tenth of fifty.
        (0..50).for_each(|_| assert!(upstream.load.begin(99)));
        let more: Vec<_> = (0..2).map(|_| upstream.retry(10).expect("a tenth is allowed")).collect();
        assert!(upstream.retry(10).is_none());
        drop((three, more));
        assert!(upstream.retry(10).is_some());
    }
}
