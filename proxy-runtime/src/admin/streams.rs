//! Streamed responses: the events of the status page ([`Events`]) and taps ([`TapLines`]). Both are bounded in number and time.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval, sleep};

use super::body::PieceStream;
use super::status::Snapshots;
use crate::observe::tap::{Tap, Taps, Wanted};

/// The most streams at once. Each uses one of the connections of `admin`; the other connections stay free for short
/// requests.
pub(super) const MOST: usize = 8;

/// The most taps at once.
pub(super) const MOST_TAPS: usize = 2;

/// The time between two events.
const PERIOD: Duration = Duration::from_secs(1);

/// How many events are sent before the browser must reconnect. A connection is not served for longer.
const EVENTS: u32 = 55;

/// Snapshots as server-sent events (HTML standard, section 9.2), one per second. A client that reads slowly gets fewer.
pub(super) struct Events {
    snapshots: Rc<Snapshots>,
    due: Interval,
    left: u32,
    _place: OwnedSemaphorePermit,
}

impl Events {
    pub(super) fn new(snapshots: Rc<Snapshots>, place: OwnedSemaphorePermit) -> Events {
        let mut due = interval(PERIOD);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Events { snapshots, due, left: EVENTS, _place: place }
    }
}

impl PieceStream for Events {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        ready!(self.due.poll_tick(cx));
        self.left -= 1;
        Poll::Ready(Some(self.snapshots.event()))
    }
}

/// The lines of a tap, and a last one about its end.
pub(super) struct TapLines {
    taps: &'static Taps,
    tap: Arc<Tap>,
    lines: Receiver<Vec<u8>>,
    over: Pin<Box<Sleep>>,
    most: u32,
    shown: u32,
    ended: bool,
    _places: [OwnedSemaphorePermit; 2],
}

impl TapLines {
    /// Opens a tap for at most this many exchanges, and at most this time.
    pub(super) fn new(
        taps: &'static Taps,
        wanted: Wanted,
        (most, patience): (u32, Duration),
        places: [OwnedSemaphorePermit; 2],
    ) -> TapLines {
        let (tap, lines) = taps.open(wanted, most);
        TapLines { taps, tap, lines, over: Box::pin(sleep(patience)), most, shown: 0, ended: false, _places: places }
    }

    fn end(&mut self, why: &'static str) -> Bytes {
        self.ended = true;
        format!("{{\"end\":\"{why}\",\"shown\":{},\"dropped\":{}}}\n", self.shown, self.tap.dropped()).into()
    }
}

impl PieceStream for TapLines {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.shown == self.most {
            return Poll::Ready(Some(self.end("n")));
        }
        if let Poll::Ready(Some(line)) = self.lines.poll_recv(cx) {
            self.shown += 1;
            return Poll::Ready(Some(line.into()));
        }
        ready!(self.over.as_mut().poll(cx));
        Poll::Ready(Some(self.end("seconds")))
    }
}

impl Drop for TapLines {
    fn drop(&mut self) {
        self.taps.close(&self.tap);
    }
}
