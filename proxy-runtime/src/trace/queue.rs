//! The queue of spans for the collector ([`SpanQueue`]): bounded in bytes.
//!
//! Adding spans waits only for other additions. Spans for which there is no room are dropped and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::encode::EncodedSpans;

/// The most bytes of spans that wait.
const ROOM: usize = 8 << 20;

/// The most spans and bytes of a request to a collector; a single exchange may have more.
pub(super) const MOST_SPANS: usize = 512;
const MOST_BYTES: usize = 1 << 20;

/// The longest wait for more spans to send together.
const AGE: Duration = Duration::from_secs(1);

/// The spans that wait for the collector, and how many were dropped and exported.
#[derive(Default)]
pub(super) struct SpanQueue {
    waiting: Mutex<WaitingSpans>,
    /// Signals that there are enough spans for a request, or that the queue is closed.
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
    /// Returns whether there is room; if not, spans need not be encoded.
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

    /// Counts spans that are dropped.
    pub(super) fn drop(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Counts spans that a collector has accepted.
    pub(super) fn export(&self, count: usize) {
        self.exported.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Returns how many spans were dropped, and how many exported.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.dropped.load(Ordering::Relaxed), self.exported.load(Ordering::Relaxed))
    }

    /// Closes the queue: it accepts no more spans.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.enough.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Waits for the spans of the next request: until there are enough, or some have waited long enough. Returns `None`
    /// at the end.
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

    /// Takes as many spans as a request may have.
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
    fn batches_are_bounded() {
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
    fn spans_without_room_are_counted() {
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
    fn spans_wait_no_longer_than_needed() {
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
