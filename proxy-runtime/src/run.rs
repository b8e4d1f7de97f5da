//! The process: binds listeners, starts workers, waits for signals, drains.
//!
//! There is one thread per worker, each with its own event loop; the main thread waits for signals and resolves names.
//! Shared data of workers lives as long as the process and is leaked once, so that tasks can hold plain references.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};

use crate::access::state::AccessState;
#[cfg(feature = "admin")]
use crate::admin::{self, Operated};
use crate::cache::CacheStore;
use crate::confine::{privileges, sandbox};
use crate::connection;
use crate::content::compress;
use crate::content::pages;
use crate::content::replace::Replacer;
use crate::context::settings::{Settings, StartError};
use crate::file_pool;
use crate::metrics::BUCKETS;
use crate::metrics::counters::Metrics;
use crate::net::budget::ConnectionBudget;
use crate::net::descriptors::Descriptors;
use crate::net::listen::{self, Accepting, Inherited};
use crate::net::memory::{Memory, resident, trim::keep_trimming};
use crate::net::stream::Buffers;
use crate::net::tls::{self, Engine};
use crate::observe::{self, AccessLog, LogBuffers, announce, announce_warning, notice};
use crate::serve::warm::keep_warm;
use crate::service::{ServiceManager, ServiceState};
use crate::shutdown::{AliveGuard, Phases, supervise};
use crate::signals;
use crate::site::Site;
use crate::takeover::{self, TakeoverTask};
use crate::trace::{TraceExport, Tracer};
use crate::upstream::{Dialler, Servers, keep_checking, keep_discovering, keep_resolving};
use crate::worker::{MIN_BUFFER, StopSignal, Worker, WorkerShared};

/// Serves until the process is told to stop. With `upgrade`, it takes over from the running process.
///
/// # Errors
/// Fails if the start fails; each error has the line of the site.
pub(crate) fn serve(site: &'static Site, mut settings: Settings, upgrade: bool) -> Result<ExitCode, Vec<StartError>> {
    observe::notice::hold();
    let site = pages::settle(site, pages::WORTHWHILE);
    compress::keep_memory(site);
    settings.read_files(site.files)?;
    let settings: &'static Settings = Box::leak(Box::new(settings));
    let workers = workers(site, settings);
    let refused = |message| {
        let place = crate::site::Place { file: site.name.into(), line: 0 };
        vec![StartError { message, place }]
    };
    let failed = |error: std::io::Error| refused(format!("can't start: {error}"));
    let connections = usize::try_from(site.root.limits.connections.get(settings)).unwrap_or(usize::MAX);
    let (descriptors, too_few) = Descriptors::new(reserve(site, workers), connections).map_err(refused)?;
    let descriptors: &'static Descriptors = Box::leak(Box::new(descriptors));
    if let Some(too_few) = too_few {
        notice(&too_few);
    }
    #[cfg(feature = "admin")]
    if let Some(refused) = admin::unprotected(site, settings) {
        return Err(vec![refused]);
    }
    let engine: &'static Engine = Box::leak(Box::new(Engine::new(site, settings)?));
    let access = AccessState::new(site, settings)?;
    let replacers: &'static [Replacer] = Vec::leak(replacers(site));
    let tracer = Tracer::new(site, settings).map_err(|refused| vec![refused])?;
    let mut inherited = Inherited::take();
    let mut received = match takeover::receive(site, settings, (upgrade, &inherited))? {
        Ok(received) => received,
        Err(code) => return Ok(code),
    };
    received.pass_on(&mut inherited);
    let bound = listen::bind_all(site, settings, workers, &mut inherited)?;
    received.left(&inherited);
    for (unused, _) in inherited.unused() {
        notice(&format!("the parent process passes a socket of `{unused}`, where the site does not listen"));
    }
    #[cfg(feature = "takeover")]
    engine.adopt_ticket_keys(&received.ticket_keys());
    #[cfg(feature = "takeover")]
    let access = {
        let mut access = access;
        access.adopt_limits(site, &received.limits());
        access
    };
    let access: &'static AccessState = Box::leak(Box::new(access));
    let takeover = TakeoverTask::prepare((site, settings), (engine, access), workers, received, bound.handed_over);
    drop(inherited);
    let handover = takeover.as_ref().map(TakeoverTask::handover);
    let servers: &'static Servers = Box::leak(Box::new(Servers::new(site, settings)));
    let budget: &'static ConnectionBudget =
        Box::leak(Box::new(ConnectionBudget::new(site, settings, descriptors.budgets.clients)));
    let memory: &'static Memory = Box::leak(Box::new(Memory::new(site, settings)));
    let memory_limit = resident::limit(site, settings);
    resident::warn(site, settings, memory_limit);
    privileges::give_up(site, settings)?;
    sandbox::enter(site, settings)?;
    observe::notice::start(site, settings).map_err(|refused| vec![refused])?;
    let log: &'static AccessLog = Box::leak(Box::new(AccessLog::start(site.outputs, settings)?));
    let stores = site.stores.iter().map(|store| {
        let refused = |message| vec![StartError { message, place: store.place.clone() }];
        CacheStore::new(store, settings, workers, &descriptors.files).map_err(refused)
    });
    let stores: &'static [CacheStore] = Vec::leak(stores.collect::<Result<_, _>>()?);
    for cache in site.policies().filter_map(|policy| policy.cache.as_ref()) {
        let store = usize::from(cache.store);
        if cache.slice.is_some_and(|slice| slice.get(settings) > stores[store].largest()) {
            let message = "a `slice` of the cache is larger than its store accepts".to_owned();
            return Err(vec![StartError { message, place: site.stores[store].place.clone() }]);
        }
    }
    for follow in stores.iter().flat_map(CacheStore::followers) {
        let thread = std::thread::Builder::new().name("cache-follow".to_owned());
        thread.spawn(follow).map_err(failed)?;
    }
    for warning in tls::warnings(site, settings, tls::SOON) {
        notice(&warning.to_string());
    }
    let metrics = metrics(site, workers, servers.servers.len());
    let taps = observe::tap::start(site, settings);
    let export: Option<TraceExport> = tracer.map(Tracer::start).transpose().map_err(failed)?;
    let (stop, stopped) = watch::channel(StopSignal::No);
    let (done, mut all_done) = mpsc::channel::<()>(1);
    let main = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).map_err(failed)?;
    // Signal handlers are installed before the proxy reports that it is ready.
    let phases = Phases::of(site.process.drain.get(settings));
    let reread_wanted: &'static Notify = Box::leak(Box::default());
    let drain_wanted: &'static Notify = Box::leak(Box::default());
    let died: &'static AtomicBool = Box::leak(Box::default());
    signals::follow(stop.clone(), (reread_wanted, drain_wanted), log, (phases, died)).map_err(failed)?;
    let manager = ServiceManager::start(workers).map_err(failed)?;
    for (index, sockets) in bound.workers.into_iter().enumerate() {
        let (log, stop, done) = (log.buffers(), stopped.clone(), done.clone());
        let beat = manager.clone().beat(index);
        let alive = AliveGuard { worker: index, stop: stopped.clone(), died, drain: drain_wanted };
        let shared = WorkerShared {
            site,
            settings,
            servers,
            budget,
            descriptors,
            memory,
            engine,
            stores,
            access,
            replacers,
            metrics,
            taps,
            tracer,
            exchanges: phases.exchanges,
            handover,
        };
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let (_done, _alive) = (done, alive);
                work(index, &shared, sockets, log, stop, beat);
            })
            .map_err(failed)?;
    }
    #[cfg(feature = "admin")]
    if let (Some(admin), Some(socket)) = (site.admin, bound.admin) {
        let (stop, drain) = (stopped.clone(), drain_wanted);
        let operated = Operated {
            site,
            admin,
            settings,
            servers,
            access,
            engine,
            budget,
            memory,
            stores,
            metrics,
            log,
            tracer,
            taps,
            stop,
            drain,
            handover,
        };
        admin::start(socket, operated).map_err(failed)?;
    }
    #[cfg(not(feature = "admin"))]
    drop(bound.admin);
    drop(done);
    for listener in site.listeners {
        announce(&format!("listening on {}", listener.address.get(settings)));
    }
    let buffers: &'static Buffers = Box::leak(Box::new(Buffers::new(MIN_BUFFER)));
    let dialler = Dialler { tls: engine, buffers, descriptors };
    let taken_over = takeover.as_ref().map(TakeoverTask::outcome);
    main.block_on(async {
        for server in &servers.servers {
            tokio::task::spawn_local(keep_resolving(server));
        }
        for upstream in &servers.upstreams {
            tokio::task::spawn_local(keep_discovering(servers, upstream, settings, site.resolve));
        }
        for (index, source) in site.key_sources.iter().enumerate() {
            tokio::task::spawn_local(access.key_sets.keep(source, index, servers, dialler));
        }
        for (upstream, server) in servers.members() {
            tokio::task::spawn_local(keep_checking(upstream, server, settings, dialler));
        }
        tokio::task::spawn_local(watch_certificates(site, settings, engine, access));
        tokio::task::spawn_local(keep_trimming(memory, budget));
        tokio::task::spawn_local(memory.resident.keep_measuring(memory_limit));
        tokio::task::spawn_local(keep_rereading(site, settings, engine, access, (reread_wanted, manager.clone())));
        tokio::task::spawn_local(observe::notice::keep_counting());
        tls::keeper::keep_certificates(site, settings, engine);
        let ready = {
            let manager = manager.clone();
            move || manager.tell(ServiceState::Ready)
        };
        let takeover = match takeover {
            // A process that takes over is ready once it has decided to go on.
            Some(takeover) => Some(tokio::task::spawn_local(takeover.run(stopped, drain_wanted, ready))),
            None => {
                ready();
                None
            }
        };
        supervise(&stop, phases, &mut all_done, || manager.tell(ServiceState::Stopping)).await;
        if let Some(takeover) = takeover {
            // It tells the old process that this one stops, if that has not ended yet.
            let _ = tokio::time::timeout(phases.abort, takeover).await;
        }
    });
    let until = Instant::now() + phases.settle;
    if let Some(export) = &export {
        export.close(until);
    }
    for store in stores {
        store.settle(until.saturating_duration_since(Instant::now()));
    }
    log.finish(until);
    manager.finish(until);
    if let Some(export) = &export {
        export.finish(until + phases.notices / 2);
    }
    observe::notice::count_all();
    announce("stopped");
    observe::notice::finish(phases.notices);
    // The end does not wait for a DNS lookup that hangs.
    main.shutdown_background();
    let code = if died.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    Ok(taken_over.as_ref().and_then(|outcome| outcome.get()).map_or(code, |outcome| outcome.end(code)))
}

/// Returns the counters of workers, if metrics are enabled.
fn metrics(site: &'static Site, workers: usize, servers: usize) -> Option<&'static Metrics> {
    let admin = site.admin.filter(|admin| admin.metrics || admin.status)?;
    let buckets = if admin.buckets.is_empty() { &BUCKETS[..] } else { &admin.buckets };
    Some(Box::leak(Box::new(Metrics::new(site, buckets, workers, servers))))
}

fn workers(site: &Site, settings: &Settings) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match &site.process.workers {
        Some(workers) => usize::try_from(workers.get(settings)).unwrap_or(1).clamp(1, 1024),
        None => available().min(1024),
    }
}

/// Returns how many descriptors the process needs for itself: for logs, listeners, event loops, a check of each server, the journals of folders,
/// `admin`, the collector of traces, and short uses (DNS lookups, files that are read again, connections that race for one server).
fn reserve(site: &Site, workers: usize) -> usize {
    const EVENT_LOOP: usize = 5;
    const MOMENTARY: usize = 20;
    const JOURNAL: usize = 4;
    // The connections of `admin`, and its event loop.
    const ADMIN: usize = 40;
    // The connection to the collector, one that is being opened, and its event loop.
    const TRACE: usize = 8;
    let checked = site.upstreams.iter().filter(|upstream| upstream.health_check.is_some());
    let places = |upstream: &crate::site::Upstream| match &upstream.discover {
        Some(discover) => usize::try_from(discover.max).unwrap_or(usize::MAX),
        None => upstream.servers.len(),
    };
    let checks: usize = checked.map(places).sum();
    let journals = site.stores.iter().map(|store| store.disks.len()).sum::<usize>();
    let admin = if site.admin.is_some() { ADMIN } else { 0 };
    let logs = site.outputs.len() + site.errors.map_or(0, |errors| errors.outputs.len());
    let trace = if site.trace.is_some() { TRACE } else { 0 };
    // With `takeover`, they have another descriptor each, and the process speaks to a new one.
    let (copies, takeover) = if site.process.takeover.is_some() { (2, 4) } else { (1, 0) };
    // UDP sockets, and two relays to other processes, of two descriptors each.
    let http3 = site.listeners.iter().filter(|listener| listener.speaks.http3).count();
    let relays = takeover * http3;
    let listeners = (site.listeners.len() + http3) * workers * copies + takeover + relays;
    MOMENTARY + logs + JOURNAL * journals + listeners + EVENT_LOOP * (workers + 2) + checks + admin + trace
}

/// Returns the replacers, by the index of `response-body`.
fn replacers(site: &Site) -> Vec<Replacer> {
    let mut rules: Vec<_> = site.policies().filter_map(|policy| policy.replace.as_ref()).collect();
    rules.sort_unstable_by_key(|rule| rule.id);
    rules.dedup_by_key(|rule| rule.id);
    rules.into_iter().map(Replacer::new).collect()
}

/// The interval between checks of certificate and key files.
const WATCH: Duration = Duration::from_secs(1);

/// The longest pause before files that were refused are read again, though nothing is seen to have changed: whether this user may read one also depends
/// on folders and groups.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Reads certificates and keys again when their files change.
async fn watch_certificates(
    site: &'static Site,
    settings: &'static Settings,
    engine: &'static Engine,
    access: &'static AccessState,
) {
    let files = site.certificate_files();
    if files.is_empty() {
        return;
    }
    let files: &'static [u16] = Vec::leak(files);
    let seen = || files.iter().map(|&index| settings.changed(&site.files[usize::from(index)])).collect::<Vec<_>>();
    let mut before = seen();
    let mut refused: Option<(Duration, tokio::time::Instant, Vec<_>)> = None;
    loop {
        tokio::time::sleep(WATCH).await;
        // A disk that does not respond must not block this thread's other work: signals, health checks, DNS lookups.
        let Ok(now) = file_pool::run_static(seen).await else { continue };
        if now == before {
            refused = None;
            continue;
        }
        let pause = match refused.take() {
            Some((pause, again, seen)) if seen == now && tokio::time::Instant::now() < again => {
                refused = Some((pause, again, seen));
                continue;
            }
            Some((pause, _, seen)) if seen == now => (pause * 2).min(LONGEST_PAUSE),
            _ => WATCH * 2,
        };
        if reread(site, settings, engine, access).await {
            before = now;
        } else {
            refused = Some((pause, tokio::time::Instant::now() + pause, now));
        }
    }
}

/// Reads files again on request.
async fn keep_rereading(
    site: &'static Site,
    settings: &'static Settings,
    engine: &'static Engine,
    access: &'static AccessState,
    (wanted, manager): (&'static Notify, ServiceManager),
) {
    loop {
        wanted.notified().await;
        manager.tell(ServiceState::Reloading);
        reread(site, settings, engine, access).await;
        manager.tell(ServiceState::Ready);
    }
}

/// Reads all files again. Returns whether all were accepted.
async fn reread(
    site: &'static Site,
    settings: &'static Settings,
    engine: &'static Engine,
    access: &'static AccessState,
) -> bool {
    let reread = file_pool::run_static(move || {
        let mut refused = settings.reread_files(site.files);
        refused.extend(engine.reload(site, settings));
        refused.extend(access.reload(site, settings));
        refused
    });
    let Ok(refused) = reread.await else {
        announce_warning("files can't be read again: the disk does not respond; keeping the previous version");
        return false;
    };
    for refused in &refused {
        announce_warning(&format!("{refused}; keeping the previous version"));
    }
    if refused.is_empty() {
        announce("files were reloaded");
    }
    refused.is_empty()
}

/// Runs a worker. The first one makes the requests of `warm`. `beat` runs as long as the worker does.
fn work(
    number: usize,
    shared: &WorkerShared,
    sockets: Vec<Accepting>,
    log: LogBuffers,
    stop: watch::Receiver<StopSignal>,
    beat: impl Future<Output = ()> + 'static,
) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return notice::error(&format!("a worker can't start: {error}")),
    };
    let worker: &'static Worker = Box::leak(Box::new(Worker::new(number, shared, log, stop.clone())));
    runtime.block_on(async move {
        tokio::task::spawn_local(beat);
        tokio::task::spawn_local(worker.log.keep_flushing());
        tokio::task::spawn_local(worker.keep_sweeping());
        if let Some(handover) = worker.handover {
            tokio::task::spawn_local(handover.hear(number));
        }
        for (about, store) in worker.site.stores.iter().zip(worker.stores).filter(|_| number == 0) {
            if let Some(warm) = &about.warm {
                tokio::task::spawn_local(keep_warm(worker, store, warm));
            }
        }
        if let Some(counters) = worker.counters {
            tokio::task::spawn_local(worker.keep_measuring(counters));
        }
        let listening: Vec<_> = sockets
            .into_iter()
            .map(|(listener, socket)| tokio::task::spawn_local(connection::accept(worker, listener, socket)))
            .collect();
        let drained = async {
            for task in listening {
                if let Ok(Err(error)) = task.await {
                    notice::error(&format!("a listener failed: {error}"));
                }
            }
            worker.drained().await;
        };
        let mut stop = stop;
        tokio::select! {
            () = drained => {}
            _ = stop.wait_for(|stop| *stop == StopSignal::Now) => {}
        }
    });
    // Drops all tasks, and with them the records of aborted exchanges. Does not wait for threads that hang (in a disk operation, a
    // password hash).
    runtime.shutdown_background();
    worker.log.flush();
}
