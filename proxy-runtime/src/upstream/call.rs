//! A request at a server, and its answer as it comes: [`Call`].
//!
//! The request's body goes out while the answer comes in, driven by whoever waits for the answer. Dropped early, the
//! connection closes; complete, it rests until the next.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::{Channel, Lease};
use crate::body::{Broken, Flaw, Inbound, Outbound, RequestBody, Source};
use crate::clock::after;
use crate::connection::Client;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::forward;
use crate::http1::{self, Framing, Head, Reading};
use crate::stream::Link;

/// The most interim answers before an answer; more are no answer.
const MAX_INTERIM: u8 = 16;

/// How long to wait for what.
#[derive(Clone, Copy)]
pub(crate) struct Waits {
    /// For the head of the answer, once the request is sent.
    pub(crate) response: Duration,
    /// For anything to move.
    pub(crate) idle: Duration,
    /// For all of it.
    pub(crate) until: Option<Instant>,
}

/// See above.
pub(crate) struct Call {
    client: Rc<Client>,
    channel: Option<Channel>,
    /// The server is held until its answer has come.
    lease: Option<Lease>,
    method: Method,
    upload: Outbound,
    body: RequestBody,
    began: Instant,
    /// When the request was sent; `None` while it is on its way.
    sent: Option<Instant>,
    /// The server takes no more of it.
    refused: bool,
    reading: Reading,
    interim: u8,
    /// The server has said something.
    heard: bool,
    inbound: Inbound,
    /// What the answer's head says about the connection.
    keep_alive: bool,
    length: Option<u64>,
    waits: Waits,
    /// Since when nothing has moved, and how much of the request's body had then.
    silent: Option<(Instant, u64)>,
}

/// Why there is no answer.
pub(crate) enum Unanswered {
    /// For good.
    Failed(Failure),
    /// The connection is gone before the server said anything. The body is given back where none of it is used up, so
    /// that the request can be sent again; `unsent` says that not a byte of it was sent.
    Lost { body: Option<RequestBody>, unsent: bool },
}

impl Call {
    /// Sends a request, whose head is written already and was begun at `began`.
    pub(crate) fn new(
        client: &Rc<Client>,
        (lease, channel): (Lease, Channel),
        (method, head): (Method, Vec<u8>),
        body: RequestBody,
        waits: Waits,
        began: Instant,
    ) -> Call {
        Call {
            client: Rc::clone(client),
            channel: Some(channel),
            lease: Some(lease),
            method,
            upload: Outbound::new(head, body.framing == Framing::Chunked),
            body,
            began,
            sent: None,
            silent: None,
            refused: false,
            reading: Reading::default(),
            interim: 0,
            heard: false,
            inbound: Inbound::new(Framing::Empty),
            keep_alive: false,
            length: None,
            waits,
        }
    }

    /// The head of the answer.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn answer(&mut self) -> Result<Head<StatusCode>, Unanswered> {
        std::future::poll_fn(|cx| self.poll_answer(cx)).await
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head<StatusCode>, Unanswered>> {
        let failed = |failure| Poll::Ready(Err(Unanswered::Failed(failure)));
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
                        if !head.start.is_informational() || head.start == StatusCode::SWITCHING_PROTOCOLS {
                            self.inbound = Inbound::new(head.framing);
                            (self.keep_alive, self.length, self.silent) = (head.keep_alive, head.length, None);
                            return Poll::Ready(Ok(head));
                        }
                        self.interim += 1;
                        if self.interim > MAX_INTERIM {
                            return failed(Failure::UpstreamInvalid);
                        }
                        pass_on(&self.client, head);
                        continue;
                    }
                }
            }
            match channel.link.poll_fill(cx) {
                Poll::Ready(Ok(true)) => self.heard = true,
                Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                    return failed(Failure::UpstreamInvalid);
                }
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(Err(self.lost())),
                Poll::Pending => break,
            }
        }
        let timer = &self.client.timer;
        if timer.over(self.waits.until) {
            return failed(Failure::TotalTimeout);
        }
        // While the client has to send, its body keeps the time.
        if timer.over(self.upload.blocked().and_then(|since| after(since, self.waits.idle))) {
            return failed(Failure::BodyStalled);
        }
        if timer.over(self.sent.and_then(|sent| after(sent, self.waits.response))) {
            return failed(Failure::ResponseTimeout);
        }
        Poll::Pending
    }

    fn lost(&mut self) -> Unanswered {
        if self.heard {
            return Unanswered::Failed(Failure::UpstreamReset);
        }
        let used_up = RequestBody::new(&self.client, Framing::Empty);
        let body = self.body.is_untouched().then(|| std::mem::replace(&mut self.body, used_up));
        Unanswered::Lost { body, unsent: self.upload.is_unsent() }
    }

    /// Sends what there is to send. The client's failures end the call; a server that takes no more may still answer.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let Some(channel) = &mut self.channel else { return Ok(()) };
        if self.sent.is_some() || self.refused {
            return Ok(());
        }
        match self.upload.poll_to(cx, &mut self.body, &mut channel.link.stream) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                // Without a body, the moment it arrived is near enough, and known.
                self.sent = Some(if self.body.is_empty() { self.began } else { Instant::now() });
                Ok(())
            }
            Poll::Ready(Err(Broken::Source(failure))) => Err(failure),
            Poll::Ready(Err(Broken::Sink)) => {
                self.refused = true;
                Ok(())
            }
        }
    }

    /// How long the answer's body is, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.inbound.decoder.left()
    }

    /// How long it says it is, also where there is none.
    pub(crate) fn declared(&self) -> Option<u64> {
        self.length
    }

    /// The connection, to be used for something else than HTTP.
    pub(crate) fn into_link(self) -> Option<(Link, Lease)> {
        self.channel.map(|channel| channel.link).zip(self.lease)
    }

    /// The server, as long as it is held.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Gives the server back, with the request unanswered.
    pub(crate) fn into_lease(self) -> Option<Lease> {
        self.lease
    }

    /// The answer is complete: its connection rests, if it can.
    pub(crate) fn release(&mut self) {
        self.lease = None;
        if let Some(channel) = self.channel.take()
            && self.keep_alive
            && self.sent.is_some()
            && channel.link.is_empty()
            && !channel.link.has_ended()
        {
            channel.release();
        }
    }
}

/// RFC 9110 section 15.2: interim answers are passed on, but for the `100 Continue` that we have given ourselves.
fn pass_on(client: &Client, head: Head<StatusCode>) {
    if head.start != StatusCode::CONTINUE {
        let mut out = Vec::new();
        http1::write_response(&mut out, head.start, &forward::end_to_end(head.fields), Framing::Empty, &[]);
        client.interim(&out);
    }
}

impl Source for Call {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        self.poll_upload(cx)?;
        let Some(channel) = &mut self.channel else { return Poll::Ready(Ok(false)) };
        match self.inbound.poll(cx, &mut channel.link) {
            Poll::Ready(Ok(0)) => {
                self.release();
                Poll::Ready(Ok(false))
            }
            Poll::Ready(Ok(_)) => {
                self.silent = None;
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Err(Flaw::Malformed)) => Poll::Ready(Err(Failure::UpstreamInvalid)),
            Poll::Ready(Err(Flaw::Truncated)) => Poll::Ready(Err(Failure::UpstreamTruncated)),
            Poll::Pending => {
                // What the client sends meanwhile is movement, too.
                let uploaded = self.upload.body;
                let (since, _) = *match &mut self.silent {
                    Some(silent) if silent.1 == uploaded => silent,
                    silent => silent.insert((Instant::now(), uploaded)),
                };
                if self.client.timer.over(self.waits.until) {
                    return Poll::Ready(Err(Failure::TotalTimeout));
                }
                if self.client.timer.over(after(since, self.waits.idle)) {
                    return Poll::Ready(Err(Failure::BodyStalled));
                }
                Poll::Pending
            }
        }
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        self.channel.as_mut().map_or(0, |channel| self.inbound.take(&mut channel.link, to))
    }

    fn trailers(&mut self) -> Option<Fields> {
        self.inbound.decoder.trailers.take()
    }
}
