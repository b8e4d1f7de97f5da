//! Looking into the store ([`Sought::look`]): what is there, and whether it answers the request.

use std::rc::Rc;
use std::sync::Arc;

use super::answers;
use super::fetch::refresh;
use super::forwarded::Forwarded;
use super::sought::{Sought, Stale};
use crate::cache::freshness::Verdict;
use crate::cache::{Content, Filed, Head, Lately, Looked, Place};
use crate::client::Client;
use crate::client::record::Record;
use crate::content::respond::Answer;
use crate::protocol::date::Moment;
use crate::serve::body::Body;
use crate::site::{Proxy, Route};

/// What was seen in the store.
pub(super) enum Seen {
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

impl Sought {
    /// What the store has, as of `now`.
    pub(super) fn look(
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
    pub(super) fn weigh(
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
