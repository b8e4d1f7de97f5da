//! The time-outs of an exchange ([`Waits`], [`Deadlines`]), and the reasons why it has no response ([`ExchangeError`]).

use std::task::Context;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::client::Client;
use crate::client::request_body::RequestBody;
use crate::exchange::forward;
use crate::failure::Failure;
use crate::net::clock::{Timer, after};
use crate::protocol::fields::Fields;

/// The most interim responses before a response; more are an error.
pub(super) const MAX_INTERIM: u8 = 16;

/// The time-outs of an exchange.
#[derive(Clone, Copy)]
pub(crate) struct Waits {
    /// For the head of the response, once the request is sent.
    pub(crate) response: Duration,
    /// For the server to ask for the body, where that is left to it.
    pub(crate) proceed: Duration,
    /// For anything to move.
    pub(crate) idle: Duration,
    /// For all of it.
    pub(crate) until: Option<Instant>,
}

/// Why there is no response.
pub(crate) enum ExchangeError {
    /// For good.
    Failed(Failure),
    /// The connection is gone before the server said anything.
    Lost,
    /// The server has not processed the request, for sure: no byte of it was sent, or the server says so.
    Unprocessed(NotProcessed),
}

/// The evidence that a request was not processed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotProcessed {
    /// The connection takes no more requests, or is gone: another one may do.
    Connection,
    /// The server takes no more requests now (`REFUSED_STREAM`, RFC 9113 section 8.7).
    Server,
}

/// The waits of a call under way.
pub(super) struct Deadlines {
    pub(super) waits: Waits,
    pub(super) began: Instant,
    /// When the request was sent; `None` while it is on its way.
    pub(super) sent: Option<Instant>,
    /// Since when nothing has moved, and how much of the request's body had then.
    pub(super) silent: Option<(Instant, u64)>,
}

impl Deadlines {
    pub(super) fn new(waits: Waits, began: Instant) -> Deadlines {
        Deadlines { waits, began, sent: None, silent: None }
    }

    /// All of the request is sent.
    pub(super) fn is_sent(&mut self, empty: bool) {
        // Without a body, the moment it arrived is near enough, and known.
        self.sent = Some(if empty { self.began } else { Instant::now() });
    }

    /// Whether the head of a response is waited for in vain. `blocked` is since when the server takes nothing.
    pub(super) fn over_for_head(&self, timer: &Timer, blocked: Option<Instant>) -> Option<Failure> {
        if timer.over(self.waits.until) {
            return Some(Failure::TotalTimeout);
        }
        // While the client has to send, its body keeps the time.
        if timer.over(blocked.and_then(|since| after(since, self.waits.idle))) {
            return Some(Failure::BodyIdleTimeout);
        }
        timer.over(self.sent.and_then(|sent| after(sent, self.waits.response))).then_some(Failure::ResponseTimeout)
    }

    /// The response's body moves.
    pub(super) fn moves(&mut self) {
        self.silent = None;
    }

    /// Whether the response's body is waited for in vain, when so much of the request's was sent.
    pub(super) fn over_for_body(&mut self, timer: &Timer, uploaded: u64) -> Option<Failure> {
        // What the client sends meanwhile is movement, too.
        let (since, _) = *match &mut self.silent {
            Some(silent) if silent.1 == uploaded => silent,
            silent => silent.insert((Instant::now(), uploaded)),
        };
        if timer.over(self.waits.until) {
            return Some(Failure::TotalTimeout);
        }
        timer.over(after(since, self.waits.idle)).then_some(Failure::BodyIdleTimeout)
    }
}

/// RFC 9110 section 15.2: interim responses are passed on; `100 Continue` only as ours, which is given once.
pub(super) fn pass_on(
    cx: &Context<'_>,
    (client, body): (&Client, &mut RequestBody),
    status: StatusCode,
    fields: Fields,
) {
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
