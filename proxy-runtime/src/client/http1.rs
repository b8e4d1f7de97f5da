//! The state of the running exchange on a client's HTTP/1.1 connection ([`Http1Client`]).

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};

use http::{StatusCode, Version};

use crate::body::inbound::Inbound;
use crate::http1::{self, Framing};
use crate::net::stream::BufferedStream;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;

/// The state of the running exchange on a connection.
pub(crate) struct Http1Client {
    pub(crate) link: RefCell<BufferedStream>,
    /// The body of the request under way.
    pub(crate) inbound: RefCell<Inbound>,
    /// The client waits for `100 Continue`.
    pub(crate) expects_continue: Cell<bool>,
    /// Interim responses (1xx) to be sent before anything else.
    interim: RefCell<Vec<u8>>,
    /// Whether the client understands interim responses: HTTP/1.0 does not.
    hears_interim: Cell<bool>,
}

/// The most bytes of interim responses that are queued.
const MAX_INTERIM: usize = 16 << 10;

impl Http1Client {
    /// Returns the state of a connection before its first request.
    pub(crate) fn new(link: BufferedStream) -> Http1Client {
        Http1Client {
            link: RefCell::new(link),
            inbound: RefCell::new(Inbound::new(Framing::Empty)),
            expects_continue: Cell::new(false),
            interim: RefCell::default(),
            hears_interim: Cell::new(true),
        }
    }

    /// Begins a request: its version and fields tell whether the client understands interim responses and expects one.
    pub(crate) fn begin(&self, version: Version, fields: &Fields, framing: Framing) {
        self.hears_interim.set(version == Version::HTTP_11);
        self.expects_continue.set(version == Version::HTTP_11 && fields.contains(KnownField::EXPECT));
        *self.inbound.borrow_mut() = Inbound::new(framing);
    }

    /// Takes the unsent interim responses, which precede the final one; there will be no more after this.
    pub(crate) fn take_interim(&self) -> Vec<u8> {
        self.hears_interim.set(false);
        std::mem::take(&mut *self.interim.borrow_mut())
    }

    /// Returns unsent interim responses, as another final response follows.
    pub(crate) fn give_back_interim(&self, interim: Vec<u8>) {
        *self.interim.borrow_mut() = interim;
    }

    /// Sends an interim response as soon as the exchange has to wait.
    pub(crate) fn interim(&self, status: StatusCode, fields: &Fields) {
        let mut interim = self.interim.borrow_mut();
        if self.hears_interim.get() && interim.len() + fields.size() <= MAX_INTERIM {
            http1::write_response(&mut interim, (status, None), fields, Framing::Empty, &[]);
        }
    }

    /// Sends the TLS `close_notify` alert (RFC 8446 section 6.1), if there is space for it.
    pub(crate) fn say_goodbye(&self) {
        let stream = &mut self.link.borrow_mut().stream;
        if stream.is_encrypted() {
            let _ = stream.poll_shutdown(&mut Context::from_waker(std::task::Waker::noop()));
        }
    }

    /// Drives the connection while an exchange waits. `true`: the client has disconnected. With `may_leave`, a client that has
    /// closed its sending side counts as disconnected, too.
    pub(crate) fn poll_meanwhile(&self, cx: &mut Context<'_>, may_leave: bool) -> bool {
        let body_complete = self.inbound.borrow().decoder.is_done();
        let mut link = self.link.borrow_mut();
        let mut interim = self.interim.borrow_mut();
        while !interim.is_empty() {
            match link.stream.poll_write(cx, [&interim, &[]]) {
                Poll::Ready(Ok(written)) => drop(interim.drain(..written)),
                Poll::Ready(Err(_)) => return true,
                Poll::Pending => break,
            }
        }
        // While its body is being received, the reader of the body detects a disconnect. A client that has pipelined its next
        // request is still connected.
        while body_complete && link.is_empty() && !link.has_ended() {
            match link.poll_fill(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return true,
                Poll::Pending => break,
            }
        }
        may_leave && body_complete && link.is_empty() && link.has_ended()
    }

    /// Returns whether the client was never asked for its body, and so may or may not send it (RFC 9110 section
    /// 10.1.1).
    pub(crate) fn was_not_asked(&self) -> bool {
        self.expects_continue.get() && !self.inbound.borrow().decoder.is_done()
    }

    /// Returns whether the rest of the request's body is so short that reading it costs less than a new connection.
    pub(crate) fn is_worth_reading(&self) -> bool {
        let inbound = self.inbound.borrow();
        let left = inbound.decoder.left();
        inbound.decoder.is_done() || !self.expects_continue.get() && left.is_some_and(|left| left <= WORTH_READING)
    }
}

/// The most bytes of an unwanted body that are read.
const WORTH_READING: u64 = 64 << 10;
