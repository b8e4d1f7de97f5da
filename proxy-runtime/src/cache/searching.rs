//! The `No-Vary-Search` rules of servers, as a store keeps and uses them.

use std::sync::atomic::Ordering;

use super::entry::CacheEntry;
use super::purges::parts;
use super::search::NoVarySearch;
use super::store::CacheStore;
use crate::protocol::fields::Fields;

impl CacheStore {
    /// Under what a request for `url` is looked up, if that is another URL: the form that the last rule of its path gives it. Where a
    /// response without a rule is there for this very URL, it is that one.
    pub(crate) fn searched(&self, url: &str) -> Option<String> {
        if !self.searches.any.load(Ordering::Relaxed) {
            return None;
        }
        let form = self.searches.rules.get(&self.path_name(url))?.form(parts(url));
        (self.has(&form) || !self.has(url)).then_some(form)
    }

    /// Under what a response is kept that has come for `url`, if it has a rule. The rule holds for later requests.
    pub(crate) fn kept_by_rule(&self, response: &Fields, url: &str) -> Option<String> {
        let noted = self.searches.note(self.path_name(url), NoVarySearch::of(response)?);
        Some(noted.form(parts(url)))
    }

    /// Forgets the rule of the path of a URL that is purged, and with it what was kept by the rule. Whether there was one.
    pub(super) fn forget_rule(&self, url: &str) -> bool {
        self.searches.any.load(Ordering::Relaxed) && self.searches.rules.remove(&self.path_name(url)).is_some()
    }

    fn path_name(&self, url: &str) -> u128 {
        self.name_of([parts(url).0.as_bytes(), b"", b""])
    }

    fn has(&self, url: &str) -> bool {
        let found = self.entries.peek(&self.name_of_url(url));
        matches!(found, Some(CacheEntry::Answer(..) | CacheEntry::BodyFile(..) | CacheEntry::Varies(_)))
    }
}
