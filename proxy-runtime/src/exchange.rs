//! A request at a server and its response: [`UpstreamExchange`].
//!
//! The request's body is sent while the response is received, both driven by the task that waits for the response. If the exchange is
//! dropped early, the connection closes (in HTTP/2, the stream); if it is complete, the connection returns to the pool.

#[cfg(feature = "serve")]
pub(crate) mod forward;
mod http1;
mod http2;
mod waits;

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;

pub(crate) use self::http1::Http1Exchange;
pub(crate) use self::http2::Http2Exchange;
pub(crate) use self::waits::{ExchangeError, NotProcessed, Waits};
use crate::body::source::Source;
use crate::client::Client;
use crate::client::request_body::RequestBody;
use crate::failure::Failure;
use crate::http1::MessageHead;
use crate::net::stream::BufferedStream;
use crate::protocol::fields::Fields;
use crate::upstream::Lease;

/// An exchange with a server, over HTTP/1.1 or HTTP/2.
pub(crate) enum UpstreamExchange {
    Http1(Http1Exchange),
    Http2(Http2Exchange),
}

macro_rules! either {
    ($self:expr, $call:ident => $do:expr) => {
        match $self {
            UpstreamExchange::Http1($call) => $do,
            UpstreamExchange::Http2($call) => $do,
        }
    };
}

impl UpstreamExchange {
    /// Waits for the head of the response.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub(crate) async fn answer(&mut self) -> Result<(), ExchangeError> {
        std::future::poll_fn(|cx| either!(self, call => call.poll_answer(cx))).await
    }

    /// Returns the head of the response, once it has arrived.
    pub(crate) fn head(&self) -> &MessageHead<StatusCode> {
        either!(self, call => &call.head)
    }

    /// Takes the head of the response out of the exchange. Where there is none, it is that of an error.
    pub(crate) fn take_head(&mut self) -> MessageHead<StatusCode> {
        let taken = MessageHead::of(StatusCode::BAD_GATEWAY);
        std::mem::replace(either!(self, call => &mut call.head), taken)
    }

    /// Returns the length of the response's body, if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        either!(self, call => call.length())
    }

    /// Returns the value of `Content-Length`, even if the response has no body.
    pub(crate) fn declared(&self) -> Option<u64> {
        either!(self, call => call.declared())
    }

    /// Returns the connection, for use as a tunnel.
    pub(crate) fn into_link(self) -> Option<(BufferedStream, Lease)> {
        match self {
            UpstreamExchange::Http1(call) => call.into_link(),
            // An HTTP/2 stream has no connection of its own.
            UpstreamExchange::Http2(_) => None,
        }
    }

    /// The request has been sent; from now on, `client` drives the exchange.
    pub(crate) fn reassign_client(&mut self, client: &Rc<Client>) {
        either!(self, call => call.reassign_client(client));
    }

    /// Returns the lease of the server, while it is held.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        either!(self, call => call.lease.as_ref())
    }

    /// Gives the lease back, with the request unanswered.
    pub(crate) fn into_lease(self) -> Option<Lease> {
        either!(self, call => call.lease)
    }

    /// Returns the request's body from its beginning, for another attempt, if it is still available. This exchange sends
    /// no more of it.
    pub(crate) fn take_body(&mut self) -> Option<RequestBody> {
        either!(self, call => call.take_body())
    }

    /// The response is passed on, so the request will not be sent again.
    pub(crate) fn settle(&mut self) {
        either!(self, call => call.body.settle());
    }

    /// The response is complete: its connection returns to the pool, if it can be reused.
    pub(crate) fn release(&mut self) {
        either!(self, call => call.release());
    }
}

impl Source for UpstreamExchange {
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
