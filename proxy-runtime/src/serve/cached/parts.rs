//! Parts of answers that are not kept as a whole: a range that begins far in is fetched as it is, and what comes of it is kept for
//! those who ask for the same (RFC 9111 sections 3.3 and 3.4). Parts are not put together.

use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;

use super::answers;
use super::fetch::{Errand, Sent, take_in};
use super::forwarded::{self, Forwarded};
use super::{Sought, go_on};
use crate::cache::freshness::Verdict;
use crate::cache::key::Pass;
use crate::cache::{Content, Head, Joined};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::http1::Framing;
use crate::protocol::conditions;
use crate::protocol::date::Moment;
use crate::protocol::fields::{number, split_once};
use crate::protocol::ranges::Only;
use crate::serve::body::Body;
use crate::serve::proxy;
use crate::serve::retry::Request;
use crate::serve::stop::Stop;
use crate::site::{Proxy, Route};

/// Answers a request for a part.
pub(super) async fn forward(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    sought: &Sought,
    part: Only,
    body: RequestBody,
) -> Result<Answer<Body>, Stop> {
    let conditional = ["if-none-match", "if-modified-since"].iter().any(|name| record.fields.contains(name));
    let past = ("pass", Pass::Range.reason(), "partial");
    if conditional || sought.wish.no_store {
        return go_on(client, record, route, proxy, body, past).await;
    }
    let now = Moment::now();
    if let Some((head, content)) = kept(sought, &Forwarded::new(client, record, route, proxy), part).await {
        let fresh = head.life.verdict(&sought.wish, head.is_outdated(), now) == Verdict::Fresh;
        let allowed = !sought.authorized || head.life.for_authorized;
        if fresh && allowed && conditions::is_of(&record.fields, &head.fields, now) {
            return Ok(answers::hit(record, &head, &content, ("hit", ""), now));
        }
    }
    if record.fields.contains("if-range") {
        // The answer may be a whole one, of any size.
        return go_on(client, record, route, proxy, body, past).await;
    }
    let place = sought.store.part_on_its_way(&sought.url, &record.fields, part);
    let Joined::Fill(fill) = sought.store.flights.join(place.own, &sought.url) else {
        return go_on(client, record, route, proxy, body, past).await;
    };
    let sent = Sent::now(sought.store);
    record.cached("miss", "");
    let body = RequestBody::new(client, Framing::Empty);
    let alter = |request: &mut Request| forwarded::normalize(sought.policy, &mut request.fields);
    let reply = match proxy::ask(client, record, route, proxy, body, alter).await {
        Ok(reply) => reply,
        Err(stop) => {
            fill.lands_alone();
            return Err(stop);
        }
    };
    let errand = Errand { place, stale: None, fill, why: "", beside: false, crowded: false, part: Some(part) };
    Ok(take_in(client, record, (route, proxy), sought, errand, reply, (sent, "partial")))
}

/// A part that is kept, in memory or on disk.
async fn kept(sought: &Sought, request: &Forwarded<'_>, part: Only) -> Option<(Arc<Head>, Content)> {
    let store = sought.store;
    let place = store.part_place(&sought.policy.key, &sought.url, request, part)?;
    let found = store.at(place).await;
    if found.is_some() || !store.may_recall(&place) {
        return found;
    }
    if store.recall(place).await { store.at(place).await } else { None }
}

/// Whether an answer is the part that was asked for, of something that can be told from its later versions, and no more than
/// that is said of it.
pub(super) fn is_it((first, last): Only, answer: &Answer<Body>) -> bool {
    let strong = answer.fields.get("etag").is_some_and(|tag| tag.starts_with(b"\""));
    let said = answer.fields.get("content-range").and_then(|said| {
        let (range, total) = split_once(said.strip_prefix(b"bytes ")?, b'/')?;
        let (begin, end) = split_once(range, b'-')?;
        // One that is too large for a number is not known.
        let exact = |digits| number(digits).filter(|&number| number < u64::MAX);
        Some((exact(begin)?, exact(end)?, exact(total)?))
    });
    let Some((begin, end, total)) = said else { return false };
    let wanted = last.map_or(total.checked_sub(1), |last| Some(last.min(total.saturating_sub(1))));
    let length = end.checked_sub(begin).and_then(|length| length.checked_add(1));
    answer.status == StatusCode::PARTIAL_CONTENT
        && strong
        && begin == first
        && Some(end) == wanted
        && answer.body.length() == length
}
