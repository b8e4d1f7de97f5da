//! A purge ([`Purge`]), and the most recent ones ([`Purges`]). Pure, except for a lock.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
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
    last: Mutex<RecentPurges>,
}

/// The most recent purges with their numbers, the first of which is 1. Those of URLs are kept apart: each POST is one, so there are
/// far more of them than of others, and a hash is enough for them. A collision purges too much, never too little.
#[derive(Default)]
struct RecentPurges {
    urls: VecDeque<PurgedUrl>,
    others: VecDeque<(u64, Purge, bool)>,
    /// The number of the last purge that is not kept any more.
    forgotten: u64,
    hasher: RandomState,
}

/// The purge of a URL.
struct PurgedUrl {
    number: u64,
    url: u64,
    /// Its part before the query.
    path: u64,
    soft: bool,
}

/// The number of purges that are kept, other than of URLs; what was requested before these counts as purged.
pub(super) const REMEMBERED: usize = 4096;

/// The same for purges of URLs, each of which has 32 bytes.
pub(super) const REMEMBERED_URLS: usize = 64 << 10;

impl Purges {
    /// Returns the number of purges; any that is not counted yet looks at the store later.
    pub(super) fn count(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.count.load(Ordering::Acquire)
    }

    /// Counts a purge. The store must be looked at after this.
    pub(super) fn add(&self, purge: Purge, soft: bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.add(self.count.load(Ordering::Relaxed) + 1, purge, soft);
        self.count.fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Returns whether a response with this URL and these tags was purged since `since` purges; and whether softly.
    pub(super) fn since(&self, since: u64, url: &str, tags: &str) -> Option<bool> {
        if self.count() == since {
            return None;
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.forgotten > since { Some(false) } else { last.mean(since, url, tags) }
    }
}

impl RecentPurges {
    fn add(&mut self, number: u64, purge: Purge, soft: bool) {
        let gone = match purge {
            Purge::Url(url) => {
                let full = self.urls.len() == REMEMBERED_URLS;
                let gone = if full { self.urls.pop_front().map(|purged| purged.number) } else { None };
                let (url, path) = (self.hasher.hash_one(&*url), self.hasher.hash_one(parts(&url).0));
                self.urls.push_back(PurgedUrl { number, url, path, soft });
                gone
            }
            purge => {
                let full = self.others.len() == REMEMBERED;
                let gone = if full { self.others.pop_front().map(|(number, ..)| number) } else { None };
                self.others.push_back((number, purge, soft));
                gone
            }
        };
        self.forgotten = self.forgotten.max(gone.unwrap_or(0));
    }

    /// Returns whether purges after this number mean a response, and whether all of these are soft.
    fn mean(&self, since: u64, url: &str, tags: &str) -> Option<bool> {
        let (hash, path) = (self.hasher.hash_one(url), self.hasher.hash_one(parts(url).0));
        // As in `is_of_path`.
        let is_of_rule = url.contains('#');
        let urls = self.urls.iter().rev().take_while(|purged| purged.number > since);
        let urls = urls.filter(|purged| purged.url == hash || is_of_rule && purged.path == path);
        let others = self.others.iter().rev().take_while(|(number, ..)| *number > since);
        let others = others.filter(|(_, purge, _)| purge.means(url, tags));
        urls.map(|purged| purged.soft).chain(others.map(|(.., soft)| *soft)).min()
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

#[cfg(all(test, not(kiln_loom)))]
mod tests {
    use super::*;

    /// Purges of URLs, as POST requests cause them, do not displace other purges, and are told apart.
    #[test]
    fn many_urls() {
        let purges = Purges::default();
        let of = |url: &str| Purge::Url(url.to_owned());
        purges.add(of("http://a/first"), false);
        purges.add(Purge::Tags(vec!["one".to_owned()]), true);
        purges.add(of("http://a/x?y=1"), false);
        for number in 3..REMEMBERED_URLS {
            purges.add(of(&format!("http://a/{number}")), number % 2 == 0);
        }
        let check = |since: u64, url: &str, tags: &str, expected: Option<bool>| {
            assert_eq!(purges.since(since, url, tags), expected, "{since} {url} {tags}");
        };
        check(0, "http://a/first", "", Some(false));
        check(1, "http://a/first", "", None);
        check(1, "http://a/other", "one", Some(true));
        check(2, "http://a/other", "one", None);
        check(0, "http://a/x?y=1", "", Some(false));
        check(0, "http://a/x?y=2", "", None);
        check(0, "http://a/x?y=2#1", "", Some(false));
        check(0, "http://a/100", "", Some(true));
        check(0, "http://a/101", "one", Some(false));
        // One more than are kept: what was requested before the forgotten one counts as purged.
        purges.add(of("http://a/last"), true);
        check(0, "http://a/other", "", None);
        purges.add(of("http://a/last"), true);
        check(0, "http://a/other", "", Some(false));
        check(1, "http://a/other", "", None);
        check(1, "http://a/last", "", Some(true));
    }
}
