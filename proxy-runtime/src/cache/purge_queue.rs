//! The queue of purges for the journal of a folder ([`PurgeQueue`]).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::purges::Purge;

/// The queue of purges for the journal. Purges that arrive during a write are written together.
#[derive(Default)]
pub(super) struct PurgeQueue(Mutex<Vec<QueuedPurge>>);

impl PurgeQueue {
    pub(super) fn locked(&self) -> MutexGuard<'_, Vec<QueuedPurge>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct QueuedPurge {
    pub(super) purges: Vec<(Purge, bool)>,
    /// Receives the journal's end position, if a request waits for the purge. Invalidations by the response to a POST or similar request do not wait.
    pub(super) told: Option<oneshot::Sender<AppendResult>>,
}

impl QueuedPurge {
    /// Returns whether nothing is left to do if no other process uses the folder: no request waits, and the file is
    /// gone already.
    pub(super) fn is_done_here(&self) -> bool {
        self.told.is_none() && self.purges.iter().all(|(purge, _)| matches!(purge, Purge::Url(_)))
    }
}

pub(super) type AppendResult = Result<u64, Arc<io::Error>>;

/// The most purges that are queued, for example while the disk hangs.
pub(super) const MOST_ORDERS: usize = 1024;
