//! Limits useless frames: [`Allowance`]. Pure.
//!
//! SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA and frames of unknown types cost a peer nothing, but cost the proxy time (RFC
//! 9113 section 10.5). Each of them has a price. Data that is sent to the peer pays for the frames that it has reason to send: window
//! updates for DATA, and the ends of streams. Beyond that a peer has an allowance, which grows with time.

use tokio::time::Instant;

/// The most that a peer may spend at once.
const CAPACITY: u32 = 4096;

/// How much the allowance grows per second.
const PER_SECOND: u32 = 1024;

/// The price of a frame.
pub(crate) const FRAME: u32 = 1;

/// The price of a stream reset: work may have been done for it.
pub(crate) const RESET: u32 = 2;

/// The credit for a sent head: it pays for the next head, the stream's reset, window updates and PINGs.
pub(crate) const FOR_HEAD: u32 = 8;

/// The credit for sent DATA: it pays for window updates of stream and connection, and for PINGs that measure.
pub(crate) const FOR_DATA: u32 = 4;

/// The allowance of a peer.
pub(crate) struct Allowance {
    left: u32,
    /// When the allowance last grew.
    seen: Instant,
}

impl Allowance {
    pub(crate) fn new(now: Instant) -> Allowance {
        Allowance { left: CAPACITY, seen: now }
    }

    /// Spends a price. `false`: the peer has exceeded its allowance. The clock is only read if necessary.
    pub(crate) fn spend(&mut self, price: u32, now: impl FnOnce() -> Instant) -> bool {
        if self.left < price {
            let now = now();
            let passed = now.saturating_duration_since(self.seen).as_millis();
            let grown = passed.saturating_mul(PER_SECOND.into()) / 1000;
            self.earn(u32::try_from(grown).unwrap_or(CAPACITY));
            if grown > 0 {
                self.seen = now;
            }
        }
        let left = self.left.checked_sub(price);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    pub(crate) fn earn(&mut self, amount: u32) {
        self.left = self.left.saturating_add(amount).min(CAPACITY);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Returns how many frames of a price pass, at intervals of `every` microseconds, if each comes with `earned`.
    fn passes(price: u32, every: u64, earned: u32) -> Option<u64> {
        let began = Instant::now();
        let mut allowance = Allowance::new(began);
        (0..100_000).find(|at| {
            allowance.earn(earned);
            !allowance.spend(price, || began + Duration::from_micros(at * every))
        })
    }

    #[test]
    fn floods() {
        let check = |price: u32, every: u64, earned: u32, expected: Option<u64>| {
            assert_eq!(passes(price, every, earned), expected, "{price} every {every} µs, {earned} earned");
        };
        // All at once.
        check(FRAME, 0, 0, Some(4096));
        check(RESET, 0, 0, Some(2048));
        // As fast as the allowance grows, and twice as fast.
        check(FRAME, 1000, 0, None);
        check(RESET, 2000, 0, None);
        check(FRAME, 500, 0, Some(8379));
        // Earned by sent data.
        check(FRAME, 0, 1, None);
        check(2 * FRAME, 0, FOR_DATA, None);
        check(FRAME + RESET, 0, FOR_HEAD, None);
        check(3 * FRAME, 0, 2, Some(4094));
    }
}
