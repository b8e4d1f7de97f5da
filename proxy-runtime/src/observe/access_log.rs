//! Lines of the access log, from the workers to its outputs ([`AccessLog`]): buffered per worker, and written by the threads of queues.
//!
//! A worker never waits for an output. While one is too slow, its lines are dropped, counted and reported.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::choice;
use super::notice;
use super::outputs::{OpenOutput, OutputUse};
use super::tell::Tell;
use crate::context::facts::Facts;
use crate::context::settings::{Settings, StartError};
use crate::dice::Dice;
use crate::site::{Log, LogOutput};

/// A worker's buffer is handed over when it is this full, in bytes.
const FULL: usize = 32 << 10;

/// A worker's buffer is handed over at the latest after this.
const DELAY: Duration = Duration::from_millis(50);

/// How many bytes may wait for an output that is blocked.
const ROOM: usize = 8 << 20;

/// The access log of all workers.
pub(crate) struct AccessLog(Vec<OpenOutput>);

impl AccessLog {
    /// Opens all outputs, and starts their writers.
    ///
    /// # Errors
    /// An output can't be opened, or the system has no thread for it.
    pub(crate) fn start(outputs: &[LogOutput], settings: &Settings) -> Result<AccessLog, Vec<StartError>> {
        let report = |name: &str, lost: u64| notice::report(&losses(name, lost));
        let made_for = OutputUse { thread: "log", room: ROOM, report, tell: Tell::new(notice::tell) };
        let (open, refused): (Vec<_>, Vec<_>) =
            outputs.iter().map(|output| made_for.open(output, settings)).partition(Result::is_ok);
        match refused.is_empty() {
            true => Ok(AccessLog(open.into_iter().flatten().collect())),
            false => Err(refused.into_iter().filter_map(Result::err).collect()),
        }
    }

    /// A worker's buffers.
    pub(crate) fn buffers(&'static self) -> LogBuffers {
        let buffers = self.0.iter().map(|output| LogBuffer { text: RefCell::default(), output }).collect();
        LogBuffers { buffers, wake: Notify::new() }
    }

    /// Has files opened again before the next lines are written; says how many.
    pub(crate) fn reopen(&self) -> usize {
        let files = || self.0.iter().filter(|output| output.is_file);
        files().for_each(|file| file.queue.reopen());
        files().count()
    }

    /// The outputs by name, and how many lines each has lost.
    #[cfg(feature = "admin")]
    pub(crate) fn lost(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|output| (output.name.as_str(), output.queue.lost()))
    }

    /// Writes what the workers have handed over, until then; what is left is lost, and that is said. Blocks.
    pub(crate) fn finish(&self, until: Instant) {
        for output in &self.0 {
            let lost = output.queue.finish(until);
            if lost > 0 {
                notice::announce_warning(&losses(&output.name, lost));
            }
        }
    }
}

fn losses(name: &str, lost: u64) -> String {
    format!("{lost} lines of the access log were lost: {name} is too slow, full or gone")
}

/// A worker's lines that are not handed over yet.
pub(crate) struct LogBuffers {
    buffers: Vec<LogBuffer>,
    wake: Notify,
}

/// The same of an output.
struct LogBuffer {
    text: RefCell<Vec<u8>>,
    output: &'static OpenOutput,
}

impl LogBuffers {
    /// Appends a line about an exchange for each output of its log, if that writes it.
    pub(crate) fn write(&self, log: &Log, facts: &Facts<'_>, dice: &Dice) {
        if !choice::is_written(log, facts, dice) {
            return;
        }
        for buffer in log.outputs.iter().filter_map(|&index| self.buffers.get(usize::from(index))) {
            let mut text = buffer.text.borrow_mut();
            if text.is_empty() {
                self.wake.notify_one();
            }
            buffer.output.framing.exchange(log, facts, &mut text);
            if text.len() >= FULL {
                buffer.hand_over(&mut text);
            }
        }
    }

    /// Hands over what there is.
    pub(crate) fn flush(&self) {
        for buffer in &self.buffers {
            let mut text = buffer.text.borrow_mut();
            if !text.is_empty() {
                buffer.hand_over(&mut text);
            }
        }
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

impl LogBuffer {
    fn hand_over(&self, text: &mut Vec<u8>) {
        self.output.queue.add(std::mem::replace(text, Vec::with_capacity(FULL + 1024)));
    }
}
