//! Fetches a part from the server, or revalidates a stale one, and stores it if it may be stored.

use std::rc::Rc;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::{Asking, Came, Held, Part, Wanted};
use crate::cache::freshness::{Asked, Unkept};
use crate::cache::parts::{self, Version, content_range};
use crate::cache::{Fill, Head, Joined, Place};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::http1::Framing;
use crate::protocol::date::Moment;
use crate::serve::body::Body;
use crate::serve::cached::answers::{self, Told};
use crate::serve::cached::fetch::{Errand, Sent, admit, are_down, for_all, is_about, renew, take_in};
use crate::serve::cached::forwarded::{self, Forwarded};
use crate::serve::cached::receive::{Keeping, receive};
use crate::serve::cached::sought::{Sought, Stale};
use crate::serve::proxy::{self, Reply};
use crate::serve::retry::Request;
use crate::serve::stop::Stop;

impl Asking {
    /// Asks the server for a part, or whether a stale one is still right.
    pub(super) async fn fetch(
        &self,
        record: &mut Record,
        wanted: Wanted,
        of: Option<&Version>,
        stale: Option<(Place, Stale)>,
        (fill, why): (Fill, &'static str),
    ) -> Result<Came, Stop> {
        let Asking { client, route, proxy, sought, place, crowded } = self;
        let sent = Sent::now(sought.store);
        record.cached("miss", why);
        let mut errand = Errand { place: *place, stale: None, fill, why, beside: false, crowded: *crowded };
        let stand_in = |now| stale.as_ref().filter(|(_, (head, _))| head.life.serves_errors(now));
        if let Some((place, stale)) = stand_in(sent.at).filter(|_| are_down(client, proxy)) {
            return Ok(errand.ends_with(sought, *place, stale.clone()));
        }
        let asked_about = stale.as_ref().map(|(_, (head, _))| &**head);
        let alter = |request: &mut Request| {
            forwarded::normalize(sought.policy, &mut request.fields);
            request.method = Method::GET;
            for_all(&mut request.fields, asked_about);
            request.fields.set("range", &wanted.range);
            // Where it has changed, the server sends all of it (RFC 9110 section 13.1.5).
            if let Some(validator) = of.and_then(|of| of.validator.as_deref()).filter(|_| asked_about.is_none()) {
                request.fields.set("if-range", validator);
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
            return Ok(errand.ends_with(sought, *place, stale.clone()));
        }
        let reply = match reply {
            Ok(reply) => reply,
            Err(stop) => {
                if matches!(stop, Stop::Failure(failure) if failure.is_upstreams()) {
                    errand.has_failed(sought);
                }
                return Err(stop);
            }
        };
        match (reply.answer.status, stale) {
            (StatusCode::NOT_MODIFIED, Some((place, (head, content)))) => {
                let said = &reply.answer.fields;
                if !is_about(said, &head) {
                    sought.store.forget_this(place.own, &head);
                    return Ok(Came::Again);
                }
                let renewed = renew(record, sought, place, &(head, content.clone()), said, sent);
                let status = Some(StatusCode::NOT_MODIFIED);
                let told = Told { word: "revalidated", reason: "", forward: Some("stale"), stored: false, status };
                let head = renewed.unwrap_or_else(|unkept| unkept);
                Ok(landed(errand.fill, place, (head, content), told))
            }
            (StatusCode::PARTIAL_CONTENT, stale) => {
                Ok(self.take_part(record, (wanted, stale), of, errand, reply, sent))
            }
            // It says how long what is there is, and nothing of what is not asked for in parts.
            (StatusCode::RANGE_NOT_SATISFIABLE, _) => {
                errand.fill.lands_alone();
                let status = Some(reply.answer.status);
                let mut answer = reply.with_cookies();
                let told = Told { word: "miss", reason: "status", forward: Some("partial"), stored: false, status };
                record.cached(told.word, told.reason);
                answers::add_status(&mut answer.fields, &told, None);
                Ok(Came::Other(answer))
            }
            // The whole, or none: as if it had been asked for.
            _ => {
                if of.is_some() && reply.answer.status == StatusCode::OK {
                    let request = Forwarded::new(client, record, route, proxy);
                    let order = sent.order(&reply.answer.fields);
                    // Where there is something newer, that stays.
                    let _ = sought.store.forget_older(&sought.policy.key, &sought.url, &request, &wanted.name, order);
                }
                let part = std::mem::replace(&mut errand.fill, self.for_whole());
                let answer = take_in(client, record, (route, proxy), sought, errand, reply, (sent, "partial"));
                // Those who wait for the part look again, and find the whole.
                drop(part);
                Ok(Came::Other(answer))
            }
        }
    }

    /// A fetch of the whole response, which others join who ask for it.
    fn for_whole(&self) -> Fill {
        let flights = &self.sought.store.flights;
        match flights.join(self.place.own, &self.sought.url) {
            Joined::Fill(fill) => fill,
            Joined::Reader(_) => flights.beside(self.place.own, &self.sought.url),
        }
    }

    /// A 206: stored if it may be, and passed on.
    fn take_part(
        &self,
        record: &mut Record,
        (wanted, stale): (Wanted, Option<(Place, Stale)>),
        of: Option<&Version>,
        errand: Errand,
        reply: Reply,
        sent: Sent,
    ) -> Came {
        let Asking { client, route, proxy, sought, .. } = self;
        let Reply { mut answer, cookies } = reply;
        // RFC 9110 section 15.3.7: a part says which it is, and is as long as that.
        let said = content_range(&answer.fields)
            .filter(|(range, _)| answer.body.length() == Some(range.end - range.start))
            .filter(|(range, total)| wanted.is(range, *total));
        let Some((range, total)) = said.filter(|_| matches!(answer.body, Body::Server(_))) else {
            return self.unkept(record, wanted, errand, Reply { answer, cookies }, Unkept::Status);
        };
        let asked = Asked { authorized: sought.authorized, no_store: false, sent: sent.at, answered: Moment::now() };
        let order = sent.order(&answer.fields);
        let (request, called) = (Forwarded::new(client, record, route, proxy), wanted.stored_as(&range));
        let mut admitted = admit(&request, record, sought, &answer, (&asked, order), Some(&called));
        let is_other = |head: &Head| of.is_some_and(|of| !of.has(&head.fields));
        let has_changed = match &admitted {
            Ok((head, ..)) => is_other(head),
            Err(_) => of.is_some_and(|of| !of.has(&answer.fields)),
        };
        if has_changed {
            // Before this has its place among what is newer.
            if !sought.store.forget_older(&sought.policy.key, &sought.url, &request, &called, order) {
                drop(request);
                return self.unkept(record, wanted, errand, Reply { answer, cookies }, Unkept::Superseded);
            }
            admitted = admit(&request, record, sought, &answer, (&asked, order), Some(&called));
        }
        // What is stored is under a URL that the response may have a say in.
        let url = admitted.as_ref().map_or(&*sought.url, |(head, ..)| &*head.url);
        let list = sought.store.part_place(&sought.policy.key, url, &request, parts::LIST);
        let list = list.filter(|_| sought.policy.slice.is_none()).map(|list| list.own);
        drop(request);
        let (head, place, reserved) = match admitted {
            Ok(admitted) => admitted,
            Err(unkept) if of.is_none() || has_changed => {
                return self.unkept(record, wanted, errand, Reply { answer, cookies }, unkept);
            }
            Err(_) => {
                errand.fill.lands_alone();
                return Came::Alone(range, answer.body);
            }
        };
        if let Some((place, (stale, _))) = stale.filter(|_| *head.url != *sought.url) {
            // It would be found where this is not.
            sought.store.forget_this(place.own, &stale);
        }
        let Body::Server(mut call) = std::mem::replace(&mut answer.body, Body::None(None)) else {
            return Came::Unkept(Unkept::Status);
        };
        let reader = errand.fill.lands(Arc::clone(&head), place.own, Some(range.end - range.start));
        record.watches(reader.flight());
        let receiver = Rc::new(Client::nobody(&client.peer));
        call.reassign_client(&receiver);
        let keeping = Keeping {
            policy: sought.policy,
            store: sought.store,
            place,
            head: Arc::clone(&head),
            since: sent.purges,
            reserved,
            list,
        };
        tokio::task::spawn_local(receive(receiver, call, errand.fill, keeping));
        if has_changed {
            return Came::Unkept(Unkept::Status);
        }
        let told = Told {
            word: "miss",
            reason: errand.why,
            forward: Some("partial"),
            stored: true,
            status: Some(answer.status),
        };
        Came::Part(Part { head, range, total, held: Held::Coming(reader), told, cookies })
    }

    /// A 206 that is not stored: passed on to who has asked for it as it is.
    fn unkept(&self, record: &mut Record, wanted: Wanted, errand: Errand, reply: Reply, unkept: Unkept) -> Came {
        errand.fill.lands_alone();
        if wanted.part.is_some() {
            return Came::Unkept(unkept);
        }
        let status = Some(reply.answer.status);
        let reason = unkept.reason();
        record.cached("miss", reason);
        let mut answer = reply.with_cookies();
        let told = Told { word: "miss", reason, forward: Some("partial"), stored: false, status };
        answers::add_status(&mut answer.fields, &told, None);
        Came::Other(answer)
    }
}

impl Errand {
    /// The server has failed, and a stale part stands for what can't be had (RFC 5861 section 4).
    fn ends_with(self, sought: &Sought, place: Place, stale: Stale) -> Came {
        self.has_failed(sought);
        let told = Told { word: "stale", reason: "if-error", forward: None, stored: false, status: None };
        landed(self.fill, place, stale, told)
    }
}

/// A part that is stored, for all who wait for it.
fn landed(fill: Fill, place: Place, (head, content): Stale, told: Told) -> Came {
    fill.refreshes(Arc::clone(&head), place.own, content.clone());
    match content_range(&head.fields) {
        Some((range, total)) => {
            Came::Part(Part { head, range, total, held: Held::Here(content), told, cookies: Vec::new() })
        }
        // What a 304 says of a part does not say that it is another one.
        None => Came::Unkept(Unkept::Status),
    }
}
