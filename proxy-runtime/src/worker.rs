//! The shared state of one worker's tasks ([`Worker`]), and the progress of stopping ([`StopSignal`]).
//!
//! It lives as long as the process, so tasks hold plain references.
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::access::inspect::Scratch;
use crate::access::state::AccessState;
use crate::balance::Dice;
use crate::cache::CacheStore;
use crate::content::compress::Compressing;
use crate::content::files::recent::RecentFiles;
use crate::content::replace::Replacer;
use crate::context::facts::RequestId;
use crate::context::settings::Settings;
use crate::handover::Handover;
use crate::metrics::counters::{Counters, Metrics};
use crate::net::budget::ConnectionBudget;
use crate::net::descriptors::Descriptors;
use crate::net::memory::Memory;
use crate::net::stream::Buffers;
use crate::net::tls::Engine;
use crate::observe::tap::Taps;
use crate::observe::{LogBuffers, RequestIds};
use crate::protocol::date::Moment;
use crate::site::Site;
use crate::trace::{SpanIds, Tracer};
use crate::upstream::{Dialler, Pools, Servers, SharedPools};

/// The progress of stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// Not stopping.
    No,
    /// Draining: no new connections; running exchanges continue.
    Drain,
    /// Running exchanges are aborted.
    Now,
}

/// The shared state of one worker's tasks.
pub(crate) struct Worker {
    /// The worker's index.
    pub(crate) number: usize,
    process: WorkerShared,
    /// Its counters, if metrics are enabled.
    pub(crate) counters: Option<&'static Counters>,
    /// The values of `Alt-Svc` by the index of the listener, for those with HTTP/3.
    #[cfg(feature = "h3")]
    pub(crate) alternatives: Vec<Option<String>>,
    /// Whether any upstream uses PROXY headers.
    pub(crate) announces: bool,
    pub(crate) pools: Rc<Pools>,
    pub(crate) shared: SharedPools,
    pub(crate) log: LogBuffers,
    pub(crate) stop: watch::Receiver<StopSignal>,
    /// The largest head that any policy allows, in bytes.
    pub(crate) head_limit: u64,
    /// The buffer for cache keys, which saves an allocation each.
    pub(crate) keys: Cell<String>,
    /// The buffer for keys of limits.
    pub(crate) limited: Cell<Vec<u8>>,
    /// The buffer for decoding requests that are inspected.
    pub(crate) scratch: Cell<Scratch>,
    /// The read buffers of connections.
    pub(crate) buffers: &'static Buffers,
    pub(crate) dice: Dice,
    /// The number of responses that are being compressed.
    pub(crate) compressing: Compressing,
    /// The static files that were looked up within the last second.
    pub(crate) files: RecentFiles,
    /// The number of mirrored requests under way.
    pub(crate) mirrored: Cell<usize>,
    date: RefCell<DateField>,
    moment: Cell<Option<(Instant, Moment)>>,
    ids: RequestIds,
    pub(crate) span_ids: SpanIds,
    running: Cell<usize>,
    idle: Notify,
}

impl std::ops::Deref for Worker {
    type Target = WorkerShared;

    fn deref(&self) -> &WorkerShared {
        &self.process
    }
}

impl Worker {
    /// Creates a worker from the state that all of them share, and its own.
    pub(crate) fn new(
        number: usize,
        shared: &WorkerShared,
        log: LogBuffers,
        stop: watch::Receiver<StopSignal>,
    ) -> Worker {
        let &WorkerShared { site, settings, servers, descriptors, engine, metrics, .. } = shared;
        let head_limit = largest_head(site, settings);
        // A head must fit into a buffer; bodies are read in pieces of this size.
        let buffer = usize::try_from(head_limit).unwrap_or(usize::MAX).max(MIN_BUFFER) + 1;
        let buffers: &'static Buffers = Box::leak(Box::new(Buffers::new(buffer)));
        let dialler = Dialler { tls: engine, buffers, descriptors };
        Worker {
            number,
            process: *shared,
            counters: metrics.and_then(|metrics| metrics.workers.get(number)),
            #[cfg(feature = "h3")]
            alternatives: crate::net::quic::alternatives(site, settings),
            announces: site.upstreams.iter().any(|upstream| upstream.proxy_protocol.is_some()),
            pools: Rc::new(Pools::new(servers, dialler)),
            shared: SharedPools::new(servers, dialler),
            log,
            stop,
            head_limit,
            keys: Cell::default(),
            limited: Cell::default(),
            scratch: Cell::default(),
            buffers,
            compressing: Compressing::default(),
            files: RecentFiles::new(),
            mirrored: Cell::new(0),
            // The standard library's source of random keys.
            dice: Dice::new(RandomState::new().hash_one(0)),
            date: RefCell::default(),
            moment: Cell::new(None),
            ids: RequestIds::new(),
            span_ids: SpanIds::new(),
            running: Cell::new(0),
            idle: Notify::new(),
        }
    }

    /// Regularly closes connections to servers that have been idle for too long, and drops unused buffers.
    pub(crate) async fn keep_sweeping(&'static self) {
        let mut pressed = self.descriptors.pressed();
        loop {
            tokio::time::sleep(SWEEP).await;
            if std::mem::replace(&mut pressed, self.descriptors.pressed()) != self.descriptors.pressed() {
                self.pools.let_go();
            }
            self.pools.sweep();
            self.shared.sweep();
            self.buffers.sweep();
            crate::recycled::sweep();
            crate::protocol::fields::sweep();
            self.files.sweep(Instant::now());
        }
    }

    /// Waits until everything that the drain waits for has ended.
    pub(crate) async fn drained(&self) {
        while self.running.get() > 0 {
            self.idle.notified().await;
        }
    }

    /// Returns a new request id.
    pub(crate) fn request_id(&self) -> RequestId {
        self.ids.next()
    }

    /// Returns the wall-clock time of a recent moment. The clock is read once a second.
    pub(crate) fn moment(&self, at: Instant) -> Moment {
        if let Some((seen, moment)) = self.moment.get()
            && let Some(since) = at.checked_duration_since(seen)
            && since < Duration::from_secs(1)
        {
            return Moment(moment.0 + since.as_millis() as u64);
        }
        let (now, moment) = (Instant::now(), Moment::now());
        self.moment.set(Some((now, moment)));
        Moment(moment.0.saturating_sub(now.saturating_duration_since(at).as_millis() as u64))
    }

    /// Returns the value of `Date`.
    pub(crate) fn date_value(&self, now: Instant) -> String {
        let line = self.date(now);
        String::from_utf8_lossy(&line["date: ".len()..DATE_LINE - 2]).into_owned()
    }

    /// Returns the `Date` line, formatted once a second (RFC 9110 section 6.6.1).
    pub(crate) fn date(&self, now: Instant) -> [u8; DATE_LINE] {
        let mut date = self.date.borrow_mut();
        if date.made.is_none_or(|made| now - made >= Duration::from_secs(1)) {
            date.made = Some(now);
            date.line = format!("date: {}\r\n", httpdate::fmt_http_date(SystemTime::now())).into_bytes();
        }
        let mut line = [b' '; DATE_LINE];
        if date.line.len() == DATE_LINE {
            line.copy_from_slice(&date.line);
        }
        line
    }

    fn run(&self, running: usize) {
        self.running.set(running);
        if let Some(counters) = self.counters {
            counters.running(running);
        }
    }

    /// Says again and again how late its timers are, and how many connections to servers it has.
    pub(crate) async fn keep_measuring(&self, counters: &Counters) {
        loop {
            let due = Instant::now() + LAG;
            tokio::time::sleep_until(due).await;
            counters.late(Instant::now() - due);
            for server in 0..self.servers.servers.len() {
                let (own, shared) = (self.pools.count(server), self.shared.count(server));
                counters.connections(server, own.0 + shared.0, own.1 + shared.1);
            }
        }
    }

    /// Registers work that the drain waits for, until the guard is dropped.
    pub(crate) fn running(&'static self) -> DrainGuard {
        self.run(self.running.get() + 1);
        DrainGuard(self)
    }
}

/// The length of the `Date` line in bytes, which is constant.
const DATE_LINE: usize = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len();

/// The `Date` line, and when it was formatted.
#[derive(Default)]
struct DateField {
    made: Option<Instant>,
    line: Vec<u8>,
}

/// Registers work that the drain waits for; see [`Worker::running`].
pub(crate) struct DrainGuard(&'static Worker);

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.0.run(self.0.running.get() - 1);
        if self.0.running.get() == 0 {
            self.0.idle.notify_one();
        }
    }
}

/// The shared state of all workers.
#[derive(Clone, Copy)]
pub(crate) struct WorkerShared {
    pub(crate) site: &'static Site,
    pub(crate) settings: &'static Settings,
    pub(crate) servers: &'static Servers,
    pub(crate) budget: &'static ConnectionBudget,
    pub(crate) descriptors: &'static Descriptors,
    /// The memory budget for clients.
    pub(crate) memory: &'static Memory,
    /// The TLS configurations.
    pub(crate) engine: &'static Engine,
    /// The cache stores.
    pub(crate) stores: &'static [CacheStore],
    /// The state of access control.
    pub(crate) access: &'static AccessState,
    /// The replacements of response bodies, by the index of `ResponseBody`.
    pub(crate) replacers: &'static [Replacer],
    /// All counters, if metrics are enabled.
    pub(crate) metrics: Option<&'static Metrics>,
    /// The taps; `None` if the site has no `tap`.
    pub(crate) taps: Option<&'static Taps>,
    /// Decides about traces; `None` if the site has no `trace`.
    pub(crate) tracer: Option<&'static Tracer>,
    /// How long running exchanges continue in a drain.
    pub(crate) exchanges: Duration,
    /// The state of takeovers; `None` if the site has no `takeover`.
    pub(crate) handover: Option<&'static Handover>,
}

/// How often a worker measures itself.
const LAG: Duration = Duration::from_secs(1);

/// The interval between sweeps of idle connections.
const SWEEP: Duration = Duration::from_secs(2);

/// The minimum size of a read buffer, in bytes; also the largest head of a response.
pub(crate) const MIN_BUFFER: usize = 64 << 10;

fn largest_head(site: &Site, settings: &Settings) -> u64 {
    site.policies().chain([site.root]).map(|policy| policy.limits.headers.get(settings)).max().unwrap_or(16 << 10)
}
