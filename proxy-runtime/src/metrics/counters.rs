//! The counters of workers ([`Counters`]): each worker has its own, which only it writes and any thread may read
//! (`sums`).
//!
//! Counting is a load and a store of a number in the worker's cache, without a lock or a read-modify-write operation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::CLASSES;
use super::exemplars::{Exemplar, Exemplars};
use crate::context::facts::Timestamp;
use crate::failure::Failure;
use crate::protocol::trace_context::TraceId;
use crate::router::route::RouteId;
use crate::site::{Site, TlsVersion};

/// The counters of all workers.
#[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "read by `admin` alone"))]
pub(crate) struct Metrics {
    pub(crate) workers: Box<[Counters]>,
    /// The series of requests; the last one is for requests without a route.
    pub(crate) series: Box<[Series]>,
    /// The upper bounds of histogram buckets, in microseconds.
    pub(crate) buckets: &'static [u64],
}

/// The series of the routes of a site that have the same pattern and differ by other matchers.
#[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "read by `admin` alone"))]
pub(crate) struct Series {
    pub(crate) site: String,
    pub(crate) route: &'static str,
}

/// The counters of one worker.
pub(crate) struct Counters {
    buckets: &'static [u64],
    /// The index of each route's series.
    series: &'static [u32],
    pub(super) requests: Rows,
    pub(super) upstreams: Rows,
    pub(super) servers: Rows,
    pub(super) failures: Box<[AtomicU64]>,
    pub(super) handshakes: [AtomicU64; 2],
    pub(super) accepted: AtomicU64,
    pub(super) running: AtomicU64,
    pub(super) lag: AtomicU64,
    pub(super) exemplars: Exemplars,
}

/// A table of counters.
pub(super) struct Rows {
    width: usize,
    cells: Box<[AtomicU64]>,
}

impl Rows {
    fn new(rows: usize, width: usize) -> Rows {
        Rows { width, cells: (0..rows * width).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(super) fn row(&self, row: usize) -> &[AtomicU64] {
        self.cells.get(row * self.width..(row + 1) * self.width).unwrap_or_default()
    }
}

/// Adds to a counter that only this thread writes.
fn add(cell: Option<&AtomicU64>, more: u64) {
    if let Some(cell) = cell {
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }
}

/// A completed exchange.
pub(crate) struct Exchange {
    pub(crate) route: Option<RouteId>,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    /// The time until the response's head was ready.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) failure: Option<Failure>,
    /// The trace of the exchange, if it is exported.
    pub(crate) trace: Option<TraceId>,
}

/// The kind of an attempt without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptFailure {
    Unreachable,
    Reset,
    Timeout,
    Unprocessed,
    Other,
}

impl AttemptFailure {
    /// The values of the label `kind`, in the order of the variants.
    pub(crate) const NAMES: [&str; 5] = ["unreachable", "reset", "timeout", "unprocessed", "other"];
}

impl Metrics {
    /// Creates the counters for all workers, servers and upstreams.
    pub(crate) fn new(site: &'static Site, buckets: &'static [u64], workers: usize, servers: usize) -> Metrics {
        let (series, of_routes) = series(site);
        let of_routes: &'static [u32] = Vec::leak(of_routes);
        let counters = || Counters {
            buckets,
            series: of_routes,
            requests: Rows::new(series.len(), CLASSES.len() + 1 + 2 * (buckets.len() + 2)),
            upstreams: Rows::new(site.upstreams.len(), 1 + buckets.len() + 2),
            servers: Rows::new(servers, CONNECTIONS + 2),
            failures: Failure::REASONS.iter().map(|_| AtomicU64::new(0)).collect(),
            handshakes: Default::default(),
            accepted: AtomicU64::new(0),
            running: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            exemplars: Exemplars::default(),
        };
        Metrics { workers: (0..workers).map(|_| counters()).collect(), series: series.into(), buckets }
    }
}

/// Returns the series of requests, and the index of each route's series.
fn series(site: &Site) -> (Vec<Series>, Vec<u32>) {
    let (mut series, mut known, mut of_routes) = (Vec::new(), HashMap::new(), Vec::new());
    for (index, host) in site.sites.iter().enumerate() {
        let end = site.sites.get(index + 1).map_or(site.routes.len(), |next| next.first_route as usize);
        for route in of_routes.len()..end {
            let pattern = site.routes.get(route as RouteId).map_or("", |route| route.pattern);
            of_routes.push(*known.entry((index, pattern)).or_insert_with(|| {
                series.push(Series { site: host.name.to_string(), route: pattern });
                series.len() as u32 - 1
            }));
        }
    }
    series.push(Series { site: String::new(), route: "" });
    (series, of_routes)
}

/// The index of the connections in a row of servers, after the classes and kinds of failures: active, then idle.
pub(super) const CONNECTIONS: usize = CLASSES.len() + AttemptFailure::NAMES.len();

/// The index of the bytes in a row of requests: after the classes. Two histograms follow.
pub(super) const BYTES: usize = CLASSES.len();
pub(super) const HISTOGRAMS: usize = BYTES + 1;

impl Counters {
    /// Counts a completed exchange.
    pub(crate) fn exchange(&self, exchange: &Exchange) {
        let none = self.requests.cells.len() / self.requests.width - 1;
        let series = exchange.route.and_then(|route| self.series.get(route as usize));
        let index = series.map_or(none, |series| *series as usize);
        let row = self.requests.row(index);
        add(row.get(class(exchange.status)), 1);
        add(row.get(BYTES), exchange.bytes);
        let (took, first_byte) = row.get(HISTOGRAMS..).unwrap_or_default().split_at(self.buckets.len() + 2);
        self.observe(took, exchange.took);
        if let Some(until) = exchange.first_byte {
            self.observe(first_byte, until);
        }
        if let Some(trace) = exchange.trace {
            let values = [Some(exchange.took), exchange.first_byte];
            for (histogram, value) in values.into_iter().enumerate().filter_map(|(at, value)| Some((at, value?))) {
                let place = (index, histogram, self.bucket(micros(value)));
                self.exemplars.set(place, Exemplar { trace, value, at: Timestamp::now() });
            }
        }
        if let Some(failure) = exchange.failure {
            add(self.failures.get(failure.index()), 1);
        }
    }

    /// Counts an attempt at a server.
    pub(crate) fn attempt(
        &self,
        (upstream, server): (usize, usize),
        outcome: Result<u16, AttemptFailure>,
        took: Duration,
    ) {
        let row = self.servers.row(server);
        match outcome {
            Ok(status) => {
                add(row.get(class(status)), 1);
                self.observe(self.upstreams.row(upstream).get(1..).unwrap_or_default(), took);
            }
            Err(kind) => add(row.get(CLASSES.len() + kind as usize), 1),
        }
    }

    /// Counts a retry.
    pub(crate) fn retry(&self, upstream: usize) {
        add(self.upstreams.row(upstream).first(), 1);
    }

    /// Sets the number of connections to a server, active and idle.
    pub(crate) fn connections(&self, server: usize, active: usize, idle: usize) {
        let cells = self.servers.row(server).get(CONNECTIONS..).unwrap_or_default();
        for (cell, count) in cells.iter().zip([active, idle]) {
            cell.store(count as u64, Ordering::Relaxed);
        }
    }

    /// Counts an accepted connection.
    pub(crate) fn accepted(&self) {
        add(Some(&self.accepted), 1);
    }

    /// Counts a successful handshake.
    pub(crate) fn handshake(&self, version: TlsVersion) {
        add(self.handshakes.get(usize::from(version == TlsVersion::V13)), 1);
    }

    /// Sets the number of running exchanges and connections.
    pub(crate) fn running(&self, running: usize) {
        self.running.store(running as u64, Ordering::Relaxed);
    }

    /// Sets the lag of the last timer.
    pub(crate) fn late(&self, by: Duration) {
        self.lag.store(micros(by), Ordering::Relaxed);
    }

    /// Returns the bucket of a value; the last bucket is for values above all bounds.
    fn bucket(&self, value: u64) -> usize {
        self.buckets.iter().position(|bound| value <= *bound).unwrap_or(self.buckets.len())
    }

    /// Adds a value to a histogram: to its bucket and to the sum.
    fn observe(&self, cells: &[AtomicU64], value: Duration) {
        let value = micros(value);
        add(cells.get(self.bucket(value)), 1);
        add(cells.get(self.buckets.len() + 1), value);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the class of a status in [`CLASSES`].
fn class(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    }
}
