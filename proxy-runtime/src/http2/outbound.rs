//! Sends a body over HTTP/2 ([`Http2Outbound`]), in pieces ([`DataPiece`]).

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::SendStream;
use tokio::time::Instant;

use super::budget::{HeldMemory, QueuedBytes, StreamBudget};
use super::fields::to_send;
use crate::body::outbound::{TOGETHER, YieldOnce};
use crate::body::source::{Source, split};
use crate::failure::Failure;
use crate::protocol::fields::Fields;

/// The most bytes of one body that are queued to be sent.
pub(crate) const SEND_BUFFER: usize = 64 << 10;

/// A part of a body that is queued to be sent.
pub(crate) struct DataPiece {
    data: Bytes,
    /// Its share of the connection's queue, for a client's connection.
    _queued: Option<QueuedBytes>,
}

impl From<Bytes> for DataPiece {
    fn from(data: Bytes) -> DataPiece {
        DataPiece { data, _queued: None }
    }
}

impl Buf for DataPiece {
    fn remaining(&self) -> usize {
        self.data.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.data
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}

/// A body that is being sent.
///
/// Data is only read from the source once there is space to send it. Exceptions are data that is in memory anyway, and a
/// body of unknown length, which may be at its end.
pub(crate) struct Http2Outbound {
    /// How many bytes are left, if that is known.
    left: Option<u64>,
    /// How many bytes were sent.
    pub(crate) sent: u64,
    /// Since when the peer accepts no data.
    pub(crate) blocked: Option<Instant>,
    /// The beginning of the body, read before the head was sent.
    front: Bytes,
    /// The body has ended; only these trailers are left.
    end: Option<Option<Fields>>,
    /// The memory budget of a client's connection.
    budget: Option<Rc<StreamBudget>>,
    /// The memory that is reserved while the client accepts no data.
    held: Option<HeldMemory>,
}

impl Http2Outbound {
    /// Creates a body for a server, of this length if it is known.
    pub(crate) fn new(length: Option<u64>) -> Http2Outbound {
        Http2Outbound { left: length, sent: 0, blocked: None, front: Bytes::new(), end: None, budget: None, held: None }
    }

    /// Returns a body for a client.
    pub(crate) fn to_client(length: Option<u64>, budget: &Rc<StreamBudget>) -> Http2Outbound {
        Http2Outbound { budget: Some(Rc::clone(budget)), ..Http2Outbound::new(length) }
    }

    /// Waits for the beginning of the body before its head is sent, and takes a small part that has already arrived.
    ///
    /// # Errors
    /// The body has failed already.
    pub(crate) async fn begin(&mut self, source: &mut impl Source) -> Result<(), Failure> {
        let (mut front, mut look_around) = (Vec::new(), YieldOnce::default());
        let begun = std::future::poll_fn(|cx| {
            loop {
                let filled = match source.poll_fill(cx) {
                    Poll::Pending => {
                        ready!(look_around.poll(cx));
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(filled) => filled?,
                };
                if !filled {
                    self.end = Some(source.trailers());
                    return Poll::Ready(Ok(()));
                }
                if let Some(failure) = source.broken() {
                    return Poll::Ready(Err(failure));
                }
                let took = source.take(|data| {
                    let len = if data.len() <= TOGETHER { data.len() } else { 0 };
                    front.extend_from_slice(&data[..len]);
                    len
                });
                if took == 0 || front.len() > TOGETHER {
                    return Poll::Ready(Ok(()));
                }
            }
        });
        begun.await?;
        self.front = front.into();
        Ok(())
    }

    /// Sends what is available; ready once the body has been sent. Errors: the source's failure, or no memory to wait; `None` if
    /// the peer accepts no more.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Source,
        stream: &mut SendStream<DataPiece>,
    ) -> Poll<Result<(), Option<Failure>>> {
        loop {
            if self.front.is_empty() {
                // A body of known length continues until its end: nothing is read that can't be sent.
                let goes_on = self.left.is_some() && self.end.is_none() && !source.is_at_hand();
                if goes_on {
                    if self.poll_room(cx, stream, 1).map_err(|()| None)?.is_pending() {
                        return self.wait(source);
                    }
                    // From here on it is the source that is waited for.
                    (self.blocked, self.held) = (None, None);
                }
                if self.end.is_none() && !ready!(source.poll_fill(cx)).map_err(Some)? {
                    self.end = Some(source.trailers());
                }
                if let Some(trailers) = self.end.take() {
                    let sent = match trailers {
                        Some(trailers) => stream.send_trailers(to_send(&trailers)),
                        None => stream.send_data(Bytes::new().into(), true),
                    };
                    return Poll::Ready(sent.map_err(|_| None));
                }
            }
            let mut there = self.front.len();
            if there == 0 {
                source.take(|data| {
                    there = data.len();
                    0
                });
            }
            let Poll::Ready(room) = self.poll_room(cx, stream, there).map_err(|()| None)? else {
                return self.wait(source);
            };
            (self.blocked, self.held) = (None, None);
            let data = self.piece(source, room);
            self.sent += data.len() as u64;
            let whole = self.left.as_mut().is_some_and(|left| {
                *left = left.saturating_sub(data.len() as u64);
                *left == 0
            });
            let queued = self.budget.as_ref().map(|budget| budget.queue(data.len()));
            let piece = DataPiece { data, _queued: queued };
            if whole && self.end.is_none() {
                // Poll the source once more at its end: it may have trailers, or an error.
                match source.poll_fill(cx) {
                    Poll::Ready(Err(failure)) => {
                        stream.send_data(piece, false).map_err(|_| None)?;
                        return Poll::Ready(Err(Some(failure)));
                    }
                    Poll::Ready(Ok(_)) => self.end = Some(source.trailers()),
                    Poll::Pending => self.end = Some(None),
                }
            }
            let last = self.front.is_empty() && matches!(self.end, Some(None));
            stream.send_data(piece, last).map_err(|_| None)?;
            if last {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes the next bytes, at most `most`.
    fn piece(&mut self, source: &mut impl Source, most: usize) -> Bytes {
        if self.front.is_empty() { source.take_bytes(most) } else { split(&mut self.front, most) }
    }

    /// Returns how much of `wanted` can be sent; ready once that is not zero. The error: the peer accepts no more.
    ///
    /// Reserved capacity is taken from other streams, and the source may be slow, so only one byte is reserved before the source
    /// has data.
    fn poll_room(
        &self,
        cx: &mut Context<'_>,
        stream: &mut SendStream<DataPiece>,
        want: usize,
    ) -> Poll<Result<usize, ()>> {
        let queue = self
            .budget
            .as_ref()
            .map_or(Poll::Ready(SEND_BUFFER), |budget| budget.poll_room(cx, stream.stream_id().as_u32().into()));
        let queue = ready!(queue).min(SEND_BUFFER);
        let mut room = stream.capacity();
        if room < want.min(queue) {
            stream.reserve_capacity(want.min(queue));
            room = stream.capacity();
        }
        while room == 0 {
            if !matches!(ready!(stream.poll_capacity(cx)), Some(Ok(_))) {
                return Poll::Ready(Err(()));
            }
            room = stream.capacity();
        }
        Poll::Ready(Ok(room.min(queue)))
    }

    /// Called while the peer accepts no data: the source releases the memory that it can, and the rest is reserved.
    fn wait(&mut self, source: &mut impl Source) -> Poll<Result<(), Option<Failure>>> {
        self.blocked.get_or_insert_with(Instant::now);
        if let Some(budget) = self.budget.as_ref().filter(|_| self.held.is_none()) {
            self.held = budget.hold(self.front.len() + source.rest());
            if self.held.is_none() {
                return Poll::Ready(Err(Some(Failure::MemoryFull)));
            }
        }
        Poll::Pending
    }
}
