//! Bodies on their way: [`RequestBody`] from client to server, [`Body`] from whoever answers to the client.
//!
//! Nothing is collected: each polls the other side, so a slow reader slows the writer (back-pressure), and memory is a
//! buffer per side however large the body. Every wait ends: by the deadline that a request's body grows with what
//! arrives, by silence of the answer's body, by the total.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::connection::BusyGuard;
use crate::failure::Failure;
use crate::observe::Record;
use crate::upstream::Channel;

/// The error of a body that ended early; hyper aborts the message, so that the other side can tell.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Failure);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.reason())
    }
}

impl std::error::Error for Ended {}

/// What an exchange and its request's body tell each other.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Why the body ended early.
    pub(crate) failure: Cell<Option<Failure>>,
    /// When it was complete.
    pub(crate) complete: Cell<Option<Instant>>,
    /// Since when it is the server's turn to take what has arrived; `None` while it is the client's turn to send.
    pub(crate) held: Cell<Option<Instant>>,
    /// Counts frames, so that others see whether it moves.
    pub(crate) frames: Cell<u64>,
}

/// A request's body. Counts, and watches the clock.
pub(crate) struct RequestBody {
    /// `None` where there is none.
    incoming: Option<Incoming>,
    progress: Rc<Progress>,
    /// Bytes that may still come.
    left: u64,
    /// What is left of the client's time. Each KiB earns it a second; only waiting for the client uses it up.
    patience: Duration,
    /// How long the client may be silent at once.
    silence: Duration,
    /// Since when the client is waited for.
    waiting: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// A body in time has at least this many bytes per second, on the average.
const MIN_RATE: u64 = 1024;

impl RequestBody {
    /// `limit` in bytes; `patience` is `timeouts request`, counted from `began`; `silence` is `timeouts idle`.
    pub(crate) fn new(
        incoming: Incoming,
        limit: u64,
        patience: Duration,
        silence: Duration,
        began: Instant,
    ) -> (RequestBody, Rc<Progress>) {
        let mut body = RequestBody::empty(began);
        body.left = limit;
        body.silence = silence;
        // What the head took of it is gone.
        body.patience = patience.saturating_sub(began.elapsed());
        if !incoming.is_end_stream() {
            body.incoming = Some(incoming);
            body.progress.complete.set(None);
        }
        let progress = Rc::clone(&body.progress);
        (body, progress)
    }

    /// The body of a request that has none.
    pub(crate) fn empty(began: Instant) -> RequestBody {
        let progress = Rc::new(Progress::default());
        progress.complete.set(Some(began));
        RequestBody {
            incoming: None,
            progress,
            left: 0,
            patience: Duration::ZERO,
            silence: Duration::MAX,
            waiting: None,
            sleep: None,
        }
    }

    fn end(&mut self, failure: Failure) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        self.progress.failure.set(Some(failure));
        Poll::Ready(Some(Err(Ended(failure))))
    }

    fn waiting(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        self.progress.held.set(None);
        let since = *self.waiting.get_or_insert_with(Instant::now);
        // However much was earned: silence is silence.
        let deadline = since + self.patience.min(self.silence);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => self.end(Failure::RequestTimeout),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Ended;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Pending => self.waiting(cx),
            Poll::Ready(None) => {
                self.progress.complete.set(Some(Instant::now()));
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                // hyper tells a connection that broke from bytes that are no chunks (RFC 9112 section 7.1).
                let gone = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
                self.end(if gone { Failure::ClientGone } else { Failure::BadFraming })
            }
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                if len > self.left {
                    return self.end(Failure::BodyTooLarge);
                }
                self.left -= len;
                let now = Instant::now();
                if let Some(since) = self.waiting.take() {
                    self.patience = self.patience.saturating_sub(now - since);
                }
                let earned = Duration::from_micros(len.saturating_mul(1_000_000) / MIN_RATE);
                self.patience = self.patience.saturating_add(earned);
                self.progress.held.set(Some(now));
                self.progress.frames.set(self.progress.frames.get() + 1);
                if self.is_end_stream() {
                    self.progress.complete.set(Some(Instant::now()));
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// An answer's body. Holds what must be let go when it ends: the connection it comes from, and the log's record.
pub(crate) struct Body {
    source: Source,
    record: Option<Box<Record>>,
    /// Told when the body ends, which is when its connection waits for the next request.
    watch: Option<BusyGuard>,
}

/// Where an answer's body comes from.
enum Source {
    /// Memory.
    Bytes(Bytes),
    /// A server.
    Upstream(Box<Upstream>),
    /// Nowhere any more.
    Done,
}

struct Upstream {
    channel: Channel,
    incoming: Incoming,
    progress: Rc<Progress>,
    idle: Duration,
    /// When the exchange must be over.
    until: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether something moved since `sleep` was set, and how much of the request's body had then.
    moved: bool,
    frames: u64,
}

impl Body {
    pub(crate) fn bytes(bytes: Bytes) -> Body {
        Body { source: Source::Bytes(bytes), record: None, watch: None }
    }

    pub(crate) fn upstream(
        channel: Channel,
        incoming: Incoming,
        progress: Rc<Progress>,
        idle: Duration,
        until: Option<Instant>,
    ) -> Body {
        if incoming.is_end_stream() {
            channel.release();
            return Body { source: Source::Done, record: None, watch: None };
        }
        let upstream = Upstream { channel, incoming, progress, idle, until, sleep: None, moved: false, frames: 0 };
        Body { source: Source::Upstream(Box::new(upstream)), record: None, watch: None }
    }

    /// The record is completed when the body ends, however it does.
    pub(crate) fn record(mut self, record: Option<Box<Record>>) -> Body {
        self.record = record;
        self
    }

    /// The connection is busy as long as this body is.
    pub(crate) fn watch(mut self, watch: BusyGuard) -> Body {
        self.watch = Some(watch);
        self
    }

    fn failed(&mut self, failure: Failure) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        if let Some(record) = &mut self.record {
            record.failed(failure);
        }
        self.source = Source::Done;
        Poll::Ready(Some(Err(Ended(failure))))
    }
}

impl Upstream {
    /// The next frame. The server's connection is driven from here: it moves when its reader is asked.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.channel.drive(cx);
        // The body only ever gets ready by driving its connection, so it need not wake anybody itself.
        match Pin::new(&mut self.incoming).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => {
                self.moved = true;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => {
                Poll::Ready(Some(Err(self.progress.failure.get().unwrap_or(Failure::UpstreamTruncated))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.waiting(cx),
        }
    }

    fn waiting(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            let sleep = match &mut self.sleep {
                Some(sleep) => sleep,
                None => {
                    self.moved = false;
                    self.frames = self.progress.frames.get();
                    let silence = Instant::now().checked_add(self.idle);
                    let Some(deadline) = [silence, self.until].into_iter().flatten().min() else {
                        return Poll::Pending;
                    };
                    self.sleep.insert(Box::pin(tokio::time::sleep_until(deadline)))
                }
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.until.is_some_and(|until| until <= Instant::now()) {
                return Poll::Ready(Some(Err(Failure::TotalTimeout)));
            }
            // Something moved since, either way: measure silence anew, from here on.
            if !self.moved && self.frames == self.progress.frames.get() {
                return Poll::Ready(Some(Err(Failure::BodyStalled)));
            }
            self.sleep = None;
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Ended;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Done => return Poll::Ready(None),
            Source::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                this.source = Source::Done;
                if bytes.is_empty() {
                    return Poll::Ready(None);
                }
                Frame::data(bytes)
            }
            Source::Upstream(upstream) => match upstream.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(failure))) => return this.failed(failure),
                Poll::Ready(Some(Ok(frame))) => {
                    if upstream.incoming.is_end_stream() {
                        this.release();
                    }
                    frame
                }
                Poll::Ready(None) => {
                    this.release();
                    return Poll::Ready(None);
                }
            },
        };
        if let (Some(record), Some(data)) = (&mut this.record, frame.data_ref()) {
            record.sent(data.len());
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Done => true,
            Source::Bytes(bytes) => bytes.is_empty(),
            Source::Upstream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Done => SizeHint::with_exact(0),
            Source::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(upstream) => upstream.incoming.size_hint(),
        }
    }
}

impl Body {
    /// The answer is complete: its connection may serve the next exchange.
    fn release(&mut self) {
        if let Source::Upstream(upstream) = std::mem::replace(&mut self.source, Source::Done) {
            upstream.channel.release();
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // Nobody wants the rest: the client is gone, or the answer has no body (HEAD).
        if let (Source::Upstream(_), Some(record)) = (&self.source, &mut self.record) {
            record.failed(Failure::ClientGone);
        }
    }
}
