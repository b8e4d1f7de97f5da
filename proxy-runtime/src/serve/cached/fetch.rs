//! Fetches a response from the server, for one client or for all that wait, and stores it if allowed.

use std::borrow::Cow;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::answers::{self, CacheOutcome, HitBody};
use super::forwarded::{self, ForwardedRequest};
use super::query::{CacheQuery, StaleResponse};
use super::receive::{StoreDestination, receive};
use crate::cache::control::ResponseDirectives;
use crate::cache::freshness::{Freshness, NotStored, RequestTraits, vary};
use crate::cache::search::NoVarySearch;
use crate::cache::{
    CacheStore, CachedBody, CachedHead, FetchGuard, FlightRole, Reservation, ResponseOrder, StoreLocation,
};
use crate::cache::{groups, number};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::context::settings::Settings;
use crate::http1::Framing;
use crate::protocol::conditions::weakly_equal;
use crate::protocol::date::{Moment, date};
use crate::protocol::escape;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;
use crate::serve::proxy::{self, Reply};
use crate::serve::retry::UpstreamRequest;
use crate::serve::stop::Stop;
use crate::site::{Proxy, Route, Share};

/// Starts a background fetch for a stale response.
pub(super) fn refresh(
    client: &Client,
    record: &Record,
    route: &Route,
    proxy: &'static Proxy,
    query: &CacheQuery,
    (place, stale): (StoreLocation, StaleResponse),
) {
    let FlightRole::Fetch(guard) = query.store.flights.join(place.own, &query.url) else { return };
    let (client, mut record) = (Rc::new(Client::nobody(&client.peer)), record.unseen());
    // Even if a HEAD request found it stale, the cached response is one to GET.
    record.method = Method::GET;
    let (route, query) = (*route, query.clone());
    tokio::task::spawn_local(async move {
        let _running = client.worker.running();
        let plan = FetchPlan { place, stale: Some(stale), guard, why: "", beside: false, crowded: true };
        let fetched = pin!(fetch(&client, &mut record, &route, proxy, &query, plan));
        // The response is dropped; a separate task receives the body if it is stored.
        let _ = client.timer.run(fetched).await;
    });
}

/// When a request was sent to a server.
#[derive(Clone, Copy)]
pub(super) struct SendStamp {
    pub(super) at: Moment,
    /// The number of purges at that time.
    pub(super) purges: u64,
    /// Its place in [`ResponseOrder`].
    number: u64,
}

impl SendStamp {
    pub(super) fn now(store: &CacheStore) -> SendStamp {
        SendStamp { at: Moment::now(), purges: store.purges(), number: number() }
    }

    /// Returns the order of the response, which arrives now with these fields.
    pub(super) fn order(self, response: &Fields) -> ResponseOrder {
        ResponseOrder { asked: self.number, came: number(), made: response.get(KnownField::DATE).and_then(date) }
    }
}

/// A planned fetch.
pub(super) struct FetchPlan {
    pub(super) place: StoreLocation,
    /// The stale response to revalidate, if there is one.
    pub(super) stale: Option<StaleResponse>,
    /// The in-flight fetch, for the requests that wait for it.
    pub(super) guard: FetchGuard,
    /// The reason for a fetch while another one is under way.
    pub(super) why: &'static str,
    /// The response may be for this client alone, so the client's own conditions and ranges are forwarded.
    pub(super) beside: bool,
    /// Other requests are known to want the same response.
    pub(super) crowded: bool,
}

impl FetchPlan {
    /// Handles a failed fetch. If others want the same response, the server gets a pause, after which one of the waiting
    /// requests fetches again.
    pub(super) fn has_failed(&self, query: &CacheQuery) {
        if self.beside {
            query.store.unmark(self.place.own);
        } else if self.crowded || self.guard.is_read() {
            query.store.mark_failed(self.place.own, &query.url, Moment::now());
        }
    }

    /// Returns the stale response, if it may be served on an error (RFC 5861 section 4).
    fn take_for_failure(&mut self, now: Moment) -> Option<StaleResponse> {
        self.stale.take_if(|(head, _)| head.freshness.serves_errors(now))
    }

    /// Serves the stale response to this client and to all who wait.
    fn ends_stale(
        self,
        record: &mut Record,
        query: &CacheQuery,
        (head, content): StaleResponse,
        now: Moment,
    ) -> Answer<Body> {
        self.has_failed(query);
        self.guard.refreshes(Arc::clone(&head), self.place.own, content.clone());
        answers::hit(record, &head, &content, ("stale", "if-error"), now)
    }
}

/// Fetches a response, or revalidates a stale one.
pub(super) async fn fetch(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    query: &CacheQuery,
    mut plan: FetchPlan,
) -> Result<Answer<Body>, Stop> {
    let place = plan.place;
    let forward = match &plan.stale {
        Some(_) => "stale",
        None if place.varies => "vary-miss",
        None => "uri-miss",
    };
    let now = Moment::now();
    if plan.stale.is_some()
        && are_down(client, proxy)
        && let Some(stale) = plan.take_for_failure(now)
    {
        // Even if `panic-threshold` would use unhealthy servers: a stale response is better than waiting for them.
        return Ok(plan.ends_stale(record, query, stale, now));
    }
    loop {
        let sent = SendStamp::now(query.store);
        let body = RequestBody::new(client, Framing::Empty);
        record.cached("miss", plan.why);
        let asked = plan.stale.as_ref().map(|(head, _)| &**head);
        let as_it_is = plan.beside && asked.is_none();
        let alter = |request: &mut UpstreamRequest| {
            forwarded::normalize(query.policy, &mut request.fields);
            if !as_it_is {
                // A fetch for HEAD is a GET, so that its response can be stored (RFC 9110 section 9.3.2).
                request.method = Method::GET;
                for_all(&mut request.fields, asked);
            }
        };
        let reply = proxy::ask(client, record, route, proxy, body, alter).await;
        let now = Moment::now();
        let failed = match &reply {
            Ok(reply) => matches!(reply.answer.status.as_u16(), 500 | 502..=504),
            Err(Stop::Failure(_)) => true,
            Err(Stop::Abort) => false,
        };
        if failed && let Some(stale) = plan.take_for_failure(now) {
            return Ok(plan.ends_stale(record, query, stale, now));
        }
        let reply = match reply {
            Ok(reply) => reply,
            Err(stop) => {
                if matches!(stop, Stop::Failure(failure) if failure.is_upstreams()) {
                    plan.has_failed(query);
                }
                return Err(stop);
            }
        };
        let Some(kept) = plan.stale.take_if(|_| reply.answer.status == StatusCode::NOT_MODIFIED) else {
            return Ok(take_in(client, record, (route, proxy), query, plan, reply, (sent, forward)));
        };
        let said = &reply.answer.fields;
        if !is_about(said, &kept.0) {
            query.store.forget_this(place.own, &kept.0);
            continue;
        }
        let (head, content) = match renew(record, query, place, &kept, said, sent) {
            Ok(head) => (head, kept.1),
            Err(head) => {
                plan.guard.lands_alone();
                return Ok(answers::hit(record, &head, &kept.1, ("revalidated", "no-longer-kept"), now));
            }
        };
        plan.guard.refreshes(Arc::clone(&head), place.own, content.clone());
        return Ok(answers::hit(record, &head, &content, ("revalidated", ""), now));
    }
}

/// Returns whether no server of the handler is healthy.
pub(super) fn are_down(client: &Client, proxy: &Proxy) -> bool {
    let servers = &client.worker.servers;
    let is_down = |share: &Share| servers.upstreams[usize::from(share.upstream)].is_down(&servers.servers);
    proxy.shares.iter().all(is_down)
}

/// Changes a request into one for all clients: without the client's conditions and ranges; with a stale response, as its
/// revalidation (RFC 9111 section 4.3.1).
pub(super) fn for_all(fields: &mut Fields, stale: Option<&CachedHead>) {
    forwarded::for_all(fields);
    let Some(stale) = stale else { return };
    for (condition, validator) in [("if-none-match", "etag"), ("if-modified-since", "last-modified")] {
        if let Some(validator) = stale.fields.get(validator) {
            fields.add(condition.as_bytes(), validator);
        }
    }
}

/// Returns whether a 304 is for the cached response: its entity tag must match (RFC 9111 section 4.3.4).
pub(super) fn is_about(said: &Fields, kept: &CachedHead) -> bool {
    let about = kept.fields.get(KnownField::ETAG);
    said.get(KnownField::ETAG).is_none_or(|said| about.is_some_and(|about| weakly_equal(said, about)))
}

/// Updates a cached response after a 304 (RFC 9111 sections 3.2 and 4.3.4). `Err`: it must not be stored any longer.
pub(super) fn renew(
    record: &Record,
    query: &CacheQuery,
    place: StoreLocation,
    (head, content): &StaleResponse,
    said: &Fields,
    sent: SendStamp,
) -> Result<Arc<CachedHead>, Arc<CachedHead>> {
    let mut fields = head.fields.clone();
    let is_part = head.status == StatusCode::PARTIAL_CONTENT;
    // A strong tag does not identify a response that was stored with a weak one (section 4.3.4): its bytes may be others.
    let is_weak = |fields: &Fields| fields.get(KnownField::ETAG).is_some_and(|tag| tag.starts_with(b"W/"));
    let keeps_tag = is_weak(&head.fields) && !is_weak(said);
    let replaced = |name: &[u8]| {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        // A cached part keeps its range.
        !(is(b"content-length") || is(b"age") || is_part && is(b"content-range") || keeps_tag && is(b"etag"))
    };
    for (name, _) in said.iter().filter(|(name, _)| replaced(name.as_bytes())) {
        fields.remove(name);
    }
    for (name, value) in said.raw().filter(|(name, _)| replaced(name)) {
        fields.add(name, value);
    }
    if !said.contains(KnownField::DATE) {
        // Without `Date`, the time of the 304's receipt counts (RFC 9110 section 6.6.1), not the date of the cached response.
        fields.remove(KnownField::DATE);
    }
    let mut judged = fields.clone();
    if let Some(age) = said.get(KnownField::AGE) {
        judged.set(KnownField::AGE, age);
    }
    let asked = RequestTraits { authorized: query.authorized, no_store: false, sent: sent.at, answered: Moment::now() };
    let ids = (head.number, sent.order(&fields));
    let freshness = Freshness::of(query.policy, record.worker.settings, of_whole(head.status), &judged, &asked);
    let settings = record.worker.settings;
    let whole = |freshness: Freshness| (&*head.url, head.status, fields.clone(), freshness, ids);
    let renewed = |freshness: Freshness| Arc::new(kept_head(query, settings, whole(freshness)));
    // The response would need another URL as its key.
    let moves = query.policy.key.follows_search && NoVarySearch::of(&fields) != NoVarySearch::of(&head.fields);
    // It is stored under the values of fewer request fields than it depends on now (section 4.1).
    let varies_more = vary(&fields).flatten().any(|name| !head.vary.iter().any(|had| had.eq_ignore_ascii_case(name)));
    match freshness {
        Ok(freshness) if !moves && !varies_more => {
            let renewed = renewed(freshness);
            let _ = query.store.renew(place.own, head, Arc::clone(&renewed), content.clone(), sent.purges);
            Ok(renewed)
        }
        _ => {
            query.store.forget_this(place.own, head);
            Err(renewed(Freshness { received: asked.answered, age: Duration::ZERO, ..head.freshness.clone() }))
        }
    }
}

/// Returns the status by which a part is judged: that of the whole response (RFC 9111 section 3.3).
fn of_whole(status: StatusCode) -> StatusCode {
    if status == StatusCode::PARTIAL_CONTENT { StatusCode::OK } else { status }
}

/// Returns the head to store: without the fields that must not be stored.
fn kept_head(
    query: &CacheQuery,
    settings: &Settings,
    (url, status, mut fields, freshness, (number, order)): (&str, StatusCode, Fields, Freshness, (u64, ResponseOrder)),
) -> CachedHead {
    for name in ResponseDirectives::under(query.policy, settings, of_whole(status), &fields, freshness.received).unkept
    {
        fields.remove(&name);
    }
    fields.remove(KnownField::AGE);
    if !fields.contains(KnownField::DATE) {
        // RFC 9110 section 6.6.1: a recipient adds a missing `Date`.
        let received = std::time::UNIX_EPOCH + Duration::from_millis(freshness.received.0);
        fields.add_known(KnownField::DATE, httpdate::fmt_http_date(received).as_bytes());
    }
    let lower = |name: &str| Box::from(name.to_ascii_lowercase());
    // A response whose `Vary` has an invalid name is not stored.
    let mut vary: Vec<Box<str>> = vary(&fields).flatten().map(lower).collect();
    vary.sort();
    vary.dedup();
    // Escaped like the tags of purges, so that different tags stay different.
    let tags = query.policy.tags.iter().flat_map(|tags| fields.all(tags).map(escape::shown));
    let mut tags: Vec<String> = tags.map(|value| value.replace(',', " ")).collect();
    tags.extend(groups::of(&fields, "cache-groups", groups::origin_of(&query.url)));
    let tags = tags.join(" ");
    CachedHead {
        status,
        fields: fields.compact(),
        freshness,
        url: url.into(),
        vary: vary.into(),
        groups_seen: query.store.groups_seen(&tags),
        tags: tags.into(),
        outdated: AtomicBool::new(false),
        not_before: AtomicU32::new(0),
        number,
        order,
    }
}

/// Handles an upstream response: stores it if allowed, and passes it on.
pub(super) fn take_in(
    client: &Rc<Client>,
    record: &mut Record,
    (route, proxy): (&Route, &'static Proxy),
    query: &CacheQuery,
    plan: FetchPlan,
    reply: Reply,
    (sent, forward): (SendStamp, &'static str),
) -> Answer<Body> {
    let status = reply.answer.status;
    let (authorized, no_store) = (query.authorized, query.directives.no_store);
    let asked = RequestTraits { authorized, no_store, sent: sent.at, answered: Moment::now() };
    let request = ForwardedRequest::new(client, record, route, proxy);
    // A 416 to the client's own range says nothing about the whole (RFC 9110 section 15.5.17).
    let is_of_range =
        plan.beside && status == StatusCode::RANGE_NOT_SATISFIABLE && record.fields.contains(KnownField::RANGE);
    let judged = match is_of_range {
        true => Err(NotStored::Status),
        false => admit(&request, record, query, &reply.answer, (&asked, sent.order(&reply.answer.fields)), None),
    };
    let why = plan.why;
    let (head, place, reserved) = match judged {
        Ok(admitted) => admitted,
        Err(unkept) => {
            is_unkept(query, plan, (status, unkept));
            record.cached("miss", unkept.reason());
            let mut answer = reply.with_cookies();
            let outcome = CacheOutcome {
                word: "miss",
                reason: unkept.reason(),
                forward: Some(forward),
                stored: false,
                status: Some(status),
            };
            answers::add_status(&mut answer.fields, &outcome, None);
            return answer;
        }
    };
    record.cached("miss", why);
    if let Some((stale, _)) = plan.stale.as_ref().filter(|_| *head.url != *query.url) {
        // `No-Vary-Search` has changed: the stale response is found by other queries than this one.
        query.store.forget_this(plan.place.own, stale);
    }
    let guard = plan.guard;
    let outcome =
        CacheOutcome { word: "miss", reason: why, forward: Some(forward), stored: true, status: Some(status) };
    let mut answer = match reply.answer.body {
        Body::Server(mut call) => {
            let length = call.length();
            let follower = guard.lands(Arc::clone(&head), place.own, length);
            record.watches(follower.flight());
            let receiver = Rc::new(Client::nobody(&client.peer));
            call.reassign_client(&receiver);
            let destination = StoreDestination {
                policy: query.policy,
                store: query.store,
                place,
                head: Arc::clone(&head),
                since: sent.purges,
                reserved,
                list: None,
            };
            tokio::task::spawn_local(receive(receiver, call, guard, destination));
            answers::present(record, &head, HitBody::Coming(follower, length), &outcome, asked.answered)
        }
        _ => {
            let content = CachedBody::One(Bytes::new());
            let _ = query.store.keep(place.own, Arc::clone(&head), content.clone(), sent.purges);
            guard.refreshes(Arc::clone(&head), place.own, content.clone());
            answers::present(record, &head, HitBody::Here(&content), &outcome, asked.answered)
        }
    };
    proxy::add_cookies(&mut answer.fields, &reply.cookies);
    answer
}

/// Handles a response that is not stored: releases the waiting requests, and updates what is cached.
fn is_unkept(query: &CacheQuery, plan: FetchPlan, (status, unkept): (StatusCode, NotStored)) {
    let (store, place) = (query.store, plan.place);
    if status.is_server_error() {
        return plan.has_failed(query);
    }
    if let Some((head, _)) = &plan.stale {
        store.forget_this(place.own, head);
    }
    let of_this_request = unkept.is_of_request()
        // The result of the client's own condition or range.
        || plan.beside && unkept == NotStored::Status;
    if !of_this_request {
        store.mark_unshared(place.own, &query.url, Moment::now());
    }
    plan.guard.lands_alone();
}

/// Decides whether a response is stored: returns its head, its location and the reserved memory. `part` is its label if
/// it is a part.
pub(super) fn admit(
    request: &ForwardedRequest<'_>,
    record: &Record,
    query: &CacheQuery,
    answer: &Answer<Body>,
    (asked, order): (&RequestTraits, ResponseOrder),
    part: Option<&str>,
) -> Result<(Arc<CachedHead>, StoreLocation, Reservation), NotStored> {
    let status = if part.is_some() { of_whole(answer.status) } else { answer.status };
    let freshness = Freshness::of(query.policy, record.worker.settings, status, &answer.fields, asked)?;
    let length = answer.body.length();
    if length.is_some_and(|length| length > query.store.largest()) {
        return Err(NotStored::TooLarge);
    }
    // A body that is too large for memory goes through a window.
    let held = length.filter(|length| *length <= query.store.max_object).unwrap_or(0);
    let reserved = query.store.reserve(held).ok_or(NotStored::NoRoom)?;
    let key = &query.policy.key;
    let url = match key.follows_search {
        true => Cow::Owned({
            let url = request.url();
            query.store.kept_by_rule(&answer.fields, &url).unwrap_or(url)
        }),
        false => Cow::Borrowed(&*query.url),
    };
    let whole = (&*url, answer.status, answer.fields.clone(), freshness, (number(), order));
    let head = kept_head(query, record.worker.settings, whole);
    let place = query.store.place(key, &url, request, &head, part)?;
    Ok((Arc::new(head), place, reserved))
}
