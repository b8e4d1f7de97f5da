//! The status of the proxy as JSON ([`Snapshots`]): totals that only grow, so that a client derives rates and percentiles from two
//! snapshots.
//!
//! Its schema is documented in docs/observability.md; [`VERSION`] is raised when a member changes its meaning or is removed. Its size is
//! bounded: of many routes, the busiest are listed, and of many servers, the unhealthy ones first, with the number of those left out.

mod upstreams;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;

use self::upstreams::OfUpstream;
use super::Operated;
use super::members::Members;
use super::process::OwnProcess;
use super::stores::{self, OfStore};
use crate::metrics::CLASSES;
use crate::metrics::counters::Metrics;
use crate::metrics::sums;
use crate::net::expiry::ServedCertificate;
use crate::observe::recent::recent;
use crate::protocol::date::Moment;
use crate::protocol::escape;
use crate::worker::StopSignal;

/// The version of the schema.
const VERSION: u32 = 1;

/// How many routes are listed.
const MOST_ROUTES: usize = 200;

/// How many certificates are listed.
const MOST_CERTIFICATES: usize = 200;

/// How many names of a certificate are listed.
const MOST_NAMES: usize = 20;

/// How long a snapshot is used again: clients that request it at about the same time share one.
const FRESH: Duration = Duration::from_millis(900);

/// Makes snapshots on request.
pub(super) struct Snapshots {
    operated: Rc<Operated>,
    process: OwnProcess,
    /// When the last snapshot was made, and the snapshot as an event.
    last: RefCell<Option<(Instant, Bytes)>>,
}

/// The beginning and the end of an event.
const EVENT: (&str, &str) = ("retry: 500\ndata: ", "\n\n");

impl Snapshots {
    pub(super) fn new(operated: Rc<Operated>, process: OwnProcess) -> Snapshots {
        Snapshots { operated, process, last: RefCell::default() }
    }

    /// Returns a snapshot as a server-sent event.
    pub(super) fn event(&self) -> Bytes {
        let now = Instant::now();
        let mut last = self.last.borrow_mut();
        if let Some((made, event)) = &*last
            && now.saturating_duration_since(*made) < FRESH
        {
            return event.clone();
        }
        // All of it can be written as JSON.
        let json = serde_json::to_string(&Status::new(&self.operated, &self.process)).unwrap_or_default();
        let event = Bytes::from([EVENT.0, &json, EVENT.1].concat());
        *last = Some((now, event.clone()));
        event
    }

    /// Returns a snapshot as JSON.
    pub(super) fn json(&self) -> Bytes {
        let event = self.event();
        // One line end is kept.
        event.slice(EVENT.0.len()..event.len() - 1)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Status<'a> {
    version: u32,
    /// The time of the snapshot, in seconds since 1970.
    time: f64,
    process: OfProcess<'a>,
    /// The upper bounds of the buckets of all histograms, in seconds; the last bucket has none.
    buckets: Vec<f64>,
    sites: Vec<OfSite<'a>>,
    routes_left_out: usize,
    upstreams: Vec<OfUpstream<'a>>,
    upstreams_left_out: usize,
    servers_left_out: usize,
    caches: Vec<OfStore<'a>>,
    certificates: Vec<OfCertificate>,
    certificates_left_out: usize,
    failures: Vec<OfReason>,
    notices: Vec<OfNotice>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct OfProcess<'a> {
    version: &'a str,
    site: &'a str,
    digest: &'a str,
    /// `running`, `draining` or `stopping`.
    state: &'static str,
    /// When the process began, in seconds since 1970.
    began: u64,
    workers: usize,
    /// How late the last timer of the latest worker was, in seconds.
    lag: f64,
    connections: u64,
    accepted: u64,
    tasks: u64,
    client_memory_bytes: u64,
    cpu_seconds: f64,
    resident_bytes: Option<u64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
}

/// A site with its routes; the site without a name has the requests that matched no route.
#[derive(Serialize)]
struct OfSite<'a> {
    name: &'a str,
    routes: Vec<OfRoute<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct OfRoute<'a> {
    pattern: &'a str,
    /// How many requests, by the class of the status.
    requests: Members<u64>,
    response_bytes: u64,
    duration: OfHistogram,
    first_byte: OfHistogram,
}

/// The count of each bucket by itself, and the sum in seconds.
#[derive(Serialize)]
struct OfHistogram {
    counts: Vec<u64>,
    sum: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct OfCertificate {
    tls: &'static str,
    names: Vec<String>,
    names_left_out: usize,
    /// The expiry in seconds since 1970; `null` while there is no certificate.
    not_after: Option<u64>,
    /// The days until the expiry; negative after it.
    days_left: Option<i64>,
}

#[derive(Serialize)]
struct OfReason {
    reason: &'static str,
    count: u64,
}

#[derive(Serialize)]
struct OfNotice {
    time: String,
    text: String,
}

impl<'a> Status<'a> {
    fn new(operated: &'a Operated, process: &'a OwnProcess) -> Status<'a> {
        let metrics = operated.metrics;
        let (sites, routes_left_out) = metrics.map(sites).unwrap_or_default();
        let listed = upstreams::list(operated.servers, metrics);
        let (certificates, certificates_left_out) = certificates(operated);
        let failures = metrics.into_iter().flat_map(Metrics::failures).filter(|(_, count)| *count > 0);
        Status {
            version: VERSION,
            time: Moment::now().0 as f64 / 1000.0,
            process: OfProcess::new(operated, process),
            buckets: metrics.into_iter().flat_map(|metrics| metrics.buckets).map(|bound| seconds(*bound)).collect(),
            sites,
            routes_left_out,
            upstreams: listed.upstreams,
            upstreams_left_out: listed.upstreams_left_out,
            servers_left_out: listed.servers_left_out,
            caches: stores::list(operated.stores),
            certificates,
            certificates_left_out,
            failures: failures.map(|(reason, count)| OfReason { reason, count }).collect(),
            notices: notices(),
        }
    }
}

impl<'a> OfProcess<'a> {
    fn new(operated: &'a Operated, process: &OwnProcess) -> OfProcess<'a> {
        let (usage, site) = (process.now(), operated.site);
        let workers: Vec<_> =
            operated.metrics.iter().flat_map(|metrics| &metrics.workers).map(|worker| worker.of_worker()).collect();
        OfProcess {
            version: env!("CARGO_PKG_VERSION"),
            site: site.name,
            digest: site.digest.get(..12).unwrap_or(site.digest),
            state: match *operated.stop.borrow() {
                StopSignal::No => "running",
                StopSignal::Drain => "draining",
                StopSignal::Now => "stopping",
            },
            began: usage.began,
            workers: workers.len(),
            lag: seconds(workers.iter().map(|[_, _, lag]| *lag).max().unwrap_or(0)),
            connections: operated.budget.open() as u64,
            accepted: workers.iter().map(|[accepted, ..]| accepted).sum(),
            tasks: workers.iter().map(|[_, running, _]| running).sum(),
            client_memory_bytes: operated.memory.in_use() as u64,
            cpu_seconds: seconds(usage.cpu),
            resident_bytes: usage.resident,
            open_fds: usage.open_fds,
            max_fds: usage.max_fds,
        }
    }
}

/// Returns the busiest routes by site, and how many were left out.
fn sites(metrics: &Metrics) -> (Vec<OfSite<'_>>, usize) {
    let count = |index: usize| metrics.requests(index).iter().fold(0, |sum: u64, count| sum.wrapping_add(*count));
    let mut busiest: Vec<(usize, u64)> = (0..metrics.series.len()).map(|index| (index, count(index))).collect();
    busiest.sort_unstable_by_key(|&(index, count)| (std::cmp::Reverse(count), index));
    let left_out = busiest.len().saturating_sub(MOST_ROUTES);
    busiest.truncate(MOST_ROUTES);
    busiest.sort_unstable();
    let mut sites: Vec<OfSite<'_>> = Vec::new();
    for (index, _) in busiest {
        let Some(series) = metrics.series.get(index) else { continue };
        let route = OfRoute {
            pattern: series.route,
            requests: by_class(metrics.requests(index)),
            response_bytes: metrics.bytes(index),
            duration: metrics.durations(index).into(),
            first_byte: metrics.first_bytes(index).into(),
        };
        match sites.last_mut().filter(|site| site.name == series.site) {
            Some(site) => site.routes.push(route),
            None => sites.push(OfSite { name: &series.site, routes: vec![route] }),
        }
    }
    (sites, left_out)
}

/// Returns the certificates that expire first, and how many were left out.
fn certificates(operated: &Operated) -> (Vec<OfCertificate>, usize) {
    const DAY: i64 = 24 * 3600;
    let mut served = operated.engine.certificates(operated.site);
    let left_out = served.len().saturating_sub(MOST_CERTIFICATES);
    let expires = |certificate: &ServedCertificate| certificate.not_after.unwrap_or(UNIX_EPOCH);
    served.sort_unstable_by(|one, other| expires(one).cmp(&expires(other)).then_with(|| one.names.cmp(&other.names)));
    served.truncate(MOST_CERTIFICATES);
    let now = i64::try_from(Moment::now().0 / 1000).unwrap_or(i64::MAX);
    let listed = served.into_iter().map(|mut certificate| {
        let names_left_out = certificate.names.len().saturating_sub(MOST_NAMES);
        certificate.names.truncate(MOST_NAMES);
        let expires = certificate.expires();
        let left = |expires: u64| i64::try_from(expires).unwrap_or(i64::MAX).saturating_sub(now).div_euclid(DAY);
        OfCertificate {
            tls: certificate.tls,
            not_after: expires,
            days_left: expires.map(left),
            names: certificate.names,
            names_left_out,
        }
    });
    (listed.collect(), left_out)
}

/// Returns the kept notices, the newest first.
fn notices() -> Vec<OfNotice> {
    let notices = recent().into_iter().rev();
    notices
        .map(|notice| OfNotice {
            time: notice.time.rfc3339().to_string(),
            text: escape::shown(notice.text.as_bytes()).into_owned(),
        })
        .collect()
}

/// Returns the counts that are not 0.
fn by_class(counts: [u64; CLASSES.len()]) -> Members<u64> {
    CLASSES.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

impl From<sums::Histogram> for OfHistogram {
    fn from(histogram: sums::Histogram) -> OfHistogram {
        OfHistogram { counts: histogram.buckets, sum: seconds(histogram.sum) }
    }
}
