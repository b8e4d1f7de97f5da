//! The access log ([`AccessLog`]): its lines are buffered per worker, and written to the outputs by the threads of queues.
//!
//! A worker never waits for an output. While an output is too slow, its lines are dropped, counted and reported.

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

/// The size in bytes at which a worker's buffer is handed over.
const FULL: usize = 32 << 10;

/// The longest time until a worker's buffer is handed over.
const DELAY: Duration = Duration::from_millis(50);

/// The most bytes that wait for an output that is blocked.
const ROOM: usize = 8 << 20;

/// The access log of all workers.
pub(crate) struct AccessLog(Vec<OpenOutput>);

impl AccessLog {
    /// Opens all outputs, and starts their writers.
    ///
    /// # Errors
    /// Fails if an output can't be opened, or the system has no thread for it.
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

    /// Returns the buffers of a worker.
    pub(crate) fn buffers(&'static self) -> LogBuffers {
        let buffers = self.0.iter().map(|output| LogBuffer { text: RefCell::default(), output }).collect();
        LogBuffers { buffers, wake: Notify::new() }
    }

    /// Reopens the files before the next lines are written. Returns how many files there are.
    pub(crate) fn reopen(&self) -> usize {
        let files = || self.0.iter().filter(|output| output.is_file);
        files().for_each(|file| file.queue.reopen());
        files().count()
    }

    /// Returns the name of each output, and how many lines it has lost.
    #[cfg(feature = "admin")]
    pub(crate) fn lost(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|output| (output.name.as_str(), output.queue.lost()))
    }

    /// Writes what the workers have handed over, until a point in time; what is left then is lost and reported. Blocks.
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

/// The lines of a worker that are not handed over yet.
pub(crate) struct LogBuffers {
    buffers: Vec<LogBuffer>,
    wake: Notify,
}

/// The lines of a worker for one output.
struct LogBuffer {
    text: RefCell<Vec<u8>>,
    output: &'static OpenOutput,
}

impl LogBuffers {
    /// Appends a line about an exchange to the buffer of each output of its log, if the log writes the exchange.
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

    /// Hands over all lines.
    pub(crate) fn flush(&self) {
        for buffer in &self.buffers {
            let mut text = buffer.text.borrow_mut();
            if !text.is_empty() {
                buffer.hand_over(&mut text);
            }
        }
    }

    /// Hands lines over in time, forever.
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
