//! The signals of the process ([`follow`]): TERM and INT stop it, HUP reads files again, USR1 reopens log files, and USR2 only logs that
//! nothing is done.
//!
//! A separate thread waits for them and does nothing that blocks: a second TERM or INT ends the process even if all other
//! threads hang.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::observe::{AccessLog, announce, notice};
use crate::shutdown::Phases;
use crate::worker::StopSignal;

/// Handles signals from now on. After the first signal to stop, the process ends when the drain and `ending` are over; after the
/// second, it ends at once, except for the time to log aborted exchanges. The exit code is 1 if a worker has died.
///
/// # Errors
/// Fails if the system has no thread or no descriptors left.
pub(crate) fn follow(
    stop: watch::Sender<StopSignal>,
    (reread, drain_wanted): (&'static Notify, &'static Notify),
    log: &'static AccessLog,
    (phases, died): (Phases, &'static AtomicBool),
) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let caught = runtime.block_on(async { Caught::new() })?;
    let wanted = (reread, drain_wanted);
    let follow = move || runtime.block_on(caught.follow(&stop, wanted, log, (phases, died)));
    std::thread::Builder::new().name("signals".to_owned()).spawn(follow)?;
    Ok(())
}

/// How long the process has after a second signal.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The handled signals.
struct Caught {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Caught {
    fn new() -> std::io::Result<Caught> {
        Ok(Caught {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn follow(
        mut self,
        stop: &watch::Sender<StopSignal>,
        (reread, drain_wanted): (&Notify, &Notify),
        log: &AccessLog,
        (phases, died): (Phases, &AtomicBool),
    ) {
        let mut deadline = None;
        loop {
            let stops = tokio::select! {
                _ = self.terminate.recv() => true,
                _ = self.interrupt.recv() => true,
                // A repeated request to drain does not end the process at once, as a second signal does.
                () = drain_wanted.notified() => *stop.borrow() == StopSignal::No,
                _ = self.hangup.recv() => {
                    reread.notify_one();
                    false
                }
                _ = self.user1.recv() => {
                    reopen(log);
                    false
                }
                _ = self.user2.recv() => {
                    announce("SIGUSR2: nothing is done, as a process can't start its successor: see `takeover`");
                    false
                }
                () = over(deadline) => std::process::exit(i32::from(died.load(Ordering::Relaxed))),
            };
            let before = *stop.borrow();
            match (stops, before) {
                (false, _) => {}
                (true, StopSignal::No) => {
                    announce(&format!("stopping: draining for up to {:?}", phases.exchanges));
                    stop.send_replace(StopSignal::Drain);
                    deadline = Instant::now().checked_add(phases.all());
                }
                (true, StopSignal::Drain | StopSignal::Now) => {
                    stop.send_replace(StopSignal::Now);
                    let soon = Instant::now() + AT_ONCE;
                    deadline = Some(deadline.map_or(soon, |deadline| soon.min(deadline)));
                }
            }
        }
    }
}

/// Reopens log files. Each of them reports that in the error log.
fn reopen(log: &AccessLog) {
    if log.reopen() + notice::reopen() == 0 {
        announce("SIGUSR1: there is no log file to reopen");
    }
}

async fn over(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
