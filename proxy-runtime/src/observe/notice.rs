//! What the operator is told on standard error: [`notice`], [`announce`].
//!
//! From [`start`] on, notices go through a queue, so that nobody waits while standard error is blocked, and repeated ones are counted instead of
//! said ([`Repeats`]). Before it, and where it is never called (`--check`), they are written where they are made.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write as _};
use std::panic::{Location, PanicHookInfo};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::output::Standard;
use super::queue::Queue;
use super::repeats::{Kind, Repeats};
use crate::context::facts::Timestamp;
use crate::protocol::escape;

/// How many bytes of notices may wait for a blocked standard error.
const ROOM: usize = 1 << 20;

struct Notices {
    queue: Queue,
    repeats: Mutex<Repeats>,
}

static NOTICES: OnceLock<Notices> = OnceLock::new();

/// Says something to the operator in one line: what others have said in it (a server, a name server, an authority) can't make it
/// two. Of many that are alike, some are said and the others counted. Not for what a client can cause at will.
#[track_caller]
pub(crate) fn notice(message: &str) {
    say(Location::caller(), message);
}

/// Returns whether it is said.
fn say(kind: Kind, message: &str) -> bool {
    let said = NOTICES.get().is_none_or(|notices| notices.repeats().admit(kind, message, Instant::now()));
    if said {
        announce(message);
    }
    said
}

/// The same for what is never held back: it is about the process itself, or replies to what its operator has done.
pub(crate) fn announce(message: &str) {
    #[cfg(feature = "admin")]
    super::recent::keep(message);
    let line = line(message);
    match NOTICES.get() {
        Some(notices) => notices.queue.add(line),
        // There is nobody to tell that standard error is gone.
        None => drop(io::stderr().write_all(&line)),
    }
}

/// Says that lines for another output were lost, unless there is no room for that.
pub(super) fn report(message: &str) -> bool {
    NOTICES.get().is_none_or(|notices| notices.queue.offer(line(message)))
}

/// From now on, notices go through a queue, and panics are notices: the thread in which they happen must not block either.
///
/// # Errors
/// The system has no thread for it.
pub(crate) fn start() -> io::Result<()> {
    let lost = |lost| report(&format!("{lost} notices were lost: standard error is too slow, or gone"));
    let queue = Queue::start("notices", ROOM, Standard(io::stderr()), lost)?;
    if NOTICES.set(Notices { queue, repeats: Mutex::default() }).is_ok() {
        std::panic::set_hook(Box::new(panicked));
    }
    Ok(())
}

fn panicked(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("no message");
    let message = format!("panic in the thread `{}` at {place}: {message}", thread.name().unwrap_or_default());
    let backtrace = Backtrace::capture();
    if say(Location::caller(), &message) && backtrace.status() == BacktraceStatus::Captured {
        backtrace.to_string().lines().for_each(announce);
    }
}

/// Says again and again how many notices were held back.
pub(crate) async fn keep_counting() {
    let Some(notices) = NOTICES.get() else { return };
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let over = notices.repeats().over(Instant::now());
        over.iter().for_each(|line| announce(line));
    }
}

/// Writes what is left, for so long; then nothing is said any more.
pub(crate) fn finish(patience: Duration) {
    if let Some(notices) = NOTICES.get() {
        // How many are lost now could be said to nobody.
        notices.queue.finish(Instant::now() + patience);
    }
}

/// Says how many notices were held back so far: the end has come.
pub(crate) fn count_all() {
    if let Some(notices) = NOTICES.get() {
        let all = notices.repeats().all();
        all.iter().for_each(|line| announce(line));
    }
}

impl Notices {
    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(message: &str) -> Vec<u8> {
    format!("{} {}\n", Timestamp::now().rfc3339(), escape::shown(message.as_bytes())).into_bytes()
}
