//! Requests that wait until a server of their upstream has room: [`WaitQueue`].
//!
//! A task that returns capacity then checks whether a request waits; a request that is going to wait registers first and then checks for
//! capacity. One of the two must see the other, or a request waits beside a free server. A processor may move a load before an earlier
//! store, though, as Arm's do, so there is a sequentially consistent fence between the two on both sides: fences have one order, and after
//! the second, the store before the first is visible. Sequentially consistent operations would do as well, and save the cost of a fence on
//! x86-64 (some ten nanoseconds per exchange); but loom treats these as weaker than they are, and could not check them.

use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::sync::atomic::{AtomicUsize, fence};

/// The waiting requests of an upstream.
#[derive(Default)]
pub(super) struct WaitQueue {
    count: AtomicUsize,
    room: Notify,
}

impl WaitQueue {
    /// Registers a request that is going to wait, and checks for capacity afterwards; it counts as waiting until the
    /// result is dropped.
    pub(super) fn join(&self) -> Waiter<'_> {
        let others = self.count.fetch_add(1, Ordering::Relaxed) as u64;
        fence(Ordering::SeqCst);
        Waiter { pending: self, others }
    }

    #[cfg(feature = "admin")]
    /// Returns the number of waiting requests.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Capacity was returned: wakes one request. Costs a fence and a load if none waits.
    pub(super) fn wake_one(&self) {
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::Relaxed) > 0 {
            self.room.notify_one();
        }
    }

    /// Wakes all requests: the servers have changed, or one has recovered.
    pub(super) fn wake_all(&self) {
        self.room.notify_waiters();
    }
}

/// A waiting request.
pub(super) struct Waiter<'p> {
    pending: &'p WaitQueue,
    /// How many waited before.
    pub(super) others: u64,
}

impl<'p> Waiter<'p> {
    /// Completes when there may be capacity. No notification is missed once it is enabled.
    pub(super) fn room(&self) -> Notified<'p> {
        self.pending.room.notified()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.pending.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, kiln_loom))]
mod interleavings {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use super::*;
    use crate::balance::Load;

    /// No request waits while there is capacity: neither after it was returned, nor because of another one's failed attempt.
    #[test]
    fn nobody_waits_beside_room() {
        loom::model(|| {
            let (load, pending) = (Arc::new(Load::default()), Arc::new(WaitQueue::default()));
            assert!(load.begin(1));
            let ends = |load: &Load, pending: &WaitQueue| {
                load.end();
                pending.wake_one();
            };
            let spawn = |run: fn(&Load, &WaitQueue, fn(&Load, &WaitQueue)), ends| {
                let (load, pending) = (Arc::clone(&load), Arc::clone(&pending));
                loom::thread::spawn(move || run(&load, &pending, ends))
            };
            let holder = spawn(|load, pending, ends| ends(load, pending), ends);
            let newcomer = spawn(
                |load, pending, ends| {
                    if load.begin(1) {
                        ends(load, pending);
                    }
                },
                ends,
            );
            let mut others = Some((holder, newcomer));
            let mut cx = Context::from_waker(Waker::noop());
            let waiting = pending.join();
            loop {
                let mut room = pin!(waiting.room());
                room.as_mut().enable();
                if load.begin(1) {
                    break;
                }
                if room.as_mut().poll(&mut cx).is_pending() {
                    // The task sleeps. When all the others have ended, it must have been woken.
                    let (holder, newcomer) = others.take().expect("it sleeps once, as there is room then");
                    holder.join().expect("ended");
                    newcomer.join().expect("ended");
                    assert!(room.poll(&mut cx).is_ready(), "it waits beside room");
                }
                // Tokio's `Notify` orders what the waking task did before what the woken task does. Loom does not see that.
                fence(Ordering::SeqCst);
            }
        });
    }
}
