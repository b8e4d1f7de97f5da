//! Fetches that no other request waits for: in parallel to others ([`beside`]), and for HEAD alone ([`head_only`]).

use std::rc::Rc;

use http::{Method, StatusCode};

use super::answers;
use super::fetch::{FetchPlan, SendStamp, are_down, fetch, renew};
use super::past::go_on;
use super::query::{CacheQuery, StaleResponse};
use crate::cache::StoreLocation;
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::protocol::date::Moment;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;
use crate::serve::stop::Stop;
use crate::site::{Proxy, Route};

/// Fetches for one request, because the response may not be shareable.
pub(super) async fn beside(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    query: &CacheQuery,
    (place, stale): (StoreLocation, Option<StaleResponse>),
    body: RequestBody,
) -> Result<Answer<Body>, Stop> {
    if record.method == Method::HEAD {
        return head_only(client, record, route, proxy, query, (place, stale), body).await;
    }
    let guard = query.store.flights.beside(place.own, &query.url);
    let plan = FetchPlan { place, stale, guard, why: "", beside: true, crowded: false };
    Box::pin(fetch(client, record, route, proxy, query, plan)).await
}

/// Forwards a HEAD request as HEAD. Its response is not stored, but tells whether the cached response is still valid (RFC 9111 section
/// 4.3.5).
pub(super) async fn head_only(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    query: &CacheQuery,
    (place, stale): (StoreLocation, Option<StaleResponse>),
    body: RequestBody,
) -> Result<Answer<Body>, Stop> {
    let sent = SendStamp::now(query.store);
    let forward = if stale.is_some() { "stale" } else { "uri-miss" };
    // As for GET (RFC 5861 section 4).
    let stand_in = |now| stale.as_ref().filter(|(head, _)| head.freshness.serves_errors(now));
    let why = ("stale", "if-error");
    if let Some((head, content)) = stand_in(sent.at).filter(|_| are_down(client, proxy)) {
        return Ok(answers::hit(record, head, content, why, sent.at));
    }
    let answer = go_on(client, record, route, proxy, body, ("miss", "head", forward)).await;
    let now = Moment::now();
    let failed = match &answer {
        Ok(answer) => matches!(answer.status.as_u16(), 500 | 502..=504),
        Err(stop) => matches!(stop, Stop::Failure(_)),
    };
    if let Some((head, content)) = stand_in(now).filter(|_| failed) {
        return Ok(answers::hit(record, head, content, why, now));
    }
    let answer = answer?;
    if let Some((head, content)) = stale.filter(|_| answer.status == StatusCode::OK) {
        let same = |name: &str| answer.fields.get(name) == head.fields.get(name);
        let length = answer.body.length().is_none_or(|length| length == content.len());
        if same("etag") && same("last-modified") && length && head.fields.contains(KnownField::ETAG) {
            let mut fields = answer.fields.clone();
            fields.remove("cache-status");
            let _ = renew(record, query, place, &(head, content), &fields, sent);
        } else {
            query.store.forget_this(place.own, &head);
        }
    }
    Ok(answer)
}
