//! The health of a server: results of checks ([`Health::checked`]), and of its exchanges ([`Health::failed`]).
//! Lock-free; times are arguments, in nanoseconds since the start.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// See above. A server is healthy until something says otherwise.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Checks say that it is not.
    unhealthy: AtomicBool,
    /// Checks in a row that say the other thing.
    against: AtomicU32,
    /// Exchanges in a row that failed.
    failures: AtomicU32,
    /// Until when it is ejected; 0 if it never was.
    ejected_until: AtomicU64,
    /// Ejections in a row.
    ejections: AtomicU32,
    /// It was ejected, and not asked since.
    away: AtomicBool,
    /// When checks found it healthy again; 0 if it always was.
    recovered: AtomicU64,
}

/// Ejections get longer up to so many doublings.
const DOUBLINGS: u32 = 4;

impl Health {
    /// Forgets all: there is another server in its place.
    pub(crate) fn reset(&self) {
        self.unhealthy.store(false, Ordering::Relaxed);
        for count in [&self.against, &self.failures, &self.ejections] {
            count.store(0, Ordering::Relaxed);
        }
        self.ejected_until.store(0, Ordering::Relaxed);
        self.recovered.store(0, Ordering::Relaxed);
        self.away.store(false, Ordering::Relaxed);
    }

    /// Whether it is to be asked.
    pub(crate) fn is_healthy(&self, now: u64) -> bool {
        !self.unhealthy.load(Ordering::Relaxed) && !self.is_ejected(now)
    }

    /// Whether exchanges have got it ejected.
    pub(crate) fn is_ejected(&self, now: u64) -> bool {
        now < self.ejected_until.load(Ordering::Relaxed)
    }

    /// Since when it has been back; `None` if it never was away.
    pub(crate) fn back_since(&self) -> Option<u64> {
        let since = self.recovered.load(Ordering::Relaxed).max(self.ejected_until.load(Ordering::Relaxed));
        (since > 0).then_some(since)
    }

    /// A check came out; whether that changes anything. Called by one task per server.
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

    /// An exchange succeeded; whether it is the first since an ejection.
    pub(crate) fn succeeded(&self) -> bool {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed)
    }

    /// An exchange failed; how many have in a row.
    pub(crate) fn failed(&self) -> u64 {
        u64::from(self.failures.fetch_add(1, Ordering::Relaxed)) + 1
    }

    /// Ejects it, for `base` nanoseconds the first time and twice as long each time after; for how long. `None` if it is
    /// ejected already.
    pub(crate) fn eject(&self, base: u64, now: u64) -> Option<u64> {
        let until = self.ejected_until.load(Ordering::Relaxed);
        if now < until {
            return None;
        }
        let before = self.ejections.load(Ordering::Relaxed);
        let length = |ejections: u32| base.saturating_mul(1 << (ejections - 1).min(DOUBLINGS));
        // As long as it was ejected last, it has done well.
        let ejections = if before > 0 && now - until < length(before) { before + 1 } else { 1 };
        let next = now.saturating_add(length(ejections));
        // Of several workers that see it fail at once, one ejects it.
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
    fn failures_are_counted_in_a_row() {
        let health = Health::default();
        assert_eq!((health.failed(), health.failed()), (1, 2));
        assert!(!health.succeeded());
        assert_eq!(health.failed(), 1);
        health.eject(10, 5);
        assert!(health.succeeded());
        assert!(!health.succeeded());
    }
}
