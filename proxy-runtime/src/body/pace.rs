//! Enforces the minimum rate of a client (`limits min-rate`): [`Pace`]. Pure, except for the clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::clock::{Timer, after};

/// How long a client may be slower: the period over which the rate is measured, and the grace at the start.
const WINDOW: Duration = Duration::from_secs(10);

/// The shortest useful interval between checks.
const LEAST: Duration = Duration::from_millis(100);

/// Each byte that a client sends or reads earns it time; waiting for the client uses time up, and no more than the window is
/// ever left.
#[derive(Debug)]
pub(crate) struct Pace {
    /// In bytes per second.
    rate: u64,
    left: Duration,
    most: Duration,
    /// Since when the client has been waited for.
    waiting: Option<Instant>,
    /// How many bytes have been counted.
    counted: u64,
}

impl Pace {
    /// Creates a pace for this rate in bytes per second, if it is not 0. Data that arrives in lumps may arrive one lump later.
    pub(crate) fn new(rate: u64, lump: u64) -> Option<Pace> {
        (rate > 0).then(|| Pace {
            rate,
            left: WINDOW,
            most: WINDOW.saturating_add(time(lump, rate)),
            waiting: None,
            counted: 0,
        })
    }

    /// Called while the proxy waits for the client: returns whether it is too slow, with `total` bytes so far.
    pub(crate) fn is_too_slow(&mut self, timer: &Timer, total: impl FnOnce() -> u64) -> bool {
        let since = *self.waiting.get_or_insert_with(Instant::now);
        if !timer.over(after(since, self.left)) {
            return false;
        }
        self.rests();
        let total = total();
        let earned = time(total.saturating_sub(self.counted), self.rate);
        self.counted = self.counted.max(total);
        self.left = self.left.saturating_add(earned).min(self.most);
        if self.left < LEAST {
            return true;
        }
        let now = *self.waiting.insert(Instant::now());
        timer.over(after(now, self.left))
    }

    /// The client is not waited for.
    pub(crate) fn rests(&mut self) {
        if let Some(since) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
    }
}

/// Returns how long this many bytes take.
fn time(bytes: u64, rate: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / rate)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    /// When a client is disconnected that sends `first` bytes, then `bytes` every `every` milliseconds.
    fn check(rate: u64, (first, bytes, every): (u64, u64, u64), expected: Option<Duration>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let (timer, start) = (Timer::default(), Instant::now());
            let mut pace = Pace::new(rate, 0).expect("a rate");
            let client = pin!(std::future::poll_fn(|_| {
                let moved = start.elapsed().as_millis() as u64 / every;
                if pace.is_too_slow(&timer, || first + moved * bytes) {
                    return Poll::Ready(Some(start.elapsed()));
                }
                // Time only passes while a task waits for it.
                if start.elapsed() > Duration::from_secs(300) { Poll::Ready(None) } else { Poll::Pending }
            }));
            assert_eq!(timer.run(client).await, expected, "{first} and {bytes} every {every} ms at {rate}");
        });
    }

    #[test]
    fn rates() {
        let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
        // No data.
        check(1000, (0, 0, 1000), seconds(10.0));
        // A large start earns no more than the window.
        check(1000, (1 << 30, 0, 1000), seconds(20.0));
        // At the minimum rate, and faster.
        check(1000, (0, 1000, 1000), None);
        check(1000, (0, 100, 20), None);
        // At half the rate: each period is half as long as the one before.
        check(1000, (0, 500, 1000), seconds(19.5));
    }
}
