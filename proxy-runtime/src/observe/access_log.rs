//! Lines of the access log, from the workers to standard output ([`AccessLog`]): buffered per worker, and written by the thread of a queue.
//!
//! A worker never waits for standard output. While that is too slow, lines are dropped, counted and reported.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::notice;
use super::output::Standard;
use super::queue::Queue;

/// A worker's buffer is handed over when it is this full, in bytes.
const FULL: usize = 32 << 10;

/// A worker's buffer is handed over at the latest after this.
const DELAY: Duration = Duration::from_millis(50);

/// How many bytes may wait for a blocked standard output.
const ROOM: usize = 8 << 20;

/// The access log of all workers.
pub(crate) struct AccessLog(Queue);

impl AccessLog {
    /// Starts the writer.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(crate) fn start() -> std::io::Result<AccessLog> {
        Queue::start("log", ROOM, Standard(std::io::stdout()), |lost| notice::report(&losses(lost))).map(AccessLog)
    }

    /// A worker's buffer.
    pub(crate) fn buffer(&self) -> LogBuffer {
        LogBuffer { text: RefCell::default(), wake: Notify::new(), queue: self.0.clone() }
    }

    /// Writes what the workers have handed over, until then; what is left is lost, and that is said. Blocks.
    pub(crate) fn finish(&self, until: Instant) {
        let lost = self.0.finish(until);
        if lost > 0 {
            notice::announce(&losses(lost));
        }
    }
}

fn losses(lost: u64) -> String {
    format!("{lost} lines of the access log were lost: standard output is too slow, or gone")
}

/// A worker's lines that are not handed over yet.
pub(crate) struct LogBuffer {
    text: RefCell<Vec<u8>>,
    wake: Notify,
    queue: Queue,
}

impl LogBuffer {
    /// Appends what `line` writes.
    pub(crate) fn write(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let mut text = self.text.borrow_mut();
        if text.is_empty() {
            self.wake.notify_one();
        }
        line(&mut text);
        if text.len() >= FULL {
            self.hand_over(&mut text);
        }
    }

    /// Hands over what there is.
    pub(crate) fn flush(&self) {
        let mut text = self.text.borrow_mut();
        if !text.is_empty() {
            self.hand_over(&mut text);
        }
    }

    fn hand_over(&self, text: &mut Vec<u8>) {
        self.queue.add(std::mem::replace(text, Vec::with_capacity(FULL + 1024)));
    }

    /// Hands lines over in time, for ever.
    pub(crate) async fn keep_flushing(&self) {
        loop {
            self.wake.notified().await;
            tokio::time::sleep(DELAY).await;
            self.flush();
        }
    }
}
