//! `cache`: what is kept is used again; what is not is fetched, by one request for all that wait for it, and kept if it may be.
//!
//! ```text
//! passes? ─→ server            fresh ─→ answer
//!    └→ look up ─ stale ─→ answer, and fetch behind it (stale-while-revalidate)
//!                    └─ nothing, or to be asked about ─→ join ─ first → fetch ─→ keep
//!                                                          └─ others → wait, read along
//! ```
//!
//! RFC 9111 section 4. The rules are in `cache`; here is what is done. Every exchange has a word for it in the log (`cache`), a
//! reason where there is one (`cache-reason`), and both in `Cache-Status` (RFC 9211).

mod answers;
mod forwarded;
mod parts;
mod purge;
mod receive;

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::Instant;

pub(super) use self::purge::{PURGE, invalidate, is_purge, json, purge, purge_any};
use super::Stop;
use super::proxy::{self, Reply};
use crate::body::{Body, RequestBody};
use crate::cache::control::{Control, Wish};
use crate::cache::freshness::{Asked, Life, Moment, Unkept, Verdict, vary};
use crate::cache::key;
use crate::cache::{Content, Fill, Head, Joined, Landed, Looked, Place, Reserved, Store, number};
use crate::clock::after;
use crate::conditions::weakly_equal;
use crate::connection::Client;
use crate::escape;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::handler::Answer;
use crate::http1::Framing;
use crate::observe::Record;
use crate::ranges;
use crate::site::{self, Proxy, Route};
use answers::{Body as Kept, Told};
use forwarded::Forwarded;
use receive::{Keeping, receive};

/// What an exchange asks the cache for.
#[derive(Clone)]
struct Sought {
    policy: &'static site::Cache,
    store: &'static Store,
    url: String,
    wish: Wish,
    authorized: bool,
}

/// What was seen in the store.
enum Seen {
    /// What is wanted.
    Answer(Answer<Body>),
    /// What answers this request is not there: why, and why it goes on.
    NotForUs(&'static str, &'static str),
    /// Nothing in memory, but maybe on the disk.
    OnDisk(Place),
    /// Nothing, or what is to be asked about.
    Wanting(Place, Option<Stale>),
}

/// A kept answer that is to be asked about.
type Stale = (Arc<Head>, Content);

/// A range that begins further in is fetched as it is, not as the whole, in bytes.
const FAR: u64 = 1 << 20;

/// So often an exchange looks again before it goes on alone.
const LOOKS: usize = 6;

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

/// Waits for what was not there when it was looked for.
async fn wait(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    (sought, seen): (Sought, Seen),
    body: RequestBody,
) -> Result<Answer<Body>, Stop> {
    let until = after(Instant::now(), sought.policy.lock.get(client.worker.settings));
    let mut seen = Some(seen);
    for _ in 0..LOOKS {
        let seen = seen.take().unwrap_or_else(|| sought.look(client, record, route, proxy, Moment::now()));
        let (place, stale) = match seen {
            Seen::Answer(answer) => return Ok(answer),
            Seen::NotForUs(reason, forward) => {
                return go_on(client, record, route, proxy, body, ("pass", reason, forward)).await;
            }
            Seen::Wanting(place, stale) => (place, stale),
            Seen::OnDisk(place) => {
                let store = sought.store;
                let recalled = tokio::task::spawn_blocking(move || store.recall(&place)).await;
                if recalled.unwrap_or(false) {
                    continue;
                }
                (place, None)
            }
        };
        if sought.wish.only_if_cached {
            record.cached("miss", "only-if-cached");
            return Err(Failure::NotCached.into());
        }
        if record.method == Method::HEAD {
            return head_only(client, record, route, proxy, &sought, (place, stale), body).await;
        }
        let part = ranges::only(&record.fields).filter(|part| stale.is_none() && part.0 > FAR);
        if let Some(part) = part {
            return Box::pin(parts::forward(client, record, route, proxy, &sought, part, body)).await;
        }
        if sought.wish.no_store {
            return go_on(client, record, route, proxy, body, ("pass", "request-no-store", "request")).await;
        }
        let mut reader = match sought.store.flights.join(place.own) {
            Joined::Fill(fill) => {
                return Box::pin(fetch(client, record, route, proxy, &sought, (place, stale, fill))).await;
            }
            Joined::Reader(reader) => reader,
        };
        let landed = std::future::poll_fn(|cx| match reader.poll_landed(cx) {
            Poll::Ready(landed) => Poll::Ready(Some(landed)),
            Poll::Pending if client.timer.over(until) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match landed.await {
            Some(Landed::Answer(head, name, length))
                if sought.is_for(&head, name, &Forwarded::new(client, record, route, proxy)) =>
            {
                let told = Told { word: "joined", reason: "", forward: Some("uri-miss"), stored: true, status: None };
                return Ok(answers::present(record, &head, Kept::Coming(reader, length), &told, Moment::now()));
            }
            Some(Landed::Refreshed(head, name, content))
                if sought.is_for(&head, name, &Forwarded::new(client, record, route, proxy)) =>
            {
                return Ok(answers::hit(record, &head, &content, ("joined", ""), Moment::now()));
            }
            // Who fetched has gone, or got an answer to another request than this.
            Some(Landed::Abandoned | Landed::Answer(..) | Landed::Refreshed(..)) => {}
            Some(Landed::Nothing) => {
                return go_on(client, record, route, proxy, body, ("miss", "not-shared", "uri-miss")).await;
            }
            None => return go_on(client, record, route, proxy, body, ("miss", "lock-timeout", "uri-miss")).await,
        }
    }
    go_on(client, record, route, proxy, body, ("miss", "not-shared", "uri-miss")).await
}

impl Sought {
    fn of(client: &Client, facts: &Facts<'_>, policy: &'static site::Cache) -> Sought {
        let mut url = client.worker.keys.take();
        url.clear();
        key::url(&policy.key, facts, &mut url);
        Sought {
            policy,
            store: &client.worker.stores[usize::from(policy.store)],
            url,
            wish: Wish::of(facts.fields),
            authorized: facts.fields.contains("authorization"),
        }
    }

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
            Looked::Shunned => return Seen::NotForUs("shunned", "uri-miss"),
            Looked::Nothing(place) if self.store.may_recall(&place) => return Seen::OnDisk(place),
            Looked::Nothing(place) => return Seen::Wanting(place, None),
            Looked::Answer(_, head, _) if self.authorized && !head.life.for_authorized => {
                return Seen::NotForUs("authorization", "request");
            }
            Looked::Answer(place, head, content) => (place, head, content),
        };
        let verdict = head.life.verdict(&self.wish, head.is_outdated(), now);
        let word = match verdict {
            Verdict::Fresh => ("hit", ""),
            Verdict::Wanted => ("stale", "max-stale"),
            Verdict::WhileRevalidate => ("stale", "while-revalidate"),
            Verdict::Ask => return Seen::Wanting(place, Some((head, content))),
        };
        let answer = answers::hit(record, &head, &content, word, now);
        if verdict == Verdict::WhileRevalidate {
            refresh(client, record, route, proxy, self, (place, (head, content)));
        }
        Seen::Answer(answer)
    }

    /// Whether an answer that is kept under a name is one to this request, too, by what the answer says it depends on.
    fn is_for(&self, head: &Head, name: u128, request: &Forwarded<'_>) -> bool {
        (!self.authorized || head.life.for_authorized)
            && self.store.place(&self.policy.key, &self.url, request, head, None).is_ok_and(|place| place.own == name)
    }
}

/// To the server and back, past the store: the word for it, the reason, and why it was forwarded.
async fn go_on(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    body: RequestBody,
    (word, reason, forward): (&'static str, &'static str, &'static str),
) -> Result<Answer<Body>, Stop> {
    record.cached(word, reason);
    let mut answer = proxy::forward(client, record, route, proxy, body).await?;
    let status = Some(answer.status);
    let told = Told { word, reason, forward: Some(forward), stored: false, status };
    answers::add_status(&mut answer.fields, &told, None);
    Ok(answer)
}

/// HEAD, with nothing to answer it: an answer to it is not kept, but tells whether what is kept is as it was (RFC 9111 section
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
    let (sent, since) = (Moment::now(), sought.store.purges());
    let forward = if stale.is_some() { "stale" } else { "uri-miss" };
    let answer = go_on(client, record, route, proxy, body, ("miss", "head", forward)).await?;
    if let Some((head, content)) = stale.filter(|_| answer.status == StatusCode::OK) {
        let same = |name: &str| answer.fields.get(name) == head.fields.get(name);
        let length = answer.body.length().is_none_or(|length| length == content.len());
        if same("etag") && same("last-modified") && length && head.fields.contains("etag") {
            let mut fields = answer.fields.clone();
            fields.remove("cache-status");
            let _ = renew(record, sought, place, &(head, content), &fields, (sent, since));
        } else {
            sought.store.forget(place.own);
        }
    }
    Ok(answer)
}

/// Fetches behind an answer that is stale.
fn refresh(
    client: &Client,
    record: &Record,
    route: &Route,
    proxy: &'static Proxy,
    sought: &Sought,
    (place, stale): (Place, Stale),
) {
    let Joined::Fill(fill) = sought.store.flights.join(place.own) else { return };
    let (client, mut record) = (Rc::new(Client::nobody(&client.peer)), record.unseen());
    // Whatever has found it stale: it is an answer to GET that is kept.
    record.method = Method::GET;
    let (route, sought) = (*route, sought.clone());
    tokio::task::spawn_local(async move {
        let _running = client.worker.running();
        let fetched = pin!(fetch(&client, &mut record, &route, proxy, &sought, (place, Some(stale), fill)));
        // The answer is nobody's; what is to be kept of it is received by a task of its own.
        let _ = client.timer.run(fetched).await;
    });
}

/// Asks the server: for an answer, or whether a stale one is still right.
async fn fetch(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    sought: &Sought,
    (place, mut stale, fill): (Place, Option<Stale>, Fill),
) -> Result<Answer<Body>, Stop> {
    let forward = match &stale {
        Some(_) => "stale",
        None if place.varies => "vary-miss",
        None => "uri-miss",
    };
    loop {
        let (sent, since) = (Moment::now(), sought.store.purges());
        let body = RequestBody::new(client, Framing::Empty);
        record.cached("miss", "");
        let asked = stale.as_ref().map(|(head, _)| &**head);
        let reply = proxy::ask(client, record, route, proxy, body, |fields| for_all(fields, asked)).await;
        let now = Moment::now();
        let failed = match &reply {
            Ok(reply) => matches!(reply.answer.status.as_u16(), 500 | 502..=504),
            Err(Stop::Failure(_)) => true,
            Err(Stop::Abort) => false,
        };
        if failed && let Some((head, content)) = stale.as_ref().filter(|(head, _)| head.life.serves_errors(now)) {
            // RFC 5861 section 4.
            fill.refreshes(Arc::clone(head), place.own, content.clone());
            return Ok(answers::hit(record, head, content, ("stale", "if-error"), now));
        }
        let reply = match reply {
            Ok(reply) => reply,
            Err(stop) => {
                fill.lands_alone();
                return Err(stop);
            }
        };
        let Some(kept) = stale.take_if(|_| reply.answer.status == StatusCode::NOT_MODIFIED) else {
            let about = (place, stale.is_some(), fill);
            return Ok(take_in(client, record, (route, proxy), sought, about, reply, (sent, since, forward), None));
        };
        // RFC 9111 section 4.3.4: a 304 is about what is kept only if it names the same.
        let (said, about) = (&reply.answer.fields, kept.0.fields.get("etag"));
        let same = said.get("etag").is_none_or(|said| about.is_some_and(|about| weakly_equal(said, about)));
        if !same {
            sought.store.forget(place.own);
            continue;
        }
        let (head, content) = match renew(record, sought, place, &kept, said, (sent, since)) {
            Ok(head) => (head, kept.1),
            Err(head) => {
                fill.lands_alone();
                return Ok(answers::hit(record, &head, &kept.1, ("revalidated", "no-longer-kept"), now));
            }
        };
        fill.refreshes(Arc::clone(&head), place.own, content.clone());
        return Ok(answers::hit(record, &head, &content, ("revalidated", ""), now));
    }
}

/// What a request asks that fetches for all: the whole answer, whoever may have what; or, if something is kept already, whether
/// it is still right (RFC 9111 section 4.3.1).
fn for_all(fields: &mut Fields, stale: Option<&Head>) {
    forwarded::for_all(fields);
    let Some(stale) = stale else { return };
    for (condition, validator) in [("if-none-match", "etag"), ("if-modified-since", "last-modified")] {
        if let Some(validator) = stale.fields.get(validator) {
            fields.add(condition.as_bytes(), validator);
        }
    }
}

/// A kept answer as it is after the server has said that it is as it was (RFC 9111 sections 3.2 and 4.3.4). `Err`: it must not
/// be kept any longer.
fn renew(
    record: &Record,
    sought: &Sought,
    place: Place,
    (head, content): &Stale,
    said: &Fields,
    (sent, since): (Moment, u64),
) -> Result<Arc<Head>, Arc<Head>> {
    let mut fields = head.fields.clone();
    let replaced = |name: &[u8]| !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"age");
    for (name, _) in said.iter().filter(|(name, _)| replaced(name.as_bytes())) {
        fields.remove(name);
    }
    for (name, value) in said.raw().filter(|(name, _)| replaced(name)) {
        fields.add(name, value);
    }
    let mut judged = fields.clone();
    if let Some(age) = said.get("age") {
        judged.set("age", age);
    }
    let asked = Asked { authorized: sought.authorized, no_store: false, part: false, sent, answered: Moment::now() };
    let life = Life::of(sought.policy, record.worker.settings, head.status, &judged, &asked);
    let renewed = |life: Life| Arc::new(kept_head(sought, head.status, fields.clone(), life, head.number));
    match life {
        Ok(life) => {
            let head = renewed(life);
            let _ = sought.store.keep(place.own, Arc::clone(&head), content.clone(), since);
            Ok(head)
        }
        Err(_) => {
            sought.store.forget(place.own);
            Err(renewed(Life { received: asked.answered, age: Duration::ZERO, ..head.life.clone() }))
        }
    }
}

/// The head that is kept: without the fields that must not be.
fn kept_head(sought: &Sought, status: StatusCode, mut fields: Fields, life: Life, number: u64) -> Head {
    for name in Control::of(&fields).unkept {
        fields.remove(&name);
    }
    fields.remove("age");
    if !fields.contains("date") {
        // RFC 9110 section 6.6.1.
        let received = std::time::UNIX_EPOCH + Duration::from_millis(life.received.0);
        fields.add(b"date", httpdate::fmt_http_date(received).as_bytes());
    }
    let lower = |name: &str| Box::from(name.to_ascii_lowercase());
    // One with a member that is no name is not kept.
    let mut vary: Vec<Box<str>> = vary(&fields).flatten().map(lower).collect();
    vary.sort();
    vary.dedup();
    let tags = sought.policy.tags.as_ref().map(|tags| {
        // Escaped as those of a purge are, so that two tags which differ do.
        let values = fields.all(tags).map(escape::shown);
        values.map(|value| value.replace(',', " ")).collect::<Vec<_>>().join(" ")
    });
    Head {
        status,
        fields: fields.compact(),
        life,
        url: sought.url.as_str().into(),
        vary: vary.into(),
        tags: tags.unwrap_or_default().into(),
        outdated: AtomicBool::new(false),
        number,
    }
}

/// An answer from the server: to be kept, if it may be, and passed on.
fn take_in(
    client: &Rc<Client>,
    record: &mut Record,
    (route, proxy): (&Route, &'static Proxy),
    sought: &Sought,
    (place, supersedes, fill): (Place, bool, Fill),
    reply: Reply,
    (sent, since, forward): (Moment, u64, &'static str),
    part: Option<ranges::Only>,
) -> Answer<Body> {
    let status = reply.answer.status;
    let asked = Asked {
        authorized: sought.authorized,
        no_store: sought.wish.no_store,
        part: part.is_some(),
        sent,
        answered: Moment::now(),
    };
    let request = Forwarded::new(client, record, route, proxy);
    let judged = admit(&request, record, sought, &reply.answer, &asked, part);
    let (head, place, reserved) = match judged {
        Ok(admitted) => admitted,
        Err(unkept) => {
            if supersedes && !status.is_server_error() {
                sought.store.forget(place.own);
            }
            let of_this_request = matches!(unkept, Unkept::RequestNoStore | Unkept::Authorization | Unkept::NoRoom);
            if part.is_none() && !of_this_request {
                sought.store.shun(place.own, &sought.url, asked.answered);
            }
            fill.lands_alone();
            record.cached("miss", unkept.reason());
            let mut answer = reply.with_cookies();
            let told = Told {
                word: "miss",
                reason: unkept.reason(),
                forward: Some(forward),
                stored: false,
                status: Some(status),
            };
            answers::add_status(&mut answer.fields, &told, None);
            return answer;
        }
    };
    record.cached("miss", "");
    let told = Told { word: "miss", reason: "", forward: Some(forward), stored: true, status: Some(status) };
    let mut answer = match reply.answer.body {
        Body::Server(mut call) => {
            let length = call.length();
            let reader = fill.lands(Arc::clone(&head), place.own, length);
            record.watches(reader.flight());
            let receiver = Rc::new(Client::nobody(&client.peer));
            call.goes_on_for(&receiver);
            let keeping = Keeping { store: sought.store, name: place.own, head: Arc::clone(&head), since, reserved };
            tokio::task::spawn_local(receive(receiver, call, fill, keeping));
            answers::present(record, &head, Kept::Coming(reader, length), &told, asked.answered)
        }
        _ => {
            let content = Content::One(Bytes::new());
            let _ = sought.store.keep(place.own, Arc::clone(&head), content.clone(), since);
            fill.refreshes(Arc::clone(&head), place.own, content.clone());
            answers::present(record, &head, Kept::Here(&content), &told, asked.answered)
        }
    };
    proxy::add_cookies(&mut answer.fields, &reply.cookies);
    answer
}

/// Whether an answer is kept: its head, its place, and room for its body.
fn admit(
    request: &Forwarded<'_>,
    record: &Record,
    sought: &Sought,
    answer: &Answer<Body>,
    asked: &Asked,
    part: Option<ranges::Only>,
) -> Result<(Arc<Head>, Place, Reserved), Unkept> {
    if part.is_some_and(|part| !parts::is_it(part, answer)) {
        return Err(Unkept::Status);
    }
    let life = Life::of(sought.policy, record.worker.settings, answer.status, &answer.fields, asked)?;
    let length = answer.body.length();
    if length.is_some_and(|length| length > sought.store.largest()) {
        return Err(Unkept::TooLarge);
    }
    // What is too large for memory goes through a window.
    let held = length.filter(|length| *length <= sought.store.max_object).unwrap_or(0);
    let reserved = sought.store.reserve(held).ok_or(Unkept::NoRoom)?;
    let head = kept_head(sought, answer.status, answer.fields.clone(), life, number());
    let place = sought.store.place(&sought.policy.key, &sought.url, request, &head, part)?;
    Ok((Arc::new(head), place, reserved))
}
