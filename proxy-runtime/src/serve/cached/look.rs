//! Looks up a response in the store ([`CacheQuery::look`]), and decides whether it may be used for the request.

use std::rc::Rc;
use std::sync::Arc;

use super::answers;
use super::fetch::refresh;
use super::forwarded::ForwardedRequest;
use super::query::{CacheQuery, StaleResponse};
use crate::cache::freshness::ReuseDecision;
use crate::cache::{BodyFile, CachedBody, CachedHead, LastFetch, Lookup, StoreLocation};
use crate::client::Client;
use crate::client::record::Record;
use crate::content::respond::Answer;
use crate::protocol::date::Moment;
use crate::serve::body::Body;
use crate::site::{Proxy, Route};

/// The result of a lookup.
pub(super) enum LookupResult {
    /// A usable response.
    Answer(Answer<Body>),
    /// The request can't be served from the cache: the reason in the log, and the reason in `Cache-Status`.
    NotForUs(&'static str, &'static str),
    /// A response whose body is on disk.
    BodyFile(StoreLocation, Arc<CachedHead>, Arc<BodyFile>),
    /// Nothing in memory; the disk may have it.
    OnDisk(StoreLocation, LastFetch),
    /// Nothing, or a response to revalidate.
    Wanting(StoreLocation, Option<StaleResponse>, LastFetch),
}

impl CacheQuery {
    /// Looks up the response, as of `now`.
    pub(super) fn look(
        &self,
        client: &Rc<Client>,
        record: &mut Record,
        route: &Route,
        proxy: &'static Proxy,
        now: Moment,
    ) -> LookupResult {
        let request = ForwardedRequest::new(client, record, route, proxy);
        let (place, head, content) = match self.store.look_up(&self.policy.key, &self.url, &request, now) {
            Lookup::Nothing(place, lately) if self.store.may_recall(&place) => {
                return LookupResult::OnDisk(place, lately);
            }
            Lookup::Nothing(place, lately) => return LookupResult::Wanting(place, None, lately),
            Lookup::Answer(_, head, _) if self.authorized && !head.freshness.for_authorized => {
                return LookupResult::NotForUs("authorization", "request");
            }
            Lookup::BodyFile(_, head, _) if self.authorized && !head.freshness.for_authorized => {
                return LookupResult::NotForUs("authorization", "request");
            }
            Lookup::BodyFile(place, ..) | Lookup::Answer(place, ..) if self.refreshes => {
                return LookupResult::Wanting(place, None, LastFetch::Unknown);
            }
            Lookup::BodyFile(place, head, filed) => return LookupResult::BodyFile(place, head, filed),
            Lookup::Answer(place, head, content) => (place, head, content),
        };
        self.weigh(client, record, route, proxy, (place, head, content), now)
    }

    /// Decides whether a cached response may be used for the request, as of `now`.
    pub(super) fn weigh(
        &self,
        client: &Client,
        record: &mut Record,
        route: &Route,
        proxy: &'static Proxy,
        (place, head, content): (StoreLocation, Arc<CachedHead>, CachedBody),
        now: Moment,
    ) -> LookupResult {
        let verdict = head.freshness.verdict(&self.directives, head.is_outdated(), now);
        let word = match verdict {
            ReuseDecision::Fresh => ("hit", ""),
            ReuseDecision::Wanted => ("stale", "max-stale"),
            ReuseDecision::WhileRevalidate => ("stale", "while-revalidate"),
            ReuseDecision::Ask => match head.failed_until(now) {
                Some(_) if head.freshness.serves_errors(now) => ("stale", "if-error"),
                Some(until) => return LookupResult::Wanting(place, Some((head, content)), LastFetch::Failed(until)),
                None => return LookupResult::Wanting(place, Some((head, content)), LastFetch::Unknown),
            },
        };
        let answer = answers::hit(record, &head, &content, word, now);
        let ahead = self.policy.ttl.refresh_ahead.map(|ahead| ahead.get(client.worker.settings));
        let is_due = verdict == ReuseDecision::WhileRevalidate
            || verdict == ReuseDecision::Fresh && ahead.is_some_and(|ahead| head.freshness.ends_within(ahead, now));
        if is_due && head.failed_until(now).is_none() {
            refresh(client, record, route, proxy, self, (place, (head, content)));
        }
        LookupResult::Answer(answer)
    }
}
