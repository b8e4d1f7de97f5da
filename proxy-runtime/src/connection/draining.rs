//! The drain of a worker, as connections see it ([`Draining`]), with its deadline.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use crate::worker::{StopSignal, Worker};

/// How long a client may take to notice that it is no longer listened to.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// An unused connection is closed so long after the drain began: its first request may be on its way.
pub(super) const DRAIN_GRACE: Duration = Duration::from_millis(200);

/// Tells whether the worker stops. The signal is requested again only after it has come: this is polled between all requests.
pub(super) struct Draining {
    signal: tokio::sync::watch::Receiver<StopSignal>,
    wait: Option<Pin<Box<dyn Future<Output = ()>>>>,
    since: Option<Instant>,
}

impl Draining {
    pub(super) fn new(worker: &Worker) -> Draining {
        Draining { signal: worker.stop.clone(), wait: None, since: None }
    }

    pub(super) fn has_begun(&self) -> bool {
        // An error means that nobody is left to say stop.
        self.signal.has_changed().unwrap_or(true)
    }

    /// Since when, if it has begun.
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
