//! The state of the exchange on a stream of a client's HTTP/3 connection ([`Http3Client`]).

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use quinn::{Connection, RecvStream, SendStream, VarInt};

use crate::body::inbound::BodyError;
use crate::http2::budget::StreamBudget;
use crate::http3::codes::ErrorCode;
use crate::http3::frames::{FrameReader, StreamPart};
use crate::http3::head;
use crate::protocol::fields::Fields;

/// The most bytes of a stream that are taken from the library at once.
const CHUNK: usize = 16 << 10;

/// How often a stream lets others go first at most.
const MAX_YIELDS: usize = 8;

/// The most bytes of interim responses that are queued.
const MAX_INTERIM: usize = 16 << 10;

/// The state of the exchange on a stream.
pub(crate) struct Http3Client {
    receiving: RefCell<ReceivingStream>,
    sending: RefCell<SendingStream>,
    /// Interim responses (1xx) to be sent before anything else.
    interim: RefCell<Vec<u8>>,
    pub(crate) budget: Rc<StreamBudget>,
    id: u64,
    /// How many updates of priorities the stream has seen, and how often it has let others go first.
    updates: Cell<u64>,
    yielded: Cell<usize>,
    /// The complete body was received.
    pub(crate) whole: Cell<bool>,
    /// The client waits for `100 Continue`.
    pub(crate) expects_continue: Cell<bool>,
}

/// A connection, with the reason for which this side has closed it.
pub(crate) struct ClosableConnection {
    pub(crate) quic: Connection,
    failed: Cell<Option<ErrorCode>>,
}

impl ClosableConnection {
    pub(crate) fn new(quic: Connection) -> ClosableConnection {
        ClosableConnection { quic, failed: Cell::new(None) }
    }

    /// Closes the connection, because the client violates the protocol.
    pub(crate) fn fail(&self, code: ErrorCode) {
        self.failed.set(self.failed.get().or(Some(code)));
        self.quic.close(code.into(), b"");
    }

    /// Returns the violation for which the connection was closed.
    pub(crate) fn violation(&self) -> Option<ErrorCode> {
        self.failed.get()
    }
}

/// What a client sends.
struct ReceivingStream {
    stream: RecvStream,
    connection: Rc<ClosableConnection>,
    budget: Rc<StreamBudget>,
    frames: FrameReader,
    /// What has arrived and was not read.
    chunk: Bytes,
    /// The stream has ended.
    ended: bool,
    /// The part of the body that was not passed on yet.
    data: Bytes,
    /// How many bytes of the body are missing, if its length is declared.
    left: Option<u64>,
    trailers: Option<Fields>,
    /// The largest field section, in bytes.
    limit: usize,
    /// Why nothing more is read.
    failure: Option<BodyError>,
}

/// How reading a stream fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamError {
    /// The client has reset it, or the connection is closed.
    Reset,
    /// The client violates the protocol, which has ended the connection.
    Protocol(ErrorCode),
}

/// What the proxy sends. The library would end an unfinished stream as if it were complete; this resets it.
struct SendingStream {
    stream: SendStream,
    finished: bool,
}

impl SendingStream {
    fn reset(&mut self, code: ErrorCode) {
        if !std::mem::replace(&mut self.finished, true) {
            // An error means that the stream has ended otherwise.
            let _ = self.stream.reset(code.into());
        }
    }
}

impl Drop for SendingStream {
    fn drop(&mut self) {
        self.reset(ErrorCode::Internal);
    }
}

impl From<ErrorCode> for VarInt {
    fn from(code: ErrorCode) -> VarInt {
        VarInt::from_u32(code as u32)
    }
}

impl ReceivingStream {
    /// Returns the next part of the stream; `None` at its end.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<StreamPart>, StreamError>> {
        let part = ready!(self.poll_frames(cx));
        match part {
            Ok(_) => {}
            Err(StreamError::Reset) => self.failure = Some(BodyError::Truncated),
            Err(StreamError::Protocol(code)) => {
                self.failure = Some(BodyError::Malformed);
                self.connection.fail(code);
            }
        }
        Poll::Ready(part)
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<StreamPart>, StreamError>> {
        loop {
            if let Some(part) = self.frames.read(&mut self.chunk).map_err(StreamError::Protocol)? {
                return Poll::Ready(Ok(Some(part)));
            }
            if self.ended {
                return Poll::Ready(self.frames.finish().map(|()| None).map_err(StreamError::Protocol));
            }
            match ready!(pin!(self.stream.read_chunk(CHUNK, true)).poll(cx)) {
                Ok(Some(chunk)) => {
                    if self.budget.received(chunk.bytes.len()) {
                        self.connection.quic.set_receive_window(self.budget.announced().into());
                    }
                    self.chunk = chunk.bytes;
                }
                Ok(None) => self.ended = true,
                Err(_) => return Poll::Ready(Err(StreamError::Reset)),
            }
        }
    }

    /// Makes data of the body available; returns how much.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, BodyError>> {
        while self.data.is_empty() {
            if let Some(failure) = self.failure {
                return Poll::Ready(Err(failure));
            }
            match ready!(self.poll_part(cx)) {
                Ok(Some(StreamPart::Data(data))) => {
                    if let Some(left) = &mut self.left {
                        // RFC 9114 section 4.1.2: the length must be exact.
                        let Some(after) = left.checked_sub(data.len() as u64) else { return self.malformed() };
                        *left = after;
                    }
                    self.data = data;
                }
                Ok(Some(StreamPart::Fields(section))) => {
                    match section.map(|section| head::trailers(&section, self.limit)) {
                        Some(Ok(trailers)) => self.trailers = Some(trailers),
                        Some(Err(head::HeadError::Connection(code))) => {
                            self.connection.fail(code);
                            return self.malformed();
                        }
                        Some(Err(_)) | None => return self.malformed(),
                    }
                }
                Ok(None) if self.left.is_some_and(|left| left > 0) => return self.malformed(),
                Ok(None) => return Poll::Ready(Ok(0)),
                Err(StreamError::Reset) => return Poll::Ready(Err(BodyError::Truncated)),
                Err(StreamError::Protocol(_)) => return Poll::Ready(Err(BodyError::Malformed)),
            }
        }
        Poll::Ready(Ok(self.data.len()))
    }

    fn malformed(&mut self) -> Poll<Result<usize, BodyError>> {
        self.failure = Some(BodyError::Malformed);
        let _ = self.stream.stop(ErrorCode::Message.into());
        Poll::Ready(Err(BodyError::Malformed))
    }
}

impl Http3Client {
    /// Returns the state of a stream whose request begins; its field sections have up to `limit` bytes.
    pub(crate) fn new(
        connection: &Rc<ClosableConnection>,
        (sending, receiving): (SendStream, RecvStream),
        budget: Rc<StreamBudget>,
        limit: usize,
    ) -> Http3Client {
        let id = receiving.id().into();
        Http3Client {
            id,
            updates: Cell::new(0),
            yielded: Cell::new(0),
            receiving: RefCell::new(ReceivingStream {
                stream: receiving,
                connection: Rc::clone(connection),
                budget: Rc::clone(&budget),
                frames: FrameReader::new(limit),
                chunk: Bytes::new(),
                ended: false,
                data: Bytes::new(),
                left: None,
                trailers: None,
                limit,
                failure: None,
            }),
            sending: RefCell::new(SendingStream { stream: sending, finished: false }),
            interim: RefCell::default(),
            budget,
            whole: Cell::new(false),
            expects_continue: Cell::new(false),
        }
    }

    /// Reads the field section of the request: `Ok(None)` if it is larger than allowed. `Err(None)`: the stream has ended before.
    pub(crate) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<u8>>, Option<StreamError>>> {
        match ready!(self.receiving.borrow_mut().poll_part(cx)) {
            Ok(Some(StreamPart::Fields(section))) => Poll::Ready(Ok(section)),
            // Data before the head is an error of its own.
            Ok(Some(StreamPart::Data(_)) | None) => Poll::Ready(Err(None)),
            Err(error) => Poll::Ready(Err(Some(error))),
        }
    }

    /// Returns how many bytes of an incomplete field section have arrived.
    pub(crate) fn collected(&self) -> usize {
        self.receiving.borrow().frames.collected()
    }

    /// Looks whether the stream ends after the head, so that the request has no body.
    pub(crate) fn ends(&self, cx: &mut Context<'_>) -> bool {
        let mut receiving = self.receiving.borrow_mut();
        let ends = matches!(receiving.poll_body(cx), Poll::Ready(Ok(0)));
        self.whole.set(ends);
        ends
    }

    /// What follows the head is a tunnel.
    pub(crate) fn tunnel(&self) {
        self.receiving.borrow_mut().frames.tunnel();
    }

    /// Sets the declared length of the body.
    pub(crate) fn expect(&self, length: Option<u64>) {
        self.receiving.borrow_mut().left = length;
    }

    pub(crate) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Result<usize, BodyError>> {
        let there = ready!(self.receiving.borrow_mut().poll_body(cx));
        if there == Ok(0) {
            self.whole.set(true);
        }
        Poll::Ready(there)
    }

    pub(crate) fn take_body(&self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let data = &mut self.receiving.borrow_mut().data;
        let took = to(data);
        data.advance(took);
        took
    }

    pub(crate) fn trailers(&self) -> Option<Fields> {
        self.receiving.borrow_mut().trailers.take()
    }

    pub(crate) fn interim(&self, status: StatusCode, fields: &Fields) {
        let mut interim = self.interim.borrow_mut();
        if interim.len() + fields.size() <= MAX_INTERIM {
            head::write_response(&mut interim, status, fields, &[]);
        }
    }

    /// Takes the unsent interim responses, which precede the final one.
    pub(crate) fn take_interim(&self) -> Vec<u8> {
        std::mem::take(&mut *self.interim.borrow_mut())
    }

    /// Returns unsent interim responses, as another final response follows.
    pub(crate) fn give_back_interim(&self, interim: Vec<u8>) {
        *self.interim.borrow_mut() = interim;
    }

    /// Sends interim responses while the exchange waits.
    pub(crate) fn poll_interim(&self, cx: &mut Context<'_>) {
        let mut interim = self.interim.borrow_mut();
        while !interim.is_empty() {
            match self.poll_write(cx, [&interim, &[]]) {
                Poll::Ready(Ok(written)) => drop(interim.drain(..written)),
                // If the client has disconnected, the exchange will notice.
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
    }

    /// Begins with the priority that the request has (RFC 9218 section 5).
    pub(crate) fn prioritize(&self, field: Option<&[u8]>) {
        self.budget.priorities.begin(self.id, field);
        if self.budget.priorities.matter() {
            self.apply_priority();
        }
    }

    /// Adds what the server says of the priority.
    pub(crate) fn prioritize_response(&self, field: &[u8]) {
        self.budget.priorities.respond(self.id, field);
        self.apply_priority();
    }

    fn apply_priority(&self) {
        let priorities = &self.budget.priorities;
        self.updates.set(priorities.updates());
        // An error means that the stream has ended.
        let _ = self.sending.borrow().stream.set_priority(priorities.rank(self.id).as_priority());
    }

    /// Writes as much as the client accepts.
    ///
    /// The library sends what it has in the order of priorities, but wakes streams in another order when it has space for more. So a stream lets
    /// those go first that wait and have a better rank: each time once for each of them, as one whose own window is closed won't use the space.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, parts: [&[u8]; 2]) -> Poll<std::io::Result<usize>> {
        let priorities = &self.budget.priorities;
        if !priorities.matter() {
            return self.poll_write_now(cx, parts);
        }
        if self.updates.get() != priorities.updates() {
            self.apply_priority();
        }
        if self.yielded.get() < priorities.better(self.id).min(MAX_YIELDS) {
            self.yielded.set(self.yielded.get() + 1);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.yielded.set(0);
        let written = self.poll_write_now(cx, parts);
        priorities.wait(self.id, written.is_pending());
        written
    }

    fn poll_write_now(&self, cx: &mut Context<'_>, parts: [&[u8]; 2]) -> Poll<std::io::Result<usize>> {
        let mut sending = self.sending.borrow_mut();
        let mut written = 0;
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            match Pin::new(&mut sending.stream).poll_write(cx, part) {
                Poll::Ready(Ok(more)) => {
                    written += more;
                    if more < part.len() {
                        break;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending if written > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(written))
    }

    /// Waits until the client has received everything, or does not want it. Independent of this state.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + 'static {
        let stopped = self.sending.borrow().stream.stopped();
        async move { drop(stopped.await) }
    }

    /// Waits until the client does not want the response, or is gone.
    pub(crate) fn cancelled(&self) -> impl Future<Output = ()> + 'static {
        let stopped = self.sending.borrow().stream.stopped();
        async move {
            if matches!(stopped.await, Ok(None)) {
                // It has everything.
                std::future::pending().await
            }
        }
    }

    /// Whether the client has violated the protocol in the body of the request.
    pub(crate) fn is_malformed(&self) -> bool {
        matches!(self.receiving.borrow().failure, Some(BodyError::Malformed))
    }

    /// Ends the response.
    pub(crate) fn finish(&self) {
        let mut sending = self.sending.borrow_mut();
        if !std::mem::replace(&mut sending.finished, true) {
            let _ = sending.stream.finish();
        }
    }

    /// Cuts the response off.
    pub(crate) fn reset(&self, code: ErrorCode) {
        self.sending.borrow_mut().reset(code);
    }

    /// Receives no more of the request.
    pub(crate) fn stop(&self, code: ErrorCode) {
        if !self.whole.get() {
            let _ = self.receiving.borrow_mut().stream.stop(code.into());
        }
    }
}
