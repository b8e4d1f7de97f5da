//! The cache query of an exchange ([`CacheQuery`]).

use std::borrow::Cow;
use std::sync::Arc;

use super::forwarded::ForwardedRequest;
use crate::cache::control::RequestDirectives;
use crate::cache::key;
use crate::cache::{CacheStore, CachedBody, CachedHead};
use crate::client::Client;
use crate::context::facts::Facts;
use crate::protocol::names::KnownField;
use crate::site;

/// The cache query of an exchange.
#[derive(Clone)]
pub(super) struct CacheQuery {
    pub(super) policy: &'static site::Cache,
    pub(super) store: &'static CacheStore,
    pub(super) url: String,
    pub(super) directives: RequestDirectives,
    /// A cached response may not be used; the fetched one replaces it.
    pub(super) refreshes: bool,
    pub(super) authorized: bool,
}

/// A cached response to revalidate.
pub(super) type StaleResponse = (Arc<CachedHead>, CachedBody);

impl CacheQuery {
    pub(super) fn of(client: &Client, facts: &Facts<'_>, policy: &'static site::Cache) -> CacheQuery {
        let mut url = client.worker.keys.take();
        url.clear();
        key::url(&policy.key, facts, &mut url);
        let store = &client.worker.stores[usize::from(policy.store)];
        if let Some(other) = policy.key.follows_search.then(|| store.searched(&url)).flatten() {
            url = other;
        }
        CacheQuery {
            policy,
            store,
            url,
            directives: if policy.ignores_requests {
                RequestDirectives::default()
            } else {
                RequestDirectives::of(facts.fields)
            },
            refreshes: policy.refresh.iter().any(|mark| key::has(mark, facts)),
            authorized: facts.fields.contains(KnownField::AUTHORIZATION),
        }
    }

    /// Returns whether a cached response (or part) under a name may be used for this request, by its `Vary` and
    /// `No-Vary-Search`.
    pub(super) fn is_for(
        &self,
        (head, part): (&CachedHead, Option<&str>),
        name: u128,
        request: &ForwardedRequest<'_>,
    ) -> bool {
        let url = match self.policy.key.follows_search {
            // By the response's `No-Vary-Search`, which was not known before.
            true => Cow::Owned(head.searched(&request.url()).unwrap_or_else(|| request.url())),
            false => Cow::Borrowed(&*self.url),
        };
        let is_at = || self.store.is_at(name, &self.policy.key, &url, request, (head, part));
        (!self.authorized || head.freshness.for_authorized) && is_at()
    }
}
