//! `cache`: serves cached responses; fetches others, with one request for all that wait, and stores them if allowed.
//!
//! ```text
//! bypass? ─→ server            fresh ─→ response
//!    └→ look up ─ stale ─→ response, and background fetch (stale-while-revalidate)
//!                    ├─ miss, or to be revalidated ─→ join ─ first → fetch ─→ store
//!                    │     ↑                            └─ others → wait, read along
//!                    │     └─ the server has failed, or the fetch is too slow: another waiting request ─┘
//!                    └─ the last response was not shareable ─→ fetch in parallel ─→ store
//! ```
//!
//! RFC 9111 section 4. The rules are in `cache`; this module applies them. Every exchange has a word for it in the log (`cache`), a
//! reason if there is one (`cache-reason`), and both in `Cache-Status` (RFC 9211).

mod answers;
mod beside;
mod fetch;
mod follow;
mod forwarded;
mod invalidate;
mod look;
mod parts;
mod past;
mod query;
mod receive;
mod wait;

use std::pin::Pin;
use std::rc::Rc;

pub(super) use self::invalidate::{invalidate, is_purge, purge};
use self::look::LookupResult;
use self::query::CacheQuery;
use self::wait::Waiting;
use super::stop::Stop;
use crate::body::source::Source as _;
use crate::cache::key::{self, PassReason};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::http1::Framing;
use crate::serve::body::Body;
use crate::serve::proxy;
use crate::site::{self, Proxy, Route};
use past::go_on;

/// A future that is waited for. It is boxed, because its kilobytes would enlarge exchanges that do not wait.
pub(super) type PendingResponse<'a> = Pin<Box<dyn Future<Output = Result<Answer<Body>, Stop>> + 'a>>;

/// Returns a cached response at once, or a future that fetches the response and stores it.
pub(super) fn forward<'a>(
    client: &'a Rc<Client>,
    record: &'a mut Record,
    route: &'a Route,
    proxy: &'static Proxy,
    policy: &'static site::Cache,
    body: RequestBody,
) -> Result<Answer<Body>, PendingResponse<'a>> {
    let facts = record.facts();
    let is_raw = || proxy::sends_other_target(record, route).then_some(PassReason::Raw);
    if let Some(pass) = key::passes(policy, &facts, !body.is_empty()).or_else(is_raw) {
        if pass == PassReason::Body && body.framing == Framing::Chunked {
            return Err(Box::pin(look_at_body(client, record, route, proxy, policy, body)));
        }
        let outcome = ("pass", pass.reason(), answers::forwarded(pass));
        return Err(Box::pin(go_on(client, record, route, proxy, body, outcome)));
    }
    let query = CacheQuery::of(client, &facts, policy);
    let now = client.worker.moment(record.began);
    match query.look(client, record, route, proxy, now) {
        LookupResult::Answer(answer) => {
            client.worker.keys.set(query.url);
            Ok(answer)
        }
        seen => Err(Box::pin(Waiting::new(client, record, route, proxy, query).wait(seen, body))),
    }
}

/// A request body of unknown length bypasses the cache only if it is not empty.
async fn look_at_body(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    policy: &'static site::Cache,
    mut body: RequestBody,
) -> Result<Answer<Body>, Stop> {
    if std::future::poll_fn(|cx| body.poll_fill(cx)).await? {
        let outcome = ("pass", PassReason::Body.reason(), answers::forwarded(PassReason::Body));
        return go_on(client, record, route, proxy, body, outcome).await;
    }
    match forward(client, record, route, proxy, policy, RequestBody::new(client, Framing::Empty)) {
        Ok(answer) => Ok(answer),
        Err(later) => later.await,
    }
}
