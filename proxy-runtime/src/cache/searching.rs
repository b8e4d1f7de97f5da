//! The `No-Vary-Search` rules of servers in a store.

use std::sync::atomic::Ordering;

use super::entry::CacheEntry;
use super::purges::parts;
use super::search::NoVarySearch;
use super::store::CacheStore;
use crate::protocol::fields::Fields;

impl CacheStore {
    /// Returns the URL under which a request for `url` is looked up, if it differs: in the form of the last rule of its path. A
    /// response without a rule under `url` itself takes precedence.
    pub(crate) fn searched(&self, url: &str) -> Option<String> {
        if !self.searches.any.load(Ordering::Relaxed) {
            return None;
        }
        let form = self.searches.rules.get(&self.path_name(url))?.form(parts(url));
        (self.has(&form) || !self.has(url)).then_some(form)
    }

    /// Returns the URL under which a response for `url` is stored, if it has a rule. The rule applies to later
    /// requests.
    pub(crate) fn kept_by_rule(&self, response: &Fields, url: &str) -> Option<String> {
        let noted = self.searches.note(self.path_name(url), NoVarySearch::of(response)?);
        Some(noted.form(parts(url)))
    }

    /// Removes the rule of a purged URL's path, and thereby the responses that were stored by it. Returns whether there
    /// was one.
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
