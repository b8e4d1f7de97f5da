//! Waits for a response that was not in the store at the first lookup ([`Waiting`]).

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::Method;
use tokio::time::Instant;

use super::answers::{self, CacheOutcome, HitBody as Kept};
use super::beside::{beside, head_only};
use super::fetch::{FetchPlan, fetch};
use super::follow::{FollowOutcome, follow};
use super::forwarded::ForwardedRequest;
use super::look::LookupResult;
use super::parts::{FAR, PartsOutcome, PartsRequest};
use super::past::go_on;
use super::query::{CacheQuery, StaleResponse};
use crate::cache::{CachedHead, FetchGuard, FetchOutcome, FlightRole, Follower, LastFetch, PAUSE, StoreLocation};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::failure::Failure;
use crate::net::clock::after;
use crate::protocol::date::Moment;
use crate::protocol::ranges;
use crate::serve::body::Body;
use crate::serve::stop::Stop;
use crate::site::{Proxy, Route};

/// How often entries are loaded from disk for a request: the `Vary` index and the response, and once more in case it was evicted meanwhile.
const MOST_RECALLS: u8 = 3;

/// The most pauses of a request after failures of the server; then it fails, too.
const MOST_PAUSES: u8 = 3;

/// A request whose response was not in the store at the first lookup.
pub(super) struct Waiting<'w> {
    client: &'w Rc<Client>,
    record: &'w mut Record,
    route: &'w Route,
    proxy: &'static Proxy,
    query: CacheQuery,
    began: Instant,
    /// How often an entry was loaded from disk.
    recalls: u8,
    /// How often it has paused after a failure of the server.
    pauses: u8,
    /// The name of an in-flight fetch whose response was not for this request.
    other: Option<u128>,
}

/// The result of a lookup after waiting for disks and other fetches.
enum Found {
    Answer(Answer<Body>),
    /// The request can't be served from the cache: the reason in the log, and the reason in `Cache-Status`.
    NotForUs(&'static str, &'static str),
    /// Nothing, or a response to revalidate.
    Wanting(StoreLocation, Option<StaleResponse>, LastFetch),
    /// Look it up again.
    Again,
}

/// How a request gets its response.
enum Way {
    /// By an in-flight fetch, its own or another's; `true` if the response may turn out to be for other requests.
    Flight(FlightRole, bool),
    /// By a fetch for itself alone.
    Beside,
    /// After a pause: look it up again.
    Again,
}

/// The result of the last lookup before a fetch.
enum Still {
    Answer(Answer<Body>),
    /// The store's content has changed.
    Changed(LookupResult),
    Wanting(Option<StaleResponse>),
}

impl<'w> Waiting<'w> {
    pub(super) fn new(
        client: &'w Rc<Client>,
        record: &'w mut Record,
        route: &'w Route,
        proxy: &'static Proxy,
        query: CacheQuery,
    ) -> Waiting<'w> {
        Waiting { client, record, route, proxy, query, began: Instant::now(), recalls: 0, pauses: 0, other: None }
    }

    /// Waits until there is a response.
    pub(super) async fn wait(mut self, seen: LookupResult, body: RequestBody) -> Result<Answer<Body>, Stop> {
        self.record.cached("miss", "");
        let mut next = Some(seen);
        loop {
            let seen = next.take().unwrap_or_else(|| self.look());
            let (place, stale, lately) = match self.found(seen).await? {
                Found::Answer(answer) => return Ok(answer),
                Found::NotForUs(reason, forward) => return self.pass(body, ("pass", reason, forward)).await,
                Found::Wanting(place, stale, lately) => (place, stale, lately),
                Found::Again => continue,
            };
            if self.query.directives.only_if_cached {
                self.record.cached("miss", "only-if-cached");
                return Err(Failure::NotCached.into());
            }
            if self.record.method == Method::HEAD && stale.is_some() {
                let Waiting { client, record, route, proxy, query, .. } = self;
                return head_only(client, record, route, proxy, &query, (place, stale), body).await;
            }
            if self.query.directives.no_store {
                return self.pass(body, ("pass", "request-no-store", "request")).await;
            }
            let (joined, may_be_another) = match self.way(place, lately).await? {
                Way::Flight(joined, may_be_another) => (joined, may_be_another),
                Way::Beside => return self.beside((place, stale), body).await,
                Way::Again => continue,
            };
            let (follower, landed) = match follow(self.client, self.route, &self.query, joined, self.began).await? {
                FollowOutcome::Fetched(follower, landed) => (follower, landed),
                FollowOutcome::First(guard, why) => match self.still(place, stale) {
                    Still::Answer(answer) => return Ok(answer),
                    Still::Wanting(stale) => return self.fetch((place, stale), guard, why).await,
                    Still::Changed(changed) => {
                        next = Some(changed);
                        continue;
                    }
                },
            };
            if matches!(landed, FetchOutcome::Nothing) {
                return self.beside((place, stale), body).await;
            }
            if let Some(answer) = self.landed(follower, landed, (place, may_be_another)) {
                return Ok(answer);
            }
        }
    }

    fn look(&mut self) -> LookupResult {
        self.query.look(self.client, self.record, self.route, self.proxy, Moment::now())
    }

    /// Waits for the disk, and for in-flight fetches of the same response.
    async fn found(&mut self, seen: LookupResult) -> Result<Found, Stop> {
        let seen = match seen {
            LookupResult::BodyFile(place, head, filed) => match self.query.store.open(place, filed).await {
                Some(content) => {
                    let stored = (place, head, content);
                    self.query.weigh(self.client, self.record, self.route, self.proxy, stored, Moment::now())
                }
                None => LookupResult::Wanting(place, None, LastFetch::Unknown),
            },
            seen => seen,
        };
        let (place, stale, lately) = match seen {
            LookupResult::Answer(answer) => return Ok(Found::Answer(answer)),
            LookupResult::NotForUs(reason, forward) => return Ok(Found::NotForUs(reason, forward)),
            // The file has been opened already, or could not be.
            LookupResult::BodyFile(place, ..) => (place, None, LastFetch::Unknown),
            LookupResult::Wanting(place, stale, lately) => (place, stale, lately),
            LookupResult::OnDisk(place, lately) => {
                self.recalls += 1;
                if self.recalls <= MOST_RECALLS && self.query.store.recall(place).await {
                    return Ok(Found::Again);
                }
                (place, None, lately)
            }
        };
        let is_new = stale.is_none() && self.other.is_none() && lately == LastFetch::Unknown;
        if is_new && !self.query.directives.no_store && self.may_have_parts(place) {
            let (client, query) = (Rc::clone(self.client), self.query.clone());
            let (route, proxy, crowded) = (*self.route, self.proxy, self.pauses > 0);
            let wanted_parts = PartsRequest { client, route, proxy, query, place, crowded };
            match Box::pin(wanted_parts.answer(self.record)).await? {
                PartsOutcome::Answer(answer) => return Ok(Found::Answer(answer)),
                PartsOutcome::Again => return Ok(Found::Again),
                PartsOutcome::Other => {}
            }
        }
        Ok(Found::Wanting(place, stale, lately))
    }

    /// Returns whether the store may have parts of the response: in slices, for a range far in, or of variants.
    fn may_have_parts(&self, place: StoreLocation) -> bool {
        place.varies || self.query.policy.slice.is_some() || ranges::is_far(&self.record.fields, FAR)
    }

    /// Joins the in-flight fetch of a response, or starts one, depending on the last fetch.
    async fn way(&mut self, place: StoreLocation, lately: LastFetch) -> Result<Way, Failure> {
        let flights = &self.query.store.flights;
        let undecided = self.query.store.join_undecided(place, &self.query.url);
        let may_be_another = undecided.is_some();
        let is_other = self.other == Some(place.own);
        Ok(match lately {
            LastFetch::Failed(until) => {
                self.pauses += 1;
                if self.pauses > MOST_PAUSES {
                    return Err(Failure::UpstreamFailing);
                }
                // The system clock may be set meanwhile.
                let pause = until.since(Moment::now()).min(PAUSE);
                let (timer, until) = (&self.client.timer, after(Instant::now(), pause));
                std::future::poll_fn(|_| if timer.over(until) { Poll::Ready(()) } else { Poll::Pending }).await;
                Way::Again
            }
            LastFetch::Unshared => match flights.join_landed(place.own).filter(|_| !is_other) {
                Some(follower) => Way::Flight(FlightRole::Follow(follower), may_be_another),
                None => Way::Beside,
            },
            LastFetch::Unknown if is_other => Way::Beside,
            LastFetch::Unknown => {
                let joined = undecided.map_or_else(|| flights.join(place.own, &self.query.url), FlightRole::Follow);
                Way::Flight(joined, may_be_another)
            }
        })
    }

    /// Looks up the store once more before a fetch: a fetch that has ended meanwhile may have stored a response, and a purge may have
    /// removed the one to revalidate.
    fn still(&mut self, place: StoreLocation, stale: Option<StaleResponse>) -> Still {
        match self.look() {
            LookupResult::Answer(answer) => Still::Answer(answer),
            LookupResult::Wanting(same, stale, LastFetch::Unknown) if same.own == place.own => Still::Wanting(stale),
            changed @ LookupResult::Wanting(..) => Still::Changed(changed),
            LookupResult::BodyFile(_, head, _) => Still::Wanting(stale.filter(|(stale, _)| Arc::ptr_eq(stale, &head))),
            LookupResult::OnDisk(..) | LookupResult::NotForUs(..) => Still::Wanting(None),
        }
    }

    /// Returns the response of an in-flight fetch, if it is for this request.
    fn landed(
        &mut self,
        follower: Follower,
        landed: FetchOutcome,
        (place, may_be_another): (StoreLocation, bool),
    ) -> Option<Answer<Body>> {
        match landed {
            FetchOutcome::Answer(head, name, length) if self.is_ours(&head, name) => {
                let outcome =
                    CacheOutcome { word: "joined", reason: "", forward: Some("uri-miss"), stored: true, status: None };
                return Some(answers::present(
                    self.record,
                    &head,
                    Kept::Coming(follower, length),
                    &outcome,
                    Moment::now(),
                ));
            }
            FetchOutcome::Refreshed(head, name, content) if self.is_ours(&head, name) => {
                return Some(answers::hit(self.record, &head, &content, ("joined", ""), Moment::now()));
            }
            // Only now it is known for whom the response is: look up again.
            FetchOutcome::Answer(..) | FetchOutcome::Refreshed(..) if may_be_another => {}
            // The response is for another request.
            FetchOutcome::Answer(..) | FetchOutcome::Refreshed(..) => self.other = Some(place.own),
            FetchOutcome::Abandoned | FetchOutcome::Nothing => {}
        }
        None
    }

    fn is_ours(&self, head: &CachedHead, name: u128) -> bool {
        self.query.is_for((head, None), name, &ForwardedRequest::new(self.client, self.record, self.route, self.proxy))
    }

    /// Bypasses the cache.
    async fn pass(
        self,
        body: RequestBody,
        outcome: (&'static str, &'static str, &'static str),
    ) -> Result<Answer<Body>, Stop> {
        go_on(self.client, self.record, self.route, self.proxy, body, outcome).await
    }

    async fn beside(
        self,
        stored: (StoreLocation, Option<StaleResponse>),
        body: RequestBody,
    ) -> Result<Answer<Body>, Stop> {
        let Waiting { client, record, route, proxy, query, .. } = self;
        beside(client, record, route, proxy, &query, stored, body).await
    }

    /// Fetches for all that wait.
    async fn fetch(
        self,
        (place, stale): (StoreLocation, Option<StaleResponse>),
        guard: FetchGuard,
        why: &'static str,
    ) -> Result<Answer<Body>, Stop> {
        let Waiting { client, record, route, proxy, query, pauses, .. } = self;
        let plan = FetchPlan { place, stale, guard, why, beside: false, crowded: pauses > 0 };
        Box::pin(fetch(client, record, route, proxy, &query, plan)).await
    }
}
