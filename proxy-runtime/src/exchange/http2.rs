//! A request to a server over HTTP/2: a stream on a shared connection.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode, Version};
use tokio::time::Instant;

use super::waits::{Deadlines, ExchangeError, MAX_INTERIM, NotProcessed, Waits, pass_on};
use crate::body::source::{Source, split_block};
use crate::client::Client;
use crate::client::request_body::RequestBody;
use crate::failure::Failure;
use crate::http1::{Framing, MessageHead, declared_length};
use crate::http2::monitor::Violation;
use crate::http2::{DataPiece, Http2Outbound, are_well_formed, received, received_trailers};
use crate::protocol::fields::Fields;
use crate::upstream::Lease;
use crate::upstream::shared::{BytesWritten, StreamSlot, WINDOW};

/// An HTTP/2 exchange with a server.
pub(crate) struct Http2Exchange {
    pub(super) client: Rc<Client>,
    /// The lease is held until the response is complete.
    pub(super) lease: Option<Lease>,
    /// The stream's slot on the connection.
    held: Option<StreamSlot>,
    response: ResponseFuture,
    /// The request's body while it is sent; `None` once it has been sent, or if it is not wanted.
    upload: Option<(Http2Outbound, SendStream<DataPiece>)>,
    /// How many bytes of it were sent.
    uploaded: u64,
    pub(super) body: RequestBody,
    /// How much the connection had written when the request was started.
    begun: BytesWritten,
    interim: u8,
    /// The response's head, once it has arrived.
    pub(super) head: MessageHead<StatusCode>,
    answer: Option<RecvStream>,
    /// The received data that was not passed on yet.
    chunk: Bytes,
    trailers: Option<Fields>,
    length: Option<u64>,
    clock: Deadlines,
}

/// The size of `:status` in a field section (RFC 9113 section 6.5.2).
const STATUS: usize = ":status".len() + 3 + 32;

impl Http2Exchange {
    /// Sends a request that began at `began`.
    ///
    /// # Errors
    /// The connection accepts no more requests; the lease and the body are returned.
    pub(crate) fn new(
        client: &Rc<Client>,
        (lease, mut held): (Lease, StreamSlot),
        request: Request<()>,
        mut body: RequestBody,
        waits: Waits,
        began: Instant,
    ) -> Result<Http2Exchange, Box<(Lease, RequestBody)>> {
        let empty = body.is_empty();
        let begun = held.written();
        let Ok((response, stream)) = held.sender.send_request(request, empty) else {
            held.distrust();
            return Err(Box::new((lease, body)));
        };
        let length = match body.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        body.wait_for_server(waits.proceed);
        let mut clock = Deadlines::new(waits, began);
        if empty {
            clock.is_sent(true);
        }
        Ok(Http2Exchange {
            client: Rc::clone(client),
            lease: Some(lease),
            held: Some(held),
            response,
            upload: (!empty).then(|| (Http2Outbound::new(length), stream)),
            uploaded: 0,
            body,
            begun,
            interim: 0,
            head: MessageHead::of(StatusCode::BAD_GATEWAY),
            answer: None,
            chunk: Bytes::new(),
            trailers: None,
            length: None,
            clock,
        })
    }

    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let failed = |failure| Poll::Ready(Err(ExchangeError::Failed(failure)));
        if let Err(failure) = self.poll_upload(cx) {
            return failed(failure);
        }
        while let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            self.interim += 1;
            // RFC 9113 section 8.6: HTTP/2 has no 101; an HTTP/1.1 client would take it for an upgrade.
            let changes = interim.status() == StatusCode::SWITCHING_PROTOCOLS;
            if self.is_too_large(interim.headers()) {
                return failed(Failure::UpstreamHeadTooLarge);
            }
            if changes || self.interim > MAX_INTERIM || !are_well_formed(interim.headers()) || self.is_malformed() {
                return failed(Failure::UpstreamInvalid);
            }
            let about = (&*self.client, &mut self.body);
            pass_on(cx, about, interim.status(), received(interim.headers()));
        }
        match std::pin::Pin::new(&mut self.response).poll(cx) {
            Poll::Ready(Ok(response)) => {
                let (parts, answer) = response.into_parts();
                if self.is_too_large(&parts.headers) {
                    return failed(Failure::UpstreamHeadTooLarge);
                }
                if !are_well_formed(&parts.headers) || self.is_malformed() {
                    return failed(Failure::UpstreamInvalid);
                }
                if self.body.is_held() {
                    // The server has responded without asking for the body.
                    self.upload = None;
                }
                let fields = received(&parts.headers);
                self.length = declared_length(&fields);
                let framing = match self.length {
                    _ if answer.is_end_stream() => Framing::Empty,
                    Some(length) => Framing::Length(length),
                    None => Framing::Chunked,
                };
                self.answer = Some(answer);
                let (length, version) = (self.length, Version::HTTP_2);
                self.head =
                    MessageHead { version, fields, framing, length, keep_alive: true, ..MessageHead::of(parts.status) };
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.lost(&error))),
            Poll::Pending => {
                let blocked = self.upload.as_ref().and_then(|(outbound, _)| outbound.blocked);
                match self.clock.over_for_head(&self.client.timer, blocked) {
                    Some(failure) => {
                        if let (Failure::ResponseTimeout | Failure::BodyIdleTimeout, Some(held)) = (failure, &self.held)
                        {
                            // The connection itself may be dead.
                            held.distrust();
                        }
                        failed(failure)
                    }
                    None => Poll::Pending,
                }
            }
        }
    }

    /// Returns whether the server has sent malformed fields on the stream, which the library does not report.
    fn is_malformed(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.monitor().is_malformed(self.response.stream_id().as_u32()))
    }

    fn is_too_large(&self, headers: &HeaderMap) -> bool {
        self.held.as_ref().is_some_and(|held| held.monitor().is_too_large(STATUS, headers))
    }

    /// Returns the failure that has cut the connection. A head that is too large fails only its own stream.
    fn cut(&self) -> Option<Failure> {
        match self.held.as_ref()?.monitor().cut()? {
            Violation::HeadTooLarge(stream) if stream == self.response.stream_id().as_u32() => {
                Some(Failure::UpstreamHeadTooLarge)
            }
            Violation::HeadTooLarge(_) => None,
            Violation::Flood | Violation::Protocol | Violation::Compression => Some(Failure::UpstreamInvalid),
        }
    }

    /// Classifies the failure of a stream (RFC 9113 sections 6.8 and 8.7).
    fn lost(&self, error: &h2::Error) -> ExchangeError {
        let Some(held) = &self.held else { return ExchangeError::Lost };
        if !error.is_reset() {
            held.distrust();
        }
        if let Some(failure) = self.cut().or(is_malformed(error).then_some(Failure::UpstreamInvalid)) {
            return ExchangeError::Failed(failure);
        }
        // A server that has sent interim responses has begun to process the request, whatever it says now.
        let says_so = self.interim == 0 && error.is_remote();
        if says_so && error.reason() == Some(Reason::REFUSED_STREAM) && error.is_reset() {
            held.refused();
            return ExchangeError::Unprocessed(NotProcessed::Server);
        }
        // The library fails exactly those streams this way that are above the last one that the server has accepted.
        if says_so && error.is_go_away() || held.has_written_nothing_since(self.begun) {
            return ExchangeError::Unprocessed(NotProcessed::Connection);
        }
        if error.is_reset() { ExchangeError::Failed(Failure::UpstreamReset) } else { ExchangeError::Lost }
    }

    pub(super) fn take_body(&mut self) -> Option<RequestBody> {
        let taken = RequestBody::new(&self.client, Framing::Empty);
        let body = self.body.rewind().then(|| std::mem::replace(&mut self.body, taken));
        if body.is_some() {
            self.upload = None;
        }
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
        let Some((outbound, stream)) = &mut self.upload else { return Ok(()) };
        let outcome = outbound.poll(cx, &mut self.body, stream);
        self.uploaded = outbound.sent;
        match outcome {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => self.clock.is_sent(false),
            Poll::Ready(Err(None)) => {}
            Poll::Ready(Err(Some(failure))) => {
                stream.send_reset(Reason::CANCEL);
                self.upload = None;
                return Err(failure);
            }
        }
        self.upload = None;
        Ok(())
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    pub(super) fn declared(&self) -> Option<u64> {
        self.length
    }

    pub(super) fn release(&mut self) {
        (self.lease, self.held, self.answer) = (None, None, None);
    }

    /// Releases flow-control capacity, so that the server may send as much again.
    fn took(&mut self, bytes: usize) {
        if let Some(answer) = &mut self.answer {
            // This fails only if the stream has ended.
            let _ = answer.flow_control().release_capacity(bytes);
        }
    }

    /// Returns the failure of an incomplete response body.
    fn broken(&self, error: &h2::Error) -> Failure {
        let usual = if is_malformed(error) { Failure::UpstreamInvalid } else { Failure::UpstreamTruncated };
        self.cut().unwrap_or(usual)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Ok(false)) };
        while self.chunk.is_empty() {
            match ready!(answer.poll_data(cx)) {
                Some(Ok(data)) => self.chunk = data,
                Some(Err(error)) => return Poll::Ready(Err(self.broken(&error))),
                None => {
                    let trailers = match ready!(answer.poll_trailers(cx)) {
                        Ok(trailers) => trailers,
                        Err(error) => return Poll::Ready(Err(self.broken(&error))),
                    };
                    self.trailers = match trailers {
                        Some(trailers) if self.is_too_large(&trailers) => {
                            return Poll::Ready(Err(Failure::UpstreamHeadTooLarge));
                        }
                        Some(_) if self.is_malformed() => return Poll::Ready(Err(Failure::UpstreamInvalid)),
                        Some(trailers) => Some(received_trailers(&trailers).ok_or(Failure::UpstreamInvalid)?),
                        None => None,
                    };
                    return Poll::Ready(Ok(false));
                }
            }
        }
        Poll::Ready(Ok(true))
    }
}

/// Returns whether the library rejects a response as malformed: for example, if its length differs from
/// `Content-Length` (RFC 9113 section 8.1.1).
fn is_malformed(error: &h2::Error) -> bool {
    error.is_library() && error.is_reset() && error.reason() == Some(Reason::PROTOCOL_ERROR)
}

impl Source for Http2Exchange {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        self.poll_upload(cx)?;
        match self.poll_body(cx) {
            Poll::Ready(Ok(false)) => {
                self.release();
                Poll::Ready(Ok(false))
            }
            Poll::Ready(outcome) => {
                self.clock.moves();
                Poll::Ready(outcome)
            }
            Poll::Pending => match self.clock.over_for_body(&self.client.timer, self.uploaded) {
                Some(failure) => Poll::Ready(Err(failure)),
                None => Poll::Pending,
            },
        }
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let took = to(&self.chunk);
        self.chunk.advance(took);
        self.took(took);
        took
    }

    fn take_bytes(&mut self, most: usize) -> Bytes {
        let taken = split_block(&mut self.chunk, most);
        self.took(taken.len());
        taken
    }

    fn rest(&mut self) -> usize {
        // The server may send as much as the window allows, and usually has; and chunks share their memory with those of
        // other bodies.
        let window = WINDOW as usize / 2 * 3;
        self.answer.as_ref().map_or(0, |answer| if answer.is_end_stream() { self.chunk.len() } else { window })
    }

    fn trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }
}
