//! What a service manager is told (sd_notify(3)): that the process is ready, reads files again or stops, and that its workers are
//! alive ([`ServiceManager`]).
//!
//! A thread of its own sends, so that a manager that reads nothing holds up neither signals nor workers. Without a manager
//! (`NOTIFY_SOCKET`), there is no thread, and without a watchdog (`WATCHDOG_USEC`) workers have no task for it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::observe::notice;

/// A state of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceState {
    /// It serves.
    Ready,
    /// It reads files again.
    Reloading,
    /// It drains.
    Stopping,
}

/// The service manager, if there is one.
#[derive(Debug, Clone)]
pub(crate) struct ServiceManager {
    states: Option<SyncSender<ServiceState>>,
    /// A count for each worker that grows as long as the worker is alive, and the interval in which it does.
    beats: &'static [AtomicU32],
    interval: Option<Duration>,
}

/// How many states may wait to be sent. There are few.
const WAITING: usize = 16;

impl ServiceManager {
    /// Starts the thread that sends.
    ///
    /// # Errors
    /// Fails if the system has no more threads.
    pub(crate) fn start(workers: usize) -> std::io::Result<ServiceManager> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(ServiceManager { states: None, beats: &[], interval: None });
        }
        // As sd_watchdog_enabled(3) recommends, it hears from the process twice in the time that it waits; and workers are asked at
        // half of that interval.
        let patience = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero());
        let interval = patience.map(|patience| (patience / 4).max(Duration::from_millis(1)));
        let beats: &'static [AtomicU32] = Vec::leak((0..workers).map(|_| AtomicU32::new(0)).collect());
        let (states, told) = sync_channel(WAITING);
        let watchdog = Watchdog { beats, seen: vec![0; workers], stopping: false };
        let send = move || send(&told, interval.map(|interval| interval * 2), watchdog);
        std::thread::Builder::new().name("service".to_owned()).spawn(send)?;
        Ok(ServiceManager { states: Some(states), beats, interval })
    }

    /// Tells the manager a state. If it does not take what was sent before, the state is lost.
    pub(crate) fn tell(&self, state: ServiceState) {
        if let Some(states) = &self.states {
            let _ = states.try_send(state);
        }
    }

    /// Counts for as long as a worker runs its tasks.
    pub(crate) async fn beat(self, worker: usize) {
        let (Some(beat), Some(interval)) = (self.beats.get(worker), self.interval) else { return };
        loop {
            beat.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(interval).await;
        }
    }
}

/// Sends states, and at each interval that the workers are alive.
fn send(states: &Receiver<ServiceState>, interval: Option<Duration>, mut watchdog: Watchdog) {
    let mut due = interval.map(|interval| Instant::now() + interval);
    loop {
        let told = match due {
            Some(due) => states.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => states.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let sent = match told {
            Ok(ServiceState::Ready) => sd_notify::notify(&[NotifyState::Ready]),
            // Type=notify-reload needs the time, too.
            Ok(ServiceState::Reloading) => {
                NotifyState::monotonic_usec_now().and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]))
            }
            Ok(ServiceState::Stopping) => {
                watchdog.stopping = true;
                sd_notify::notify(&[NotifyState::Stopping])
            }
            Err(RecvTimeoutError::Timeout) => {
                due = interval.map(|interval| Instant::now() + interval);
                if watchdog.finds_all_alive() { sd_notify::notify(&[NotifyState::Watchdog]) } else { Ok(()) }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Err(error) = sent {
            notice(&format!("the service manager can't be told: {error}"));
        }
    }
}

/// Finds out whether all workers are alive.
struct Watchdog {
    beats: &'static [AtomicU32],
    seen: Vec<u32>,
    /// Workers end one after the other then, in a time that has a limit of its own.
    stopping: bool,
}

impl Watchdog {
    /// Whether each worker has counted since the last call.
    fn finds_all_alive(&mut self) -> bool {
        let mut all = true;
        for (beat, seen) in self.beats.iter().zip(&mut self.seen) {
            let now = beat.load(Ordering::Relaxed);
            all &= std::mem::replace(seen, now) != now;
        }
        all || self.stopping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_worker_is_noticed() {
        let beats: &'static [AtomicU32] = Box::leak(Box::new([AtomicU32::new(0), AtomicU32::new(7)]));
        let mut watchdog = Watchdog { beats, seen: vec![0, 0], stopping: false };
        let mut check = |counting: &[usize], stopping: bool, expected: bool| {
            for &worker in counting {
                beats[worker].fetch_add(1, Ordering::Relaxed);
            }
            watchdog.stopping = stopping;
            assert_eq!(watchdog.finds_all_alive(), expected, "{counting:?}");
        };
        check(&[0, 1], false, true);
        check(&[0, 1], false, true);
        check(&[0], false, false);
        check(&[1], false, false);
        check(&[], false, false);
        check(&[0, 1], false, true);
        check(&[1], true, true);
    }
}
