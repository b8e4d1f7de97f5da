//! The cache query of an exchange ([`Sought`]).

use std::borrow::Cow;
use std::sync::Arc;

use super::forwarded::Forwarded;
use crate::cache::control::Wish;
use crate::cache::key;
use crate::cache::{Content, Head, Store};
use crate::client::Client;
use crate::context::facts::Facts;
use crate::site;

/// The cache query of an exchange.
#[derive(Clone)]
pub(super) struct Sought {
    pub(super) policy: &'static site::Cache,
    pub(super) store: &'static Store,
    pub(super) url: String,
    pub(super) wish: Wish,
    /// What is cached does not do: the response is to be fetched, and to replace it.
    pub(super) refreshes: bool,
    pub(super) authorized: bool,
}

/// A cached response that is to be asked about.
pub(super) type Stale = (Arc<Head>, Content);

impl Sought {
    pub(super) fn of(client: &Client, facts: &Facts<'_>, policy: &'static site::Cache) -> Sought {
        let mut url = client.worker.keys.take();
        url.clear();
        key::url(&policy.key, facts, &mut url);
        let store = &client.worker.stores[usize::from(policy.store)];
        if let Some(other) = policy.key.follows_search.then(|| store.searched(&url)).flatten() {
            url = other;
        }
        Sought {
            policy,
            store,
            url,
            wish: if policy.ignores_requests { Wish::default() } else { Wish::of(facts.fields) },
            refreshes: policy.refresh.iter().any(|mark| key::has(mark, facts)),
            authorized: facts.fields.contains("authorization"),
        }
    }

    /// Whether a response that is kept under a name, or a part of one, is one to this request, too, by what the response says it depends on.
    pub(super) fn is_for(&self, (head, part): (&Head, Option<&str>), name: u128, request: &Forwarded<'_>) -> bool {
        let url = match self.policy.key.follows_search {
            // By what the response says of queries, which was not known before.
            true => Cow::Owned(head.searched(&request.url()).unwrap_or_else(|| request.url())),
            false => Cow::Borrowed(&*self.url),
        };
        let is_at = || self.store.is_at(name, &self.policy.key, &url, request, (head, part));
        (!self.authorized || head.life.for_authorized) && is_at()
    }
}
