//! The queue of purges for the journal of a folder ([`PurgeQueue`]).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::purges::Purge;

/// Purges that are to be written to the journal. Those that come while others are written are written together.
#[derive(Default)]
pub(super) struct PurgeQueue(Mutex<Vec<QueuedPurge>>);

impl PurgeQueue {
    pub(super) fn locked(&self) -> MutexGuard<'_, Vec<QueuedPurge>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct QueuedPurge {
    pub(super) purges: Vec<(Purge, bool)>,
    /// Who waits for it, and is told how much of the journal there is then. Nobody waits to hear that a resource has changed.
    pub(super) told: Option<oneshot::Sender<AppendResult>>,
}

impl QueuedPurge {
    /// Whether it is done where nobody else has the folder: nobody waits to hear of it, and the file is gone already.
    pub(super) fn is_done_here(&self) -> bool {
        self.told.is_none() && self.purges.iter().all(|(purge, _)| matches!(purge, Purge::Url(_)))
    }
}

pub(super) type AppendResult = Result<u64, Arc<io::Error>>;

/// So many may wait to be written, as where the disk hangs.
pub(super) const MOST_ORDERS: usize = 1024;
