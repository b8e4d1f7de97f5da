//! The drain of a worker, as connections see it ([`Draining`]), with its deadline.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use crate::worker::{StopSignal, Worker};

/// How long a client may take to notice that the connection is being closed.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How long after the start of the drain an unused connection is closed: its first request may be on its way.
pub(super) const DRAIN_GRACE: Duration = Duration::from_millis(200);

/// Tells whether the worker is draining. It is polled between all requests, so the signal is only subscribed to again after
/// it has arrived.
pub(super) struct Draining {
    signal: tokio::sync::watch::Receiver<StopSignal>,
    wait: Option<Pin<Box<dyn Future<Output = ()>>>>,
    since: Option<Instant>,
}

impl Draining {
    pub(super) fn new(worker: &Worker) -> Draining {
        Draining::by(worker.stop.clone())
    }

    pub(super) fn by(signal: tokio::sync::watch::Receiver<StopSignal>) -> Draining {
        Draining { signal, wait: None, since: None }
    }

    pub(super) fn has_begun(&self) -> bool {
        // An error means that the sender of the signal is gone.
        self.signal.has_changed().unwrap_or(true)
    }

    /// Returns when the drain began, if it has begun.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        if self.since.is_none() && (self.wait.is_none() || self.has_begun()) {
            let mut signal = self.signal.clone();
            let wait = self.wait.get_or_insert_with(|| {
                Box::pin(async move {
                    let _ = signal.wait_for(|stop| *stop != StopSignal::No).await;
                })
            });
            if wait.as_mut().poll(cx).is_ready() {
                self.since = Some(Instant::now());
            }
        }
        self.since
    }
}
