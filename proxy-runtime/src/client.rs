//! The client's side of an exchange ([`Client`]): its address, its protocol, its request's body, and the exchange's [`Record`](record::Record).
//!
//! It is only state: the loops that drive connections are in `connection`.

pub(crate) mod http1;
pub(crate) mod http2;
#[cfg(feature = "h3")]
pub(crate) mod http3;
pub(crate) mod peer;
pub(crate) mod record;
pub(crate) mod request_body;

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;

use self::http1::Http1Client;
use self::http2::Http2Client;
#[cfg(feature = "h3")]
use self::http3::Http3Client;
use self::peer::Peer;
use crate::body::inbound::BodyError;
use crate::net::clock::Timer;
use crate::protocol::fields::Fields;
use crate::worker::Worker;

/// The client's side of an exchange: of a whole connection in HTTP/1.1, of a stream in HTTP/2 and HTTP/3.
pub(crate) struct Client {
    pub(crate) worker: &'static Worker,
    pub(crate) peer: Rc<Peer>,
    pub(crate) timer: Timer,
    /// The idle time-out of the exchange under way, for either side.
    pub(crate) idle: Cell<Duration>,
    /// The client may close its sending side and still receive the response.
    pub(crate) half_close: Cell<bool>,
    /// How many bytes of the request's body were taken.
    pub(crate) received: Cell<u64>,
    pub(crate) wire: Wire,
}

/// The protocol of a client's connection.
pub(crate) enum Wire {
    Http1(Http1Client),
    Http2(Http2Client),
    #[cfg(feature = "h3")]
    Http3(Http3Client),
    /// None: the exchange is the proxy's own.
    Nobody,
}

impl Client {
    /// Returns the state of a new exchange or connection.
    pub(crate) fn new(peer: Rc<Peer>, wire: Wire) -> Client {
        let worker = peer.worker;
        let idle = Cell::new(worker.site.root.timeouts.idle.get(worker.settings));
        let half_close = Cell::new(worker.site.root.limits.half_close);
        Client { worker, peer, timer: Timer::default(), idle, half_close, received: Cell::new(0), wire }
    }

    /// Returns a client without a connection, for the proxy's own requests.
    pub(crate) fn nobody(peer: &Rc<Peer>) -> Client {
        Client::new(Rc::clone(peer), Wire::Nobody)
    }

    /// Returns how much of the request's body is available now; 0 at its end.
    pub(crate) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Result<usize, BodyError>> {
        match &self.wire {
            Wire::Http1(http1) => http1.inbound.borrow_mut().poll(cx, &mut http1.link.borrow_mut()),
            Wire::Http2(http2) => http2.poll_body(cx),
            #[cfg(feature = "h3")]
            Wire::Http3(http3) => http3.poll_body(cx),
            Wire::Nobody => Poll::Ready(Ok(0)),
        }
    }

    /// Passes the available bytes to `to`, which returns how many it has consumed.
    pub(crate) fn take_body(&self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let took = match &self.wire {
            Wire::Http1(http1) => http1.inbound.borrow_mut().take(&mut http1.link.borrow_mut(), to),
            Wire::Http2(http2) => http2.take_body(to),
            #[cfg(feature = "h3")]
            Wire::Http3(http3) => http3.take_body(to),
            Wire::Nobody => 0,
        };
        self.received.set(self.received.get() + took as u64);
        took
    }

    /// Returns the trailers of the request.
    pub(crate) fn trailers(&self) -> Option<Fields> {
        match &self.wire {
            Wire::Http1(http1) => http1.inbound.borrow_mut().decoder.trailers.take(),
            Wire::Http2(http2) => http2.trailers(),
            #[cfg(feature = "h3")]
            Wire::Http3(http3) => http3.trailers(),
            Wire::Nobody => None,
        }
    }

    /// Sends `100 Continue`, once, if the client waits for it (RFC 9110 section 10.1.1).
    pub(crate) fn ask_for_body(&self) {
        if self.expects_continue().is_some_and(|expects| expects.replace(false)) {
            self.interim(StatusCode::CONTINUE, &Fields::new());
        }
    }

    /// The client's body is arriving, whether asked for or not.
    pub(crate) fn body_comes(&self) {
        if let Some(expects) = self.expects_continue() {
            expects.set(false);
        }
    }

    /// Returns whether the client waits for `100 Continue`.
    pub(crate) fn waits_for_continue(&self) -> bool {
        self.expects_continue().is_some_and(Cell::get)
    }

    fn expects_continue(&self) -> Option<&Cell<bool>> {
        match &self.wire {
            Wire::Http1(http1) => Some(&http1.expects_continue),
            Wire::Http2(http2) => Some(&http2.expects_continue),
            #[cfg(feature = "h3")]
            Wire::Http3(http3) => Some(&http3.expects_continue),
            Wire::Nobody => None,
        }
    }

    /// Sends an interim response as soon as the exchange has to wait.
    pub(crate) fn interim(&self, status: StatusCode, fields: &Fields) {
        match &self.wire {
            Wire::Http1(http1) => http1.interim(status, fields),
            Wire::Http2(http2) => http2.interim(status, fields),
            #[cfg(feature = "h3")]
            Wire::Http3(http3) => http3.interim(status, fields),
            Wire::Nobody => {}
        }
    }
}
