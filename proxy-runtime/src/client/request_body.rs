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

/// The body of a request, which counts its bytes and enforces deadlines.
pub(crate) struct RequestBody {
    client: Rc<Client>,
    pub(crate) framing: Framing,
    /// The unsent part of a body that was buffered completely.
    kept: Option<Bytes>,
    /// A body that is received from the client. Boxed: most requests have none, and it would enlarge each of them.
    coming: Option<Box<IncomingBody>>,
}

/// The state of a body that is received from the client.
struct IncomingBody {
    /// How many more bytes are allowed.
    limit: u64,
    /// The time left for the client. Each received KiB adds a second; only waiting for the client uses it up.
    patience: Duration,
    /// How long the client may be idle at a time.
    silence: Duration,
    /// Since when the client has been waited for.
    waiting: Option<Instant>,
    /// Why the body ended early.
    failure: Option<Failure>,
    /// The rules for trailers, and the names to remove from them.
    trailing: Option<&'static FieldRules>,
    seen_to: Vec<&'static str>,
    /// The bytes that precede those still to be received: inspected ones, and ones that may have to be sent again.
    front: Front,
    /// The server decides whether it wants the body.
    asks_server: bool,
    /// `100 Continue` is not sent before this time, unless the server sends it.
    held_until: Option<Option<Instant>>,
    /// How many bytes have arrived and were not consumed.
    there: u64,
    /// How many bytes were received in total.
    received: u64,
    /// The minimum rate of the client.
    pace: Option<Pace>,
}

/// The minimum average rate, in bytes per second.
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

    /// Returns a body that was received completely.
    pub(crate) fn of(client: &Rc<Client>, framing: Framing, bytes: Bytes) -> RequestBody {
        RequestBody { client: Rc::clone(client), framing, kept: Some(bytes), coming: None }
    }

    /// Returns the inspected bytes that were not forwarded yet.
    pub(crate) fn front(&self) -> &[u8] {
        self.coming.as_ref().map_or(&[], |coming| coming.front.unsent())
    }

    /// Applies a policy: `limit` in bytes; `min_rate` in bytes per second; `patience` is `timeouts request`, of which `spent` has
    /// passed; `silence` is `timeouts idle`.
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

    /// Sets the rules for its trailers.
    pub(crate) fn takes_trailers_by(&mut self, rules: &'static FieldRules) {
        if let Some(coming) = &mut self.coming {
            coming.trailing = Some(rules);
        }
    }

    /// Removes trailers with these names.
    pub(crate) fn trailers_without(&mut self, names: Vec<&'static str>) {
        if let Some(coming) = &mut self.coming {
            coming.seen_to = names;
        }
    }

    /// Leaves it to the server to send `100 Continue`, if the client waits for that (RFC 9110 section 10.1.1).
    pub(crate) fn leave_to_server(&mut self) {
        if let Some(coming) = &mut self.coming {
            coming.asks_server = coming.front.is_untouched() && self.client.waits_for_continue();
        }
    }

    /// Returns whether it is left to the server to send `100 Continue`.
    pub(crate) fn asks_server(&self) -> bool {
        self.coming.as_ref().is_some_and(|coming| coming.asks_server)
    }

    /// The head was sent to a server, which has this long to send `100 Continue`.
    pub(crate) fn wait_for_server(&mut self, wait: Duration) {
        if let Some(coming) = self.coming.as_mut().filter(|coming| coming.asks_server) {
            coming.held_until = Some(after(Instant::now(), wait));
        }
    }

    /// Returns whether the body has not been asked for.
    pub(crate) fn is_held(&self) -> bool {
        self.coming.as_ref().is_some_and(|coming| coming.held_until.is_some())
    }

    /// The server has sent `100 Continue`, so the proxy sends it as well.
    pub(crate) fn is_wanted(&mut self) {
        if self.coming.as_mut().is_some_and(|coming| coming.held_until.take().is_some()) {
            self.client.ask_for_body();
        }
    }

    /// Returns whether the request consists of a head alone.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.framing, Framing::Empty | Framing::Length(0))
    }

    /// From now on, keeps the first `limit` bytes when they are consumed, so that the request can be sent again.
    pub(crate) fn may_be_replayed(&mut self, limit: u64) {
        if let Some(coming) = &mut self.coming {
            coming.front.keep(limit, self.client.worker.memory);
        }
    }

    /// Rewinds to the first byte. `false`: it is not available any more.
    pub(crate) fn rewind(&mut self) -> bool {
        let comes_again = |coming: &mut Box<IncomingBody>| coming.failure.is_none() && coming.front.rewind();
        self.kept.is_none() && self.coming.as_mut().is_none_or(comes_again)
    }

    /// The body will not be sent again: releases the kept bytes.
    pub(crate) fn settle(&mut self) {
        if let Some(coming) = &mut self.coming {
            coming.front.settle();
        }
    }

    /// Puts received bytes in front of those still to be received.
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
                // Whatever time is left, the idle time-out applies.
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
                // Some of it may have been counted before.
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
