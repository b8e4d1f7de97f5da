//! A request to a server over HTTP/1.1, on its own connection.

use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::waits::{Deadlines, ExchangeError, MAX_INTERIM, NotProcessed, Waits, pass_on};
use crate::body::inbound::{BodyError, Inbound};
use crate::body::outbound::{BodyFraming, Outbound, SendError};
use crate::body::source::Source;
use crate::client::Client;
use crate::client::request_body::RequestBody;
use crate::failure::Failure;
use crate::http1::{Framing, HeadReader, MessageHead};
use crate::net::stream::BufferedStream;
use crate::protocol::fields::Fields;
use crate::upstream::{Lease, UpstreamConnection};

/// An HTTP/1.1 exchange with a server.
pub(crate) struct Http1Exchange {
    pub(super) client: Rc<Client>,
    channel: Option<UpstreamConnection>,
    /// The lease is held until the response is complete.
    pub(super) lease: Option<Lease>,
    method: Method,
    upload: Outbound,
    pub(super) body: RequestBody,
    clock: Deadlines,
    /// The server accepts no more of the request's body.
    refused: bool,
    reading: HeadReader,
    interim: u8,
    /// The server has sent something.
    heard: bool,
    /// The response's head, once it has arrived.
    pub(super) head: MessageHead<StatusCode>,
    inbound: Inbound,
    /// Whether the response's head allows the connection to persist.
    keep_alive: bool,
    length: Option<u64>,
}

impl Http1Exchange {
    /// Sends a request whose head has been written, and which began at `began`.
    pub(crate) fn new(
        client: &Rc<Client>,
        (lease, channel): (Lease, UpstreamConnection),
        (method, head): (Method, Vec<u8>),
        mut body: RequestBody,
        waits: Waits,
        began: Instant,
    ) -> Http1Exchange {
        body.wait_for_server(waits.proceed);
        Http1Exchange {
            client: Rc::clone(client),
            channel: Some(channel),
            lease: Some(lease),
            method,
            upload: Outbound::request(head, BodyFraming::of(body.framing)),
            body,
            clock: Deadlines::new(waits, began),
            refused: false,
            reading: HeadReader::default(),
            interim: 0,
            heard: false,
            head: MessageHead::of(StatusCode::BAD_GATEWAY),
            inbound: Inbound::new(Framing::Empty),
            keep_alive: false,
            length: None,
        }
    }

    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let failed = |failure| Poll::Ready(Err(ExchangeError::Failed(failure)));
        if let Err(failure) = self.poll_upload(cx) {
            return failed(failure);
        }
        let Some(channel) = &mut self.channel else { return failed(Failure::Internal) };
        loop {
            if !channel.link.is_empty() {
                match self.reading.answer(channel.link.bytes(), &self.method) {
                    Err(failure) => return failed(failure),
                    Ok(None) => {}
                    Ok(Some(head)) => {
                        channel.link.consume(head.size);
                        if !head.is_interim() {
                            // The server has responded without asking for the body.
                            self.refused |= self.body.is_held();
                            self.inbound = Inbound::of_server(head.framing);
                            (self.keep_alive, self.length) = (head.keep_alive, head.length);
                            self.head = head;
                            return Poll::Ready(Ok(()));
                        }
                        self.interim += 1;
                        if self.interim > MAX_INTERIM {
                            return failed(Failure::UpstreamInvalid);
                        }
                        pass_on(cx, (&self.client, &mut self.body), head.start, head.fields);
                        continue;
                    }
                }
            }
            match channel.link.poll_fill(cx) {
                Poll::Ready(Ok(true)) => self.heard = true,
                Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                    return failed(Failure::UpstreamHeadTooLarge);
                }
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(Err(self.lost())),
                Poll::Pending => break,
            }
        }
        match self.clock.over_for_head(&self.client.timer, self.upload.blocked()) {
            Some(failure) => failed(failure),
            None => Poll::Pending,
        }
    }

    fn lost(&self) -> ExchangeError {
        if self.heard {
            return ExchangeError::Failed(Failure::UpstreamReset);
        }
        if self.upload.is_unsent() { ExchangeError::Unprocessed(NotProcessed::Connection) } else { ExchangeError::Lost }
    }

    pub(super) fn take_body(&mut self) -> Option<RequestBody> {
        let taken = RequestBody::new(&self.client, Framing::Empty);
        let body = self.body.rewind().then(|| std::mem::replace(&mut self.body, taken));
        // The rest of the announced body will not be sent: the connection can't be reused.
        self.refused |= body.is_some() && self.clock.sent.is_none();
        body
    }

    /// The request has no body, or its body is no longer needed.
    pub(super) fn reassign_client(&mut self, client: &Rc<Client>) {
        self.client = Rc::clone(client);
        self.body = RequestBody::new(client, Framing::Empty);
    }

    /// Sends what is available of the body. The client's failures end the exchange; a server that accepts no more may
    /// still respond.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let Some(channel) = &mut self.channel else { return Ok(()) };
        if self.clock.sent.is_some() || self.refused {
            return Ok(());
        }
        match self.upload.poll_to(cx, &mut self.body, &mut channel.link.stream) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                self.clock.is_sent(self.body.is_empty());
                Ok(())
            }
            Poll::Ready(Err(SendError::Source(failure))) => Err(failure),
            Poll::Ready(Err(SendError::Sink)) => {
                self.refused = true;
                Ok(())
            }
        }
    }

    /// Returns the length of the response's body, if it is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.inbound.decoder.left()
    }

    /// Returns the value of `Content-Length`, even if the response has no body.
    pub(super) fn declared(&self) -> Option<u64> {
        self.length
    }

    /// Returns the connection, for use as a tunnel.
    pub(super) fn into_link(self) -> Option<(BufferedStream, Lease)> {
        self.channel.map(|channel| channel.link).zip(self.lease)
    }

    /// The response is complete: its connection returns to the pool, if it can be reused.
    pub(super) fn release(&mut self) {
        self.lease = None;
        if let Some(channel) = self.channel.take()
            && self.keep_alive
            && self.clock.sent.is_some()
            && channel.link.is_empty()
            && !channel.link.has_ended()
        {
            channel.release();
        }
    }
}

impl Source for Http1Exchange {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        self.poll_upload(cx)?;
        let Some(channel) = &mut self.channel else { return Poll::Ready(Ok(false)) };
        match self.inbound.poll(cx, &mut channel.link) {
            Poll::Ready(Ok(0)) => {
                self.release();
                Poll::Ready(Ok(false))
            }
            Poll::Ready(Ok(_)) => {
                self.clock.moves();
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Err(BodyError::Malformed)) => Poll::Ready(Err(Failure::UpstreamInvalid)),
            Poll::Ready(Err(BodyError::Truncated)) => Poll::Ready(Err(Failure::UpstreamTruncated)),
            Poll::Pending => match self.clock.over_for_body(&self.client.timer, self.upload.body) {
                Some(failure) => Poll::Ready(Err(failure)),
                None => Poll::Pending,
            },
        }
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        self.channel.as_mut().map_or(0, |channel| self.inbound.take(&mut channel.link, to))
    }

    fn rest(&mut self) -> usize {
        self.channel.as_mut().map_or(0, |channel| channel.link.shrink())
    }

    fn trailers(&mut self) -> Option<Fields> {
        self.inbound.decoder.trailers.take()
    }
}
