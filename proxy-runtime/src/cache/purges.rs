//! A purge ([`Purge`]), and the most recent ones ([`Purges`]). Pure, except for a lock.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, fence};

use super::pattern::Pattern;

/// The subject of a purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purge {
    /// All responses of a URL, and those of its path that are found by a `No-Vary-Search` rule ([`super::search`]).
    Url(String),
    /// A URL, and all URLs that continue it with `/` or `?`.
    Below(String),
    /// All URLs that match a pattern, on one host or several.
    Pattern(Pattern),
    /// All responses with one of these tags, or in one of these [groups](super::groups).
    Tags(Vec<String>),
    /// Everything.
    All,
}

impl Purge {
    pub(super) fn means(&self, url: &str, tags: &str) -> bool {
        match self {
            Purge::Url(purged) => purged == url || is_of_path(purged, url),
            Purge::Below(above) => url
                .strip_prefix(above.as_str())
                .is_some_and(|rest| rest.is_empty() || above.ends_with('/') || rest.starts_with(['/', '?'])),
            Purge::Pattern(pattern) => pattern.means(url),
            Purge::Tags(purged) => tags.split(' ').any(|tag| !tag.is_empty() && purged.iter().any(|one| one == tag)),
            Purge::All => true,
        }
    }
}

/// The most recent purges: a response that was requested before a purge and arrives after it must not be stored.
///
/// A purge is first counted here, and then looks at the store; a task that stores a response looks at the count afterwards. One of the two must
/// see the other, so there is a sequentially consistent fence between the two steps on both sides, whatever locks the store has besides.
#[derive(Default)]
pub(super) struct Purges {
    count: AtomicU64,
    last: Mutex<VecDeque<(Purge, bool)>>,
}

/// The number of purges that are kept; what was requested before these counts as purged.
pub(super) const REMEMBERED: usize = 4096;

impl Purges {
    /// Returns the number of purges; any that is not counted yet looks at the store later.
    pub(super) fn count(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.count.load(Ordering::Acquire)
    }

    /// Counts a purge. The store must be looked at after this.
    pub(super) fn add(&self, purge: Purge, soft: bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == REMEMBERED {
            last.pop_front();
        }
        last.push_back((purge, soft));
        self.count.fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Returns whether a response with this URL and these tags was purged since `since` purges; and whether softly.
    pub(super) fn since(&self, since: u64, url: &str, tags: &str) -> Option<bool> {
        if self.count() == since {
            return None;
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let new = usize::try_from(self.count.load(Ordering::Acquire) - since).unwrap_or(usize::MAX);
        let meant = last.iter().rev().take(new).filter(|(purge, _)| purge.means(url, tags));
        let soft = meant.map(|(_, soft)| *soft).min();
        if new > REMEMBERED { Some(false) } else { soft }
    }
}

#[cfg(all(test, kiln_loom))]
mod interleavings {
    use std::sync::Arc;

    use super::*;
    use crate::sync::atomic::AtomicBool;

    /// A response that is stored during a purge is gone afterwards, however weakly the store itself is ordered.
    #[test]
    fn stored_and_purged() {
        loom::model(|| {
            let (purges, is_stored) = (Arc::new(Purges::default()), Arc::new(AtomicBool::new(false)));
            let stores = {
                let (purges, is_stored) = (Arc::clone(&purges), Arc::clone(&is_stored));
                loom::thread::spawn(move || {
                    is_stored.store(true, Ordering::Relaxed);
                    if purges.since(0, "http://a/", "") == Some(false) {
                        is_stored.store(false, Ordering::Relaxed);
                    }
                })
            };
            purges.add(Purge::All, false);
            if is_stored.load(Ordering::Relaxed) {
                is_stored.store(false, Ordering::Relaxed);
            }
            stores.join().expect("ended");
            assert!(!is_stored.load(Ordering::Relaxed));
        });
    }
}

/// Returns whether two URLs have the same path, and one of them is the result of a rule.
fn is_of_path(purged: &str, kept: &str) -> bool {
    kept.contains('#') && parts(purged).0 == parts(kept).0
}

/// Splits a URL into the part before the query, and the query.
pub(super) fn parts(url: &str) -> (&str, &str) {
    url.split_once('?').unwrap_or((url, ""))
}
