//! Parts of responses: stores 206 responses, and the received part of responses that were cut short, serves ranges within them, and
//! completes them with the missing parts (RFC 9111 sections 3.3 and 3.4).
//!
//! ```text
//! parts of the version are stored ─→ enough of them: the rest is fetched between them, as it is sent
//!                                └→ else ─┐
//! a range far in, or from the end ────────┴→ fetched as it is ─→ stored, listed
//! ```
//!
//! With `slice`, each part begins at a multiple of one length, so no list is needed: a range is assembled
//! from slices, each of which is stored, or fetched once for all requests.
//!
//! Parts are assembled only if a strong validator says that they belong to one version; if a fetched part belongs to another, the
//! response ends there, and the stored parts are removed. The response is sent through a window (`Flight`), so that only the window is
//! in memory, for any length. Rules and lists are in `cache::parts`.

mod assemble;
mod fetch;

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::answers::{self, CacheOutcome, HitBody};
use super::follow::{FollowOutcome, follow};
use super::forwarded::ForwardedRequest;
use super::past::go_on;
use super::query::{CacheQuery, StaleResponse};
use crate::cache::freshness::{NotStored, ReuseDecision};
use crate::cache::key::PassReason;
use crate::cache::parts::{self, Layout, StoredRanges, Version, content_range};
use crate::cache::{CachedBody, CachedHead, FetchOutcome, Follower, StoreLocation};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::failure::Failure;
use crate::http1::Framing;
use crate::protocol::date::Moment;
use crate::protocol::escape;
use crate::protocol::names::KnownField;
use crate::protocol::ranges;
use crate::serve::body::Body;
use crate::serve::proxy;
use crate::serve::selected::{self, Selected};
use crate::serve::stop::Stop;
use crate::site::{Proxy, Route};

/// A range that begins further in than this, in bytes, is fetched as a range instead of the whole.
pub(super) const FAR: u64 = 1 << 20;

/// The result of serving a request from parts.
pub(super) enum PartsOutcome {
    Answer(Answer<Body>),
    /// The request does not concern parts.
    Other,
    /// The fetch that it waited for has failed: look up the store again.
    Again,
}

/// A request for parts: of an exchange, or of the task that assembles its response.
#[derive(Clone)]
pub(super) struct PartsRequest {
    pub(super) client: Rc<Client>,
    pub(super) route: Route,
    pub(super) proxy: &'static Proxy,
    pub(super) query: CacheQuery,
    /// The location of the whole response.
    pub(super) place: StoreLocation,
    /// Other requests are known to want the same response.
    pub(super) crowded: bool,
}

/// The requested part.
struct WantedPart {
    /// The value of `Range`.
    range: Vec<u8>,
    /// The name of the in-flight fetch.
    name: String,
    /// The requested part, if it is known in advance; its end may be beyond the end of the whole.
    part: Option<Range<u64>>,
}

impl WantedPart {
    fn part(part: Range<u64>) -> WantedPart {
        WantedPart { range: parts::range(&part).into_bytes(), name: parts::label(&part), part: Some(part) }
    }

    /// Returns whether a received range is the requested part.
    fn is(&self, range: &Range<u64>, total: u64) -> bool {
        self.part.as_ref().is_none_or(|part| *range == (part.start..part.end.min(total)))
    }

    /// Returns the label under which the received part is stored.
    fn stored_as(&self, range: &Range<u64>) -> String {
        parts::label(self.part.as_ref().unwrap_or(range))
    }
}

/// A part, stored or in flight.
struct ResponsePart {
    head: Arc<CachedHead>,
    range: Range<u64>,
    total: u64,
    held: PartBody,
    outcome: CacheOutcome,
    /// Cookies for this client alone.
    cookies: Vec<String>,
}

enum PartBody {
    Here(CachedBody),
    Coming(Follower),
}

/// The stored state of a part.
enum StoredPart {
    Usable(ResponsePart),
    /// A part to revalidate.
    Stale(StoreLocation, StaleResponse),
    Nothing,
}

/// The result of fetching a part.
enum FetchedPart {
    Part(ResponsePart),
    /// A part of the requested version that is not stored: there is no space, or it is not shareable.
    Alone(Range<u64>, Body),
    /// A response that is not a part: for this client, and stored if allowed.
    Other(Answer<Body>),
    /// A part that is not stored: it is not shareable, or not the requested one.
    NotStored(NotStored),
    /// The fetch that it waited for has failed.
    Again,
}

impl PartsRequest {
    /// Responds with stored parts, or fetches a part.
    pub(super) async fn answer(&self, record: &mut Record) -> Result<PartsOutcome, Stop> {
        if let Some(size) = &self.query.policy.slice {
            return self.sliced(record, size.get(self.client.worker.settings)).await;
        }
        if let Some((head, listed)) = self.listed(record).await
            && let Some(answer) = self.complete(record, &head, listed).await?
        {
            return Ok(answer);
        }
        let is_far = takes_ranges(record) && ranges::is_far(&record.fields, FAR);
        if !is_far || self.is_whole_on_its_way() {
            return Ok(PartsOutcome::Other);
        }
        let conditional = ["if-none-match", "if-modified-since", "if-range"];
        if conditional.iter().any(|name| record.fields.contains(name)) {
            return self.pass(record, ("pass", PassReason::Range.reason())).await;
        }
        if self.query.directives.only_if_cached {
            return Ok(PartsOutcome::Other);
        }
        let range = record.fields.get(KnownField::RANGE).unwrap_or_default().to_owned();
        let wanted = WantedPart { name: escape::shown(&range).into_owned(), range, part: None };
        match self.part(record, wanted, None, Instant::now()).await? {
            FetchedPart::Part(part) => Ok(PartsOutcome::Answer(self.as_it_came(record, part))),
            FetchedPart::Other(answer) => Ok(PartsOutcome::Answer(answer)),
            FetchedPart::Alone(..) | FetchedPart::NotStored(_) => {
                self.pass(record, ("pass", PassReason::Range.reason())).await
            }
            FetchedPart::Again => Ok(PartsOutcome::Again),
        }
    }

    /// Responds with slices.
    async fn sliced(&self, record: &mut Record, size: u64) -> Result<PartsOutcome, Stop> {
        if self.is_whole_on_its_way() {
            return Ok(PartsOutcome::Other);
        }
        let PartsRequest { query, place, .. } = self;
        let layout = Layout::Slices(size);
        let is_ranged = takes_ranges(record) && record.fields.contains(KnownField::RANGE);
        let at = if is_ranged { ranges::first(&record.fields) } else { 0 };
        let mut part =
            match self.part(record, WantedPart::part(layout.part(at, u64::MAX)), None, Instant::now()).await? {
                FetchedPart::Part(part) => part,
                // An empty response has no parts.
                FetchedPart::Other(answer) if answer.status == StatusCode::RANGE_NOT_SATISFIABLE && !is_ranged => {
                    return Ok(PartsOutcome::Other);
                }
                FetchedPart::Other(answer) => return Ok(PartsOutcome::Answer(answer)),
                FetchedPart::Alone(..) => return self.pass(record, ("pass", PassReason::Range.reason())).await,
                FetchedPart::NotStored(unkept) => {
                    if !unkept.is_of_request() {
                        query.store.mark_unshared(place.own, &query.url, Moment::now());
                    }
                    return self.pass(record, ("miss", unkept.reason())).await;
                }
                FetchedPart::Again => return Ok(PartsOutcome::Again),
            };
        let version = Version::of(&part.head.fields).ok_or(Failure::Internal)?;
        let wanted = wanted(record, &part.head.whole(), version.total).unwrap_or(part.range.clone());
        let is_one = part.range.start <= wanted.start && wanted.end <= part.range.end;
        // Parts that may be of two versions are not combined: the whole is fetched, or the client's range.
        if !is_one && version.validator.is_none() {
            return if is_ranged {
                self.pass(record, ("pass", PassReason::Range.reason())).await
            } else {
                Ok(PartsOutcome::Other)
            };
        }
        if !is_one && !self.has_all(record, &version, &wanted, &layout) {
            if query.directives.only_if_cached {
                record.cached("miss", "only-if-cached");
                return Err(Failure::NotCached.into());
            }
            if part.outcome.word == "hit" {
                (part.outcome.word, part.outcome.forward) = ("miss", Some("partial"));
            }
        }
        Ok(PartsOutcome::Answer(self.serve(record, part, layout)))
    }

    /// Returns whether all slices of a range are stored, of one version. At most `MOST_LOOKED_AT` are looked up.
    fn has_all(&self, record: &Record, version: &Version, wanted: &Range<u64>, layout: &Layout) -> bool {
        let CacheQuery { store, policy, url, .. } = &self.query;
        let (request, now) = (ForwardedRequest::new(&self.client, record, &self.route, self.proxy), Moment::now());
        let is_usable = |head: &CachedHead| version.has(&head.fields) && self.is_usable(head, now);
        let (mut at, mut looked_at) = (wanted.start, 0);
        while at < wanted.end && looked_at < MOST_LOOKED_AT {
            let slice = layout.part(at, wanted.end);
            let place = store.part_place(&policy.key, url, &request, &parts::label(&slice));
            if !place.is_some_and(|place| store.has_usable(&place, is_usable)) {
                return false;
            }
            (at, looked_at) = (slice.end, looked_at + 1);
        }
        at >= wanted.end
    }

    /// Returns whether a fetch of the whole response is in flight.
    fn is_whole_on_its_way(&self) -> bool {
        self.query.store.flights.join_landed(self.place.own).is_some()
    }

    /// Forwards the client's request unchanged.
    async fn pass(
        &self,
        record: &mut Record,
        (word, reason): (&'static str, &'static str),
    ) -> Result<PartsOutcome, Stop> {
        let PartsRequest { client, route, proxy, .. } = self;
        let body = RequestBody::new(client, Framing::Empty);
        let outcome = (word, reason, "partial");
        Ok(PartsOutcome::Answer(Box::pin(go_on(client, record, route, proxy, body, outcome)).await?))
    }

    /// Returns the stored parts of a usable version, with the head of one.
    async fn listed(&self, record: &Record) -> Option<(Arc<CachedHead>, StoredRanges)> {
        let (_, head, content) = self.kept(record, parts::LIST).await?;
        self.is_usable(&head, Moment::now()).then(|| (head, StoredRanges::of(&content)))
    }

    /// Responds with the parts of a version, and fetches the missing ones; `None` if another way is better.
    async fn complete(
        &self,
        record: &mut Record,
        head: &CachedHead,
        listed: StoredRanges,
    ) -> Result<Option<PartsOutcome>, Stop> {
        let Some(version) = Version::of(&head.fields) else { return Ok(None) };
        // A response with only a head needs the head of any part.
        let Some(wanted) = wanted(record, &head.whole(), version.total).or_else(|| listed.any()) else {
            return Ok(None);
        };
        let (is_stored, is_worth_it) = (listed.has(&wanted), listed.is_worth_completing(&wanted));
        let layout = Layout::Listed(listed);
        let part = layout.part(wanted.start, wanted.end);
        let is_one = is_stored && part.end >= wanted.end;
        if !is_one && (version.validator.is_none() || !is_worth_it) {
            return Ok(None);
        }
        if self.query.directives.only_if_cached && !is_stored {
            return Ok(None);
        }
        let of = version.validator.is_some().then_some(&version);
        let mut came = self.part(record, WantedPart::part(part), of, Instant::now()).await?;
        if let FetchedPart::Part(part) = &mut came
            && part.outcome.word == "hit"
            && !is_stored
        {
            (part.outcome.word, part.outcome.forward) = ("miss", Some("partial"));
        }
        Ok(match came {
            // Without a validator, the response may have another length now.
            FetchedPart::Part(part) if part.total != version.total => None,
            FetchedPart::Part(part) => Some(PartsOutcome::Answer(self.serve(record, part, layout))),
            FetchedPart::Other(answer) => Some(PartsOutcome::Answer(answer)),
            FetchedPart::Alone(..) | FetchedPart::NotStored(_) => None,
            FetchedPart::Again => Some(PartsOutcome::Again),
        })
    }

    /// Looks up a stored part, in memory or on disk.
    async fn kept(&self, record: &Record, part: &str) -> Option<(StoreLocation, Arc<CachedHead>, CachedBody)> {
        let CacheQuery { store, policy, url, .. } = &self.query;
        let place = {
            let request = ForwardedRequest::new(&self.client, record, &self.route, self.proxy);
            store.part_place(&policy.key, url, &request, part)?
        };
        let mut found = store.at(place).await;
        if found.is_none() && store.may_recall(&place) && store.recall(place).await {
            found = store.at(place).await;
        }
        found.map(|(head, content)| (place, head, content))
    }

    fn is_usable(&self, head: &CachedHead, now: Moment) -> bool {
        let CacheQuery { directives, refreshes, authorized, .. } = &self.query;
        !refreshes
            && (!authorized || head.freshness.for_authorized)
            && head.freshness.verdict(directives, head.is_outdated(), now) == ReuseDecision::Fresh
    }

    /// Returns a part: stored, in flight, or fetched; of this version, if one is given.
    async fn part(
        &self,
        record: &mut Record,
        wanted: WantedPart,
        of: Option<&Version>,
        began: Instant,
    ) -> Result<FetchedPart, Stop> {
        let PartsRequest { client, route, query, .. } = self;
        let stale = match self.stored(record, &wanted, of).await {
            StoredPart::Usable(part) => return Ok(FetchedPart::Part(part)),
            StoredPart::Stale(place, stale) => Some((place, stale)),
            StoredPart::Nothing => None,
        };
        if query.directives.only_if_cached {
            record.cached("miss", "only-if-cached");
            return Err(Failure::NotCached.into());
        }
        let name = {
            let request = ForwardedRequest::new(client, record, route, self.proxy);
            query.store.part_on_its_way(&query.policy.key, &query.url, &request, &wanted.name)
        };
        let flights = &query.store.flights;
        let beside = || flights.beside(name, &query.url);
        let joined = flights.join(name, &query.url);
        let (follower, landed) = match follow(client, route, query, joined, began).await? {
            FollowOutcome::First(guard, why) => {
                // Look it up once more: the previous fetch may have stored it, and a purge may have removed the one to
                // revalidate.
                let stale = match self.stored(record, &wanted, of).await {
                    StoredPart::Usable(part) => return Ok(FetchedPart::Part(part)),
                    StoredPart::Stale(place, stale) => Some((place, stale)),
                    StoredPart::Nothing => None,
                };
                return self.fetch(record, wanted, of, stale, (guard, why)).await;
            }
            FollowOutcome::Fetched(follower, landed) => (follower, landed),
        };
        let outcome =
            CacheOutcome { word: "joined", reason: "", forward: Some("uri-miss"), stored: true, status: None };
        let (head, name, held) = match landed {
            FetchOutcome::Abandoned => return Ok(FetchedPart::Again),
            FetchOutcome::Nothing if of.is_none() => return Ok(FetchedPart::NotStored(NotStored::Status)),
            FetchOutcome::Nothing => return self.fetch(record, wanted, of, stale, (beside(), "")).await,
            FetchOutcome::Answer(head, name, _) => (head, name, PartBody::Coming(follower)),
            FetchOutcome::Refreshed(head, name, content) => (head, name, PartBody::Here(content)),
        };
        let is_for_us = |range: &Range<u64>| self.is_for(record, &head, &wanted.stored_as(range), name);
        match content_range(&head.fields).filter(|(range, total)| wanted.is(range, *total) && is_for_us(range)) {
            Some((range, total)) if of.is_none_or(|of| of.has(&head.fields)) => {
                Ok(FetchedPart::Part(ResponsePart { head, range, total, held, outcome, cookies: Vec::new() }))
            }
            // The part is of another version, or for another request.
            _ => self.fetch(record, wanted, of, stale, (beside(), "")).await,
        }
    }

    /// Looks up a part.
    async fn stored(&self, record: &Record, wanted: &WantedPart, of: Option<&Version>) -> StoredPart {
        let Some((place, head, content)) = self.kept(record, &wanted.name).await else { return StoredPart::Nothing };
        let said = content_range(&head.fields).filter(|(range, total)| wanted.is(range, *total));
        let Some((range, total)) = said.filter(|_| of.is_none_or(|of| of.has(&head.fields))) else {
            return StoredPart::Nothing;
        };
        if self.is_usable(&head, Moment::now()) {
            let outcome = CacheOutcome { word: "hit", reason: "", forward: None, stored: false, status: None };
            return StoredPart::Usable(ResponsePart {
                head,
                range,
                total,
                held: PartBody::Here(content),
                outcome,
                cookies: Vec::new(),
            });
        }
        let CacheQuery { refreshes, authorized, .. } = &self.query;
        let may_be_asked_about = !refreshes && (!authorized || head.freshness.for_authorized);
        if may_be_asked_about { StoredPart::Stale(place, (head, content)) } else { StoredPart::Nothing }
    }

    /// Returns whether a stored part may be used for this request.
    fn is_for(&self, record: &Record, head: &CachedHead, part: &str, name: u128) -> bool {
        let request = ForwardedRequest::new(&self.client, record, &self.route, self.proxy);
        self.query.is_for((head, Some(part)), name, &request)
    }

    /// Serves a part as the server sent it.
    fn as_it_came(&self, record: &mut Record, part: ResponsePart) -> Answer<Body> {
        let ResponsePart { head, range, held, outcome, cookies, .. } = part;
        let length = range.end - range.start;
        let now = Moment::now();
        let mut answer = answers::present(record, &head, HitBody::Made(held.body(0..length), length), &outcome, now);
        proxy::add_cookies(&mut answer.fields, &cookies);
        answer
    }

    /// Serves the requested range, which begins with this part.
    fn serve(&self, record: &mut Record, part: ResponsePart, layout: Layout) -> Answer<Body> {
        let (whole, total, outcome) = (Arc::new(part.head.whole()), part.total, part.outcome.clone());
        let cookies = part.cookies.clone();
        let body = match wanted(record, &whole, total) {
            None => Body::None((record.method == Method::HEAD).then_some(total)),
            Some(wanted) if part.range.start <= wanted.start && wanted.end <= part.range.end => {
                part.held.body(wanted.start - part.range.start..wanted.end - part.range.start)
            }
            Some(wanted) => self.assembled(record, part, wanted, layout),
        };
        let mut answer = answers::present(record, &whole, HitBody::Made(body, total), &outcome, Moment::now());
        proxy::add_cookies(&mut answer.fields, &cookies);
        answer
    }
}

/// The most slices that are looked up before a response begins, to find out whether all of it is stored.
const MOST_LOOKED_AT: usize = 1024;

/// Returns whether a range may be fetched in place of the whole: not if strings may be replaced in it.
fn takes_ranges(record: &Record) -> bool {
    record.method == Method::GET && record.policy().replace.is_none()
}

/// Returns the range that a request wants of a response with this head and length; `None` if it wants no content.
fn wanted(record: &Record, whole: &CachedHead, total: u64) -> Option<Range<u64>> {
    if record.method == Method::HEAD {
        return None;
    }
    match selected::select(record, &whole.fields, Some(total)) {
        Selected::Whole | Selected::Failed | Selected::Parts(_) => Some(0..total),
        Selected::Part(part) => Some(part),
        Selected::Unmodified | Selected::Nothing(_) => None,
    }
}

impl PartBody {
    /// Returns the body of this range.
    fn body(self, range: Range<u64>) -> Body {
        match self {
            PartBody::Here(content) => answers::part_of(&content, range),
            PartBody::Coming(follower) => {
                Body::Joined(Box::new(follower.only(range.start, Some(range.end - range.start))))
            }
        }
    }
}
