//! `GET /metrics`: what the workers have counted and the current state, as text ([`write`]).

use std::collections::BTreeMap;

use super::Operated;
use super::process::OwnProcess;
use crate::cache::CacheStore;
use crate::metrics::counters::{AttemptFailure, Metrics};
use crate::metrics::text::{Bounds, Exposition, Format, seconds};
use crate::metrics::{self as declared, CLASSES};
use crate::net::expiry::ServedCertificate;
use crate::observe::notice;
use crate::upstream::Servers;

/// Writes all metrics, into a buffer of `room` bytes. Series without any count are left out: a site with many routes has many of them.
pub(super) fn write(operated: &Operated, process: &OwnProcess, (format, room): (Format, usize)) -> String {
    let mut out = Exposition::new(format, room);
    let site = operated.site;
    let digest = site.digest.get(..12).unwrap_or(site.digest);
    out.family(&declared::BUILD).sample(&[env!("CARGO_PKG_VERSION"), site.name, digest], 1);
    if let Some(metrics) = operated.metrics {
        let bounds = Bounds::new(metrics.buckets);
        requests(metrics, &bounds, &mut out);
        upstreams(metrics, &bounds, operated.servers, &mut out);
        workers(metrics, &mut out);
    }
    servers(operated, &mut out);
    caches(operated.stores, &mut out);
    certificates(&operated.engine.certificates(site), &mut out);
    out.family(&declared::CONNECTIONS).sample(&[], operated.budget.open());
    out.family(&declared::CLIENT_MEMORY).sample(&[], operated.memory.in_use());
    let mut family = out.family(&declared::LOG_LOST);
    operated.log.lost().for_each(|(output, lost)| family.sample(&["access", output], lost));
    notice::lost().for_each(|(output, lost)| family.sample(&["errors", output], lost));
    if let Some(tracer) = operated.tracer {
        let (dropped, exported) = tracer.counts();
        out.family(&declared::SPANS_EXPORTED).sample(&[], exported);
        out.family(&declared::SPANS_DROPPED).sample(&[], dropped);
    }
    of_process(process, &mut out);
    out.end()
}

/// Writes what was counted by route.
fn requests(metrics: &Metrics, bounds: &Bounds, out: &mut Exposition) {
    let all = || metrics.series.iter().enumerate();
    let seen: Vec<bool> = all().map(|(index, _)| metrics.requests(index).iter().any(|count| *count > 0)).collect();
    let seen = || all().filter(|(index, _)| seen[*index]);
    let mut family = out.family(&declared::REQUESTS);
    for (index, series) in seen() {
        for (class, count) in CLASSES.iter().zip(metrics.requests(index)).filter(|(_, count)| *count > 0) {
            family.sample(&[&series.site, series.route, class], count);
        }
    }
    let mut family = out.family(&declared::RESPONSE_BYTES);
    for (index, series) in seen() {
        family.sample(&[&series.site, series.route], metrics.bytes(index));
    }
    let mut family = out.family(&declared::DURATION);
    for (index, series) in seen() {
        let took = metrics.durations(index);
        family.histogram(&[&series.site, series.route], bounds, &took);
    }
    let mut family = out.family(&declared::FIRST_BYTE);
    for (index, series) in seen() {
        let took = metrics.first_bytes(index);
        family.histogram(&[&series.site, series.route], bounds, &took);
    }
    let mut family = out.family(&declared::FAILURES);
    for (reason, count) in metrics.failures().filter(|(_, count)| *count > 0) {
        family.sample(&[reason], count);
    }
}

/// Writes what was counted by upstream and server.
fn upstreams(metrics: &Metrics, bounds: &Bounds, servers: &Servers, out: &mut Exposition) {
    let attempts = |index: usize| metrics.attempts(index);
    let mut family = out.family(&declared::UPSTREAM_RESPONSES);
    for (upstream, server) in servers.members() {
        for (class, count) in CLASSES.iter().zip(attempts(server.index).0).filter(|(_, count)| *count > 0) {
            family.sample(&[&upstream.config.name, server.name(), class], count);
        }
    }
    let mut family = out.family(&declared::UPSTREAM_FAILURES);
    for (upstream, server) in servers.members() {
        let kinds = AttemptFailure::NAMES.iter().zip(attempts(server.index).1);
        for (kind, count) in kinds.filter(|(_, count)| *count > 0) {
            family.sample(&[&upstream.config.name, server.name(), kind], count);
        }
    }
    let mut family = out.family(&declared::UPSTREAM_RETRIES);
    for upstream in &servers.upstreams {
        family.sample(&[&upstream.config.name], metrics.retries(upstream.index));
    }
    let mut family = out.family(&declared::UPSTREAM_DURATION);
    for upstream in &servers.upstreams {
        let took = metrics.responses_took(upstream.index);
        family.histogram(&[&upstream.config.name], bounds, &took);
    }
}

/// Writes the counters and gauges of each worker.
fn workers(metrics: &Metrics, out: &mut Exposition) {
    let numbers: Vec<_> = (0..metrics.workers.len()).map(|number| number.to_string()).collect();
    let workers = || numbers.iter().zip(metrics.workers.iter().map(|worker| worker.of_worker()));
    let mut family = out.family(&declared::ACCEPTED);
    workers().for_each(|(number, [accepted, ..])| family.sample(&[number], accepted));
    let mut family = out.family(&declared::TASKS);
    workers().for_each(|(number, [_, running, _])| family.sample(&[number], running));
    let mut family = out.family(&declared::LAG);
    workers().for_each(|(number, [_, _, lag])| family.sample(&[number], seconds(lag)));
    let mut family = out.family(&declared::HANDSHAKES);
    for (version, count) in ["1.2", "1.3"].iter().zip(metrics.handshakes()).filter(|(_, count)| *count > 0) {
        family.sample(&[version], count);
    }
}

/// Writes the current state of servers. A slot without a server is left out.
fn servers(operated: &Operated, out: &mut Exposition) {
    let (servers, metrics) = (operated.servers, operated.metrics);
    let members = || servers.members().filter(|(_, server)| !server.name().is_empty());
    let mut family = out.family(&declared::UPSTREAM_WAITING);
    for upstream in &servers.upstreams {
        family.sample(&[&upstream.config.name], upstream.waiting());
    }
    let mut family = out.family(&declared::UPSTREAM_ACTIVE);
    for upstream in &servers.upstreams {
        family.sample(&[&upstream.config.name], upstream.active());
    }
    let mut family = out.family(&declared::UPSTREAM_PANICKING);
    for upstream in &servers.upstreams {
        family.sample(&[&upstream.config.name], u8::from(upstream.is_panicking()));
    }
    let mut family = out.family(&declared::SERVER_HEALTHY);
    for (upstream, server) in members() {
        family.sample(&[&upstream.config.name, server.name()], u8::from(upstream.is_healthy(server)));
    }
    let mut family = out.family(&declared::SERVER_EJECTED);
    for (upstream, server) in members() {
        family.sample(&[&upstream.config.name, server.name()], u8::from(upstream.is_ejected(server)));
    }
    let mut family = out.family(&declared::SERVER_ACTIVE);
    for (upstream, server) in members() {
        family.sample(&[&upstream.config.name, server.name()], server.load.active());
    }
    if let Some(metrics) = metrics {
        let mut family = out.family(&declared::SERVER_CONNECTIONS);
        for (upstream, server) in members() {
            for (state, count) in ["active", "idle"].iter().zip(metrics.connections(server.index)) {
                family.sample(&[&upstream.config.name, server.name(), state], count);
            }
        }
    }
    let mut family = out.family(&declared::SERVER_WEIGHT);
    for (upstream, server) in members() {
        family.sample(&[&upstream.config.name, server.name()], server.weight());
    }
    if operated.admin.servers {
        let mut family = out.family(&declared::SERVER_DRAINED);
        for (upstream, server) in members() {
            family.sample(&[&upstream.config.name, server.name()], u8::from(server.is_drained()));
        }
    }
}

fn caches(stores: &[CacheStore], out: &mut Exposition) {
    let all: Vec<_> = stores.iter().map(|store| (&*store.name, store.figures())).collect();
    let mut family = out.family(&declared::CACHE_REQUESTS);
    for (name, figures) in &all {
        figures.requests.named().into_iter().for_each(|(word, count)| family.sample(&[name, word], count));
    }
    let mut family = out.family(&declared::CACHE_STORED);
    all.iter().for_each(|(name, figures)| family.sample(&[name], figures.stored));
    let mut family = out.family(&declared::CACHE_EVICTED);
    for (name, figures) in &all {
        family.sample(&[name, "memory"], figures.evicted);
        family.sample(&[name, "disk"], figures.disk_evicted);
    }
    let mut family = out.family(&declared::CACHE_ENTRIES);
    all.iter().for_each(|(name, figures)| family.sample(&[name], figures.entries));
    let mut family = out.family(&declared::CACHE_BYTES);
    for (name, figures) in &all {
        family.sample(&[name, "memory"], figures.bytes);
        family.sample(&[name, "disk"], figures.disk_bytes);
    }
    let mut family = out.family(&declared::CACHE_CAPACITY);
    all.iter().for_each(|(name, figures)| family.sample(&[name], figures.capacity));
    let mut family = out.family(&declared::CACHE_FETCHING);
    all.iter().for_each(|(name, figures)| family.sample(&[name], figures.fetching));
}

/// Writes the expiry of certificates by `tls` and name; of several with one name, the earliest.
fn certificates(served: &[ServedCertificate], out: &mut Exposition) {
    let mut soonest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for certificate in served {
        let (Some(name), Some(expires)) = (certificate.names.first(), certificate.expires()) else { continue };
        let known = soonest.entry((certificate.tls, name)).or_insert(expires);
        *known = expires.min(*known);
    }
    let mut family = out.family(&declared::CERTIFICATE);
    for ((tls, name), expires) in soonest {
        family.sample(&[tls, name], expires);
    }
}

fn of_process(process: &OwnProcess, out: &mut Exposition) {
    let usage = process.now();
    out.family(&declared::CPU).sample(&[], seconds(usage.cpu));
    let known = [
        (&declared::RESIDENT, usage.resident),
        (&declared::VIRTUAL, usage.virtual_memory),
        (&declared::OPEN_FDS, usage.open_fds),
        (&declared::MAX_FDS, usage.max_fds),
        (&declared::START, Some(usage.began)),
    ];
    for (metric, value) in known.into_iter().filter_map(|(metric, value)| Some((metric, value?))) {
        out.family(metric).sample(&[], value);
    }
}
