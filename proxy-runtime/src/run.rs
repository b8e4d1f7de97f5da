//! The program: bind everything, start workers, listen to signals, drain.
//!
//! One thread per worker, each with an event loop of its own; the main thread waits for signals and looks up names.
//! What workers use lives as long as the process and is leaked once, so that tasks can hold plain references.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher as _, RandomState};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::balance::Dice;
use crate::cache::Store;
use crate::cache::freshness::Moment;
use crate::compress::{self, Compressing};
use crate::descriptors::Descriptors;
use crate::door::state::State;
use crate::facts::RequestId;
use crate::file_pool;
use crate::inspect::Scratch;
use crate::listen::{self, Bound, Budget};
use crate::memory::{Memory, trim::keep_trimming};
use crate::observe::{LogBuffer, RequestIds, Sink, notice};
use crate::pages;
use crate::replace::Replacer;
use crate::settings::{Refused, Settings};
use crate::site::Site;
use crate::stream::Buffers;
use crate::tls::{self, Engine};
use crate::upstream::{Dialler, Pools, Servers, SharedPools, keep_checking, keep_discovering, keep_resolving};

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Not at all.
    No,
    /// No more connections; running exchanges go on.
    Drain,
    /// What still runs is cut off.
    Now,
}

/// What the tasks of one worker share.
pub(crate) struct Worker {
    pub(crate) site: &'static Site,
    pub(crate) settings: &'static Settings,
    pub(crate) servers: &'static Servers,
    pub(crate) budget: &'static Budget,
    pub(crate) descriptors: &'static Descriptors,
    /// What is held for clients.
    pub(crate) memory: &'static Memory,
    pub(crate) tls: &'static Engine,
    /// Where answers are kept.
    pub(crate) stores: &'static [Store],
    /// What doors remember.
    pub(crate) doors: &'static State,
    /// By the numbers of `BodyReplace`.
    pub(crate) replacers: &'static [Replacer],
    /// Some upstream is told where clients connect from and to.
    pub(crate) announces: bool,
    pub(crate) pools: Rc<Pools>,
    pub(crate) shared: SharedPools,
    pub(crate) log: LogBuffer,
    pub(crate) stop: watch::Receiver<Stop>,
    /// The largest head that any policy allows, in bytes.
    pub(crate) head_limit: u64,
    /// What keys of the cache are written into, lest each is an allocation.
    pub(crate) keys: Cell<String>,
    /// The same for keys of limits.
    pub(crate) limited: Cell<Vec<u8>>,
    /// What requests are decoded into to be looked at.
    pub(crate) scratch: Cell<Scratch>,
    /// What connections read into.
    pub(crate) buffers: &'static Buffers,
    pub(crate) dice: Dice,
    /// Answers that are compressed now.
    pub(crate) compressing: Compressing,
    /// Copies that `mirror` has under way.
    pub(crate) mirrored: Cell<usize>,
    date: RefCell<Date>,
    moment: Cell<Option<(Instant, Moment)>>,
    ids: RequestIds,
    running: Cell<usize>,
    idle: Notify,
}

impl Worker {
    /// A number for an exchange.
    pub(crate) fn request_id(&self) -> RequestId {
        self.ids.next()
    }

    /// What the wall clock says at a moment that is not long ago. It is looked at once a second.
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

    /// The value of the field `Date`.
    pub(crate) fn date_value(&self, now: Instant) -> String {
        let line = self.date(now);
        String::from_utf8_lossy(&line["date: ".len()..DATE_LINE - 2]).into_owned()
    }

    /// The line of the field `Date`, made once a second (RFC 9110 section 6.6.1).
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

    /// Counts something that the drain waits for, until the guard is dropped.
    pub(crate) fn running(&'static self) -> Running {
        self.running.set(self.running.get() + 1);
        Running(self)
    }
}

/// How long the line of the field `Date` is, in bytes; all dates are as long.
const DATE_LINE: usize = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len();

/// The line of the field `Date`, and when it was made.
#[derive(Default)]
struct Date {
    made: Option<Instant>,
    line: Vec<u8>,
}

/// See [`Worker::running`].
pub(crate) struct Running(&'static Worker);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        if self.0.running.get() == 0 {
            self.0.idle.notify_one();
        }
    }
}

/// Serves until told to stop.
///
/// # Errors
/// The start failed: what, and at which line of the site.
pub(crate) fn serve(site: &'static Site, mut settings: Settings) -> Result<ExitCode, Vec<Refused>> {
    let site = pages::settle(site, pages::WORTHWHILE);
    compress::keep_memory(site);
    settings.read_files(site.files)?;
    let settings: &'static Settings = Box::leak(Box::new(settings));
    let workers = workers(site, settings);
    let refused = |message| {
        let place = crate::site::Place { file: site.name.into(), line: 0 };
        vec![Refused { message, place }]
    };
    let connections = usize::try_from(site.root.limits.connections.get(settings)).unwrap_or(usize::MAX);
    let (descriptors, too_few) = Descriptors::new(reserve(site, workers), connections).map_err(refused)?;
    let descriptors: &'static Descriptors = Box::leak(Box::new(descriptors));
    if let Some(too_few) = too_few {
        notice(&too_few);
    }
    let engine: &'static Engine = Box::leak(Box::new(Engine::new(site, settings)?));
    let doors: &'static State = Box::leak(Box::new(State::new(site, settings)?));
    let replacers: &'static [Replacer] = Vec::leak(replacers(site));
    let mut sockets = listen::bind_all(site, settings, workers)?;
    let servers: &'static Servers = Box::leak(Box::new(Servers::new(site, settings)));
    let budget: &'static Budget = Box::leak(Box::new(Budget::new(site, settings, descriptors.budgets.clients)));
    let memory: &'static Memory = Box::leak(Box::new(Memory::new(site, settings)));
    let stores = site.stores.iter().map(|store| {
        let refused = |message| vec![Refused { message, place: store.place.clone() }];
        Store::new(store, settings, workers, &descriptors.files).map_err(refused)
    });
    let stores: &'static [Store] = Vec::leak(stores.collect::<Result<_, _>>()?);
    let failed = |error: std::io::Error| refused(format!("can't start: {error}"));
    for store in stores.iter().filter(|store| store.is_on_disk()) {
        let thread = std::thread::Builder::new().name("cache-follow".to_owned());
        thread.spawn(|| store.keep_following()).map_err(failed)?;
    }
    for warning in tls::warnings(site, settings) {
        notice(&warning.to_string());
    }
    let (sink, writer) = Sink::start().map_err(failed)?;
    let (stop, stopped) = watch::channel(Stop::No);
    let (done, mut all_done) = mpsc::channel::<()>(1);
    let main = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).map_err(failed)?;
    // Signals are caught before anybody can be told that the proxy is ready.
    let signals = main.block_on(async { Signals::new() }).map_err(failed)?;
    for (index, sockets) in sockets.drain(..).enumerate() {
        let (log, stop, done) = (sink.buffer(), stopped.clone(), done.clone());
        let shared = Shared { site, settings, servers, budget, descriptors, memory, engine, stores, doors, replacers };
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                work(&shared, sockets, log, stop);
                drop(done);
            })
            .map_err(failed)?;
    }
    drop((sink, done, stopped));
    for listener in site.listeners {
        notice(&format!("listening on {}", listener.address.get(settings)));
    }
    let buffers: &'static Buffers = Box::leak(Box::new(Buffers::new(MIN_BUFFER)));
    let dialler = Dialler { tls: engine, buffers, descriptors };
    main.block_on(async {
        for server in &servers.servers {
            tokio::task::spawn_local(keep_resolving(server));
        }
        for group in &servers.groups {
            tokio::task::spawn_local(keep_discovering(servers, group, settings, site.resolve));
        }
        for (index, source) in site.key_sources.iter().enumerate() {
            tokio::task::spawn_local(doors.key_sets.keep(source, index, servers, dialler));
        }
        for (group, server) in servers.members() {
            tokio::task::spawn_local(keep_checking(group, server, settings, dialler));
        }
        tokio::task::spawn_local(watch_certificates(site, settings, engine, doors));
        tokio::task::spawn_local(keep_trimming(memory, budget));
        tls::acme::keep_certificates(site, settings, engine);
        signals.supervise(site, settings, (engine, doors), &stop, &mut all_done).await;
    });
    for store in stores {
        store.settle(SETTLE);
    }
    // The writer ends once the workers' buffers are closed.
    let _ = writer.join();
    Ok(ExitCode::SUCCESS)
}

fn workers(site: &Site, settings: &Settings) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match &site.process.workers {
        Some(workers) => usize::try_from(workers.get(settings)).unwrap_or(1).clamp(1, 1024),
        None => available().min(1024),
    }
}

/// How many descriptors the process needs for itself: for listeners and event loops, for a check of each server, for the journals of folders,
/// and for what is open for a moment (look-ups of names, files that are read again, connections that race for one server).
fn reserve(site: &Site, workers: usize) -> usize {
    const EVENT_LOOP: usize = 5;
    const MOMENTARY: usize = 20;
    const JOURNAL: usize = 4;
    let checked = site.upstreams.iter().filter(|upstream| upstream.health_check.is_some());
    let places = |upstream: &crate::site::Upstream| match &upstream.discover {
        Some(discover) => usize::try_from(discover.max).unwrap_or(usize::MAX),
        None => upstream.servers.len(),
    };
    let checks: usize = checked.map(places).sum();
    let journals = site.stores.iter().filter(|store| store.disk.is_some()).count();
    MOMENTARY + JOURNAL * journals + site.listeners.len() * workers + EVENT_LOOP * (workers + 1) + checks
}

/// What replaces texts, by the numbers of `body-replace`.
fn replacers(site: &Site) -> Vec<Replacer> {
    let mut rules: Vec<_> = site.policies().filter_map(|policy| policy.replace.as_ref()).collect();
    rules.sort_unstable_by_key(|rule| rule.id);
    rules.dedup_by_key(|rule| rule.id);
    rules.into_iter().map(Replacer::new).collect()
}

/// What all workers share.
struct Shared {
    site: &'static Site,
    settings: &'static Settings,
    servers: &'static Servers,
    budget: &'static Budget,
    descriptors: &'static Descriptors,
    memory: &'static Memory,
    engine: &'static Engine,
    stores: &'static [Store],
    doors: &'static State,
    replacers: &'static [Replacer],
}

/// The signals that matter.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The signal to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// The next signal: to stop, or to read files again.
    async fn stop_or_hangup(&mut self) -> bool {
        tokio::select! {
            _ = self.hangup.recv() => false,
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
        }
    }

    /// Waits for the signal to stop, then for the workers: until they are done, or the drain is over, or a second signal.
    async fn supervise(
        mut self,
        site: &'static Site,
        settings: &'static Settings,
        (engine, doors): (&'static Engine, &'static State),
        stop: &watch::Sender<Stop>,
        all_done: &mut mpsc::Receiver<()>,
    ) {
        while !self.stop_or_hangup().await {
            reread(site, settings, engine, doors).await;
        }
        let drain = site.process.drain.get(settings);
        notice(&format!("stopping: running exchanges have {drain:?}"));
        stop.send_replace(Stop::Drain);
        let complete = tokio::select! {
            _ = all_done.recv() => true,
            () = tokio::time::sleep(drain) => false,
            () = self.stop() => false,
        };
        if !complete {
            notice("cutting off what still runs");
            stop.send_replace(Stop::Now);
            // Cutting off is dropping: a worker that does not get round to it in a second never will.
            let _ = tokio::time::timeout(Duration::from_secs(1), all_done.recv()).await;
        }
        notice("stopped");
    }
}

/// How long writes to disk that are under way have at the end.
const SETTLE: Duration = Duration::from_secs(1);

/// How often files of certificates and keys are looked at for changes.
const WATCH: Duration = Duration::from_secs(1);

/// Reads certificates and keys again when their files change.
async fn watch_certificates(
    site: &'static Site,
    settings: &'static Settings,
    engine: &'static Engine,
    doors: &'static State,
) {
    let files = site.certificate_files();
    if files.is_empty() {
        return;
    }
    let files: &'static [u16] = Vec::leak(files);
    let seen = || files.iter().map(|&index| settings.changed(&site.files[usize::from(index)])).collect::<Vec<_>>();
    let mut before = seen();
    loop {
        tokio::time::sleep(WATCH).await;
        // A disk that does not respond must not stop what else this thread does: signals, health checks, look-ups of names.
        let Ok(now) = file_pool::run_static(seen).await else { continue };
        if now != before {
            before = now;
            reread(site, settings, engine, doors).await;
        }
    }
}

async fn reread(site: &'static Site, settings: &'static Settings, engine: &'static Engine, doors: &'static State) {
    let reread = file_pool::run_static(move || {
        let mut refused = settings.reread_files(site.files);
        refused.extend(engine.reload(site, settings));
        refused.extend(doors.reload(site, settings));
        refused
    });
    let Ok(refused) = reread.await else {
        return notice("files can't be read again: the disk does not respond; what was there is kept");
    };
    for refused in &refused {
        notice(&format!("{refused}; what was there is kept"));
    }
    if refused.is_empty() {
        notice("files were read again");
    }
}

/// How often idle connections to servers are looked through.
const SWEEP: Duration = Duration::from_secs(2);

/// The size of a buffer, in bytes, where no head may be larger; also the largest head of an answer.
const MIN_BUFFER: usize = 64 << 10;

/// A worker's life.
fn work(shared: &Shared, sockets: Vec<Bound>, log: LogBuffer, stop: watch::Receiver<Stop>) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return notice(&format!("a worker can't start: {error}")),
    };
    let Shared { site, settings, servers, budget, descriptors, memory, engine, stores, doors, replacers } = *shared;
    let head_limit = largest_head(site, settings);
    // A head must fit in, and bodies are read by as much.
    let buffer = usize::try_from(head_limit).unwrap_or(usize::MAX).max(MIN_BUFFER) + 1;
    let buffers: &'static Buffers = Box::leak(Box::new(Buffers::new(buffer)));
    let dialler = Dialler { tls: engine, buffers, descriptors };
    let worker: &'static Worker = Box::leak(Box::new(Worker {
        site,
        settings,
        servers,
        budget,
        descriptors,
        memory,
        tls: engine,
        stores,
        doors,
        replacers,
        announces: site.upstreams.iter().any(|upstream| upstream.proxy_protocol.is_some()),
        pools: Rc::new(Pools::new(servers, dialler)),
        shared: SharedPools::new(servers, dialler),
        log,
        stop: stop.clone(),
        head_limit,
        keys: Cell::default(),
        limited: Cell::default(),
        scratch: Cell::default(),
        buffers,
        compressing: Compressing::default(),
        mirrored: Cell::new(0),
        // The standard library's source of random keys.
        dice: Dice::new(RandomState::new().hash_one(0)),
        date: RefCell::default(),
        moment: Cell::new(None),
        ids: RequestIds::new(),
        running: Cell::new(0),
        idle: Notify::new(),
    }));
    runtime.block_on(async move {
        tokio::task::spawn_local(worker.log.keep_flushing());
        tokio::task::spawn_local(async move {
            let mut pressed = descriptors.pressed();
            loop {
                tokio::time::sleep(SWEEP).await;
                if std::mem::replace(&mut pressed, descriptors.pressed()) != descriptors.pressed() {
                    worker.pools.let_go();
                }
                worker.pools.sweep();
                worker.shared.sweep();
                worker.buffers.sweep();
            }
        });
        let listening: Vec<_> = (0_u32..)
            .zip(sockets)
            .map(|(listener, socket)| tokio::task::spawn_local(listen::accept(worker, listener, socket)))
            .collect();
        let drained = async {
            for task in listening {
                if let Ok(Err(error)) = task.await {
                    notice(&format!("a listener failed: {error}"));
                }
            }
            while worker.running.get() > 0 {
                worker.idle.notified().await;
            }
        };
        let mut stop = stop;
        tokio::select! {
            () = drained => {}
            _ = stop.wait_for(|stop| *stop == Stop::Now) => {}
        }
    });
    // Dropping the runtime drops all tasks, and with them the records of what was cut off.
    drop(runtime);
    worker.log.close();
}

fn largest_head(site: &Site, settings: &Settings) -> u64 {
    site.policies().chain([site.root]).map(|policy| policy.limits.headers.get(settings)).max().unwrap_or(16 << 10)
}
