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

/// See above.
pub(crate) struct FilePool {
    runtime: Runtime,
    /// Operations that wait for a thread or have one.
    pending: AtomicUsize,
    /// Somebody waited in vain, and no operation has ended since.
    stalled: AtomicBool,
    started: Instant,
    /// When the last trial began, in milliseconds since the start.
    tried: AtomicU64,
}

/// Why there is no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// It was not begun: the disk does not respond, or too many wait for it already.
    Refused,
    /// It was begun, and did not end in time. To begin it again may cost another thread.
    TimedOut,
}

/// How long a request waits for an operation. A disk that works takes milliseconds; a request that waits longer is better off with
/// the origin.
pub(crate) const WAIT: Duration = Duration::from_secs(2);

/// Operations at once.
const THREADS: usize = 32;

/// Operations that wait or run; more are refused.
const PENDING: usize = 1024;

/// How often an operation is tried while the disk hangs.
const TRIAL: Duration = Duration::from_secs(1);

impl FilePool {
    /// A pool without threads yet. It lives as long as the process: a thread that hangs can't be ended.
    ///
    /// # Errors
    /// The system has no descriptors or memory.
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

    /// Whether an operation may begin: the disk responds, as far as is known, and not too many wait for it.
    pub(crate) fn is_ready(&self) -> bool {
        self.pending.load(Ordering::Relaxed) < PENDING
            && (!self.stalled.load(Ordering::Relaxed) || self.trial_due().is_some())
    }

    /// When the last trial began and what time it is, if another is due.
    fn trial_due(&self) -> Option<(u64, u64)> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let tried = self.tried.load(Ordering::Relaxed);
        (now.saturating_sub(tried) >= TRIAL.as_millis() as u64).then_some((tried, now))
    }

    /// Whether an operation may begin, and be the trial if one is due.
    fn admits(&self) -> bool {
        let is_trial =
            |(tried, now)| self.tried.compare_exchange(tried, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        self.pending.load(Ordering::Relaxed) < PENDING
            && (!self.stalled.load(Ordering::Relaxed) || self.trial_due().is_some_and(is_trial))
    }

    /// Runs an operation, and waits for it. One that comes too late still runs to its end.
    ///
    /// # Errors
    /// It was not begun, or has not ended in time.
    pub(crate) async fn run<T: Send + 'static>(
        &'static self,
        operation: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        if !self.admits() {
            return Err(Unavailable::Refused);
        }
        match tokio::time::timeout(WAIT, self.begin(operation)).await {
            // It has panicked.
            Ok(ended) => ended.map_err(|_| Unavailable::Refused),
            Err(_) => {
                self.stalled.store(true, Ordering::Relaxed);
                Err(Unavailable::TimedOut)
            }
        }
    }

    /// Runs an operation that nobody waits for, and that must not be lost: whoever calls this bounds how many there are.
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

    /// Runs an operation that nobody waits for: here, if this is a thread of a pool already.
    pub(crate) fn aside(&'static self, operation: impl FnOnce() + Send + 'static) {
        if ON_POOL.get() { operation() } else { drop(self.begin(operation)) }
    }

    /// Waits until all operations have ended, or it has been so long. Blocks.
    pub(crate) fn settle(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while self.pending.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

std::thread_local! {
    /// Whether this is a thread of a pool.
    static ON_POOL: Cell<bool> = const { Cell::new(false) };
}

/// An operation until it has ended, however it ends.
struct PendingOperation(&'static FilePool);

impl Drop for PendingOperation {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
        self.0.stalled.store(false, Ordering::Relaxed);
    }
}

/// Runs an operation on files that are no cache's, in the one pool for those. See [`FilePool::run`].
///
/// # Errors
/// As there; also where the system had no descriptors for the pool.
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

    /// All threads hang: nobody waits for long, then nobody waits at all, but for one trial a second; and it ends.
    #[tokio::test(start_paused = true)]
    async fn hangs() {
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

    /// No more than so many wait.
    #[test]
    fn bounded() {
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
