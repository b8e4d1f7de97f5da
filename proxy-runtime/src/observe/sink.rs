//! From a worker's lines to standard output: buffered per worker, written by one thread.
//!
//! A worker never waits for the writer. When the writer is too slow, lines are dropped, counted and reported.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

use super::notice::notice;

/// A buffer is handed to the writer when it is this full, in bytes.
const FULL: usize = 32 << 10;

/// A buffer is handed to the writer at the latest after this.
const DELAY: Duration = Duration::from_millis(50);

/// How many buffers the writer may be behind.
const BEHIND: usize = 256;

/// The writer's end.
pub(crate) struct Sink {
    sender: SyncSender<Vec<u8>>,
    dropped: std::sync::Arc<AtomicU64>,
}

impl Sink {
    /// Starts the writer; it ends when all senders are gone and everything is written.
    pub(crate) fn start() -> std::io::Result<(Sink, JoinHandle<()>)> {
        let (sender, receiver) = sync_channel(BEHIND);
        let dropped = std::sync::Arc::new(AtomicU64::new(0));
        let counted = std::sync::Arc::clone(&dropped);
        let writer =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&receiver, &counted))?;
        Ok((Sink { sender, dropped }, writer))
    }

    /// A worker's buffer.
    pub(crate) fn buffer(&self) -> LogBuffer {
        LogBuffer {
            text: RefCell::default(),
            wake: Notify::new(),
            sender: RefCell::new(Some(self.sender.clone())),
            dropped: std::sync::Arc::clone(&self.dropped),
        }
    }
}

fn write_all(receiver: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    let mut out = std::io::stdout();
    while let Ok(text) = receiver.recv() {
        if out.write_all(&text).and_then(|()| out.flush()).is_err() {
            dropped.fetch_add(lines(&text), Ordering::Relaxed);
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            notice(&format!("{lost} lines of the access log were lost: standard output is too slow, or gone"));
        }
    }
}

fn lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// A worker's lines that are not handed over yet.
pub(crate) struct LogBuffer {
    text: RefCell<Vec<u8>>,
    wake: Notify,
    sender: RefCell<Option<SyncSender<Vec<u8>>>>,
    dropped: std::sync::Arc<AtomicU64>,
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

    fn hand_over(&self, text: &mut Vec<u8>) {
        let full = std::mem::replace(text, Vec::with_capacity(FULL + 1024));
        if let Some(sender) = &*self.sender.borrow()
            && let Err(refused) = sender.try_send(full)
        {
            let (std::sync::mpsc::TrySendError::Full(text) | std::sync::mpsc::TrySendError::Disconnected(text)) =
                refused;
            self.dropped.fetch_add(lines(&text), Ordering::Relaxed);
        }
    }

    /// Hands over what there is.
    fn flush(&self) {
        let mut text = self.text.borrow_mut();
        if !text.is_empty() {
            self.hand_over(&mut text);
        }
    }

    /// Hands over what there is, and nothing any more after it.
    pub(crate) fn close(&self) {
        self.flush();
        self.sender.borrow_mut().take();
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
