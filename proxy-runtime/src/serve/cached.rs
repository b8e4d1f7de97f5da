//! `cache`: what is kept is used again; what is not is fetched, by one request for all that wait for it, and kept if it may be.
//!
//! ```text
//! passes? ─→ server            fresh ─→ answer
//!    └→ look up ─ stale ─→ answer, and fetch behind it (stale-while-revalidate)
//!                    ├─ nothing, or to be asked about ─→ join ─ first → fetch ─→ keep
//!                    │     ↑                               └─ others → wait, read along
//!                    │     └─ the server has failed, or the fetch is too slow: another of those who wait ─┘
//!                    └─ the last response was not for others ─→ fetch beside ─→ keep
//! ```
//!
//! RFC 9111 section 4. The rules are in `cache`; here is what is done. Every exchange has a word for it in the log (`cache`), a
//! reason where there is one (`cache-reason`), and both in `Cache-Status` (RFC 9211).

mod answers;
mod fetch;
mod follow;
mod forwarded;
mod parts;
mod past;
mod purge;
mod receive;
mod sought;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::{Method, StatusCode};
use tokio::time::Instant;

pub(super) use self::purge::{PURGE, invalidate, is_purge, json, place_of, purge, purge_any};
use super::stop::Stop;
use crate::body::source::Source as _;
use crate::cache::freshness::Verdict;
use crate::cache::key::{self, Pass};
use crate::cache::{Content, Filed, Head, Joined, Landed, Lately, Looked, PAUSE, Place};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::failure::Failure;
use crate::http1::Framing;
use crate::net::clock::after;
use crate::protocol::date::Moment;
use crate::protocol::ranges;
use crate::serve::body::Body;
use crate::site::{self, Proxy, Route};
use answers::{Body as Kept, Told};
use fetch::{Errand, Sent, fetch, refresh, renew};
use follow::{Followed, follow};
use forwarded::Forwarded;
use parts::{Asking, FAR, Outcome};
use past::go_on;
use sought::{Sought, Stale};

/// What was seen in the store.
enum Seen {
    /// What is wanted.
    Answer(Answer<Body>),
    /// What answers this request is not there: why, and why it goes on.
    NotForUs(&'static str, &'static str),
    /// A response whose body is on disk.
    Filed(Place, Arc<Head>, Arc<Filed>),
    /// Nothing in memory, but maybe on the disk.
    OnDisk(Place, Lately),
    /// Nothing, or what is to be asked about.
    Wanting(Place, Option<Stale>, Lately),
}

/// So often something is brought back from disk for a request: a note that there are several answers, and the answer; and once more, where
/// it has gone again meanwhile.
const MOST_RECALLS: u8 = 3;

/// So often a request waits because the server has failed, until it fails, too.
const MOST_PAUSES: u8 = 3;

/// What is to be waited for. Boxed: kilobytes, which those would carry around who find what they want.
pub(super) type Later<'a> = Pin<Box<dyn Future<Output = Result<Answer<Body>, Stop>> + 'a>>;

/// Answers from the store, or later from the server and into the store.
pub(super) fn forward<'a>(
    client: &'a Rc<Client>,
    record: &'a mut Record,
    route: &'a Route,
    proxy: &'static Proxy,
    policy: &'static site::Cache,
    body: RequestBody,
) -> Result<Answer<Body>, Later<'a>> {
    let facts = record.facts();
    if let Some(pass) = key::passes(policy, &facts, !body.is_empty()) {
        if pass == Pass::Body && body.framing == Framing::Chunked {
            return Err(Box::pin(look_at_body(client, record, route, proxy, policy, body)));
        }
        let told = ("pass", pass.reason(), answers::forwarded(pass));
        return Err(Box::pin(go_on(client, record, route, proxy, body, told)));
    }
    let sought = Sought::of(client, &facts, policy);
    let now = client.worker.moment(record.began);
    match sought.look(client, record, route, proxy, now) {
        Seen::Answer(answer) => {
            client.worker.keys.set(sought.url);
            Ok(answer)
        }
        seen => Err(Box::pin(wait(client, record, route, proxy, (sought, seen), body))),
    }
}

/// A body whose length nobody has said passes the cache only if there is one.
async fn look_at_body(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    policy: &'static site::Cache,
    mut body: RequestBody,
) -> Result<Answer<Body>, Stop> {
    if std::future::poll_fn(|cx| body.poll_fill(cx)).await? {
        let told = ("pass", Pass::Body.reason(), answers::forwarded(Pass::Body));
        return go_on(client, record, route, proxy, body, told).await;
    }
    match forward(client, record, route, proxy, policy, RequestBody::new(client, Framing::Empty)) {
        Ok(answer) => Ok(answer),
        Err(later) => later.await,
    }
}

/// Waits for what was not there when it was looked for.
async fn wait(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    (sought, seen): (Sought, Seen),
    body: RequestBody,
) -> Result<Answer<Body>, Stop> {
    let began = Instant::now();
    let (mut next, mut recalls, mut pauses) = (Some(seen), 0, 0);
    record.cached("miss", "");
    // A flight whose response was not for this request.
    let mut other = None;
    loop {
        let seen = next.take().unwrap_or_else(|| sought.look(client, record, route, proxy, Moment::now()));
        let seen = match seen {
            Seen::Filed(place, head, filed) => match sought.store.open(place, filed).await {
                Some(content) => sought.weigh(client, record, route, proxy, (place, head, content), Moment::now()),
                None => Seen::Wanting(place, None, Lately::Unknown),
            },
            seen => seen,
        };
        let (place, stale, lately) = match seen {
            Seen::Answer(answer) => return Ok(answer),
            // It is open now, or not to be had.
            Seen::Filed(place, ..) => (place, None, Lately::Unknown),
            Seen::NotForUs(reason, forward) => {
                return go_on(client, record, route, proxy, body, ("pass", reason, forward)).await;
            }
            Seen::Wanting(place, stale, lately) => (place, stale, lately),
            Seen::OnDisk(place, lately) => {
                recalls += 1;
                if recalls <= MOST_RECALLS && sought.store.recall(place).await {
                    continue;
                }
                (place, None, lately)
            }
        };
        // Parts are beside others that `Vary` tells apart.
        let has_parts = place.varies || sought.policy.slice.is_some() || ranges::is_far(&record.fields, FAR);
        if has_parts && stale.is_none() && other.is_none() && lately == Lately::Unknown && !sought.wish.no_store {
            let (client, sought) = (Rc::clone(client), sought.clone());
            let asking = Asking { client, route: *route, proxy, sought, place, crowded: pauses > 0 };
            match Box::pin(asking.answer(record)).await? {
                Outcome::Answer(answer) => return Ok(answer),
                Outcome::Again => continue,
                Outcome::Other => {}
            }
        }
        if sought.wish.only_if_cached {
            record.cached("miss", "only-if-cached");
            return Err(Failure::NotCached.into());
        }
        let to_head = record.method == Method::HEAD;
        if to_head && stale.is_some() {
            return head_only(client, record, route, proxy, &sought, (place, stale), body).await;
        }
        if sought.wish.no_store {
            return go_on(client, record, route, proxy, body, ("pass", "request-no-store", "request")).await;
        }
        let flights = &sought.store.flights;
        let undecided = sought.store.join_undecided(place, &sought.url);
        let may_be_another = undecided.is_some();
        let joined = match lately {
            Lately::Failed(until) => {
                pauses += 1;
                if pauses > MOST_PAUSES {
                    return Err(Failure::UpstreamFailing.into());
                }
                // The clock on the wall may be set meanwhile.
                let pause = until.since(Moment::now()).min(PAUSE);
                let until = after(Instant::now(), pause);
                std::future::poll_fn(|_| if client.timer.over(until) { Poll::Ready(()) } else { Poll::Pending }).await;
                continue;
            }
            Lately::Unshared => match flights.join_landed(place.own).filter(|_| other != Some(place.own)) {
                Some(reader) => Joined::Reader(reader),
                None => return beside(client, record, route, proxy, &sought, (place, stale), body).await,
            },
            Lately::Unknown if other == Some(place.own) => {
                return beside(client, record, route, proxy, &sought, (place, stale), body).await;
            }
            Lately::Unknown => undecided.map_or_else(|| flights.join(place.own, &sought.url), Joined::Reader),
        };
        let (reader, landed) = match follow(client, route, &sought, joined, began).await? {
            Followed::Landed(reader, landed) => (reader, landed),
            Followed::First(fill, why) => {
                // Looked for once more: a fetch that is over by now may have changed what is there, and a purge what may be asked about.
                let stale = match sought.look(client, record, route, proxy, Moment::now()) {
                    Seen::Answer(answer) => return Ok(answer),
                    Seen::Wanting(same, stale, Lately::Unknown) if same.own == place.own => stale,
                    changed @ Seen::Wanting(..) => {
                        next = Some(changed);
                        continue;
                    }
                    Seen::Filed(_, head, _) => stale.filter(|(stale, _)| Arc::ptr_eq(stale, &head)),
                    Seen::OnDisk(..) | Seen::NotForUs(..) => None,
                };
                let errand = Errand { place, stale, fill, why, beside: false, crowded: pauses > 0 };
                return Box::pin(fetch(client, record, route, proxy, &sought, errand)).await;
            }
        };
        match landed {
            Landed::Answer(head, name, length)
                if sought.is_for((&head, None), name, &Forwarded::new(client, record, route, proxy)) =>
            {
                let told = Told { word: "joined", reason: "", forward: Some("uri-miss"), stored: true, status: None };
                return Ok(answers::present(record, &head, Kept::Coming(reader, length), &told, Moment::now()));
            }
            Landed::Refreshed(head, name, content)
                if sought.is_for((&head, None), name, &Forwarded::new(client, record, route, proxy)) =>
            {
                return Ok(answers::hit(record, &head, &content, ("joined", ""), Moment::now()));
            }
            // Only now it is known to whom: this one looks again.
            Landed::Answer(..) | Landed::Refreshed(..) if may_be_another => {}
            // To another request than this.
            Landed::Answer(..) | Landed::Refreshed(..) => other = Some(place.own),
            Landed::Abandoned => {}
            Landed::Nothing => return beside(client, record, route, proxy, &sought, (place, stale), body).await,
        }
    }
}

/// Fetches beside others: the response is not known to be for more than this request.
async fn beside(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    sought: &Sought,
    (place, stale): (Place, Option<Stale>),
    body: RequestBody,
) -> Result<Answer<Body>, Stop> {
    if record.method == Method::HEAD {
        return head_only(client, record, route, proxy, sought, (place, stale), body).await;
    }
    let fill = sought.store.flights.beside(place.own, &sought.url);
    let errand = Errand { place, stale, fill, why: "", beside: true, crowded: false };
    Box::pin(fetch(client, record, route, proxy, sought, errand)).await
}

impl Sought {
    /// What the store has, as of `now`.
    fn look(
        &self,
        client: &Rc<Client>,
        record: &mut Record,
        route: &Route,
        proxy: &'static Proxy,
        now: Moment,
    ) -> Seen {
        let request = Forwarded::new(client, record, route, proxy);
        let (place, head, content) = match self.store.look_up(&self.policy.key, &self.url, &request, now) {
            Looked::Nothing(place, lately) if self.store.may_recall(&place) => return Seen::OnDisk(place, lately),
            Looked::Nothing(place, lately) => return Seen::Wanting(place, None, lately),
            Looked::Answer(_, head, _) if self.authorized && !head.life.for_authorized => {
                return Seen::NotForUs("authorization", "request");
            }
            Looked::Filed(_, head, _) if self.authorized && !head.life.for_authorized => {
                return Seen::NotForUs("authorization", "request");
            }
            Looked::Filed(place, ..) | Looked::Answer(place, ..) if self.refreshes => {
                return Seen::Wanting(place, None, Lately::Unknown);
            }
            Looked::Filed(place, head, filed) => return Seen::Filed(place, head, filed),
            Looked::Answer(place, head, content) => (place, head, content),
        };
        self.weigh(client, record, route, proxy, (place, head, content), now)
    }

    /// Whether what the store has answers the request, as of `now`.
    fn weigh(
        &self,
        client: &Client,
        record: &mut Record,
        route: &Route,
        proxy: &'static Proxy,
        (place, head, content): (Place, Arc<Head>, Content),
        now: Moment,
    ) -> Seen {
        let verdict = head.life.verdict(&self.wish, head.is_outdated(), now);
        let word = match verdict {
            Verdict::Fresh => ("hit", ""),
            Verdict::Wanted => ("stale", "max-stale"),
            Verdict::WhileRevalidate => ("stale", "while-revalidate"),
            Verdict::Ask => match head.failed_until(now) {
                Some(_) if head.life.serves_errors(now) => ("stale", "if-error"),
                Some(until) => return Seen::Wanting(place, Some((head, content)), Lately::Failed(until)),
                None => return Seen::Wanting(place, Some((head, content)), Lately::Unknown),
            },
        };
        let answer = answers::hit(record, &head, &content, word, now);
        let ahead = self.policy.ttl.refresh_ahead.map(|ahead| ahead.get(client.worker.settings));
        let is_due = verdict == Verdict::WhileRevalidate
            || verdict == Verdict::Fresh && ahead.is_some_and(|ahead| head.life.ends_within(ahead, now));
        if is_due && head.failed_until(now).is_none() {
            refresh(client, record, route, proxy, self, (place, (head, content)));
        }
        Seen::Answer(answer)
    }
}

/// HEAD that is not fetched as GET for all: an answer to it is not kept, but tells whether what is kept is as it was (RFC 9111 section
/// 4.3.5).
async fn head_only(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    sought: &Sought,
    (place, stale): (Place, Option<Stale>),
    body: RequestBody,
) -> Result<Answer<Body>, Stop> {
    let sent = Sent::now(sought.store);
    let forward = if stale.is_some() { "stale" } else { "uri-miss" };
    let answer = go_on(client, record, route, proxy, body, ("miss", "head", forward)).await?;
    if let Some((head, content)) = stale.filter(|_| answer.status == StatusCode::OK) {
        let same = |name: &str| answer.fields.get(name) == head.fields.get(name);
        let length = answer.body.length().is_none_or(|length| length == content.len());
        if same("etag") && same("last-modified") && length && head.fields.contains("etag") {
            let mut fields = answer.fields.clone();
            fields.remove("cache-status");
            let _ = renew(record, sought, place, &(head, content), &fields, sent);
        } else {
            sought.store.forget_this(place.own, &head);
        }
    }
    Ok(answer)
}
