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

use super::answers::{self, Body as Kept, Told};
use super::follow::{Followed, follow};
use super::forwarded::Forwarded;
use super::past::go_on;
use super::sought::{Sought, Stale};
use crate::cache::freshness::{Unkept, Verdict};
use crate::cache::key::Pass;
use crate::cache::parts::{self, Layout, Listed, Version, content_range};
use crate::cache::{Content, Head, Landed, Place, Reader};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::failure::Failure;
use crate::http1::Framing;
use crate::protocol::date::Moment;
use crate::protocol::escape;
use crate::protocol::ranges;
use crate::serve::body::Body;
use crate::serve::proxy;
use crate::serve::selected::{self, Selected};
use crate::serve::stop::Stop;
use crate::site::{Proxy, Route};

/// A range that begins further in is fetched as it is, not as the whole, in bytes.
pub(super) const FAR: u64 = 1 << 20;

/// What comes of looking at a request that way.
pub(super) enum Outcome {
    Answer(Answer<Body>),
    /// It has nothing to do with parts.
    Other,
    /// What it waited for did not come: the store is to be looked at again.
    Again,
}

/// A request for parts: an exchange, or what goes on behind one.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) client: Rc<Client>,
    pub(super) route: Route,
    pub(super) proxy: &'static Proxy,
    pub(super) sought: Sought,
    /// Where a whole response would be.
    pub(super) place: Place,
    /// Others are known to want the same.
    pub(super) crowded: bool,
}

/// What is asked for.
struct Wanted {
    /// The value of `Range`.
    range: Vec<u8>,
    /// What it is called while it is on its way.
    name: String,
    /// The part that this is, where that is known before; the end of it may be beyond that of the whole.
    part: Option<Range<u64>>,
}

impl Wanted {
    fn part(part: Range<u64>) -> Wanted {
        Wanted { range: parts::range(&part).into_bytes(), name: parts::label(&part), part: Some(part) }
    }

    /// Whether a part of so much is what is wanted.
    fn is(&self, range: &Range<u64>, total: u64) -> bool {
        self.part.as_ref().is_none_or(|part| *range == (part.start..part.end.min(total)))
    }

    /// What the part that has come is called where it is stored.
    fn stored_as(&self, range: &Range<u64>) -> String {
        parts::label(self.part.as_ref().unwrap_or(range))
    }
}

/// A part, stored or on its way.
struct Part {
    head: Arc<Head>,
    range: Range<u64>,
    total: u64,
    held: Held,
    told: Told,
    /// For this client alone.
    cookies: Vec<String>,
}

enum Held {
    Here(Content),
    Coming(Reader),
}

/// What is stored of a part.
enum Stored {
    Usable(Part),
    /// To be asked about.
    Stale(Place, Stale),
    Nothing,
}

/// What comes of asking for a part.
enum Came {
    Part(Part),
    /// A part of the version that was asked for which is not stored: there is no room, or it is not for others.
    Alone(Range<u64>, Body),
    /// A response that is no part: for this client, and for the store if it is for all.
    Other(Answer<Body>),
    /// A part that is not stored, of something that is not for others, or is not what was asked for.
    Unkept(Unkept),
    /// What it waited for did not come.
    Again,
}

impl Asking {
    /// Responses from parts that are stored, or a request for a part with what comes of that.
    pub(super) async fn answer(&self, record: &mut Record) -> Result<Outcome, Stop> {
        if let Some(size) = &self.sought.policy.slice {
            return self.sliced(record, size.get(self.client.worker.settings)).await;
        }
        if let Some((head, listed)) = self.listed(record).await
            && let Some(answer) = self.complete(record, &head, listed).await?
        {
            return Ok(answer);
        }
        let is_far = record.method == Method::GET && ranges::is_far(&record.fields, FAR);
        if !is_far || self.is_whole_on_its_way() {
            return Ok(Outcome::Other);
        }
        let conditional = ["if-none-match", "if-modified-since", "if-range"];
        if conditional.iter().any(|name| record.fields.contains(name)) {
            return self.pass(record, ("pass", Pass::Range.reason())).await;
        }
        if self.sought.wish.only_if_cached {
            return Ok(Outcome::Other);
        }
        let range = record.fields.get("range").unwrap_or_default().to_owned();
        let wanted = Wanted { name: escape::shown(&range).into_owned(), range, part: None };
        match self.part(record, wanted, None, Instant::now()).await? {
            Came::Part(part) => Ok(Outcome::Answer(self.as_it_came(record, part))),
            Came::Other(answer) => Ok(Outcome::Answer(answer)),
            Came::Alone(..) | Came::Unkept(_) => self.pass(record, ("pass", Pass::Range.reason())).await,
            Came::Again => Ok(Outcome::Again),
        }
    }

    /// Responses with slices.
    async fn sliced(&self, record: &mut Record, size: u64) -> Result<Outcome, Stop> {
        if self.is_whole_on_its_way() {
            return Ok(Outcome::Other);
        }
        let Asking { sought, place, .. } = self;
        let layout = Layout::Slices(size);
        let is_ranged = record.method == Method::GET && record.fields.contains("range");
        let at = if is_ranged { ranges::first(&record.fields) } else { 0 };
        let mut part = match self.part(record, Wanted::part(layout.part(at, u64::MAX)), None, Instant::now()).await? {
            Came::Part(part) => part,
            // Of nothing, there is no part.
            Came::Other(answer) if answer.status == StatusCode::RANGE_NOT_SATISFIABLE && !is_ranged => {
                return Ok(Outcome::Other);
            }
            Came::Other(answer) => return Ok(Outcome::Answer(answer)),
            Came::Alone(..) => return self.pass(record, ("pass", Pass::Range.reason())).await,
            Came::Unkept(unkept) => {
                if !unkept.is_of_request() {
                    sought.store.mark_unshared(place.own, &sought.url, Moment::now());
                }
                return self.pass(record, ("miss", unkept.reason())).await;
            }
            Came::Again => return Ok(Outcome::Again),
        };
        let version = Version::of(&part.head.fields).ok_or(Failure::Internal)?;
        let wanted = wanted(record, &part.head.whole(), version.total).unwrap_or(part.range.clone());
        let is_one = part.range.start <= wanted.start && wanted.end <= part.range.end;
        // What may be of two versions is not put together: it is fetched whole, or as it is asked for.
        if !is_one && version.validator.is_none() {
            return if is_ranged {
                self.pass(record, ("pass", Pass::Range.reason())).await
            } else {
                Ok(Outcome::Other)
            };
        }
        if !is_one && !self.has_all(record, &version, &wanted, &layout) {
            if sought.wish.only_if_cached {
                record.cached("miss", "only-if-cached");
                return Err(Failure::NotCached.into());
            }
            if part.told.word == "hit" {
                (part.told.word, part.told.forward) = ("miss", Some("partial"));
            }
        }
        Ok(Outcome::Answer(self.serve(record, part, layout)))
    }

    /// Whether all slices of a range are stored, of one version: no more are looked at than `MOST_LOOKED_AT`.
    fn has_all(&self, record: &Record, version: &Version, wanted: &Range<u64>, layout: &Layout) -> bool {
        let Sought { store, policy, url, .. } = &self.sought;
        let (request, now) = (Forwarded::new(&self.client, record, &self.route, self.proxy), Moment::now());
        let is_usable = |head: &Head| version.has(&head.fields) && self.is_usable(head, now);
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

    /// Whether a fetch has turned out to be for the whole.
    fn is_whole_on_its_way(&self) -> bool {
        self.sought.store.flights.join_landed(self.place.own).is_some()
    }

    /// To the server and back, as the client asks.
    async fn pass(&self, record: &mut Record, (word, reason): (&'static str, &'static str)) -> Result<Outcome, Stop> {
        let Asking { client, route, proxy, .. } = self;
        let body = RequestBody::new(client, Framing::Empty);
        let told = (word, reason, "partial");
        Ok(Outcome::Answer(Box::pin(go_on(client, record, route, proxy, body, told)).await?))
    }

    /// The parts that are stored of a version that may be used, with the head of one.
    async fn listed(&self, record: &Record) -> Option<(Arc<Head>, Listed)> {
        let (_, head, content) = self.kept(record, parts::LIST).await?;
        self.is_usable(&head, Moment::now()).then(|| (head, Listed::of(&content)))
    }

    /// Responses from the parts of a version, and what is to be fetched between them; `None`: another way is better.
    async fn complete(&self, record: &mut Record, head: &Head, listed: Listed) -> Result<Option<Outcome>, Stop> {
        let Some(version) = Version::of(&head.fields) else { return Ok(None) };
        // What is answered with a head alone needs that of a part, whichever.
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
        if self.sought.wish.only_if_cached && !is_stored {
            return Ok(None);
        }
        let of = version.validator.is_some().then_some(&version);
        let mut came = self.part(record, Wanted::part(part), of, Instant::now()).await?;
        if let Came::Part(part) = &mut came
            && part.told.word == "hit"
            && !is_stored
        {
            (part.told.word, part.told.forward) = ("miss", Some("partial"));
        }
        Ok(match came {
            // One without a validator may be of another length by now.
            Came::Part(part) if part.total != version.total => None,
            Came::Part(part) => Some(Outcome::Answer(self.serve(record, part, layout))),
            Came::Other(answer) => Some(Outcome::Answer(answer)),
            Came::Alone(..) | Came::Unkept(_) => None,
            Came::Again => Some(Outcome::Again),
        })
    }

    /// What is stored of the response under this name, in memory or on disk.
    async fn kept(&self, record: &Record, part: &str) -> Option<(Place, Arc<Head>, Content)> {
        let Sought { store, policy, url, .. } = &self.sought;
        let place = {
            let request = Forwarded::new(&self.client, record, &self.route, self.proxy);
            store.part_place(&policy.key, url, &request, part)?
        };
        let mut found = store.at(place).await;
        if found.is_none() && store.may_recall(&place) && store.recall(place).await {
            found = store.at(place).await;
        }
        found.map(|(head, content)| (place, head, content))
    }

    fn is_usable(&self, head: &Head, now: Moment) -> bool {
        let Sought { wish, refreshes, authorized, .. } = &self.sought;
        !refreshes
            && (!authorized || head.life.for_authorized)
            && head.life.verdict(wish, head.is_outdated(), now) == Verdict::Fresh
    }

    /// A part: one that is stored, or on its way, or fetched; of this version, if there is one.
    async fn part(
        &self,
        record: &mut Record,
        wanted: Wanted,
        of: Option<&Version>,
        began: Instant,
    ) -> Result<Came, Stop> {
        let Asking { client, route, sought, .. } = self;
        let stale = match self.stored(record, &wanted, of).await {
            Stored::Usable(part) => return Ok(Came::Part(part)),
            Stored::Stale(place, stale) => Some((place, stale)),
            Stored::Nothing => None,
        };
        if sought.wish.only_if_cached {
            record.cached("miss", "only-if-cached");
            return Err(Failure::NotCached.into());
        }
        let name = {
            let request = Forwarded::new(client, record, route, self.proxy);
            sought.store.part_on_its_way(&sought.policy.key, &sought.url, &request, &wanted.name)
        };
        let flights = &sought.store.flights;
        let beside = || flights.beside(name, &sought.url);
        let joined = flights.join(name, &sought.url);
        let (reader, landed) = match follow(client, route, sought, joined, began).await? {
            Followed::First(fill, why) => {
                // Looked for once more: who has fetched it may have stored it, and a purge changed what may be asked about.
                let stale = match self.stored(record, &wanted, of).await {
                    Stored::Usable(part) => return Ok(Came::Part(part)),
                    Stored::Stale(place, stale) => Some((place, stale)),
                    Stored::Nothing => None,
                };
                return self.fetch(record, wanted, of, stale, (fill, why)).await;
            }
            Followed::Landed(reader, landed) => (reader, landed),
        };
        let told = Told { word: "joined", reason: "", forward: Some("uri-miss"), stored: true, status: None };
        let (head, name, held) = match landed {
            Landed::Abandoned => return Ok(Came::Again),
            Landed::Nothing if of.is_none() => return Ok(Came::Unkept(Unkept::Status)),
            Landed::Nothing => return self.fetch(record, wanted, of, stale, (beside(), "")).await,
            Landed::Answer(head, name, _) => (head, name, Held::Coming(reader)),
            Landed::Refreshed(head, name, content) => (head, name, Held::Here(content)),
        };
        let is_for_us = |range: &Range<u64>| self.is_for(record, &head, &wanted.stored_as(range), name);
        match content_range(&head.fields).filter(|(range, total)| wanted.is(range, *total) && is_for_us(range)) {
            Some((range, total)) if of.is_none_or(|of| of.has(&head.fields)) => {
                Ok(Came::Part(Part { head, range, total, held, told, cookies: Vec::new() }))
            }
            // Of another version, or to another request than this.
            _ => self.fetch(record, wanted, of, stale, (beside(), "")).await,
        }
    }

    /// What is stored of a part.
    async fn stored(&self, record: &Record, wanted: &Wanted, of: Option<&Version>) -> Stored {
        let Some((place, head, content)) = self.kept(record, &wanted.name).await else { return Stored::Nothing };
        let said = content_range(&head.fields).filter(|(range, total)| wanted.is(range, *total));
        let Some((range, total)) = said.filter(|_| of.is_none_or(|of| of.has(&head.fields))) else {
            return Stored::Nothing;
        };
        if self.is_usable(&head, Moment::now()) {
            let told = Told { word: "hit", reason: "", forward: None, stored: false, status: None };
            return Stored::Usable(Part { head, range, total, held: Held::Here(content), told, cookies: Vec::new() });
        }
        let Sought { refreshes, authorized, .. } = &self.sought;
        let may_be_asked_about = !refreshes && (!authorized || head.life.for_authorized);
        if may_be_asked_about { Stored::Stale(place, (head, content)) } else { Stored::Nothing }
    }

    /// Whether a part that is stored under a name is one for this request, too.
    fn is_for(&self, record: &Record, head: &Head, part: &str, name: u128) -> bool {
        let request = Forwarded::new(&self.client, record, &self.route, self.proxy);
        self.sought.is_for((head, Some(part)), name, &request)
    }

    /// A part as the server has sent it.
    fn as_it_came(&self, record: &mut Record, part: Part) -> Answer<Body> {
        let Part { head, range, held, told, cookies, .. } = part;
        let length = range.end - range.start;
        let now = Moment::now();
        let mut answer = answers::present(record, &head, Kept::Made(held.body(0..length), length), &told, now);
        proxy::add_cookies(&mut answer.fields, &cookies);
        answer
    }

    /// As much as the request wants of what a part is of.
    fn serve(&self, record: &mut Record, part: Part, layout: Layout) -> Answer<Body> {
        let (whole, total, told) = (Arc::new(part.head.whole()), part.total, part.told.clone());
        let cookies = part.cookies.clone();
        let body = match wanted(record, &whole, total) {
            None => Body::None((record.method == Method::HEAD).then_some(total)),
            Some(wanted) if part.range.start <= wanted.start && wanted.end <= part.range.end => {
                part.held.body(wanted.start - part.range.start..wanted.end - part.range.start)
            }
            Some(wanted) => self.assembled(record, part, wanted, layout),
        };
        let mut answer = answers::present(record, &whole, Kept::Made(body, total), &told, Moment::now());
        proxy::add_cookies(&mut answer.fields, &cookies);
        answer
    }
}

/// So many slices are looked at before a response begins, to say whether all of it is stored.
const MOST_LOOKED_AT: usize = 1024;

/// What a request wants of a whole with this head and length; `None`: nothing of its content.
fn wanted(record: &Record, whole: &Head, total: u64) -> Option<Range<u64>> {
    if record.method == Method::HEAD {
        return None;
    }
    match selected::select(record, &whole.fields, Some(total)) {
        Selected::Whole | Selected::Failed | Selected::Parts(_) => Some(0..total),
        Selected::Part(part) => Some(part),
        Selected::Unmodified | Selected::Nothing(_) => None,
    }
}

impl Held {
    /// So much of it.
    fn body(self, range: Range<u64>) -> Body {
        match self {
            Held::Here(content) => answers::part_of(&content, range),
            Held::Coming(reader) => Body::Joined(Box::new(reader.only(range.start, Some(range.end - range.start)))),
        }
    }
}
