//! The sums of all workers' counters ([`Metrics::requests`] and so on). A sum waits for no worker, and may miss what is counted
//! meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use super::CLASSES;
use super::counters::{AttemptFailure, BYTES, CONNECTIONS, Counters, HISTOGRAMS, Metrics};
use super::exemplars::Exemplar;
use crate::failure::Failure;

/// A histogram: the number of values per bucket (not cumulative), with the values above all bounds last, and their sum
/// in microseconds.
pub(crate) struct Histogram {
    pub(crate) buckets: Vec<u64>,
    pub(crate) sum: u64,
    /// The exemplar of each bucket, if there is one.
    pub(crate) exemplars: Vec<Option<Exemplar>>,
}

impl Metrics {
    /// Returns the sum of a counter over all workers.
    fn sum(&self, cell: impl Fn(&Counters) -> Option<&AtomicU64>) -> u64 {
        self.workers.iter().filter_map(cell).map(|cell| cell.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Returns the requests of a series by class.
    pub(crate) fn requests(&self, series: usize) -> [u64; CLASSES.len()] {
        std::array::from_fn(|class| self.sum(|of| of.requests.row(series).get(class)))
    }

    /// Returns the bytes of a series.
    pub(crate) fn bytes(&self, series: usize) -> u64 {
        self.sum(|of| of.requests.row(series).get(BYTES))
    }

    /// Returns the durations of a series' requests, to the end of the response.
    pub(crate) fn durations(&self, series: usize) -> Histogram {
        let histogram = self.histogram(HISTOGRAMS, |of| of.requests.row(series));
        Histogram { exemplars: self.exemplars(series, 0), ..histogram }
    }

    /// Returns the durations of a series' requests, to the head of the response.
    pub(crate) fn first_bytes(&self, series: usize) -> Histogram {
        let histogram = self.histogram(HISTOGRAMS + self.buckets.len() + 2, |of| of.requests.row(series));
        Histogram { exemplars: self.exemplars(series, 1), ..histogram }
    }

    /// Returns the number of an upstream's retries.
    pub(crate) fn retries(&self, upstream: usize) -> u64 {
        self.sum(|of| of.upstreams.row(upstream).first())
    }

    /// Returns the response times of an upstream's servers.
    pub(crate) fn responses_took(&self, upstream: usize) -> Histogram {
        self.histogram(1, |of| of.upstreams.row(upstream))
    }

    /// Returns the responses of a server by class, and its failures by kind.
    pub(crate) fn attempts(&self, server: usize) -> ([u64; CLASSES.len()], [u64; AttemptFailure::NAMES.len()]) {
        let cell = |at: usize| self.sum(|of| of.servers.row(server).get(at));
        (std::array::from_fn(cell), std::array::from_fn(|kind| cell(CLASSES.len() + kind)))
    }

    /// Returns the connections to a server: active and idle.
    pub(crate) fn connections(&self, server: usize) -> [u64; 2] {
        std::array::from_fn(|at| self.sum(|of| of.servers.row(server).get(CONNECTIONS + at)))
    }

    /// Returns the number of failures by reason.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = Failure::REASONS.iter().enumerate();
        reasons.map(|(index, reason)| (*reason, self.sum(|of| of.failures.get(index))))
    }

    /// Returns the handshakes by version: TLS 1.2, TLS 1.3.
    pub(crate) fn handshakes(&self) -> [u64; 2] {
        std::array::from_fn(|version| self.sum(|of| of.handshakes.get(version)))
    }

    fn histogram(&self, start: usize, row: impl Fn(&Counters) -> &[AtomicU64]) -> Histogram {
        let cell = |at: usize| self.sum(|of| row(of).get(start + at));
        let buckets = (0..=self.buckets.len()).map(cell).collect();
        Histogram { buckets, sum: cell(self.buckets.len() + 1), exemplars: Vec::new() }
    }

    /// Returns the last exemplar of each bucket of a series' first or second histogram.
    fn exemplars(&self, series: usize, histogram: usize) -> Vec<Option<Exemplar>> {
        let of =
            |bucket| self.workers.iter().filter_map(move |worker| worker.exemplars.get((series, histogram, bucket)));
        (0..=self.buckets.len()).map(|bucket| of(bucket).max_by_key(|exemplar| exemplar.at.0)).collect()
    }
}

impl Counters {
    /// Returns the accepted connections, the running exchanges, and the lag of the last timer in microseconds.
    pub(crate) fn of_worker(&self) -> [u64; 3] {
        [&self.accepted, &self.running, &self.lag].map(|cell| cell.load(Ordering::Relaxed))
    }
}
