//! Rate limits: [`Limiter`], the generic cell rate algorithm (ITU-T I.371) over a table of fixed size.
//!
//! Per key it stores one number, the theoretical arrival time: when the next request would be due if all so far had arrived
//! at the rate. A slot is one atomic word of 32 bits of the key's hash and 32 bits of that time, in ticks; eight slots share a
//! cache line, and a key has the slots of one line. The table has a fixed size for any keys: if a line is
//! full, the key with the earliest time is evicted, which has usually expired. The hash is keyed at random, so nobody can
//! target another client's line.
//!
//! On the hot path: one hash, one cache line, one compare-and-swap; no lock, no allocation.

#[cfg(feature = "takeover")]
mod snapshot;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::counted::LimitKey;
use crate::site::RateLimit;
use crate::sync::atomic::AtomicU64;

/// A rate limiter for many keys.
pub struct Limiter {
    lines: Box<[CacheLine]>,
    hash: KeyedHash,
    /// A tick, in nanoseconds.
    tick: u64,
    /// In ticks: the interval between requests at the rate; the allowed burst; and the allowed burst including delayed
    /// requests.
    interval: u32,
    tolerance: u32,
    patience: u32,
    /// How much older than another thread's a thread's time may be, in ticks ([`SLACK`]).
    slack: u32,
}

/// The hash of the standard library, with a key that can be handed over.
struct KeyedHash(u64, u64);

impl KeyedHash {
    fn random() -> KeyedHash {
        let random = RandomState::new();
        KeyedHash(random.hash_one(0), random.hash_one(1))
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

#[repr(align(64))]
#[derive(Default)]
struct CacheLine([AtomicU64; 8]);

/// The decision about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitDecision {
    /// The request is admitted.
    Now,
    /// The request is admitted after this delay.
    After(Duration),
    /// The request is rejected; it could be admitted after this time.
    Never(Duration),
}

/// The longest time in ticks that is represented: half of the 32-bit range is the future, and half of that is left as a gap
/// between "far ahead" and "long ago".
const FAR: u64 = 1 << 30;

/// How long a thread may be preempted between reading the clock and changing a slot, while others count requests of the same key with
/// later times. Such a slot is not from an earlier turn of the clock. At most this part of a turn.
const SLACK: Duration = Duration::from_secs(1);
const MAX_SLACK: u64 = FAR >> 4;

/// How often a slot is retried that others are changing.
const TRIES: usize = 8;

impl Limiter {
    /// Creates an empty limiter.
    pub fn new(limit: &RateLimit) -> Limiter {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let (interval, delay) = (nanos(limit.interval).max(1), nanos(limit.delay));
        let ahead = interval.saturating_mul(u64::from(limit.burst)).saturating_add(delay);
        let tick = (interval / 64).max(ahead / (FAR - 1) + 1);
        let ticks = |nanos: u64| u32::try_from(nanos / tick).unwrap_or(u32::MAX);
        let tolerance = ticks(interval.saturating_mul(u64::from(limit.burst.saturating_sub(1))));
        let lines = usize::try_from(limit.keys.div_ceil(8)).unwrap_or(usize::MAX).max(1).next_power_of_two();
        Limiter {
            lines: (0..lines).map(|_| CacheLine::default()).collect(),
            hash: KeyedHash::random(),
            tick,
            interval: ticks(interval).max(1),
            tolerance,
            patience: tolerance.saturating_add(ticks(delay)),
            slack: nanos(SLACK).div_ceil(tick).min(MAX_SLACK) as u32,
        }
    }

    /// Counts a request of a key, at `now` since a fixed moment.
    pub fn take(&self, key: LimitKey<'_>, now: Duration) -> LimitDecision {
        let hash = self.hash.hash_one(key);
        let line = &self.lines[(hash >> 32) as usize & (self.lines.len() - 1)].0;
        // 0 is an empty slot.
        let tag = u64::from((hash as u32).max(1));
        let now = self.ticks(now);
        for _ in 0..TRIES {
            let slots: [u64; 8] = std::array::from_fn(|index| line[index].load(Ordering::Relaxed));
            let (index, ahead) = match slots.iter().position(|slot| slot >> 32 == tag) {
                Some(own) => (own, self.ahead(slots[own], now)),
                // If the key has no slot, another key's with the earliest time: a new key is not ahead of the rate.
                None => ((0..slots.len()).min_by_key(|&index| self.ahead(slots[index], now)).unwrap_or(0), 0),
            };
            let seen = slots[index];
            if ahead > self.patience {
                return LimitDecision::Never(self.time(ahead - self.tolerance));
            }
            let due = now.wrapping_add(ahead).wrapping_add(self.interval);
            let own = tag << 32 | u64::from(due);
            if line[index].compare_exchange_weak(seen, own, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return match ahead.checked_sub(self.tolerance) {
                    None | Some(0) => LimitDecision::Now,
                    Some(over) => LimitDecision::After(self.time(over)),
                };
            }
        }
        // With so much contention for this line, one more request does not matter.
        LimitDecision::Now
    }

    /// Returns the constant size of the table, in bytes.
    pub fn size(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// Returns how far a slot is ahead of the rate: 0 if its time has passed, or is from an earlier turn of the clock. If `now` is older
    /// than the slot's last request, as far as that was ahead at most.
    fn ahead(&self, slot: u64, now: u32) -> u32 {
        let ahead = (slot as u32).wrapping_sub(now);
        let most = self.patience.saturating_add(self.interval);
        if slot != 0 && ahead <= most.saturating_add(self.slack) { ahead.min(most) } else { 0 }
    }

    /// Returns a time in ticks of the clock, which begins again after 32 bits.
    fn ticks(&self, time: Duration) -> u32 {
        (u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) / self.tick) as u32
    }

    fn time(&self, ticks: u32) -> Duration {
        Duration::from_nanos(u64::from(ticks).saturating_mul(self.tick))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::By;

    pub(super) fn limiter(interval: Duration, burst: u32, delay: Duration, keys: u64) -> Limiter {
        Limiter::new(&RateLimit {
            id: 0,
            identified: false,
            interval,
            burst,
            by: By::Client(32, 64),
            delay,
            status: 429,
            keys,
        })
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Checks requests at these milliseconds and their decisions: 0 is admitted, a positive number is a delay, a negative
    /// one a rejection with the time to wait.
    fn check(interval: u64, burst: u32, delay: u64, expected: &[(u64, i64)]) {
        let limiter = limiter(MS(interval), burst, MS(delay), 8);
        for &(at, expected) in expected {
            let found = match limiter.take(LimitKey::Bytes(b"a"), MS(at)) {
                LimitDecision::Now => 0.0,
                LimitDecision::After(time) => time.as_secs_f64() * 1000.0,
                LimitDecision::Never(time) => time.as_secs_f64() * -1000.0,
            };
            // A tick is a 64th of the interval.
            let close = (found - expected as f64).abs() <= 3.0 * interval as f64 / 64.0;
            assert!(close && (found == 0.0) == (expected == 0), "at {at}: {found}, expected {expected}");
        }
    }

    #[test]
    fn rates() {
        // One per 100 ms.
        check(100, 1, 0, &[(1000, 0), (1000, -100), (1050, -50), (1110, 0), (1120, -90), (5000, 0)]);
        // A burst of three.
        check(100, 3, 0, &[(0, 0), (0, 0), (0, 0), (0, -100), (110, 0), (110, -90), (1000, 0), (1000, 0), (1000, 0)]);
        // A burst of one, and two may be delayed.
        check(100, 1, 200, &[(0, 0), (0, 100), (0, 200), (0, -300), (310, 0)]);
    }

    #[test]
    fn keys_are_apart() {
        let limiter = limiter(MS(100), 1, MS(0), 1024);
        for key in 0..100 {
            assert_eq!(limiter.take(LimitKey::Bytes(key.to_string().as_bytes()), MS(0)), LimitDecision::Now);
        }
        let refused = (0..100)
            .filter(|key| limiter.take(LimitKey::Bytes(key.to_string().as_bytes()), MS(1)) != LimitDecision::Now)
            .count();
        assert_eq!(refused, 100);
    }

    /// A flood of keys takes no more memory, and does not cause rejections of new ones.
    #[test]
    fn memory_is_bounded() {
        let limiter = limiter(MS(100), 1, MS(0), 64);
        for key in 0..10_000 {
            assert_eq!(limiter.take(LimitKey::Bytes(format!("flood {key}").as_bytes()), MS(0)), LimitDecision::Now);
        }
        assert_eq!(limiter.lines.len(), 8);
    }

    /// A time that is older than that of another request, as threads are preempted, does not reset a key.
    #[test]
    fn earlier_times_are_no_reset() {
        check(100, 1, 0, &[(2000, 0), (1980, -100), (1001, -100), (2050, -50), (1990, -100), (2110, 0)]);
        check(100, 2, 100, &[(2000, 0), (2000, 0), (2000, 100), (1500, -200), (2000, -200)]);
        // A tick is longer than the slack.
        let day = 86_400_000;
        check(
            day,
            1,
            0,
            &[(day + day / 64, 0), (day + day / 64 - 1, -(day as i64)), (day + day / 2, -(day as i64) / 2)],
        );
    }

    /// Times beyond the clock's 32 bits do not count as future.
    #[test]
    fn old_times_are_past() {
        let limiter = limiter(MS(100), 2, MS(0), 8);
        let turn = Duration::from_nanos(limiter.tick) * u32::MAX;
        for (at, expected) in [(MS(0), true), (MS(1), true), (MS(2), false), (turn / 3, true), (turn / 2, true)] {
            assert_eq!(limiter.take(LimitKey::Bytes(b"a"), at) == LimitDecision::Now, expected, "{at:?}");
        }
    }

    #[test]
    fn extremes() {
        for (interval, burst, delay) in
            [(1, 1_000_000, 0), (1, 1, 3_600_000_000_000), (86_400_000_000_000, 1_000_000, 0)]
        {
            let limiter = limiter(Duration::from_nanos(interval), burst, Duration::from_nanos(delay), 8);
            assert_eq!(limiter.take(LimitKey::Bytes(b"a"), MS(0)), LimitDecision::Now, "{interval} {burst} {delay}");
        }
    }
}

#[cfg(all(test, kiln_loom))]
mod interleavings {
    use std::sync::Arc;

    use super::*;

    /// Of concurrent requests, as many are admitted as the burst allows, in any interleaving.
    #[test]
    fn concurrent_requests() {
        for (burst, requests) in [(1, 2), (2, 2), (2, 3)] {
            let mut model = loom::model::Builder::new();
            model.preemption_bound = Some(2);
            model.check(move || {
                let limiter = Arc::new(super::tests::limiter(Duration::from_secs(1), burst, Duration::ZERO, 8));
                let take =
                    |limiter: &Limiter| limiter.take(LimitKey::Bytes(b"a"), Duration::ZERO) == LimitDecision::Now;
                let others: Vec<_> = (1..requests)
                    .map(|_| {
                        let limiter = Arc::clone(&limiter);
                        loom::thread::spawn(move || take(&limiter))
                    })
                    .collect();
                let own = usize::from(take(&limiter));
                let others = others.into_iter().map(|other| usize::from(other.join().expect("ended")));
                assert_eq!(own + others.sum::<usize>(), requests.min(burst as usize));
            });
        }
    }
}
