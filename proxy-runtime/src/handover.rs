//! What workers have to do with a takeover ([`Handover`]): they pause accepting while a new process serves, and a new process counts its errors.
//!
//! Pausing costs an accept a look at a `watch`, counting costs an exchange a load and a store. `handover/absent.rs` has the same names for sites
//! without `takeover`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// The state that workers share with the code of takeovers.
pub(crate) struct Handover {
    /// Whether accepting is paused, by the index of the listener.
    paused: watch::Sender<Vec<bool>>,
    counters: Box<[CanaryCounter]>,
    /// There was an error.
    failed: Notify,
    /// The number of the last question whether workers run their tasks.
    question: watch::Sender<u32>,
    /// A worker has heard it.
    heard: Notify,
}

/// The counts of one worker, which alone writes them; in a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct CanaryCounter {
    responses: AtomicU64,
    errors: AtomicU64,
    /// The last question that it has heard.
    heard: AtomicU32,
}

/// What a new process has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CanaryCount {
    pub(crate) responses: u64,
    /// How many of them had a status of 5xx, or broke off because a server or the proxy failed.
    pub(crate) errors: u64,
}

impl Handover {
    pub(crate) fn new(listeners: usize, workers: usize) -> Handover {
        let counters = (0..workers).map(|_| CanaryCounter::default()).collect();
        Handover {
            paused: watch::Sender::new(vec![false; listeners]),
            counters,
            failed: Notify::new(),
            question: watch::Sender::new(0),
            heard: Notify::new(),
        }
    }

    /// Pauses these listeners.
    pub(crate) fn pause(&self, listeners: &[u32]) {
        self.paused.send_modify(|paused| {
            for (index, paused) in (0..).zip(paused) {
                *paused = listeners.contains(&index);
            }
        });
    }

    /// Pauses all listeners: what waits in their queues is left to the other process.
    pub(crate) fn pause_all(&self) {
        self.paused.send_modify(|paused| paused.fill(true));
    }

    /// Ends the pause of all listeners.
    pub(crate) fn resume(&self) {
        self.pause(&[]);
    }

    /// Follows the pauses of a listener.
    pub(crate) fn follow(&self, listener: u32) -> Pauses {
        Pauses { paused: self.paused.subscribe(), listener: listener as usize }
    }

    /// Counts a response of a worker.
    pub(crate) fn count(&self, worker: usize, failed: bool) {
        let Some(counter) = self.counters.get(worker) else { return };
        let add = |to: &AtomicU64, number| to.store(to.load(Ordering::Relaxed) + number, Ordering::Relaxed);
        add(&counter.responses, 1);
        if failed {
            add(&counter.errors, 1);
            self.failed.notify_one();
        }
    }

    /// Waits until there has been another error.
    pub(crate) async fn failed(&self) {
        self.failed.notified().await;
    }

    /// Hears questions for as long as a worker runs its tasks.
    pub(crate) async fn hear(&self, worker: usize) {
        let mut question = self.question.subscribe();
        let Some(counter) = self.counters.get(worker) else { return };
        // The sender lives as long as the process.
        while question.changed().await.is_ok() {
            counter.heard.store(*question.borrow_and_update(), Ordering::Release);
            self.heard.notify_one();
        }
    }

    /// Returns a worker that does not run its tasks within this time, if there is one.
    pub(crate) async fn silent(&self, within: Duration) -> Option<usize> {
        let asked = self.question.borrow().wrapping_add(1);
        self.question.send_replace(asked);
        let silent = || self.counters.iter().position(|counter| counter.heard.load(Ordering::Acquire) != asked);
        let all_hear = async {
            while silent().is_some() {
                self.heard.notified().await;
            }
        };
        // If the last one hears it now, that is in time.
        let _ = tokio::time::timeout(within, all_hear).await;
        silent()
    }

    /// Returns the sums over all workers.
    pub(crate) fn counted(&self) -> CanaryCount {
        let sum = |of: fn(&CanaryCounter) -> &AtomicU64| {
            self.counters.iter().map(|counter| of(counter).load(Ordering::Relaxed)).sum()
        };
        CanaryCount { responses: sum(|counter| &counter.responses), errors: sum(|counter| &counter.errors) }
    }
}

/// The pauses of one listener.
pub(crate) struct Pauses {
    paused: watch::Receiver<Vec<bool>>,
    listener: usize,
}

impl Pauses {
    /// Waits until accepting is paused, or is not.
    async fn become_set(&mut self, wanted: bool) {
        let listener = self.listener;
        let is = |paused: &Vec<bool>| paused.get(listener).is_some_and(|paused| *paused == wanted);
        // The sender lives as long as the process.
        if self.paused.wait_for(is).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until another process accepts instead of this one.
pub(crate) async fn paused(pauses: &mut Option<Pauses>) {
    match pauses {
        Some(pauses) => pauses.become_set(true).await,
        None => std::future::pending().await,
    }
}

/// Waits until that is over.
pub(crate) async fn resumed(pauses: &mut Option<Pauses>) {
    if let Some(pauses) = pauses {
        pauses.become_set(false).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_are_paused_by_themselves() {
        let handover = Handover::new(2, 1);
        let (mut first, mut second) = (Some(handover.follow(0)), Some(handover.follow(1)));
        resumed(&mut first).await;
        handover.pause(&[1, 7]);
        paused(&mut second).await;
        resumed(&mut first).await;
        handover.resume();
        resumed(&mut second).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hangs_is_silent() {
        let handover: &'static Handover = Box::leak(Box::new(Handover::new(0, 3)));
        let tasks = [0, 1, 2].map(|worker| tokio::spawn(handover.hear(worker)));
        tokio::task::yield_now().await;
        for _ in 0..2 {
            assert_eq!(handover.silent(Duration::from_secs(2)).await, None);
        }
        tasks[1].abort();
        assert_eq!(handover.silent(Duration::from_secs(2)).await, Some(1));
    }

    #[test]
    fn counts_are_summed() {
        let handover = Handover::new(0, 2);
        for (worker, failed) in [(0, false), (1, true), (1, false), (2, true)] {
            handover.count(worker, failed);
        }
        assert_eq!(handover.counted(), CanaryCount { responses: 3, errors: 1 });
    }
}
