//! What a service manager is told (sd_notify(3)): that the process is ready, reads files again or stops, and that its workers are
//! alive ([`ServiceManager`]).
//!
//! A thread of its own sends, so that a manager that reads nothing holds up neither signals nor workers; the end of the process waits for
//! it, but not for long ([`ServiceManager::finish`]). Without a manager (`NOTIFY_SOCKET`), there is no thread, and without a watchdog
//! (`WATCHDOG_USEC`) workers have no task for it.

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

/// A message to the thread that sends.
enum ServiceMessage {
    Tell(ServiceState),
    /// The process ends: the reply is that everything before was sent.
    Finish(SyncSender<()>),
}

/// The service manager, if there is one.
#[derive(Debug, Clone)]
pub(crate) struct ServiceManager {
    messages: Option<SyncSender<ServiceMessage>>,
    /// A count for each worker that grows as long as the worker is alive, and the interval in which it does.
    beats: &'static [AtomicU32],
    interval: Option<Duration>,
}

/// How many messages may wait to be sent. There are few.
const WAITING: usize = 16;

impl ServiceManager {
    /// Starts the thread that sends.
    ///
    /// # Errors
    /// Fails if the system has no more threads.
    pub(crate) fn start(workers: usize) -> std::io::Result<ServiceManager> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(ServiceManager { messages: None, beats: &[], interval: None });
        }
        // As sd_watchdog_enabled(3) recommends, it hears from the process twice in the time that it waits; and workers are asked at
        // half of that interval.
        let patience = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero());
        let interval = patience.map(|patience| (patience / 4).max(Duration::from_millis(1)));
        let beats: &'static [AtomicU32] = Vec::leak((0..workers).map(|_| AtomicU32::new(0)).collect());
        let (messages, received) = sync_channel(WAITING);
        let watchdog = Watchdog { beats, seen: vec![0; workers], stopping: false };
        let send = move || send(&received, interval.map(|interval| interval * 2), watchdog, sd_notify::notify);
        std::thread::Builder::new().name("service".to_owned()).spawn(send)?;
        Ok(ServiceManager { messages: Some(messages), beats, interval })
    }

    /// Tells the manager a state. If it does not take what was sent before, the state is lost.
    pub(crate) fn tell(&self, state: ServiceState) {
        if let Some(messages) = &self.messages {
            let _ = messages.try_send(ServiceMessage::Tell(state));
        }
    }

    /// Waits until the manager has been told everything, or until a time: one that reads nothing does not hold up the end of the
    /// process. Returns whether everything was sent.
    pub(crate) fn finish(&self, until: Instant) -> bool {
        let Some(messages) = &self.messages else { return true };
        let (sent, all_sent) = sync_channel(1);
        messages.try_send(ServiceMessage::Finish(sent)).is_ok()
            && all_sent.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok()
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

/// Sends states by `notify`, and at each interval that the workers are alive.
fn send(
    messages: &Receiver<ServiceMessage>,
    interval: Option<Duration>,
    mut watchdog: Watchdog,
    notify: impl Fn(&[NotifyState<'_>]) -> std::io::Result<()>,
) {
    let mut due = interval.map(|interval| Instant::now() + interval);
    loop {
        let message = match due {
            Some(due) => messages.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let sent = match message {
            Ok(ServiceMessage::Tell(ServiceState::Ready)) => notify(&[NotifyState::Ready]),
            // Type=notify-reload needs the time, too.
            Ok(ServiceMessage::Tell(ServiceState::Reloading)) => {
                NotifyState::monotonic_usec_now().and_then(|now| notify(&[NotifyState::Reloading, now]))
            }
            Ok(ServiceMessage::Tell(ServiceState::Stopping)) => {
                watchdog.stopping = true;
                notify(&[NotifyState::Stopping])
            }
            Ok(ServiceMessage::Finish(sent)) => {
                let _ = sent.send(());
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => {
                due = interval.map(|interval| Instant::now() + interval);
                if watchdog.finds_all_alive() { notify(&[NotifyState::Watchdog]) } else { Ok(()) }
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

    /// A manager, and what it hears. It reads a message for each permit, and all of them once the permits' sender is gone.
    fn manager() -> (ServiceManager, SyncSender<()>, Receiver<String>) {
        let (messages, received) = sync_channel(WAITING);
        let (permits, permitted) = sync_channel::<()>(WAITING);
        let (heard, hears) = sync_channel(WAITING);
        let watchdog = Watchdog { beats: &[], seen: Vec::new(), stopping: false };
        let notify = move |states: &[NotifyState<'_>]| {
            let _ = permitted.recv();
            heard.send(format!("{states:?}")).map_err(std::io::Error::other)
        };
        std::thread::spawn(move || send(&received, None, watchdog, notify));
        (ServiceManager { messages: Some(messages), beats: &[], interval: None }, permits, hears)
    }

    #[test]
    fn the_end_waits_for_the_last_state() {
        let (manager, permits, hears) = manager();
        manager.tell(ServiceState::Ready);
        manager.tell(ServiceState::Stopping);
        // It reads late: not before the end has begun to wait.
        let ends = std::thread::spawn(move || manager.finish(Instant::now() + Duration::from_secs(60)));
        drop(permits);
        assert!(ends.join().expect("no panic"), "everything was sent");
        assert_eq!(hears.try_iter().collect::<Vec<_>>(), ["[Ready]", "[Stopping]"]);
    }

    #[test]
    fn the_end_does_not_wait_for_a_manager_that_reads_nothing() {
        let (manager, permits, hears) = manager();
        manager.tell(ServiceState::Stopping);
        assert!(!manager.finish(Instant::now() + Duration::from_millis(1)));
        // Nor if it has read nothing for long, so that no more messages fit.
        (0..2 * WAITING).for_each(|_| manager.tell(ServiceState::Ready));
        assert!(!manager.finish(Instant::now() + Duration::from_secs(3600)));
        assert_eq!(hears.try_iter().count(), 0);
        drop(permits);
        assert_eq!(hears.recv().expect("a message"), "[Stopping]");
        let without = ServiceManager { messages: None, beats: &[], interval: None };
        assert!(without.finish(Instant::now()));
    }
}
