//! Decides when to order a certificate: [`Schedule`] and [`renewal`]. Pure; the time is an argument.
//!
//! Renewals use the wall clock, as certificates do; pauses between orders use the monotonic clock, so that setting a clock
//! does not end one. A pause that outlives the process ([`Pause`]) can only use the wall clock, and is never longer than it was in
//! the beginning.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The first pause after a failure; each consecutive failure doubles it, up to the longest.
const PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// The longest pause that an authority can ask for: the longest limit of Let's Encrypt is per week.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// Certificates with a shorter lifetime are renewed after half of it, others after two thirds.
const SHORT_LIVED: Duration = Duration::from_secs(10 * 24 * 3600);

/// A suggested window delays a renewal to this part of the lifetime at most.
const LATEST: f64 = 0.95;

/// The current time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) wall: SystemTime,
    pub(crate) monotonic: Instant,
}

impl Now {
    pub(crate) fn read() -> Now {
        Now { wall: SystemTime::now(), monotonic: Instant::now() }
    }
}

/// A pause, as stored in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    /// Consecutive orders without a usable certificate.
    pub(crate) failures: u32,
    /// Its end, in seconds since 1970.
    pub(crate) until: u64,
    /// Its length in seconds.
    pub(crate) wait: u64,
}

/// The schedule of one certificate's orders.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Consecutive orders that have failed, or whose certificate was soon ordered again.
    failures: u32,
    not_before: Instant,
    /// When the last order has succeeded, and the lifetime of its certificate.
    settled: Option<(Instant, Duration)>,
}

impl Schedule {
    /// Restores a schedule from a stored pause.
    pub(crate) fn restored(kept: Option<Pause>, now: Now) -> Schedule {
        let Some(Pause { failures, until, wait }) = kept else {
            return Schedule { failures: 0, not_before: now.monotonic, settled: None };
        };
        let wait = Duration::from_secs(wait).min(LONGEST_RETRY_AFTER);
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(until)).unwrap_or(now.wall + wait);
        let left = until.duration_since(now.wall).unwrap_or_default().min(wait);
        Schedule { failures, not_before: now.monotonic + left, settled: None }
    }

    /// Consecutive orders without a usable certificate, including the current one.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns whether the last order has succeeded.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    /// Returns how long to wait before ordering a certificate that is due at `due`.
    pub(crate) fn wait(&self, due: SystemTime, now: Now) -> Duration {
        due.duration_since(now.wall).unwrap_or_default().max(self.pause(now))
    }

    /// Returns the rest of the pause.
    pub(crate) fn pause(&self, now: Now) -> Duration {
        self.not_before.saturating_duration_since(now.monotonic)
    }

    /// Begins an order. It counts as failed until it has succeeded, in case the process ends meanwhile.
    pub(crate) fn began(&mut self, now: Now, luck: f64) -> Pause {
        // If a certificate is ordered again within a quarter of its lifetime, because a clock is wrong or the authority wants it, the last order
        // does not count as a success.
        if self.settled.take().is_some_and(|(at, life)| now.monotonic.saturating_duration_since(at) >= life / 4) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.put_off(pause(self.failures, luck), now)
    }

    /// Records that the order has failed; the authority may have asked for a pause.
    pub(crate) fn failed(&mut self, retry_after: Option<Duration>, now: Now, luck: f64) -> Pause {
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        self.put_off(pause(self.failures, luck).max(asked), now)
    }

    /// Records that the order has succeeded, with a certificate of this lifetime, which is due again at `due`: at once, if a clock is
    /// wrong.
    pub(crate) fn succeeded(&mut self, life: Duration, due: SystemTime, now: Now, luck: f64) -> Option<Pause> {
        if due <= now.wall {
            return Some(self.put_off(pause(self.failures, luck), now));
        }
        self.put_off(pause(self.failures, luck).min(life / 4), now);
        self.settled = Some((now.monotonic, life));
        None
    }

    fn put_off(&mut self, wait: Duration, now: Now) -> Pause {
        self.not_before = now.monotonic + wait;
        // Rounded up, so that the stored pause is not shorter.
        let until = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default() + wait;
        Pause { failures: self.failures, until: until.as_secs() + 1, wait: wait.as_secs() + 1 }
    }
}

/// Returns the pause after consecutive failures, plus or minus a fifth; `luck` is from 0 to 1.
pub(crate) fn pause(failures: u32, luck: f64) -> Duration {
    let long = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    long.mul_f64(0.8 + luck * 0.4)
}

/// The suggested renewal window of an authority (RFC 9773 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
}

/// Returns when a certificate with this validity is renewed: at a time within the authority's window, determined by `luck`, from 0 to 1.
/// Without a window, after two thirds of its lifetime, or half of a short one, or up to a twentieth of it earlier, so that proxies that
/// were started together do not order together. In any case before it expires.
pub(crate) fn renewal((from, until): (SystemTime, SystemTime), window: Option<Window>, luck: f64) -> SystemTime {
    let life = until.duration_since(from).unwrap_or_default();
    let part = if life < SHORT_LIVED { 1.0 / 2.0 } else { 2.0 / 3.0 };
    match window {
        Some(Window { start, end }) => {
            let within = start + end.duration_since(start).unwrap_or_default().mul_f64(luck);
            within.min(from + life.mul_f64(LATEST))
        }
        None => from + life.mul_f64(part - luck * 0.05),
    }
}

/// Returns when to ask an authority for a window again: as it says, from a minute to a day (RFC 9773 section 4.3.2).
pub(crate) fn ask_again(retry_after: Duration) -> Duration {
    retry_after.clamp(Duration::from_secs(60), Duration::from_secs(24 * 3600))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 3600;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double() {
        let check = |failures, luck, seconds: u64| {
            assert_eq!(pause(failures, luck), Duration::from_secs(seconds), "{failures} {luck}");
        };
        check(1, 0.5, 60);
        check(2, 0.5, 120);
        check(1, 0.0, 48);
        check(1, 1.0, 72);
        check(9, 0.5, 15_360);
        check(10, 0.5, 6 * 3600);
        check(u32::MAX, 0.5, 6 * 3600);
    }

    #[test]
    fn renewed_in_time() {
        let check = |life, window: Option<(u64, u64)>, luck, expected: u64| {
            let window = window.map(|(start, end)| Window { start: at(start), end: at(end) });
            assert_eq!(renewal((at(0), at(life)), window, luck), at(expected), "{life} {window:?} {luck}");
        };
        check(90 * DAY, None, 0.0, 60 * DAY);
        check(6 * DAY, None, 0.0, 3 * DAY);
        check(6 * DAY, None, 1.0, 233_280);
        check(0, None, 0.5, 0);
        check(90 * DAY, Some((100, 300)), 0.0, 100);
        check(90 * DAY, Some((100, 300)), 0.5, 200);
        check(90 * DAY, Some((70 * DAY, 80 * DAY)), 1.0, 80 * DAY);
        // Before it expires, whatever the authority suggests.
        check(100 * DAY, Some((94 * DAY, 200 * DAY)), 0.5, 95 * DAY);
        check(100 * DAY, Some((1000 * DAY, 2000 * DAY)), 0.0, 95 * DAY);
    }

    #[test]
    fn stored_pauses_apply() {
        let start = Instant::now();
        let check = |failures, until, wait, now, expected| {
            let now = Now { wall: at(now), monotonic: start };
            let schedule = Schedule::restored(Some(Pause { failures, until, wait }), now);
            assert_eq!(schedule.wait(UNIX_EPOCH, now), Duration::from_secs(expected), "{until} {wait}");
            assert_eq!(schedule.failures(), failures);
        };
        check(3, 1000, 600, 900, 100);
        check(1, 1000, 600, 1000, 0);
        check(1, 1000, 600, 5000, 0);
        // The clock was set back.
        check(1, 1000, 600, 10, 600);
        // Pauses are bounded, whatever a file says.
        check(1, u64::MAX, u64::MAX, 10, 7 * DAY);
        let now = Now { wall: at(5), monotonic: start };
        assert_eq!(Schedule::restored(None, now).wait(at(7), now), Duration::from_secs(2));
    }

    #[test]
    fn suggested_times_are_bounded() {
        let check = |retry_after: Option<u64>, expected: u64| {
            let now = Now { wall: at(DAY), monotonic: Instant::now() };
            let mut schedule = Schedule::restored(None, now);
            schedule.began(now, 0.5);
            let kept = schedule.failed(retry_after.map(Duration::from_secs), now, 0.5);
            assert_eq!(schedule.wait(UNIX_EPOCH, now), Duration::from_secs(expected));
            assert_eq!(kept, Pause { failures: 1, until: DAY + expected + 1, wait: expected + 1 });
        };
        check(None, 60);
        check(Some(5), 60);
        check(Some(3600), 3600);
        check(Some(u64::MAX), 7 * DAY);
    }

    #[test]
    fn short_lived_success_does_not_reset_failures() {
        let start = Instant::now();
        let mut schedule = Schedule::restored(None, Now { wall: at(DAY), monotonic: start });
        let mut passed = Duration::ZERO;
        // The time between an order and the next, and the pause after that.
        let mut check = |after: u64, expected: u64| {
            passed += Duration::from_secs(after);
            let now = Now { wall: at(DAY), monotonic: start + passed };
            assert_eq!(schedule.pause(now), Duration::ZERO, "{after}");
            schedule.began(now, 0.5);
            assert_eq!(schedule.succeeded(Duration::from_secs(40 * DAY), at(2 * DAY), now, 0.5), None);
            assert_eq!(schedule.pause(now), Duration::from_secs(expected), "{after}");
            assert!(schedule.is_settled());
        };
        check(0, 60);
        check(60, 120);
        check(120, 240);
        check(9 * DAY, 480);
        check(10 * DAY, 60);
        check(30 * DAY, 60);
    }

    proptest! {
        /// For any clock, any outcomes of orders and any number of restarts with the right time, two orders are never closer
        /// than the shortest pause.
        #[test]
        fn orders_are_never_closer_than_a_pause(steps in proptest::collection::vec((0..4_u8, 0..4_000_000_u64, 0.0..1.0_f64), 1..60)) {
            let start = Instant::now();
            // The monotonic clock advances by the waits; the wall clock is set arbitrarily.
            let (mut passed, mut wall) = (Duration::ZERO, 1_000_000_000_u64);
            let mut schedule = Schedule::restored(None, Now { wall: at(wall), monotonic: start });
            let mut last: Option<Duration> = None;
            for (kind, number, luck) in steps {
                let now = Now { wall: at(wall), monotonic: start + passed };
                // Long past, or in the future by any clock.
                let due = at(number * 500);
                let wait = schedule.wait(due, now);
                if wait > Duration::ZERO {
                    // The clock is set; some time passes.
                    wall = number * 1000;
                    passed += Duration::from_millis(number % 5000);
                    continue;
                }
                if let Some(last) = last {
                    prop_assert!(passed - last >= Duration::from_secs(48), "{:?}", passed - last);
                }
                last = Some(passed);
                let kept = schedule.began(now, luck);
                match kind {
                    0 => { schedule.failed(None, now, luck); }
                    1 => { schedule.failed(Some(Duration::from_secs(number)), now, luck); }
                    2 => { schedule.succeeded(Duration::from_secs(90 * DAY), at(wall + number - number % 3), now, luck); }
                    _ => schedule = Schedule::restored(Some(kept), now),
                }
            }
        }
    }
}
