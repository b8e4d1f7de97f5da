//! Fetches a part from the server, or revalidates a stale one, and stores it if allowed.

use std::rc::Rc;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::{FetchedPart, PartBody, PartsRequest, ResponsePart, WantedPart};
use crate::cache::freshness::{NotStored, RequestTraits};
use crate::cache::parts::{self, Version, content_range};
use crate::cache::{CachedHead, FetchGuard, FlightRole, StoreLocation};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::http1::Framing;
use crate::protocol::date::Moment;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;
use crate::serve::cached::answers::{self, CacheOutcome};
use crate::serve::cached::fetch::{FetchPlan, SendStamp, admit, are_down, for_all, is_about, renew, take_in};
use crate::serve::cached::forwarded::{self, ForwardedRequest};
use crate::serve::cached::query::{CacheQuery, StaleResponse};
use crate::serve::cached::receive::{StoreDestination, receive};
use crate::serve::proxy::{self, Reply};
use crate::serve::retry::UpstreamRequest;
use crate::serve::stop::Stop;

impl PartsRequest {
    /// Fetches a part, or revalidates a stale one.
    pub(super) async fn fetch(
        &self,
        record: &mut Record,
        wanted: WantedPart,
        of: Option<&Version>,
        stale: Option<(StoreLocation, StaleResponse)>,
        (guard, why): (FetchGuard, &'static str),
    ) -> Result<FetchedPart, Stop> {
        let PartsRequest { client, route, proxy, query, place, crowded } = self;
        let sent = SendStamp::now(query.store);
        record.cached("miss", why);
        let mut plan = FetchPlan { place: *place, stale: None, guard, why, beside: false, crowded: *crowded };
        let stand_in = |now| stale.as_ref().filter(|(_, (head, _))| head.freshness.serves_errors(now));
        if let Some((place, stale)) = stand_in(sent.at).filter(|_| are_down(client, proxy)) {
            return Ok(plan.ends_with(query, *place, stale.clone()));
        }
        let asked_about = stale.as_ref().map(|(_, (head, _))| &**head);
        let alter = |request: &mut UpstreamRequest| {
            forwarded::normalize(query.policy, &mut request.fields);
            request.method = Method::GET;
            for_all(&mut request.fields, asked_about);
            request.fields.set(KnownField::RANGE, &wanted.range);
            // If the version has changed, the server sends the whole (RFC 9110 section 13.1.5).
            if let Some(validator) = of.and_then(|of| of.validator.as_deref()).filter(|_| asked_about.is_none()) {
                request.fields.set(KnownField::IF_RANGE, validator);
            }
        };
        let body = RequestBody::new(client, Framing::Empty);
        let reply = Box::pin(proxy::ask(client, record, route, proxy, body, alter)).await;
        let now = Moment::now();
        let failed = match &reply {
            Ok(reply) => matches!(reply.answer.status.as_u16(), 500 | 502..=504),
            Err(stop) => matches!(stop, Stop::Failure(_)),
        };
        if failed && let Some((place, stale)) = stand_in(now) {
            return Ok(plan.ends_with(query, *place, stale.clone()));
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
        match (reply.answer.status, stale) {
            (StatusCode::NOT_MODIFIED, Some((place, (head, content)))) => {
                let said = &reply.answer.fields;
                if !is_about(said, &head) {
                    query.store.forget_this(place.own, &head);
                    return Ok(FetchedPart::Again);
                }
                let renewed = renew(record, query, place, &(head, content.clone()), said, sent);
                let status = Some(StatusCode::NOT_MODIFIED);
                let outcome =
                    CacheOutcome { word: "revalidated", reason: "", forward: Some("stale"), stored: false, status };
                let head = renewed.unwrap_or_else(|unkept| unkept);
                Ok(landed(plan.guard, place, (head, content), outcome))
            }
            (StatusCode::PARTIAL_CONTENT, stale) => Ok(self.take_part(record, (wanted, stale), of, plan, reply, sent)),
            // A 416 only tells the length of the whole.
            (StatusCode::RANGE_NOT_SATISFIABLE, _) => {
                plan.guard.lands_alone();
                let status = Some(reply.answer.status);
                let mut answer = reply.with_cookies();
                let outcome =
                    CacheOutcome { word: "miss", reason: "status", forward: Some("partial"), stored: false, status };
                record.cached(outcome.word, outcome.reason);
                answers::add_status(&mut answer.fields, &outcome, None);
                Ok(FetchedPart::Other(answer))
            }
            // The server sent the whole response, or an error: handle it as a fetch of the whole.
            _ => {
                if of.is_some() && reply.answer.status == StatusCode::OK {
                    let request = ForwardedRequest::new(client, record, route, proxy);
                    let order = sent.order(&reply.answer.fields);
                    // A newer entry stays.
                    let _ = query.store.forget_older(&query.policy.key, &query.url, &request, &wanted.name, order);
                }
                let part = std::mem::replace(&mut plan.guard, self.for_whole());
                let answer = take_in(client, record, (route, proxy), query, plan, reply, (sent, "partial"));
                // Requests that wait for the part look again, and find the whole.
                drop(part);
                Ok(FetchedPart::Other(answer))
            }
        }
    }

    /// Returns a fetch of the whole response, which other requests can join.
    fn for_whole(&self) -> FetchGuard {
        let flights = &self.query.store.flights;
        match flights.join(self.place.own, &self.query.url) {
            FlightRole::Fetch(guard) => guard,
            FlightRole::Follow(_) => flights.beside(self.place.own, &self.query.url),
        }
    }

    /// Handles a 206: stores it if allowed, and passes it on.
    fn take_part(
        &self,
        record: &mut Record,
        (wanted, stale): (WantedPart, Option<(StoreLocation, StaleResponse)>),
        of: Option<&Version>,
        plan: FetchPlan,
        reply: Reply,
        sent: SendStamp,
    ) -> FetchedPart {
        let PartsRequest { client, route, proxy, query, .. } = self;
        let Reply { mut answer, cookies } = reply;
        // RFC 9110 section 15.3.7: a 206 must have `Content-Range`, and its length.
        let said = content_range(&answer.fields)
            .filter(|(range, _)| answer.body.length() == Some(range.end - range.start))
            .filter(|(range, total)| wanted.is(range, *total));
        let Some((range, total)) = said.filter(|_| matches!(answer.body, Body::Server(_))) else {
            return self.unkept(record, wanted, plan, Reply { answer, cookies }, NotStored::Status);
        };
        let asked =
            RequestTraits { authorized: query.authorized, no_store: false, sent: sent.at, answered: Moment::now() };
        let order = sent.order(&answer.fields);
        let (request, called) = (ForwardedRequest::new(client, record, route, proxy), wanted.stored_as(&range));
        let mut admitted = admit(&request, record, query, &answer, (&asked, order), Some(&called));
        let is_other = |head: &CachedHead| of.is_some_and(|of| !of.has(&head.fields));
        let has_changed = match &admitted {
            Ok((head, ..)) => is_other(head),
            Err(_) => of.is_some_and(|of| !of.has(&answer.fields)),
        };
        if has_changed {
            // Remove the old version before the new part is added.
            if !query.store.forget_older(&query.policy.key, &query.url, &request, &called, order) {
                drop(request);
                return self.unkept(record, wanted, plan, Reply { answer, cookies }, NotStored::Superseded);
            }
            admitted = admit(&request, record, query, &answer, (&asked, order), Some(&called));
        }
        // The stored URL may depend on the response (`No-Vary-Search`).
        let url = admitted.as_ref().map_or(&*query.url, |(head, ..)| &*head.url);
        let list = query.store.part_place(&query.policy.key, url, &request, parts::LIST);
        let list = list.filter(|_| query.policy.slice.is_none()).map(|list| list.own);
        drop(request);
        let (head, place, reserved) = match admitted {
            Ok(admitted) => admitted,
            Err(unkept) if of.is_none() || has_changed => {
                return self.unkept(record, wanted, plan, Reply { answer, cookies }, unkept);
            }
            Err(_) => {
                plan.guard.lands_alone();
                return FetchedPart::Alone(range, answer.body);
            }
        };
        if let Some((place, (stale, _))) = stale.filter(|_| *head.url != *query.url) {
            // The stale part is found by other queries than this one.
            query.store.forget_this(place.own, &stale);
        }
        let Body::Server(mut call) = std::mem::replace(&mut answer.body, Body::None(None)) else {
            return FetchedPart::NotStored(NotStored::Status);
        };
        let follower = plan.guard.lands(Arc::clone(&head), place.own, Some(range.end - range.start));
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
            list,
        };
        tokio::task::spawn_local(receive(receiver, call, plan.guard, destination));
        if has_changed {
            return FetchedPart::NotStored(NotStored::Status);
        }
        let outcome = CacheOutcome {
            word: "miss",
            reason: plan.why,
            forward: Some("partial"),
            stored: true,
            status: Some(answer.status),
        };
        FetchedPart::Part(ResponsePart { head, range, total, held: PartBody::Coming(follower), outcome, cookies })
    }

    /// Handles a 206 that is not stored: passes it on unchanged to the client that requested it.
    fn unkept(
        &self,
        record: &mut Record,
        wanted: WantedPart,
        plan: FetchPlan,
        reply: Reply,
        unkept: NotStored,
    ) -> FetchedPart {
        plan.guard.lands_alone();
        if wanted.part.is_some() {
            return FetchedPart::NotStored(unkept);
        }
        let status = Some(reply.answer.status);
        let reason = unkept.reason();
        record.cached("miss", reason);
        let mut answer = reply.with_cookies();
        let outcome = CacheOutcome { word: "miss", reason, forward: Some("partial"), stored: false, status };
        answers::add_status(&mut answer.fields, &outcome, None);
        FetchedPart::Other(answer)
    }
}

impl FetchPlan {
    /// Serves a stale part, because the fetch has failed (RFC 5861 section 4).
    fn ends_with(self, query: &CacheQuery, place: StoreLocation, stale: StaleResponse) -> FetchedPart {
        self.has_failed(query);
        let outcome = CacheOutcome { word: "stale", reason: "if-error", forward: None, stored: false, status: None };
        landed(self.guard, place, stale, outcome)
    }
}

/// Shares a stored part with all who wait for it.
fn landed(
    guard: FetchGuard,
    place: StoreLocation,
    (head, content): StaleResponse,
    outcome: CacheOutcome,
) -> FetchedPart {
    guard.refreshes(Arc::clone(&head), place.own, content.clone());
    match content_range(&head.fields) {
        Some((range, total)) => FetchedPart::Part(ResponsePart {
            head,
            range,
            total,
            held: PartBody::Here(content),
            outcome,
            cookies: Vec::new(),
        }),
        // A 304 does not change which part it is.
        None => FetchedPart::NotStored(NotStored::Status),
    }
}
