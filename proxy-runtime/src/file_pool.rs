//! Threads for file operations: [`FilePool`]. A disk may hang (a frozen file system, a network mount whose server is gone), and a
//! worker that waits for it blocks all of its sites. Workers therefore pass each operation to a pool, and wait no longer than [`WAIT`].
//!
//! A pool is bounded in threads and in operations that wait for one. While a disk hangs, its pool refuses operations at once, except for
//! one trial a second: requests go to the origin without waiting. Each folder of a cache store and the static files have separate pools, so
//! a disk that hangs does not affect the others.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// A pool of threads for file operations.
pub(crate) struct FilePool {
    runtime: Runtime,
    /// The number of operations that wait or run.
    pending: AtomicUsize,
    /// An operation has timed out, and none has ended since.
    stalled: AtomicBool,
    started: Instant,
    /// When the last trial began, in milliseconds since the start.
    tried: AtomicU64,
}

/// Why an operation has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// The operation was not started: the disk does not respond, or too many operations are queued.
    Refused,
    /// The operation was started, and did not end in time. Another attempt may block another thread.
    TimedOut,
}

/// How long a request waits for an operation. A working disk takes milliseconds; after this time it is better to ask the origin.
pub(crate) const WAIT: Duration = Duration::from_secs(2);

/// The most concurrent operations.
const THREADS: usize = 32;

/// The most operations that wait or run; further ones are refused.
const PENDING: usize = 1024;

/// The interval between trials while the disk hangs.
const TRIAL: Duration = Duration::from_secs(1);

impl FilePool {
    /// Creates a pool without threads. It lives as long as the process, as a thread that hangs can't be ended.
    ///
    /// # Errors
    /// The system has no descriptors or memory left.
    pub(crate) fn new() -> std::io::Result<&'static FilePool> {
        let threads = Builder::new_current_thread()
            .max_blocking_threads(THREADS)
            .thread_name("files")
            .on_thread_start(|| ON_POOL.set(true))
            .build()?;
        Ok(Box::leak(Box::new(FilePool {
            runtime: threads,
            pending: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
            started: Instant::now(),
            tried: AtomicU64::new(0),
        })))
    }

    /// Returns whether an operation may start: the disk responds, as far as is known, and the queue is not full.
    pub(crate) fn is_ready(&self) -> bool {
        self.pending.load(Ordering::Relaxed) < PENDING
            && (!self.stalled.load(Ordering::Relaxed) || self.trial_due().is_some())
    }

    /// Returns when the last trial began and the current time, if another one is due.
    fn trial_due(&self) -> Option<(u64, u64)> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let tried = self.tried.load(Ordering::Relaxed);
        (now.saturating_sub(tried) >= TRIAL.as_millis() as u64).then_some((tried, now))
    }

    /// Returns whether an operation may start, possibly as a trial.
    fn admits(&self) -> bool {
        let is_trial =
            |(tried, now)| self.tried.compare_exchange(tried, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        self.pending.load(Ordering::Relaxed) < PENDING
            && (!self.stalled.load(Ordering::Relaxed) || self.trial_due().is_some_and(is_trial))
    }

    /// Runs an operation, and waits for it. After a time-out, it still runs to its end.
    ///
    /// # Errors
    /// Fails if the operation was not started, or has not ended in time.
    pub(crate) async fn run<T: Send + 'static>(
        &'static self,
        operation: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        if !self.admits() {
            return Err(Unavailable::Refused);
        }
        match tokio::time::timeout(WAIT, self.begin(operation)).await {
            // The error means that the operation has panicked.
            Ok(ended) => ended.map_err(|_| Unavailable::Refused),
            Err(_) => {
                self.stalled.store(true, Ordering::Relaxed);
                Err(Unavailable::TimedOut)
            }
        }
    }

    /// Starts an operation without waiting, which must not be lost: the caller limits their number.
    pub(crate) fn begin<T: Send + 'static>(
        &'static self,
        operation: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        let pending = PendingOperation(self);
        self.runtime.spawn_blocking(move || {
            let _pending = pending;
            operation()
        })
    }

    /// Runs an operation without waiting: in this thread, if that belongs to a pool.
    pub(crate) fn aside(&'static self, operation: impl FnOnce() + Send + 'static) {
        if ON_POOL.get() { operation() } else { drop(self.begin(operation)) }
    }

    /// Waits until all operations have ended, or `patience` is over. Blocks.
    pub(crate) fn settle(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while self.pending.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

std::thread_local! {
    /// Whether this thread belongs to a pool.
    static ON_POOL: Cell<bool> = const { Cell::new(false) };
}

/// Counts an operation until it has ended, in any way.
struct PendingOperation(&'static FilePool);

impl Drop for PendingOperation {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
        self.0.stalled.store(false, Ordering::Relaxed);
    }
}

/// Runs an operation on files outside caches, in their common pool. See [`FilePool::run`].
///
/// # Errors
/// As there; also if the system had no descriptors for the pool.
pub(crate) async fn run_static<T: Send + 'static>(
    operation: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unavailable> {
    static POOL: LazyLock<Option<&'static FilePool>> = LazyLock::new(|| FilePool::new().ok());
    POOL.ok_or(Unavailable::Refused)?.run(operation).await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// While all threads hang, operations time out, then are refused at once, except for one trial a second; and the
    /// disk may recover.
    #[tokio::test(start_paused = true)]
    async fn hanging_disks() {
        let pool = FilePool::new().expect("a pool");
        assert_eq!(pool.begin(|| 7).await.expect("it ends"), 7);
        let (resume, hung) = mpsc::channel::<()>();
        let hung = std::sync::Arc::new(std::sync::Mutex::new(hung));
        for _ in 0..THREADS {
            let hung = std::sync::Arc::clone(&hung);
            drop(pool.begin(move || hung.lock().expect("a lock").recv()));
        }
        let began = tokio::time::Instant::now();
        assert_eq!(pool.run(|| 7).await, Err(Unavailable::TimedOut));
        assert!(began.elapsed() >= WAIT);
        let began = tokio::time::Instant::now();
        pool.tried.store(u64::MAX, Ordering::Relaxed);
        assert!(!pool.is_ready(), "no trial is due");
        assert_eq!(pool.run(|| 7).await, Err(Unavailable::Refused));
        assert_eq!(began.elapsed(), Duration::ZERO);
        pool.tried.store(0, Ordering::Relaxed);
        drop(resume);
        pool.settle(Duration::from_secs(60));
        assert!(pool.is_ready());
    }

    /// The queue is bounded.
    #[test]
    fn the_queue_is_bounded() {
        let pool = FilePool::new().expect("a pool");
        let (resume, hung) = mpsc::channel::<()>();
        let hung = std::sync::Arc::new(std::sync::Mutex::new(hung));
        for at in 0..PENDING {
            assert!(pool.is_ready(), "{at}");
            let hung = std::sync::Arc::clone(&hung);
            drop(pool.begin(move || hung.lock().expect("a lock").recv()));
        }
        assert!(!pool.is_ready());
        drop(resume);
        pool.settle(Duration::from_secs(60));
        assert!(pool.is_ready());
    }
}
