//! The end of the process: its phases ([`Phases`]), which together take no longer than `drain timeout`, the wait for the workers
//! ([`supervise`]), and the end because a worker has died ([`AliveGuard`]).

use std::time::Duration;

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc, watch};

use crate::observe::{announce_warning, notice};
use crate::worker::StopSignal;

/// How long each phase may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phases {
    /// Exchanges continue.
    pub(crate) exchanges: Duration,
    /// Workers abort exchanges.
    pub(crate) abort: Duration,
    /// Pending disk writes, spans and lines of the access log are written, and the service manager hears that the process stops.
    pub(crate) settle: Duration,
    /// Notices are written.
    pub(crate) notices: Duration,
}

/// The longest time for what comes after the exchanges. It takes milliseconds, unless a disk or a reader of logs hangs.
const LONGEST_REST: Duration = Duration::from_secs(3);

/// The same for a drain of no time, so that logs are complete.
const SHORTEST_REST: Duration = Duration::from_millis(300);

impl Phases {
    /// Divides the time of a drain: exchanges get at least four fifths of it.
    pub(crate) fn of(drain: Duration) -> Phases {
        let rest = (drain / 5).clamp(SHORTEST_REST, LONGEST_REST);
        Phases { exchanges: drain.saturating_sub(rest), abort: rest / 3, settle: rest / 3, notices: rest / 6 }
    }

    /// Returns the time after which the process ends in any case: a sixth of the rest is for threads that get no CPU time.
    pub(crate) fn all(self) -> Duration {
        self.exchanges.saturating_add(self.abort * 3)
    }
}

/// Waits for the signal to stop, which `begins` is called at, then for the workers: until they have ended, the time for exchanges is
/// over, or a second signal arrives.
pub(crate) async fn supervise(
    stop: &watch::Sender<StopSignal>,
    phases: Phases,
    all_done: &mut mpsc::Receiver<()>,
    begins: impl FnOnce(),
) {
    let mut stopping = stop.subscribe();
    let _ = stopping.wait_for(|stop| *stop != StopSignal::No).await;
    begins();
    let complete = tokio::select! {
        _ = all_done.recv() => true,
        () = tokio::time::sleep(phases.exchanges) => false,
        _ = stopping.wait_for(|stop| *stop == StopSignal::Now) => false,
    };
    if !complete {
        announce_warning("cutting off the remaining exchanges");
        stop.send_replace(StopSignal::Now);
        // Aborting means dropping tasks: a worker that does not do so in time never will.
        let _ = tokio::time::timeout(phases.abort, all_done.recv()).await;
    }
}

/// Held by a worker's thread. If the thread ends while the process is not stopping, the process drains, and ends with an error: a service manager
/// starts another one, whereas a process without some of its workers would serve badly and unnoticed.
pub(crate) struct AliveGuard {
    pub(crate) worker: usize,
    pub(crate) stop: watch::Receiver<StopSignal>,
    /// Whether a worker has died.
    pub(crate) died: &'static AtomicBool,
    /// Begins the drain.
    pub(crate) drain: &'static Notify,
}

impl Drop for AliveGuard {
    fn drop(&mut self) {
        if *self.stop.borrow() == StopSignal::No {
            notice::error(&format!("worker {} has died: the process ends", self.worker));
            self.died.store(true, Ordering::Relaxed);
            self.drain.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases() {
        let check = |drain: u64, exchanges: u64, abort: u64, notices: u64, all: u64| {
            let found = Phases::of(Duration::from_millis(drain));
            let expected = [exchanges, abort, abort, notices, all].map(Duration::from_millis);
            assert_eq!([found.exchanges, found.abort, found.settle, found.notices, found.all()], expected, "{drain}");
        };
        check(30_000, 27_000, 1000, 500, 30_000);
        check(3_600_000, 3_597_000, 1000, 500, 3_600_000);
        check(6000, 4800, 400, 200, 6000);
        check(1500, 1200, 100, 50, 1500);
        check(300, 0, 100, 50, 300);
        check(0, 0, 100, 50, 300);
    }

    #[test]
    fn a_worker_that_dies_ends_the_process() {
        let died: &'static AtomicBool = Box::leak(Box::default());
        let drain: &'static Notify = Box::leak(Box::default());
        let (stop, stopped) = watch::channel(StopSignal::No);
        let alive = |worker| AliveGuard { worker, stop: stopped.clone(), died, drain };
        stop.send_replace(StopSignal::Drain);
        drop(alive(0));
        assert!(!died.load(Ordering::Relaxed), "workers end when the process stops");
        stop.send_replace(StopSignal::No);
        let guard = alive(1);
        let worker = std::thread::spawn(move || {
            let _alive = guard;
            panic!("as a bug would");
        });
        worker.join().expect_err("a panic");
        assert!(died.load(Ordering::Relaxed));
        let mut notified = std::pin::pin!(drain.notified());
        let polled = notified.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(polled.is_ready(), "the drain begins");
    }
}
