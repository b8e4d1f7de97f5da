//! The most recent notices, for the status page ([`recent`]).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::context::facts::Timestamp;

/// How many notices are kept.
const KEPT: usize = 50;

/// How many bytes of each notice are kept.
const LONGEST: usize = 1000;

static RECENT: Mutex<VecDeque<RecentNotice>> = Mutex::new(VecDeque::new());

/// A notice. Its text is not escaped, though parts of it may come from clients or servers.
#[derive(Clone)]
pub(crate) struct RecentNotice {
    pub(crate) time: Timestamp,
    pub(crate) text: String,
}

/// Keeps a notice in place of the oldest one.
pub(super) fn keep(message: &str) {
    let text = message[..message.floor_char_boundary(LONGEST)].to_owned();
    let mut recent = lock();
    if recent.len() >= KEPT {
        recent.pop_front();
    }
    recent.push_back(RecentNotice { time: Timestamp::now(), text });
}

/// Returns the kept notices, the oldest first.
pub(crate) fn recent() -> Vec<RecentNotice> {
    lock().iter().cloned().collect()
}

fn lock() -> MutexGuard<'static, VecDeque<RecentNotice>> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner)
}
