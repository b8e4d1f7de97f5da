//! What workers count ([`Counters`]): each has its own, which nobody else writes and anybody may read (`sums`).
//!
//! To count is a load and a store of a number that is in the worker's cache; there is no lock and no read-modify-write.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::CLASSES;
use crate::failure::Failure;
use crate::router::route::RouteId;
use crate::site::{Site, TlsVersion};

/// The counters of all workers.
#[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "read by `admin` alone"))]
pub(crate) struct Metrics {
    pub(crate) workers: Box<[Counters]>,
    /// What requests are counted by; the last is for those of no route.
    pub(crate) series: Box<[Series]>,
    /// Upper bounds of histograms' buckets, in microseconds.
    pub(crate) buckets: &'static [u64],
}

/// Routes of a site with one pattern, which are told apart by more than that: for people they are one.
#[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "read by `admin` alone"))]
pub(crate) struct Series {
    pub(crate) site: String,
    pub(crate) route: &'static str,
}

/// What one worker counts.
pub(crate) struct Counters {
    buckets: &'static [u64],
    /// The series of each route.
    series: &'static [u32],
    pub(super) requests: Rows,
    pub(super) upstreams: Rows,
    pub(super) servers: Rows,
    pub(super) failures: Box<[AtomicU64]>,
    pub(super) handshakes: [AtomicU64; 2],
    pub(super) accepted: AtomicU64,
    pub(super) running: AtomicU64,
    pub(super) lag: AtomicU64,
}

/// Rows of numbers, one for each of something.
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

/// Adds to a number that nobody else writes.
fn add(cell: Option<&AtomicU64>, more: u64) {
    if let Some(cell) = cell {
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }
}

/// An exchange that is over.
pub(crate) struct Exchange {
    pub(crate) route: Option<RouteId>,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    /// Until there was the head of a response.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) failure: Option<Failure>,
}

/// Why an attempt at a server got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptFailure {
    Unreachable,
    Reset,
    Timeout,
    Unprocessed,
    Other,
}

impl AttemptFailure {
    /// For the label `kind`, in the order of the variants.
    pub(crate) const NAMES: [&str; 5] = ["unreachable", "reset", "timeout", "unprocessed", "other"];
}

impl Metrics {
    /// For so many workers, servers and upstreams.
    pub(crate) fn new(site: &'static Site, buckets: &'static [u64], workers: usize, servers: usize) -> Metrics {
        let (series, of_routes) = series(site);
        let of_routes: &'static [u32] = Vec::leak(of_routes);
        let counters = || Counters {
            buckets,
            series: of_routes,
            requests: Rows::new(series.len(), CLASSES.len() + 1 + 2 * (buckets.len() + 2)),
            upstreams: Rows::new(site.upstreams.len(), 1 + buckets.len() + 2),
            servers: Rows::new(servers, CLASSES.len() + AttemptFailure::NAMES.len()),
            failures: Failure::REASONS.iter().map(|_| AtomicU64::new(0)).collect(),
            handshakes: Default::default(),
            accepted: AtomicU64::new(0),
            running: AtomicU64::new(0),
            lag: AtomicU64::new(0),
        };
        Metrics { workers: (0..workers).map(|_| counters()).collect(), series: series.into(), buckets }
    }
}

/// What requests are counted by, and which of these each route is.
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

/// Where the bytes are in a row of requests: behind the classes. Two histograms follow.
pub(super) const BYTES: usize = CLASSES.len();
pub(super) const HISTOGRAMS: usize = BYTES + 1;

impl Counters {
    /// Counts an exchange that is over.
    pub(crate) fn exchange(&self, exchange: &Exchange) {
        let none = self.requests.cells.len() / self.requests.width - 1;
        let series = exchange.route.and_then(|route| self.series.get(route as usize));
        let row = self.requests.row(series.map_or(none, |series| *series as usize));
        add(row.get(class(exchange.status)), 1);
        add(row.get(BYTES), exchange.bytes);
        let (took, first_byte) = row.get(HISTOGRAMS..).unwrap_or_default().split_at(self.buckets.len() + 2);
        self.observe(took, exchange.took);
        if let Some(until) = exchange.first_byte {
            self.observe(first_byte, until);
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

    /// Counts that an upstream is asked again.
    pub(crate) fn retry(&self, upstream: usize) {
        add(self.upstreams.row(upstream).first(), 1);
    }

    /// Counts a connection.
    pub(crate) fn accepted(&self) {
        add(Some(&self.accepted), 1);
    }

    /// Counts a handshake that succeeded.
    pub(crate) fn handshake(&self, version: TlsVersion) {
        add(self.handshakes.get(usize::from(version == TlsVersion::V13)), 1);
    }

    /// Says how much is running.
    pub(crate) fn running(&self, running: usize) {
        self.running.store(running as u64, Ordering::Relaxed);
    }

    /// Says how late a timer was.
    pub(crate) fn late(&self, by: Duration) {
        self.lag.store(micros(by), Ordering::Relaxed);
    }

    /// Counts a value in a histogram: its buckets, what is above all, the sum.
    fn observe(&self, cells: &[AtomicU64], value: Duration) {
        let value = micros(value);
        let bucket = self.buckets.iter().position(|bound| value <= *bound).unwrap_or(self.buckets.len());
        add(cells.get(bucket), 1);
        add(cells.get(self.buckets.len() + 1), value);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The class of a status in [`CLASSES`].
fn class(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    }
}
