//! The health of a server: results of checks ([`Health::checked`]), and of its exchanges ([`Health::failed`]).
//! Lock-free; times are arguments, in nanoseconds since the start.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The health of a server, which is healthy until a check or an exchange fails.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// The checks say that it is unhealthy.
    unhealthy: AtomicBool,
    /// Consecutive checks that contradict this state.
    against: AtomicU32,
    /// Consecutive failed exchanges.
    failures: AtomicU32,
    /// The end of its ejection; 0 if it was never ejected.
    ejected_until: AtomicU64,
    /// Consecutive ejections.
    ejections: AtomicU32,
    /// The server was ejected, and has had no successful exchange since.
    away: AtomicBool,
    /// When checks found it healthy again, or an operator had it back; 0 if it was never away.
    recovered: AtomicU64,
}

/// The ejection time doubles at most this often.
const DOUBLINGS: u32 = 4;

impl Health {
    /// Resets the state for another server in the same slot.
    pub(crate) fn reset(&self) {
        self.unhealthy.store(false, Ordering::Relaxed);
        for count in [&self.against, &self.failures, &self.ejections] {
            count.store(0, Ordering::Relaxed);
        }
        self.ejected_until.store(0, Ordering::Relaxed);
        self.recovered.store(0, Ordering::Relaxed);
        self.away.store(false, Ordering::Relaxed);
    }

    /// Returns whether the server may receive requests.
    pub(crate) fn is_healthy(&self, now: u64) -> bool {
        !self.unhealthy.load(Ordering::Relaxed) && !self.is_ejected(now)
    }

    /// Returns whether failed exchanges have ejected it.
    pub(crate) fn is_ejected(&self, now: u64) -> bool {
        now < self.ejected_until.load(Ordering::Relaxed)
    }

    /// Returns when it recovered; `None` if it was never unhealthy.
    pub(crate) fn back_since(&self) -> Option<u64> {
        let since = self.recovered.load(Ordering::Relaxed).max(self.ejected_until.load(Ordering::Relaxed));
        (since > 0).then_some(since)
    }

    #[cfg(feature = "admin")]
    /// It gets requests again that an operator has kept from it.
    pub(super) fn returned(&self, now: u64) {
        self.recovered.store(now.max(1), Ordering::Relaxed);
    }

    /// Records a check; returns whether the health has changed. Called by one task per server.
    pub(crate) fn checked(&self, good: bool, (rise, fall): (u64, u64), now: u64) -> bool {
        if good != self.unhealthy.load(Ordering::Relaxed) {
            self.against.store(0, Ordering::Relaxed);
            return false;
        }
        let against = self.against.fetch_add(1, Ordering::Relaxed) + 1;
        if u64::from(against) < if good { rise } else { fall } {
            return false;
        }
        self.against.store(0, Ordering::Relaxed);
        if good {
            self.recovered.store(now.max(1), Ordering::Relaxed);
        }
        self.unhealthy.store(!good, Ordering::Relaxed);
        true
    }

    /// Records a successful exchange; returns whether it is the first since an ejection.
    pub(crate) fn succeeded(&self) -> bool {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed)
    }

    /// Records a failed exchange; returns the number of consecutive ones.
    pub(crate) fn failed(&self) -> u64 {
        u64::from(self.failures.fetch_add(1, Ordering::Relaxed)) + 1
    }

    /// Ejects the server, for `base` nanoseconds the first time and twice as long each further time; returns the
    /// duration. `None` if it is ejected already.
    pub(crate) fn eject(&self, base: u64, now: u64) -> Option<u64> {
        let until = self.ejected_until.load(Ordering::Relaxed);
        if now < until {
            return None;
        }
        let before = self.ejections.load(Ordering::Relaxed);
        let length = |ejections: u32| base.saturating_mul(1 << (ejections - 1).min(DOUBLINGS));
        // If it has worked for as long as its last ejection, the time starts at `base` again.
        let ejections = if before > 0 && now - until < length(before) { before + 1 } else { 1 };
        let next = now.saturating_add(length(ejections));
        // If several workers see it fail at once, one of them ejects it.
        self.ejected_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        self.ejections.store(ejections, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.away.store(true, Ordering::Relaxed);
        Some(next - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(checks: &str, expected: &str) {
        let health = Health::default();
        let seen: String = checks
            .chars()
            .map(|check| {
                health.checked(check == '+', (2, 3), 7);
                if health.is_healthy(8) { '+' } else { '-' }
            })
            .collect();
        assert_eq!(seen, expected, "{checks}");
    }

    #[test]
    fn rises_and_falls() {
        check("++", "++");
        check("---", "++-");
        check("--+---", "+++++-");
        check("---+-++", "++----+");
    }

    #[test]
    fn ejections_get_longer() {
        let health = Health::default();
        let mut now = 1;
        for expected in [10, 20, 40, 80, 160, 160] {
            assert_eq!(health.eject(10, now), Some(expected));
            assert_eq!(health.eject(10, now + 1), None);
            assert!(health.is_ejected(now + expected - 1) && health.is_healthy(now + expected));
            now += expected;
        }
        assert_eq!(health.eject(10, now + 160), Some(10));
    }

    #[test]
    fn consecutive_failures_are_counted() {
        let health = Health::default();
        assert_eq!((health.failed(), health.failed()), (1, 2));
        assert!(!health.succeeded());
        assert_eq!(health.failed(), 1);
        health.eject(10, 5);
        assert!(health.succeeded());
        assert!(!health.succeeded());
    }
}
