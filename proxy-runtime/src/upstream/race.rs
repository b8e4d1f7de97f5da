//! Connects to a name with several addresses: attempts overlap, and the first that connects wins (RFC 8305, "Happy
//! Eyeballs"). Pure except for the clock: the attempt is an argument.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The delay before the next attempt starts in parallel (section 5, "Connection Attempt Delay"), and the shortest one.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
const MIN_ATTEMPT_DELAY: Duration = Duration::from_millis(10);

/// The most addresses of one name; a set of them is a bit set in one word.
pub(super) const MAX_ADDRESSES: usize = 64;

/// Returns the order in which the addresses of a name are tried, as indices. It begins one address further each time, to
/// spread the connections; address families alternate (section 4), so that an unreachable family costs one delay; addresses
/// that failed recently come last.
pub(super) fn order(addresses: &[SocketAddr], turn: usize, failed: u64) -> Vec<usize> {
    let rotated = (0..addresses.len()).map(|at| (at + turn % addresses.len()) % addresses.len());
    let (good, bad): (Vec<usize>, Vec<usize>) = rotated.partition(|at| failed >> at & 1 == 0);
    let mut order = alternating(addresses, &good);
    order.extend(alternating(addresses, &bad));
    order
}

fn alternating(addresses: &[SocketAddr], indices: &[usize]) -> Vec<usize> {
    let Some(first) = indices.first().map(|&at| addresses[at].is_ipv4()) else { return Vec::new() };
    let (mut own, mut other) = (
        indices.iter().filter(|&&at| addresses[at].is_ipv4() == first),
        indices.iter().filter(|&&at| addresses[at].is_ipv4() != first),
    );
    let mut order = Vec::with_capacity(indices.len());
    while order.len() < indices.len() {
        order.extend(own.next());
        order.extend(other.next());
    }
    order
}

/// Returns the delay between attempts, so that all of them start within `patience`.
pub(super) fn delay(attempts: usize, patience: Duration) -> Duration {
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX).saturating_add(1);
    (patience / attempts).clamp(MIN_ATTEMPT_DELAY, ATTEMPT_DELAY)
}

/// Returns the first attempt that succeeds, and the earlier ones that failed or were overtaken. The next attempt starts
/// when one fails, or has taken `delay`.
///
/// # Errors
/// All attempts fail: the last error. `None`: there are no addresses.
pub(super) async fn race<T, E, F: Future<Output = Result<T, E>>>(
    order: &[usize],
    delay: Duration,
    attempt: impl Fn(usize) -> F,
) -> Result<(T, usize, u64), Option<E>> {
    let mut rest = order.iter().copied();
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let (mut behind, mut last) = (0, None);
    let mut timer = pin!(sleep(Duration::ZERO));
    let mut due = true;
    poll_fn(|cx| {
        loop {
            let mut at = 0;
            while let Some((index, running_attempt)) = running.get_mut(at) {
                match running_attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(made)) => {
                        let index = *index;
                        return Poll::Ready(Ok((made, index, behind & !(1 << index))));
                    }
                    Poll::Ready(Err(error)) => {
                        last = Some(error);
                        due = true;
                        running.remove(at);
                    }
                    Poll::Pending => at += 1,
                }
            }
            if !due && timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let Some(index) = rest.next() else {
                return if running.is_empty() { Poll::Ready(Err(last.take())) } else { Poll::Pending };
            };
            due = false;
            behind |= 1 << index;
            running.push((index, Box::pin(attempt(index))));
            timer.as_mut().reset(Instant::now() + delay);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_order(addresses: &str, turn: usize, failed: u64, expected: &[usize]) {
        let addresses: Vec<SocketAddr> = addresses
            .chars()
            .map(
                |family| {
                    if family == '6' { ([0, 0, 0, 0, 0, 0, 0, 1], 80).into() } else { ([127, 0, 0, 1], 80).into() }
                },
            )
            .collect();
        assert_eq!(order(&addresses, turn, failed), expected, "{addresses:?}");
    }

    #[test]
    fn orders() {
        check_order("", 0, 0, &[]);
        check_order("4", 5, 0, &[0]);
        check_order("64", 0, 0, &[0, 1]);
        check_order("64", 1, 0, &[1, 0]);
        check_order("666444", 0, 0, &[0, 3, 1, 4, 2, 5]);
        check_order("666444", 2, 0, &[2, 3, 0, 4, 1, 5]);
        check_order("6664", 1, 0, &[1, 3, 2, 0]);
        check_order("64", 0, 1, &[1, 0]);
        check_order("64", 1, 0b11, &[1, 0]);
        check_order("6644", 0, 0b11, &[2, 3, 0, 1]);
    }

    #[test]
    fn delays() {
        let check = |attempts, patience, expected| {
            let found = delay(attempts, Duration::from_millis(patience));
            assert_eq!(found, Duration::from_millis(expected), "{attempts} within {patience} ms");
        };
        check(2, 5_000, 250);
        check(4, 500, 100);
        check(64, 5_200, 80);
        check(64, 100, 10);
        check(2, 0, 10);
        assert_eq!(delay(0, Duration::MAX), ATTEMPT_DELAY);
    }

    /// `attempts`: the milliseconds that each takes, and whether it connects. Checks the result, when it is there, and
    /// which have failed.
    #[track_caller]
    fn check(attempts: &[(u64, bool)], expected: Result<usize, Option<usize>>, after: u64, behind: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let began = Instant::now();
            let order: Vec<usize> = (0..attempts.len()).collect();
            let found = race(&order, ATTEMPT_DELAY, |index| async move {
                let (takes, good) = attempts[index];
                sleep(Duration::from_millis(takes)).await;
                if good { Ok(index) } else { Err(index) }
            });
            let found = found.await.map(|(made, winner, lost)| {
                assert_eq!((made, lost), (winner, behind), "{attempts:?}");
                winner
            });
            assert_eq!((found, began.elapsed()), (expected, Duration::from_millis(after)), "{attempts:?}");
        });
    }

    #[test]
    fn attempts() {
        check(&[], Err(None), 0, 0);
        check(&[(5, true)], Ok(0), 5, 0);
        check(&[(5, false)], Err(Some(0)), 5, 0);
        // Refused at once: the next starts at once.
        check(&[(0, false), (0, true)], Ok(1), 0, 0b1);
        // An attempt without response costs a delay.
        check(&[(100_000, true), (5, true)], Ok(1), 255, 0b1);
        check(&[(100_000, true), (0, false), (7, true), (0, true)], Ok(2), 257, 0b11);
        // The first may still win, and a failure in parallel starts the next.
        check(&[(300, true), (100, true)], Ok(0), 300, 0b10);
        check(&[(600, true), (300, true), (200, false)], Ok(1), 550, 0b101);
        check(&[(400, false), (400, false)], Err(Some(1)), 650, 0);
        check(&[(0, false), (0, false), (0, false)], Err(Some(2)), 0, 0);
    }
}
