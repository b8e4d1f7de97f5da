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
use crate::protocol::names::KnownField;

/// The most interim responses before the final one; more are an error.
pub(super) const MAX_INTERIM: u8 = 16;

/// The time-outs of an exchange.
#[derive(Clone, Copy)]
pub(crate) struct Waits {
    /// The time from the end of the request to the head of the response.
    pub(crate) response: Duration,
    /// The time for the server to send `100 Continue`, if that is left to it.
    pub(crate) proceed: Duration,
    /// The longest time without progress.
    pub(crate) idle: Duration,
    /// The deadline of the exchange.
    pub(crate) until: Option<Instant>,
}

/// Why there is no response.
pub(crate) enum ExchangeError {
    /// The failure is final.
    Failed(Failure),
    /// The connection was closed before the server sent anything.
    Lost,
    /// The server has certainly not processed the request: no byte of it was sent, or the server says so.
    Unprocessed(NotProcessed),
}

/// The evidence that a request was not processed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotProcessed {
    /// The connection accepts no more requests, or is closed: another connection may work.
    Connection,
    /// The server accepts no more requests now (`REFUSED_STREAM`, RFC 9113 section 8.7).
    Server,
}

/// The deadlines of an exchange under way.
pub(super) struct Deadlines {
    pub(super) waits: Waits,
    pub(super) began: Instant,
    /// When the request had been sent; `None` before.
    pub(super) sent: Option<Instant>,
    /// Since when there has been no progress, and how much of the request's body had been sent then.
    pub(super) silent: Option<(Instant, u64)>,
}

impl Deadlines {
    pub(super) fn new(waits: Waits, began: Instant) -> Deadlines {
        Deadlines { waits, began, sent: None, silent: None }
    }

    /// The request has been sent completely.
    pub(super) fn is_sent(&mut self, empty: bool) {
        // Without a body, the time at which the request began is accurate enough, and known.
        self.sent = Some(if empty { self.began } else { Instant::now() });
    }

    /// Returns whether a time-out for the response's head has expired. `blocked`: since when the server accepts no
    /// data.
    pub(super) fn over_for_head(&self, timer: &Timer, blocked: Option<Instant>) -> Option<Failure> {
        if timer.over(self.waits.until) {
            return Some(Failure::TotalTimeout);
        }
        // While the proxy waits for the client's body, that body's own time-outs apply.
        if timer.over(blocked.and_then(|since| after(since, self.waits.idle))) {
            return Some(Failure::BodyIdleTimeout);
        }
        timer.over(self.sent.and_then(|sent| after(sent, self.waits.response))).then_some(Failure::ResponseTimeout)
    }

    /// The response's body has made progress.
    pub(super) fn moves(&mut self) {
        self.silent = None;
    }

    /// Returns whether the time-out for the response's body has expired, with `uploaded` bytes of the request sent.
    pub(super) fn over_for_body(&mut self, timer: &Timer, uploaded: u64) -> Option<Failure> {
        // Progress of the upload counts, too.
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

/// Passes on interim responses (RFC 9110 section 15.2); `100 Continue` is sent by the proxy itself, once.
pub(super) fn pass_on(
    cx: &Context<'_>,
    (client, body): (&Client, &mut RequestBody),
    status: StatusCode,
    fields: Fields,
) {
    if status != StatusCode::CONTINUE {
        let mut fields = forward::received(fields);
        fields.remove(KnownField::TE);
        client.interim(status, &fields);
    } else if body.is_held() {
        body.is_wanted();
        // The upload can start now.
        cx.waker().wake_by_ref();
    }
}
