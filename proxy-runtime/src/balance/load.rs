//! The load of a server: its number of exchanges, and its latency ([`Load`]). Lock-free; shared by all workers.
//!
//! The latency is a moving average that rises at once and falls slowly ("peak EWMA", as in Twitter's Finagle): a server
//! that stalls is noticed with its first late response, and recovers over ten seconds.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::atomic::AtomicU32;

/// The load of a server.
#[derive(Debug, Default)]
pub struct Load {
    /// The current number of exchanges.
    active: AtomicU32,
    /// Its latency.
    pub latency: Latency,
}

impl Load {
    /// Returns the current number of exchanges.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Counts one more exchange, unless there are `limit` already. It never counts temporarily: another worker that saw that would wait for
    /// the end of an exchange that has not begun.
    pub fn begin(&self, limit: u64) -> bool {
        if limit == u64::MAX {
            self.active.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let more = |active: u32| (u64::from(active) < limit).then(|| active + 1);
        self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts the end of an exchange.
    pub fn end(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The time in nanoseconds in which an old latency decays to 1/e.
const FADES: f64 = 10e9;

/// The latency of a server. Written without a lock: of two simultaneous updates, one may be lost.
#[derive(Debug, Default)]
pub struct Latency {
    /// The moving average in nanoseconds, as the bits of an `f64`.
    average: AtomicU64,
    /// When it was updated, in nanoseconds since the start.
    at: AtomicU64,
}

impl Latency {
    /// Records a response's latency; both in nanoseconds.
    pub fn observe(&self, took: u64, now: u64) {
        let took = took as f64;
        let faded = self.faded(now);
        let kept = if took > faded { took } else { faded + (took - faded) * (1.0 - self.fading(now)) };
        self.average.store(kept.to_bits(), Ordering::Relaxed);
        self.at.store(now, Ordering::Relaxed);
    }

    /// Resets the latency for another server in the same slot.
    pub fn reset(&self) {
        self.average.store(0, Ordering::Relaxed);
    }

    /// Returns the decayed average.
    pub(super) fn faded(&self, now: u64) -> f64 {
        f64::from_bits(self.average.load(Ordering::Relaxed)) * self.fading(now)
    }

    fn fading(&self, now: u64) -> f64 {
        (-(now.saturating_sub(self.at.load(Ordering::Relaxed)) as f64) / FADES).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_at_once_and_falls_slowly() {
        let latency = Latency::default();
        latency.observe(1_000_000, 0);
        latency.observe(50_000_000, 1_000);
        assert!((latency.faded(1_000) - 50e6).abs() < 1.0);
        latency.observe(1_000_000, 2_000);
        assert!(latency.faded(2_000) > 49e6);
        latency.observe(1_000_000, 60_000_000_000);
        assert!(latency.faded(60_000_000_000) < 1.2e6);
    }
}
