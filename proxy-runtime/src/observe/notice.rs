//! Notices for the operator in the error log: warnings ([`notice`]), errors ([`error`]), information ([`info`]), and notices that are never
//! held back ([`announce`]).
//!
//! After [`start`], notices go through queues, so that no thread waits while an output is blocked, and repeated notices are counted
//! instead of written ([`Repeats`]). Without it (before it, and in `--check`), notices are written to standard error by the caller.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write as _};
use std::panic::{Location, PanicHookInfo};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::framing::RecordFraming;
use super::outputs::{OpenOutput, OutputUse};
use super::repeats::{Kind, Repeats};
use super::tell::Tell;
use crate::context::settings::{Settings, StartError};
use crate::site::{LogLevel, LogOutput, LogTarget, Site};
use crate::value::Place;

/// The most bytes of notices that wait for an output that is blocked.
const ROOM: usize = 1 << 20;

struct Notices {
    outputs: Vec<OpenOutput>,
    json: bool,
    repeats: Mutex<Repeats>,
}

static NOTICES: OnceLock<Notices> = OnceLock::new();

/// The lowest level that is written.
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);

/// Sets the lowest level that is written.
pub(crate) fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

fn is_wanted(level: LogLevel) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Warns the operator in one line: text in it that comes from others (a server, a name server, an authority) can't make
/// it two. Of many similar notices, some are written and the others counted. Not for what a client can cause at will.
#[track_caller]
pub(crate) fn notice(message: &str) {
    say((Location::caller(), LogLevel::Warn), message);
}

/// Reports an error like [`notice`].
#[track_caller]
pub(crate) fn error(message: &str) {
    say((Location::caller(), LogLevel::Error), message);
}

/// Reports like [`notice`] what was done, or works again.
#[track_caller]
pub(crate) fn info(message: &str) {
    say((Location::caller(), LogLevel::Info), message);
}

/// Reports like [`notice`] for an output.
#[track_caller]
pub(super) fn tell(level: LogLevel, message: &str) {
    say((Location::caller(), level), message);
}

/// Returns whether the notice is written.
fn say(kind: Kind, message: &str) -> bool {
    let admits = |notices: &Notices| notices.repeats().admit(kind, message, Instant::now());
    let said = is_wanted(kind.1) && NOTICES.get().is_none_or(admits);
    if said {
        put(kind.1, message);
    }
    said
}

/// Reports what was done, and is never held back: for notices about the process itself, and replies to the operator.
pub(crate) fn announce(message: &str) {
    announce_at(LogLevel::Info, message);
}

/// Warns like [`announce`].
pub(crate) fn announce_warning(message: &str) {
    announce_at(LogLevel::Warn, message);
}

fn announce_at(level: LogLevel, message: &str) {
    if is_wanted(level) {
        put(level, message);
    }
}

fn put(level: LogLevel, message: &str) {
    let Some(notices) = NOTICES.get() else {
        return match &mut *held() {
            Some(held) => held.push((level, message.to_owned())),
            None => write(level, message),
        };
    };
    #[cfg(feature = "admin")]
    super::recent::keep(message);
    for output in &notices.outputs {
        output.queue.add(output.framing.notice(level, notices.json, message));
    }
}

/// Writes a notice where no outputs are open.
fn write(level: LogLevel, message: &str) {
    // No output is left to report to if standard error is gone.
    drop(io::stderr().write_all(&RecordFraming::Line.notice(level, false, message)));
}

/// The notices of a start, before its outputs are open; `None` if notices are not held back.
static HELD: Mutex<Option<Vec<(LogLevel, String)>>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<Vec<(LogLevel, String)>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds notices back until [`start`], or [`finish`] if the start fails: nothing may block before, and they go where all others go.
pub(crate) fn hold() {
    *held() = Some(Vec::new());
}

/// Reports that lines for an output were lost. Returns whether an output has room for the report.
pub(super) fn report(message: &str) -> bool {
    let Some(notices) = NOTICES.get().filter(|_| is_wanted(LogLevel::Warn)) else { return true };
    let mut said = false;
    for output in &notices.outputs {
        said |= output.queue.offer(output.framing.notice(LogLevel::Warn, notices.json, message));
    }
    said
}

/// Starts the queues of the outputs that the site names, for all later notices. A panic becomes a notice too: the thread that panics
/// must not block either.
///
/// # Errors
/// Fails if an output can't be opened, or the system has no thread for it.
pub(crate) fn start(site: &Site, settings: &Settings) -> Result<(), StartError> {
    let report = |name: &str, lost: u64| report(&format!("{lost} notices were lost: {name} is too slow, full or gone"));
    let made_for = OutputUse { thread: "notices", room: ROOM, report, tell: Tell::new(tell) };
    let standard = [LogOutput { target: LogTarget::Stderr, place: Place { file: site.name.into(), line: 0 } }];
    let outputs = site.errors.map_or(&standard[..], |errors| &errors.outputs);
    let outputs = outputs.iter().map(|output| made_for.open(output, settings)).collect::<Result<_, _>>()?;
    if let Some(errors) = site.errors {
        set_level(errors.level);
    }
    let json = site.errors.is_some_and(|errors| errors.json);
    if NOTICES.set(Notices { outputs, json, repeats: Mutex::default() }).is_ok() {
        std::panic::set_hook(Box::new(panicked));
    }
    let held = held().take().unwrap_or_default();
    held.iter().for_each(|(level, message)| announce_at(*level, message));
    Ok(())
}

fn panicked(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("no message");
    let message = format!("panic in the thread `{}` at {place}: {message}", thread.name().unwrap_or_default());
    let backtrace = Backtrace::capture();
    if say((Location::caller(), LogLevel::Error), &message) && backtrace.status() == BacktraceStatus::Captured {
        backtrace.to_string().lines().for_each(|line| announce_at(LogLevel::Error, line));
    }
}

/// Reports every second how many notices were held back.
pub(crate) async fn keep_counting() {
    let Some(notices) = NOTICES.get() else { return };
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let over = notices.repeats().over(Instant::now());
        over.iter().for_each(|(level, line)| announce_at(*level, line));
    }
}

/// Reopens the files before the next notice is written. Returns how many files there are.
pub(crate) fn reopen() -> usize {
    let files = || NOTICES.get().into_iter().flat_map(|notices| &notices.outputs).filter(|output| output.is_file);
    files().for_each(|file| file.queue.reopen());
    files().count()
}

/// Returns the name of each output, and how many notices it has lost.
#[cfg(feature = "admin")]
pub(crate) fn lost() -> impl Iterator<Item = (&'static str, u64)> {
    let outputs = NOTICES.get().into_iter().flat_map(|notices| &notices.outputs);
    outputs.map(|output| (output.name.as_str(), output.queue.lost()))
}

/// The longest wait for a remote output.
const REMOTE: Duration = Duration::from_secs(2);

/// Writes the remaining notices, for at most `patience`; notices after that are dropped.
pub(crate) fn finish(patience: Duration) {
    let held = held().take().unwrap_or_default();
    held.iter().for_each(|(level, message)| write(*level, message));
    let now = Instant::now();
    for output in NOTICES.get().into_iter().flat_map(|notices| &notices.outputs) {
        let patience = if output.is_remote { patience.min(REMOTE) } else { patience };
        // No output is left to report losses to.
        output.queue.finish(now + patience);
    }
}

/// Reports how many notices were held back so far, before the process ends.
pub(crate) fn count_all() {
    if let Some(notices) = NOTICES.get() {
        let all = notices.repeats().all();
        all.iter().for_each(|(level, line)| announce_at(*level, line));
    }
}

impl Notices {
    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
