//! A request at a server, and its answer as it comes: [`Call`].
//!
//! The request's body goes out while the answer comes in, driven by whoever waits for the answer. Dropped early, the
//! connection closes (in HTTP/2, the stream); complete, it is there for the next.

mod http1;
mod http2;

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

pub(crate) use self::http1::Http1;
pub(crate) use self::http2::{Http2, head as http2_head};
use super::Lease;
use crate::body::{RequestBody, Source};
use crate::clock::{Timer, after};
use crate::connection::Client;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::forward;
use crate::http1::Head;
use crate::stream::Link;

/// The most interim answers before an answer; more are no answer.
const MAX_INTERIM: u8 = 16;

/// How long to wait for what.
#[derive(Clone, Copy)]
pub(crate) struct Waits {
    /// For the head of the answer, once the request is sent.
    pub(crate) response: Duration,
    /// For the server to ask for the body, where that is left to it.
    pub(crate) proceed: Duration,
    /// For anything to move.
    pub(crate) idle: Duration,
    /// For all of it.
    pub(crate) until: Option<Instant>,
}

/// Why there is no answer.
pub(crate) enum Unanswered {
    /// For good.
    Failed(Failure),
    /// The connection is gone before the server said anything.
    Lost,
    /// The server has not processed the request, for sure: no byte of it was sent, or the server says so.
    Unprocessed(Refused),
}

/// How it is known that a request was not processed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The connection takes no more requests, or is gone: another one may do.
    Connection,
    /// The server takes no more requests now (`REFUSED_STREAM`, RFC 9113 section 8.7).
    Server,
}

/// See above.
pub(crate) enum Call {
    Http1(Http1),
    Http2(Http2),
}

macro_rules! either {
    ($self:expr, $call:ident => $do:expr) => {
        match $self {
            Call::Http1($call) => $do,
            Call::Http2($call) => $do,
        }
    };
}

impl Call {
    /// The head of the answer.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn answer(&mut self) -> Result<Head<StatusCode>, Unanswered> {
        std::future::poll_fn(|cx| either!(self, call => call.poll_answer(cx))).await
    }

    /// How long the answer's body is, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        either!(self, call => call.length())
    }

    /// How long it says it is, also where there is none.
    pub(crate) fn declared(&self) -> Option<u64> {
        either!(self, call => call.declared())
    }

    /// The connection, to be used for something else than HTTP.
    pub(crate) fn into_link(self) -> Option<(Link, Lease)> {
        match self {
            Call::Http1(call) => call.into_link(),
            // A stream is no connection.
            Call::Http2(_) => None,
        }
    }

    /// The request is sent; what is left to do is done for somebody else.
    pub(crate) fn goes_on_for(&mut self, client: &Rc<Client>) {
        either!(self, call => call.goes_on_for(client));
    }

    /// The server, as long as it is held.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        either!(self, call => call.lease.as_ref())
    }

    /// Gives the server back, with the request unanswered.
    pub(crate) fn into_lease(self) -> Option<Lease> {
        either!(self, call => call.lease)
    }

    /// The request's body from its beginning, to be sent again, if it still is all there. This call sends no more of it.
    pub(crate) fn take_body(&mut self) -> Option<RequestBody> {
        either!(self, call => call.take_body())
    }

    /// The answer is the one that is passed on: the request won't be sent again.
    pub(crate) fn settle(&mut self) {
        either!(self, call => call.body.settle());
    }

    /// The answer is complete: its connection is there for the next, if it can be.
    pub(crate) fn release(&mut self) {
        either!(self, call => call.release());
    }
}

impl Source for Call {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        either!(self, call => call.poll_fill(cx))
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        either!(self, call => call.take(to))
    }

    fn take_bytes(&mut self, most: usize) -> Bytes {
        either!(self, call => call.take_bytes(most))
    }

    fn rest(&mut self) -> usize {
        either!(self, call => call.rest())
    }

    fn trailers(&mut self) -> Option<Fields> {
        either!(self, call => call.trailers())
    }
}

/// The waits of a call under way.
struct Clock {
    waits: Waits,
    began: Instant,
    /// When the request was sent; `None` while it is on its way.
    sent: Option<Instant>,
    /// Since when nothing has moved, and how much of the request's body had then.
    silent: Option<(Instant, u64)>,
}

impl Clock {
    fn new(waits: Waits, began: Instant) -> Clock {
        Clock { waits, began, sent: None, silent: None }
    }

    /// All of the request is sent.
    fn is_sent(&mut self, empty: bool) {
        // Without a body, the moment it arrived is near enough, and known.
        self.sent = Some(if empty { self.began } else { Instant::now() });
    }

    /// Whether the head of an answer is waited for in vain. `blocked` is since when the server takes nothing.
    fn over_for_head(&self, timer: &Timer, blocked: Option<Instant>) -> Option<Failure> {
        if timer.over(self.waits.until) {
            return Some(Failure::TotalTimeout);
        }
        // While the client has to send, its body keeps the time.
        if timer.over(blocked.and_then(|since| after(since, self.waits.idle))) {
            return Some(Failure::BodyStalled);
        }
        timer.over(self.sent.and_then(|sent| after(sent, self.waits.response))).then_some(Failure::ResponseTimeout)
    }

    /// The answer's body moves.
    fn moves(&mut self) {
        self.silent = None;
    }

    /// Whether the answer's body is waited for in vain, when so much of the request's was sent.
    fn over_for_body(&mut self, timer: &Timer, uploaded: u64) -> Option<Failure> {
        // What the client sends meanwhile is movement, too.
        let (since, _) = *match &mut self.silent {
            Some(silent) if silent.1 == uploaded => silent,
            silent => silent.insert((Instant::now(), uploaded)),
        };
        if timer.over(self.waits.until) {
            return Some(Failure::TotalTimeout);
        }
        timer.over(after(since, self.waits.idle)).then_some(Failure::BodyStalled)
    }
}

/// RFC 9110 section 15.2: interim answers are passed on; `100 Continue` only as ours, which is given once.
fn pass_on(cx: &Context<'_>, (client, body): (&Client, &mut RequestBody), status: StatusCode, fields: Fields) {
    if status != StatusCode::CONTINUE {
        let mut fields = forward::received(fields);
        fields.remove("te");
        client.interim(status, &fields);
    } else if body.is_held() {
        body.is_wanted();
        // It can go on its way now.
        cx.waker().wake_by_ref();
    }
}
