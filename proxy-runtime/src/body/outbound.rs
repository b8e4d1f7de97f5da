//! Writes a message over HTTP/1.1 or HTTP/3: [`Outbound`], a head and then the body as it arrives.
//!
//! A request is sent at once. The head of a response is held back until it is known whether its body begins: until the first byte is
//! sent, a response that breaks can still be replaced by another. It waits only for data that has already arrived ([`YieldOnce`]).

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::source::Source;
use crate::failure::Failure;
use crate::http1::Framing;
#[cfg(feature = "h3")]
use crate::http3::head;
use crate::net::stream::SocketStream;
use crate::protocol::fields::Fields;
use crate::recycled;

/// A message that is being sent.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// The bytes to send before the source's own data: the head, chunk framing, small pieces of data.
    out: Vec<u8>,
    /// How much of `out` was sent.
    sent: usize,
    /// How much of `out` is data.
    held: u64,
    /// Whether anything was sent.
    begun: bool,
    /// For a response: the turn of the event loop before its head is sent without a body.
    look_around: Option<YieldOnce>,
    framing: BodyFraming,
    /// How much of the source's data is announced and sent from its own buffer.
    promised: usize,
    /// The source has ended, and all of its data is in `out`.
    ended: bool,
    /// The source has failed, and all of its data before is in `out`.
    failed: Option<Failure>,
    /// Since when the peer accepts no data.
    blocked: Option<Instant>,
    /// How many bytes of the body were sent.
    pub(crate) body: u64,
}

impl Drop for Outbound {
    fn drop(&mut self) {
        recycled::give(std::mem::take(&mut self.out));
    }
}

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    /// The head says where it ends.
    Bare,
    /// HTTP/1.1: chunks (RFC 9112 section 7.1).
    Chunked,
    /// HTTP/3: a DATA frame for each piece, or one for all, whose header was sent with the head.
    #[cfg(feature = "h3")]
    Frames { begun: bool },
}

impl BodyFraming {
    /// Returns how a body of HTTP/1.1 is framed.
    pub(crate) fn of(framing: Framing) -> BodyFraming {
        if framing == Framing::Chunked { BodyFraming::Chunked } else { BodyFraming::Bare }
    }
}

/// Why a message could not be sent completely.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Its source has failed.
    Source(Failure),
    /// The peer accepts no more.
    Sink,
}

/// Pieces of data up to this size are copied together before they are written.
pub(crate) const TOGETHER: usize = 4096;

/// The most bytes that are combined.
const FULL: usize = 16 << 10;

/// Yields to the event loop once, before something is sent that can't be taken back: ready tasks get their turn, and sockets
/// are polled.
#[derive(Debug, Default)]
pub(crate) struct YieldOnce {
    done: bool,
}

impl YieldOnce {
    /// Ready once that is done.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.done, true) {
            return Poll::Ready(());
        }
        // The waker is called even if this future is dropped.
        pin!(tokio::task::yield_now()).as_mut().poll(cx)
    }
}

impl Outbound {
    /// Sends the `head` of a request, and its body, chunked or as it is.
    pub(crate) fn request(head: Vec<u8>, framing: BodyFraming) -> Outbound {
        Outbound {
            out: head,
            sent: 0,
            held: 0,
            begun: false,
            look_around: None,
            framing,
            promised: 0,
            ended: false,
            failed: None,
            blocked: None,
            body: 0,
        }
    }

    /// Sends a response. If its body fails, the data before is sent first.
    pub(crate) fn answer(head: Vec<u8>, framing: BodyFraming) -> Outbound {
        let mut outbound = Outbound::request(head, framing);
        outbound.look_around = Some(YieldOnce::default());
        outbound
    }

    /// Returns whether nothing was sent.
    pub(crate) fn is_unsent(&self) -> bool {
        !self.begun
    }

    /// Takes back the first bytes of an unsent message.
    pub(crate) fn take_back(mut self, first: usize) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.out);
        out.truncate(first);
        out
    }

    /// Since when the peer accepts no data; `None` if it does, or there is nothing to send.
    pub(crate) fn blocked(&self) -> Option<Instant> {
        self.blocked
    }

    /// Sends what is available; ready once all was sent. `write` with no data flushes what it has accepted.
    pub(crate) fn poll<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        mut write: impl FnMut(&mut Context<'_>, [&[u8]; 2]) -> Poll<io::Result<usize>>,
    ) -> Poll<Result<(), SendError>> {
        loop {
            let waiting = self.gather(cx, source).map_err(SendError::Source)?;
            if waiting
                && !self.begun
                && let Some(look_around) = &mut self.look_around
            {
                ready!(look_around.poll(cx));
            }
            if self.sent == self.out.len() && self.promised == 0 {
                self.out.clear();
                self.sent = 0;
                if !self.ended && self.failed.is_none() && !waiting {
                    continue;
                }
                let gone = write(cx, [&[], &[]]);
                return match (gone, self.failed) {
                    (Poll::Ready(Err(_)), _) => Poll::Ready(Err(SendError::Sink)),
                    (Poll::Ready(Ok(_)), Some(failure)) => Poll::Ready(Err(SendError::Source(failure))),
                    (Poll::Ready(Ok(_)), None) if self.ended => Poll::Ready(Ok(())),
                    (Poll::Ready(Ok(_)), None) => {
                        self.blocked = None;
                        Poll::Pending
                    }
                    (Poll::Pending, _) => {
                        self.blocked.get_or_insert_with(Instant::now);
                        Poll::Pending
                    }
                };
            }
            let rest = &self.out[self.sent..];
            let outcome = match self.promised {
                0 => write(cx, [rest, &[]]).map_ok(|written| (written, 0)),
                promised => {
                    let (mut outcome, mut released) = (Poll::Pending, false);
                    let took = source.take(|data| {
                        released = data.is_empty();
                        if released {
                            return 0;
                        }
                        outcome = write(cx, [rest, &data[..promised.min(data.len())]]);
                        match &outcome {
                            Poll::Ready(Ok(written)) => written.saturating_sub(rest.len()),
                            _ => 0,
                        }
                    });
                    // The source has released the data while the peer accepted none (`Source::rest`), and gets it again.
                    if released {
                        match ready!(source.poll_fill(cx)) {
                            Ok(true) => continue,
                            Ok(false) => return Poll::Ready(Err(SendError::Source(Failure::FileUnreadable))),
                            Err(failure) => return Poll::Ready(Err(SendError::Source(failure))),
                        }
                    }
                    outcome.map_ok(|written| (written, took))
                }
            };
            match outcome {
                Poll::Ready(Ok((written, took))) => self.wrote(written, took),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(SendError::Sink)),
                Poll::Pending => {
                    self.blocked.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Records written bytes, of which the last `took` are the source's.
    fn wrote(&mut self, written: usize, took: usize) {
        (self.begun, self.blocked) = (true, None);
        self.sent += written - took;
        self.body += took as u64;
        if self.sent == self.out.len() {
            self.body += std::mem::take(&mut self.held);
        }
        self.promised -= took;
        if took > 0 && self.promised == 0 && self.framing == BodyFraming::Chunked {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    /// Calls `send` for what follows the message, until nothing is left.
    pub(crate) fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        mut send: impl FnMut(&mut Context<'_>) -> Poll<Result<usize, Option<SendError>>>,
    ) -> Poll<Result<(), SendError>> {
        loop {
            match ready!(send(cx)) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(sent) => {
                    self.body += sent as u64;
                    self.blocked = None;
                }
                Err(Some(broken)) => return Poll::Ready(Err(broken)),
                Err(None) => {
                    self.blocked.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Moves available data into `out`, or announces it; returns whether the source is pending. The source's failure is only returned
    /// if nothing was sent or the message is a request; otherwise it follows the data before it.
    fn gather<S: Source>(&mut self, cx: &mut Context<'_>, source: &mut S) -> Result<bool, Failure> {
        while !self.ended && self.failed.is_none() && self.promised == 0 && self.out.len() < FULL {
            let filled = match source.poll_fill(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(filled) => filled,
            };
            let early = self.look_around.is_none() || !self.begun;
            match filled {
                Ok(true) if early && let Some(failure) = source.broken() => return Err(failure),
                Ok(true) => self.put(source),
                Ok(false) => self.finish(source.trailers()),
                Err(failure) if early => return Err(failure),
                Err(failure) => self.failed = Some(failure),
            }
        }
        Ok(false)
    }

    fn put<S: Source>(&mut self, source: &mut S) {
        let took = source.take(|data| {
            match self.framing {
                BodyFraming::Bare => {}
                // A write to a Vec cannot fail.
                BodyFraming::Chunked => {
                    drop(io::Write::write_fmt(&mut self.out, format_args!("{:x}\r\n", data.len())));
                }
                #[cfg(feature = "h3")]
                BodyFraming::Frames { begun: true } => {}
                #[cfg(feature = "h3")]
                BodyFraming::Frames { begun: false } => head::write_data(&mut self.out, data.len() as u64),
            }
            if data.len() > TOGETHER {
                self.promised = data.len();
                return 0;
            }
            self.held += data.len() as u64;
            self.out.extend_from_slice(data);
            data.len()
        });
        if took > 0 && self.framing == BodyFraming::Chunked {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn finish(&mut self, trailers: Option<Fields>) {
        self.ended = true;
        match self.framing {
            BodyFraming::Bare => {}
            BodyFraming::Chunked => {
                self.out.extend_from_slice(b"0\r\n");
                trailers.unwrap_or_default().write(&mut self.out);
                self.out.extend_from_slice(b"\r\n");
            }
            #[cfg(feature = "h3")]
            BodyFraming::Frames { .. } => {
                if let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) {
                    head::write_trailers(&mut self.out, &trailers);
                }
            }
        }
    }

    /// Sends the message to a stream.
    pub(crate) fn poll_to<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        stream: &mut SocketStream,
    ) -> Poll<Result<(), SendError>> {
        self.poll(cx, source, |cx, bufs| stream.poll_write(cx, bufs))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::body::source::split;

    /// Data that is released while the peer accepts none, and read again in blocks of another size.
    struct Releasing {
        left: Bytes,
        current: Bytes,
        block: usize,
    }

    impl Source for Releasing {
        fn poll_fill(&mut self, _: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
            if self.current.is_empty() {
                self.current = split(&mut self.left, self.block);
            }
            Poll::Ready(Ok(!self.current.is_empty()))
        }

        fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
            let took = to(&self.current);
            drop(self.current.split_to(took));
            took
        }

        fn take_bytes(&mut self, most: usize) -> Bytes {
            split(&mut self.current, most)
        }

        fn rest(&mut self) -> usize {
            self.left = [std::mem::take(&mut self.current), std::mem::take(&mut self.left)].concat().into();
            self.block = TOGETHER + 7;
            0
        }

        fn trailers(&mut self) -> Option<Fields> {
            None
        }
    }

    #[test]
    fn released_data_is_read_again() {
        let body: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
        for framing in [BodyFraming::Bare, BodyFraming::Chunked] {
            let left = Bytes::from(body.clone());
            let mut source = Releasing { left, current: Bytes::new(), block: 60_000 };
            let (mut outbound, mut sent) = (Outbound::request(b"head".to_vec(), framing), Vec::new());
            let mut accepts = 0;
            let mut polls = 0;
            loop {
                let polled =
                    outbound.poll(&mut Context::from_waker(std::task::Waker::noop()), &mut source, |_, parts| {
                        let parts = parts.concat();
                        let length = parts.len().min(accepts);
                        sent.extend_from_slice(&parts[..length]);
                        accepts -= length;
                        if length == 0 && !parts.is_empty() { Poll::Pending } else { Poll::Ready(Ok(length)) }
                    });
                if polled.is_ready() {
                    assert!(matches!(polled, Poll::Ready(Ok(()))));
                    break;
                }
                assert!(outbound.blocked().is_some());
                source.rest();
                (accepts, polls) = (5000, polls + 1);
            }
            assert!(polls >= 20);
            if framing == BodyFraming::Bare {
                assert_eq!(sent, [b"head", &*body].concat());
            } else {
                assert!(sent.starts_with(b"headea60\r\n\x00\x01") && sent.ends_with(b"\r\n0\r\n\r\n"));
            }
        }
    }
}
