//! The one timer of a connection: [`Timer`]. Every wait on it ends by a deadline, and none sets a timer of its own.
//!
//! Code that waits states its deadline each time it is polled ([`Timer::over`]); the timer fires no later than that and
//! causes everything to be polled again. A deadline that is met costs a comparison: the timer is left unchanged, and fires
//! once without effect.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// The timer of a connection.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    /// The earliest pending deadline.
    next: Cell<Option<Instant>>,
    /// The current time, while everything is polled because the timer has fired.
    struck: Cell<Option<Instant>>,
}

impl Timer {
    /// Returns whether a deadline has passed. If not, the task is polled again when it passes.
    pub(crate) fn over(&self, deadline: Option<Instant>) -> bool {
        let Some(deadline) = deadline else { return false };
        if self.struck.get().is_some_and(|now| deadline <= now) {
            return true;
        }
        self.next.set(Some(self.next.get().map_or(deadline, |next| next.min(deadline))));
        false
    }

    /// Runs a future with this timer. The caller pins it: an `async fn` would reserve space for it twice, before and after pinning,
    /// and it is most of the size of a connection.
    pub(crate) async fn run<F: Future>(&self, mut work: Pin<&mut F>) -> F::Output {
        let mut sleep = pin!(tokio::time::sleep(LOOK_AROUND));
        // Whom the timer wakes when it fires: if that is who polls, and the timer is right, there is no need to poll it.
        let mut woken: Option<Waker> = None;
        std::future::poll_fn(|cx| {
            loop {
                self.next.set(None);
                if let Poll::Ready(output) = work.as_mut().poll(cx) {
                    return Poll::Ready(output);
                }
                self.struck.set(None);
                let Some(next) = self.next.get() else { return Poll::Pending };
                if sleep.is_elapsed() || next < sleep.deadline() {
                    sleep.as_mut().reset(next);
                } else if woken.as_ref().is_some_and(|woken| woken.will_wake(cx.waker())) {
                    return Poll::Pending;
                }
                if sleep.as_mut().poll(cx).is_pending() {
                    woken = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                self.struck.set(Some(Instant::now()));
            }
        })
        .await
    }
}

/// Returns the time `wait` after `start`; `None` means never.
pub(crate) fn after(start: Instant, wait: Duration) -> Option<Instant> {
    start.checked_add(wait)
}

/// When the timer fires without any deadline.
const LOOK_AROUND: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    /// Deadlines move forwards and backwards; each fires in time, and not early.
    #[test]
    fn deadlines() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let timer = Timer::default();
            let start = Instant::now();
            timer
                .run(pin!(async {
                    for wait in [500, 20, 7000, 1, 1] {
                        let began = Instant::now();
                        let deadline = after(began, Duration::from_millis(wait));
                        std::future::poll_fn(|_| if timer.over(deadline) { Poll::Ready(()) } else { Poll::Pending })
                            .await;
                        assert_eq!(began.elapsed(), Duration::from_millis(wait));
                    }
                }))
                .await;
            assert_eq!(start.elapsed(), Duration::from_millis(7522));
        });
    }
}
