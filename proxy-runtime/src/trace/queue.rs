//! Spans on their way to the collector ([`SpanQueue`]): bounded in bytes, and counted.
//!
//! Adding spans never waits for anything but other additions. Spans that find no room are dropped and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::encode::EncodedSpans;

/// How many bytes of spans may wait.
const ROOM: usize = 8 << 20;

/// A request to a collector has at most so many spans and, but for one exchange's, so many bytes.
pub(super) const MOST_SPANS: usize = 512;
const MOST_BYTES: usize = 1 << 20;

/// Spans wait no longer than this for others to be sent with.
const AGE: Duration = Duration::from_secs(1);

/// See above.
#[derive(Default)]
pub(super) struct SpanQueue {
    waiting: Mutex<WaitingSpans>,
    /// There are enough for a request, or no more will come.
    enough: Notify,
    closed: AtomicBool,
    dropped: AtomicU64,
    exported: AtomicU64,
}

#[derive(Default)]
struct WaitingSpans {
    spans: VecDeque<EncodedSpans>,
    bytes: usize,
    count: usize,
}

impl SpanQueue {
    /// Whether more can be added; if not, spans need not be made.
    pub(super) fn has_room(&self) -> bool {
        self.lock().bytes < ROOM
    }

    /// Adds the spans of an exchange, or drops and counts them.
    pub(super) fn add(&self, spans: EncodedSpans) {
        let mut waiting = self.lock();
        if waiting.bytes >= ROOM || self.is_closed() {
            drop(waiting);
            return self.drop(spans.count);
        }
        let before = waiting.count;
        waiting.bytes += spans.json.len();
        waiting.count += spans.count;
        waiting.spans.push_back(spans);
        let enough = |count: usize| count >= MOST_SPANS / 2;
        let wakes = enough(waiting.count) && !enough(before);
        drop(waiting);
        if wakes {
            self.enough.notify_one();
        }
    }

    /// Counts spans that are lost.
    pub(super) fn drop(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Counts spans that a collector has taken.
    pub(super) fn export(&self, count: usize) {
        self.exported.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// How many spans were dropped, and exported.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.dropped.load(Ordering::Relaxed), self.exported.load(Ordering::Relaxed))
    }

    /// Nothing is added any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.enough.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The spans of the next request: as soon as there are enough, or some for long enough; `None` at the end.
    pub(super) async fn next(&self) -> Option<Vec<EncodedSpans>> {
        loop {
            if self.lock().count < MOST_SPANS / 2 && !self.is_closed() {
                let _ = tokio::time::timeout(AGE, self.enough.notified()).await;
            }
            let batch = self.take();
            if !batch.is_empty() {
                return Some(batch);
            }
            if self.is_closed() {
                return None;
            }
        }
    }

    /// Takes as many as a request may have.
    pub(super) fn take(&self) -> Vec<EncodedSpans> {
        let mut waiting = self.lock();
        let (mut batch, mut bytes, mut count) = (Vec::new(), 0, 0);
        while let Some(next) = waiting.spans.front() {
            (bytes, count) = (bytes + next.json.len(), count + next.count);
            if !batch.is_empty() && (bytes > MOST_BYTES || count > MOST_SPANS) {
                break;
            }
            let Some(next) = waiting.spans.pop_front() else { break };
            waiting.bytes -= next.json.len();
            waiting.count -= next.count;
            batch.push(next);
        }
        batch
    }

    fn lock(&self) -> MutexGuard<'_, WaitingSpans> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(bytes: usize, count: usize) -> EncodedSpans {
        EncodedSpans { json: vec![b' '; bytes], count }
    }

    #[test]
    fn batches_have_bounds() {
        let queue = SpanQueue::default();
        let check = |expected: &[usize]| {
            let counts: Vec<usize> = queue.take().iter().map(|spans| spans.count).collect();
            assert_eq!(counts, expected);
        };
        check(&[]);
        for count in [MOST_SPANS - 1, 1, 1] {
            queue.add(some(10, count));
        }
        check(&[MOST_SPANS - 1, 1]);
        check(&[1]);
        for bytes in [MOST_BYTES + 1, MOST_BYTES, 1] {
            queue.add(some(bytes, 1));
        }
        check(&[1]);
        check(&[1]);
        check(&[1]);
        check(&[]);
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let queue = SpanQueue::default();
        queue.add(some(ROOM, 2));
        assert!(!queue.has_room());
        queue.add(some(1, 3));
        assert_eq!(queue.counts(), (3, 0));
        assert_eq!(queue.take().len(), 1);
        assert!(queue.has_room());
        queue.close();
        queue.add(some(1, 4));
        assert_eq!(queue.counts(), (7, 0));
    }

    #[test]
    fn waits_no_longer_than_needed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let queue = SpanQueue::default();
            let began = tokio::time::Instant::now();
            queue.add(some(1, 1));
            assert_eq!(queue.next().await.map(|batch| batch.len()), Some(1));
            assert_eq!(began.elapsed(), AGE);
            queue.add(some(1, MOST_SPANS / 2));
            queue.add(some(1, 1));
            assert_eq!(queue.next().await.map(|batch| batch.len()), Some(2));
            queue.add(some(1, 1));
            queue.close();
            assert_eq!(queue.next().await.map(|batch| batch.len()), Some(1));
            assert!(queue.next().await.is_none());
            assert!(began.elapsed() < AGE * 2);
        });
    }
}
