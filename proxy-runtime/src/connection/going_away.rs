//! The end of a WebSocket when the proxy stops ([`GoingAway`]): between two frames of the server, the client gets a Close frame with the
//! status 1001, so that it knows that the connection was not lost, and connects again.
//!
//! It comes near the end of the drain, as other proxies (nginx, HAProxy, Envoy) leave WebSockets alone until then: what the two ends do with each
//! other may need that time, and it is the operator who sets it. Each WebSocket has a moment of its own, so that not all clients
//! connect again in the same instant.

use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::draining::{Draining, LINGER};
use crate::net::clock::{Timer, after};
use crate::protocol::websocket::{FrameBorders, GOING_AWAY};
use crate::worker::Worker;

/// The state of the frames that a server sends to a client.
pub(crate) struct GoingAway {
    frames: FrameBorders,
    draining: Draining,
    /// How long after the beginning of the drain the client is told.
    delay: Duration,
    is_due: bool,
    /// What is left of the Close frame.
    close: &'static [u8],
    /// When it was sent.
    closed: Option<Instant>,
}

/// What the client gets next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'d> {
    /// These bytes of the server, if there are any.
    Data(&'d [u8]),
    /// These bytes of the proxy's own Close frame.
    Close(&'static [u8]),
    /// Nothing: no frame may follow a Close frame (RFC 6455 section 5.5.1).
    Discard,
}

impl GoingAway {
    pub(super) fn new(worker: &Worker) -> GoingAway {
        GoingAway::after(moment(worker.exchanges, worker.dice.below(PARTS + 1)), Draining::new(worker))
    }

    fn after(delay: Duration, draining: Draining) -> GoingAway {
        GoingAway { frames: FrameBorders::default(), draining, delay, is_due: false, close: GOING_AWAY, closed: None }
    }

    /// Looks whether the time has come. Returns whether the two ends have had enough time to close the connection since then: the client responds
    /// with a Close frame, which reaches the server, and that one responds and ends the connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, timer: &Timer) -> bool {
        if !self.is_due
            && let Some(since) = self.draining.poll(cx)
        {
            self.is_due = timer.over(after(since, self.delay));
        }
        self.closed.is_some_and(|since| timer.over(after(since, LINGER)))
    }

    /// Returns what the client gets next, of the data that the server has sent.
    pub(super) fn next<'d>(&self, data: &'d [u8]) -> Next<'d> {
        if !self.is_due || self.frames.has_closed() {
            Next::Data(data)
        } else if !self.frames.is_between() {
            Next::Data(&data[..self.frames.rest_of_frame(data)])
        } else if self.close.is_empty() {
            Next::Discard
        } else {
            Next::Close(self.close)
        }
    }

    /// These bytes of the server were sent.
    pub(super) fn sent(&mut self, data: &[u8]) {
        self.frames.advance(data);
    }

    /// So many bytes of the Close frame were sent.
    pub(super) fn sent_close(&mut self, count: usize) {
        self.close = &self.close[count..];
        if self.close.is_empty() {
            self.closed = Some(Instant::now());
        }
    }
}

/// How many different moments there are.
const PARTS: usize = 1000;

/// Returns a moment between three quarters of the time that exchanges have and 90 %, which leaves time to close the connection.
fn moment(exchanges: Duration, part: usize) -> Duration {
    exchanges.mul_f64(0.75 + 0.15 * part as f64 / PARTS as f64)
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::worker::StopSignal;

    /// Sends `data` in pieces of `size` to a client that accepts `most` at once; the time comes after `before` bytes. Returns what the client gets.
    fn sent(data: &[u8], before: usize, size: usize, most: usize) -> Vec<u8> {
        let (_stop, signal) = watch::channel(StopSignal::No);
        let mut going_away = GoingAway::after(Duration::MAX, Draining::by(signal));
        let mut got = Vec::new();
        for piece in [&data[..before], &data[before..]].into_iter().flat_map(|part| part.chunks(size).chain([&[][..]]))
        {
            let mut piece = piece;
            loop {
                match going_away.next(piece) {
                    Next::Data([]) | Next::Discard => break,
                    Next::Data(next) => {
                        let next = &next[..next.len().min(most)];
                        got.extend_from_slice(next);
                        going_away.sent(next);
                        piece = &piece[next.len()..];
                    }
                    Next::Close(close) => {
                        let count = close.len().min(most);
                        got.extend_from_slice(&close[..count]);
                        going_away.sent_close(count);
                    }
                }
            }
            going_away.is_due = got.len() == before || going_away.is_due;
        }
        got
    }

    #[test]
    fn the_close_frame_comes_between_frames() {
        let check = |before: &[u8], after: &[u8], expected: &[u8]| {
            for (size, most) in [(1, 1), (1, 100), (3, 2), (100, 3), (100, 100)] {
                let found = sent(&[before, after].concat(), before.len(), size, most);
                assert_eq!(found, expected, "{before:?} {after:?} in pieces of {size}, {most} at once");
            }
        };
        check(b"", b"", GOING_AWAY);
        check(b"\x81\x01a", b"\x81\x01b", b"\x81\x01a\x88\x02\x03\xE9");
        check(b"\x81", b"\x01a\x81\x01b", b"\x81\x01a\x88\x02\x03\xE9");
        check(b"\x01\x02a", b"b\x80\x01c", b"\x01\x02ab\x88\x02\x03\xE9");
        // The server has not completed its frame.
        check(b"\x81\x05a", b"bc", b"\x81\x05abc");
        // The server has closed, or is about to.
        check(b"\x88\x00", b"", b"\x88\x00");
        check(b"\x88", b"\x02\x03\xE8", b"\x88\x02\x03\xE8");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_comes_in_the_drain() {
        let (stop, signal) = watch::channel(StopSignal::No);
        let mut going_away = GoingAway::after(Duration::from_secs(20), Draining::by(signal));
        let timer = Timer::default();
        let mut over = async |wait| {
            let until = Instant::now() + wait;
            let work = std::future::poll_fn(|cx| {
                if going_away.poll(cx, &timer)
                    || going_away.next(&[]) == Next::Close(GOING_AWAY)
                    || timer.over(Some(until))
                {
                    return std::task::Poll::Ready(());
                }
                std::task::Poll::Pending
            });
            let began = Instant::now();
            timer.run(std::pin::pin!(work)).await;
            if going_away.is_due && going_away.closed.is_none() {
                going_away.sent_close(GOING_AWAY.len());
            }
            began.elapsed().as_secs()
        };
        assert_eq!(over(Duration::from_secs(3600)).await, 3600);
        stop.send_replace(StopSignal::Drain);
        assert_eq!(over(Duration::from_secs(3600)).await, 20);
        // The two ends have some time to close it.
        assert_eq!(over(Duration::from_secs(3600)).await, LINGER.as_secs());
    }

    #[test]
    fn moments() {
        let check = |exchanges: u64, part: usize, expected: u64| {
            assert_eq!(moment(Duration::from_millis(exchanges), part).as_millis(), u128::from(expected));
        };
        check(27_000, 0, 20_250);
        check(27_000, PARTS / 2, 22_275);
        check(27_000, PARTS, 24_300);
        check(0, PARTS, 0);
    }
}
