//! A queue of lines for an output that may block ([`Queue`]): bounded in bytes, and written by a thread of its own.
//!
//! Adding lines never waits and makes no write system call. Lines for which there is no room are dropped and counted, and the
//! loss is reported as soon as the output accepts lines again. A thread that hangs in a write can't be ended, so
//! [`Queue::finish`] waits for it only until a given time.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The destination of a queue's lines, for instance standard output.
pub(super) trait Output: Send + 'static {
    /// The most bytes of lines that are written at once (a longer line is written alone): if that fails, all lines of the portion
    /// count as lost. A pipe accepts this many (`PIPE_BUF`) as a whole or not at all, so that written and lost lines can be told
    /// apart, and lines of several processes don't mix.
    const PORTION: usize = 4096;

    /// Called once, in the writer's thread, before the first write. May block.
    fn begin(&mut self) {}

    /// Writes whole lines. May block.
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;

    /// Reopens the output: a file may have been moved. May block.
    fn reopen(&mut self) {}
}

/// The sender of a queue.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<WriterState>,
    /// Signals that there is something to write, or that the queue ends.
    added: Condvar,
    /// Signals that the writer has nothing to do.
    idle: Condvar,
    /// The most bytes that wait.
    room: usize,
    /// Lines that were lost since the start.
    all_lost: AtomicU64,
}

#[derive(Default)]
struct WriterState {
    waiting: VecDeque<Vec<u8>>,
    /// How many bytes are in `waiting`.
    bytes: usize,
    /// Whether the writer writes or reports.
    busy: bool,
    /// Lines that the writer has taken and not written yet.
    writing: u64,
    /// Lines that were lost since the last report.
    lost: u64,
    /// Whether the output is to be reopened.
    reopen: bool,
    /// Whether the queue accepts no more lines.
    closed: bool,
}

/// What the writer does next.
enum Turn {
    Reopen,
    Write(Vec<u8>),
    Report(u64),
    End,
}

/// The shortest time between two reports of losses; the first is made at once.
const REPORT_EVERY: Duration = Duration::from_secs(10);

impl Queue {
    /// Starts the writer, a thread with this name, for up to `room` bytes that wait. `report` receives how many lines were lost,
    /// and returns whether it passed that on.
    ///
    /// # Errors
    /// Fails if the system has no thread for it.
    pub(super) fn start(
        name: &str,
        room: usize,
        output: impl Output,
        report: impl FnMut(u64) -> bool + Send + 'static,
    ) -> io::Result<Queue> {
        let (state, all_lost) = (Mutex::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { state, added: Condvar::new(), idle: Condvar::new(), room, all_lost });
        let queue = Queue(Arc::clone(&shared));
        std::thread::Builder::new().name(name.to_owned()).spawn(move || shared.write_all(output, report))?;
        Ok(queue)
    }

    /// Adds lines, or drops and counts them.
    pub(super) fn add(&self, lines: Vec<u8>) {
        let added = count(&lines);
        let mut state = self.0.lock();
        if !self.0.put(&mut state, lines) {
            self.0.lose(&mut state, added);
        }
    }

    /// Reopens the output before the next line is written.
    pub(super) fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.added.notify_one();
    }

    /// Returns how many lines were lost since the start.
    #[cfg(feature = "admin")]
    pub(super) fn lost(&self) -> u64 {
        self.0.all_lost.load(Ordering::Relaxed)
    }

    /// Adds lines. Returns whether there was room for them.
    pub(super) fn offer(&self, lines: Vec<u8>) -> bool {
        self.0.put(&mut self.0.lock(), lines)
    }

    /// Waits until everything is written, but no longer than `until`. The queue accepts no more lines, and what is left is
    /// dropped. Returns how many lines were lost and not reported. Blocks.
    pub(super) fn finish(&self, until: Instant) -> u64 {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.added.notify_one();
        while state.busy || !state.waiting.is_empty() {
            let Some(patience) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                break;
            };
            let waited = self.0.idle.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let left: u64 = state.waiting.drain(..).map(|lines| count(&lines)).sum();
        state.bytes = 0;
        std::mem::take(&mut state.lost) + std::mem::take(&mut state.writing) + left
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, state: &mut WriterState, lines: u64) {
        state.lost += lines;
        self.all_lost.fetch_add(lines, Ordering::Relaxed);
    }

    fn put(&self, state: &mut WriterState, lines: Vec<u8>) -> bool {
        if state.closed || state.bytes + lines.len() > self.room {
            return false;
        }
        state.bytes += lines.len();
        state.waiting.push_back(lines);
        self.added.notify_one();
        true
    }

    /// Runs the writer until the queue ends.
    fn write_all(&self, mut output: impl Output, mut report: impl FnMut(u64) -> bool) {
        output.begin();
        let mut quiet_until = Instant::now();
        loop {
            match self.next(quiet_until) {
                Turn::Reopen => output.reopen(),
                Turn::Write(lines) => self.write(&mut output, &lines),
                Turn::Report(lost) => {
                    quiet_until = Instant::now() + REPORT_EVERY;
                    if !report(lost) {
                        self.lock().lost += lost;
                    }
                }
                Turn::End => return,
            }
        }
    }

    /// Waits for the next task. Reports go before lines: the output is not blocked, since the writer is here.
    fn next(&self, quiet_until: Instant) -> Turn {
        let mut state = self.lock();
        (state.busy, state.writing) = (false, 0);
        loop {
            if std::mem::take(&mut state.reopen) {
                state.busy = true;
                return Turn::Reopen;
            }
            let quiet = quiet_until.saturating_duration_since(Instant::now());
            if state.lost > 0 && quiet.is_zero() && !state.closed {
                state.busy = true;
                return Turn::Report(std::mem::take(&mut state.lost));
            }
            if let Some(lines) = state.waiting.pop_front() {
                state.busy = true;
                state.bytes -= lines.len();
                state.writing = count(&lines);
                return Turn::Write(lines);
            }
            self.idle.notify_all();
            if state.closed {
                return Turn::End;
            }
            state = if state.lost > 0 {
                self.added.wait_timeout(state, quiet).unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.added.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    fn write<O: Output>(&self, output: &mut O, lines: &[u8]) {
        for portion in portions(lines, O::PORTION) {
            let written = output.write(portion);
            let mut state = self.lock();
            if state.writing == 0 {
                // `finish` has counted these lines as lost meanwhile.
                return;
            }
            let lines = count(portion);
            state.writing = state.writing.saturating_sub(lines);
            if written.is_err() {
                self.lose(&mut state, lines);
            }
        }
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Splits lines into portions: each has as many whole lines as fit, and at least one.
fn portions(lines: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let fits = memchr::memrchr(b'\n', &rest[..rest.len().min(most)]);
        let end = fits.or_else(|| memchr::memchr(b'\n', rest)).map_or(rest.len(), |end| end + 1);
        let portion;
        (portion, rest) = rest.split_at(end);
        (!portion.is_empty()).then_some(portion)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

    use super::*;

    /// Reports when a write begins, and ends the write with the outcome that the test gives.
    struct Slow {
        begun: Sender<Vec<u8>>,
        end: Receiver<bool>,
    }

    impl Output for Slow {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            let _ = self.begun.send(lines.to_owned());
            match self.end.recv() {
                Ok(true) => Ok(()),
                Ok(false) => Err(io::ErrorKind::BrokenPipe.into()),
                // The test is over.
                Err(_) => Ok(()),
            }
        }
    }

    struct Test {
        queue: Queue,
        begun: Receiver<Vec<u8>>,
        end: SyncSender<bool>,
        reports: Receiver<u64>,
    }

    fn test(room: usize) -> Test {
        let ((begun, has_begun), (end, ends), (told, reports)) = (channel(), sync_channel(10), channel());
        let output = Slow { begun, end: ends };
        let queue = Queue::start("test", room, output, move |lost| told.send(lost).is_ok()).expect("a thread");
        Test { queue, begun: has_begun, end, reports }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_without_room_are_reported_once_there_is_room() {
        let test = test(4);
        test.queue.add(b"1\n".to_vec());
        assert_eq!(test.begun.recv_timeout(LONG).expect("a write"), b"1\n");
        // Room is left for two lines.
        for line in ["2\n", "3\n", "4\n", "5\n"] {
            test.queue.add(line.into());
        }
        assert!(!test.queue.offer(b"6\n".to_vec()));
        assert!(test.reports.try_recv().is_err());
        test.end.send(true).expect("it waits");
        assert_eq!(test.reports.recv_timeout(LONG), Ok(2));
        for line in [b"2\n", b"3\n"] {
            assert_eq!(test.begun.recv_timeout(LONG).expect("a write"), line);
            test.end.send(true).expect("it waits");
        }
        assert_eq!(test.queue.finish(Instant::now() + LONG), 0);
        assert!(!test.queue.offer(b"7\n".to_vec()));
    }

    #[test]
    fn lines_that_can_not_be_written_are_reported() {
        let test = test(100);
        test.queue.add(b"1\n2\n".to_vec());
        test.begun.recv_timeout(LONG).expect("a write");
        test.end.send(false).expect("it waits");
        assert_eq!(test.reports.recv_timeout(LONG), Ok(2));
    }

    #[test]
    fn finish_does_not_wait_for_a_writer_that_hangs() {
        let test = test(100);
        test.queue.add(b"1\n2\n".to_vec());
        test.begun.recv_timeout(LONG).expect("a write");
        test.queue.add(b"3\n".to_vec());
        assert_eq!(test.queue.finish(Instant::now() + Duration::from_millis(10)), 3);
    }

    #[test]
    fn lines_stay_whole() {
        let check_up_to = |most: usize, lengths: &[usize], expected: &[usize]| {
            let line = |length: &usize| format!("{}\n", "x".repeat(length - 1));
            let text: String = lengths.iter().map(line).collect();
            let found: Vec<usize> = portions(text.as_bytes(), most).map(<[u8]>::len).collect();
            assert_eq!(found, expected, "{lengths:?}");
        };
        let check = |lengths: &[usize], expected: &[usize]| check_up_to(4096, lengths, expected);
        check(&[], &[]);
        check(&[1, 2], &[3]);
        check(&[4096, 1], &[4096, 1]);
        check(&[4095, 1, 1], &[4096, 1]);
        check(&[1, 4096], &[1, 4096]);
        check(&[1, 5000, 10, 10], &[1, 5000, 20]);
        check_up_to(0, &[2, 3, 1], &[2, 3, 1]);
    }
}
