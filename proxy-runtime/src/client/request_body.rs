//! The body of a client's request ([`RequestBody`]). It counts bytes, and enforces deadlines.

mod collect;

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::body::front::Front;
use crate::body::inbound::BodyError;
use crate::body::pace::Pace;
use crate::body::source::Source;
use crate::client::Client;
use crate::failure::Failure;
use crate::filter::intake::{self, FieldRules};
use crate::http1::Framing;
use crate::net::clock::after;
use crate::protocol::fields::Fields;

/// A request's body. Counts, and watches the clock.
pub(crate) struct RequestBody {
    client: Rc<Client>,
    pub(crate) framing: Framing,
    /// What is left of it, where all of it was received before any of it is sent.
    kept: Option<Bytes>,
    /// It comes from the client. Boxed: most requests have none, and each would carry its size around.
    coming: Option<Box<IncomingBody>>,
}

/// What there is to a body that comes from the client.
struct IncomingBody {
    /// Bytes that may still come.
    limit: u64,
    /// What is left of the client's time. Each KiB earns it a second; only waiting for the client uses it up.
    patience: Duration,
    /// How long the client may be silent at once.
    silence: Duration,
    /// Since when the client is waited for.
    waiting: Option<Instant>,
    /// Why it ended early.
    failure: Option<Failure>,
    /// Which trailers are taken in, and names that are not beside those.
    trailing: Option<&'static FieldRules>,
    seen_to: Vec<&'static str>,
    /// What goes before what still comes: what was looked at, and what was taken and may have to be sent again.
    front: Front,
    /// Whether it is wanted is the server's to say.
    asks_server: bool,
    /// It is not asked for before this moment, unless the server does.
    held_until: Option<Option<Instant>>,
    /// What arrived and is not taken, in bytes.
    there: u64,
    /// What was received in all.
    received: u64,
    /// How fast the client has to send it.
    pace: Option<Pace>,
}

/// A body in time has at least this many bytes per second, on the average.
const MIN_RATE: u64 = 1024;

impl RequestBody {
    pub(crate) fn new(client: &Rc<Client>, framing: Framing) -> RequestBody {
        let comes = !matches!(framing, Framing::Empty | Framing::Length(0));
        let coming = comes.then(|| {
            Box::new(IncomingBody {
                limit: u64::MAX,
                patience: Duration::MAX,
                silence: Duration::MAX,
                waiting: None,
                failure: None,
                trailing: None,
                seen_to: Vec::new(),
                front: Front::default(),
                asks_server: false,
                held_until: None,
                there: 0,
                received: 0,
                pace: None,
            })
        });
        RequestBody { client: Rc::clone(client), framing, kept: None, coming }
    }

    /// One that was received whole.
    pub(crate) fn of(client: &Rc<Client>, framing: Framing, bytes: Bytes) -> RequestBody {
        RequestBody { client: Rc::clone(client), framing, kept: Some(bytes), coming: None }
    }

    /// What was looked at and has not gone on.
    pub(crate) fn front(&self) -> &[u8] {
        self.coming.as_ref().map_or(&[], |coming| coming.front.unsent())
    }

    /// Holds it to a policy: `limit` in bytes; `min_rate` in bytes a second; `patience` is `timeouts request`, of which `spent` is
    /// gone; `silence` is `timeouts idle`.
    pub(crate) fn hold(
        &mut self,
        (limit, min_rate): (u64, u64),
        patience: Duration,
        spent: Duration,
        silence: Duration,
    ) {
        let Some(coming) = &mut self.coming else { return };
        coming.limit = limit;
        coming.pace = Pace::new(min_rate, 0);
        coming.patience = patience.saturating_sub(spent);
        coming.silence = silence;
    }

    /// Its trailers are taken in by these rules.
    pub(crate) fn takes_trailers_by(&mut self, rules: &'static FieldRules) {
        if let Some(coming) = &mut self.coming {
            coming.trailing = Some(rules);
        }
    }

    /// None of its trailers has one of these names.
    pub(crate) fn trailers_without(&mut self, names: Vec<&'static str>) {
        if let Some(coming) = &mut self.coming {
            coming.seen_to = names;
        }
    }

    /// Whether it is wanted is the server's to say, where the client waits to hear that (RFC 9110 section 10.1.1).
    pub(crate) fn leave_to_server(&mut self) {
        if let Some(coming) = &mut self.coming {
            coming.asks_server = coming.front.is_untouched() && self.client.waits_for_continue();
        }
    }

    /// See above.
    pub(crate) fn asks_server(&self) -> bool {
        self.coming.as_ref().is_some_and(|coming| coming.asks_server)
    }

    /// A server is sent the head: it has so long to ask for the rest.
    pub(crate) fn wait_for_server(&mut self, wait: Duration) {
        if let Some(coming) = self.coming.as_mut().filter(|coming| coming.asks_server) {
            coming.held_until = Some(after(Instant::now(), wait));
        }
    }

    /// Nobody has asked for it.
    pub(crate) fn is_held(&self) -> bool {
        self.coming.as_ref().is_some_and(|coming| coming.held_until.is_some())
    }

    /// The server has asked for it, and so does the proxy.
    pub(crate) fn is_wanted(&mut self) {
        if self.coming.as_mut().is_some_and(|coming| coming.held_until.take().is_some()) {
            self.client.ask_for_body();
        }
    }

    /// Whether there is nothing to send but the head.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.framing, Framing::Empty | Framing::Length(0))
    }

    /// From here on, its first `limit` bytes are kept as they are taken, so that the request can be sent again.
    pub(crate) fn may_be_replayed(&mut self, limit: u64) {
        if let Some(coming) = &mut self.coming {
            coming.front.keep(limit, self.client.worker.memory);
        }
    }

    /// Begins again with its first byte. `false`: it can't.
    pub(crate) fn rewind(&mut self) -> bool {
        let comes_again = |coming: &mut Box<IncomingBody>| coming.failure.is_none() && coming.front.rewind();
        self.kept.is_none() && self.coming.as_mut().is_none_or(comes_again)
    }

    /// It won't be sent again: what was kept for that is let go.
    pub(crate) fn settle(&mut self) {
        if let Some(coming) = &mut self.coming {
            coming.front.settle();
        }
    }

    /// This was received of it, and goes before what still comes.
    fn begins_with(&mut self, front: Front) {
        if let Some(coming) = &mut self.coming {
            coming.front = front;
        }
    }
}

impl IncomingBody {
    fn end(&mut self, failure: Failure) -> Poll<Result<bool, Failure>> {
        self.failure = Some(failure);
        Poll::Ready(Err(failure))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, client: &Client) -> Poll<Result<bool, Failure>> {
        if let Some(failure) = self.failure {
            return Poll::Ready(Err(failure));
        }
        if !self.front.unsent().is_empty() {
            return Poll::Ready(Ok(true));
        }
        if let Some(until) = self.held_until {
            if !client.timer.over(until) {
                return Poll::Pending;
            }
            self.held_until = None;
        }
        match client.poll_body(cx) {
            Poll::Pending => {
                client.ask_for_body();
                let since = *self.waiting.get_or_insert_with(Instant::now);
                // However much was earned: silence is silence.
                if client.timer.over(after(since, self.patience.min(self.silence))) {
                    return self.end(Failure::RequestTimeout);
                }
                if let Some(pace) = &mut self.pace
                    && pace.is_too_slow(&client.timer, || self.received)
                {
                    return self.end(Failure::ClientTooSlow);
                }
                Poll::Pending
            }
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(false)),
            Poll::Ready(Ok(len)) => {
                // Some of it may have been there before.
                let len = (len as u64).saturating_sub(self.there);
                if len > self.limit {
                    return self.end(Failure::BodyTooLarge);
                }
                client.body_comes();
                self.limit -= len;
                (self.there, self.received) = (self.there + len, self.received + len);
                if let Some(pace) = &mut self.pace {
                    pace.rests();
                }
                if let Some(since) = self.waiting.take() {
                    self.patience = self.patience.saturating_sub(since.elapsed());
                }
                let earned = Duration::from_micros(len.saturating_mul(1_000_000) / MIN_RATE);
                self.patience = self.patience.saturating_add(earned);
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Err(BodyError::Malformed)) => self.end(Failure::BadFraming),
            Poll::Ready(Err(BodyError::Truncated)) => self.end(Failure::RequestTruncated),
        }
    }

    fn take(&mut self, client: &Client, to: impl FnOnce(&[u8]) -> usize) -> usize {
        if !self.front.unsent().is_empty() {
            return self.front.send(to);
        }
        let front = &mut self.front;
        let took = client.take_body(|data| {
            let took = to(data);
            front.taken(&data[..took]);
            took
        });
        self.there = self.there.saturating_sub(took as u64);
        took
    }

    fn trailers(&mut self, client: &Client) -> Option<Fields> {
        let (rules, seen_to) = (self.trailing, &self.seen_to);
        self.front.trailers(|| {
            let trailers = client.trailers()?;
            Some(match rules {
                Some(rules) => intake::trailers(trailers, rules, seen_to),
                None => trailers,
            })
        })
    }
}

impl Source for RequestBody {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        match (&self.kept, &mut self.coming) {
            (Some(kept), _) => Poll::Ready(Ok(!kept.is_empty())),
            (None, Some(coming)) => coming.poll_fill(cx, &self.client),
            (None, None) => Poll::Ready(Ok(false)),
        }
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        match (&mut self.kept, &mut self.coming) {
            (Some(kept), _) => {
                let took = to(kept);
                bytes::Buf::advance(kept, took);
                took
            }
            (None, Some(coming)) => coming.take(&self.client, to),
            (None, None) => 0,
        }
    }

    fn trailers(&mut self) -> Option<Fields> {
        let coming = self.coming.as_mut().filter(|_| self.kept.is_none())?;
        coming.trailers(&self.client)
    }
}
