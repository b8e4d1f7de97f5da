//! A byte stream of either kind, TCP or unix, and what is seen of it: [`Stream`], and [`Watched`] around a client's.
//!
//! I/O without decisions. `Watched` tells the connection's guard what moves: heads that begin, reads, writes that block.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use crate::framing::Framing;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! either {
    ($self:expr, $stream:ident => $do:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $do,
            Stream::Unix($stream) => $do,
        }
    };
}

/// Up to so many bytes are copied together before they are written.
const TOGETHER: usize = 2048;

/// Copies all of `bufs` to the front of `to`, where they fit.
fn gather(bufs: &[IoSlice<'_>], to: &mut [u8; TOGETHER]) -> Option<usize> {
    if bufs.iter().map(|buf| buf.len()).sum::<usize>() > TOGETHER {
        return None;
    }
    let mut len = 0;
    for buf in bufs {
        to[len..len + buf.len()].copy_from_slice(buf);
        len += buf.len();
    }
    Some(len)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A head and a small body are put together: copying so little costs less than `writev` does more than `send`.
        let mut together = [0; TOGETHER];
        if let Some(len) = gather(bufs, &mut together) {
            return self.poll_write(cx, &together[..len]);
        }
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// What is known of a client connection's bytes. Shared between the stream, which hyper owns and may send elsewhere, and
/// the connection's guard: hence the lock, which nobody else ever holds.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) framing: Framing,
    pub(crate) state: State,
    /// Counts reads and writes that moved something.
    pub(crate) moved: u64,
    /// The last write could not move anything.
    pub(crate) blocked: bool,
}

/// What a client connection is doing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    /// Waiting for a request since then.
    Idle(Instant),
    /// Receiving a head since then.
    Head(Instant),
    /// In an exchange.
    Busy,
}

/// A client's stream under watch.
#[derive(Debug)]
pub(crate) struct Watched {
    stream: Stream,
    watch: Arc<Mutex<Watch>>,
}

/// Locks; a panic elsewhere can't leave these plain values half changed.
pub(crate) fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    pub(crate) fn new(stream: Stream) -> (Watched, Arc<Mutex<Watch>>) {
        let state = State::Idle(Instant::now());
        let watch = Arc::new(Mutex::new(Watch { framing: Framing::default(), state, moved: 0, blocked: false }));
        (Watched { stream, watch: Arc::clone(&watch) }, watch)
    }

    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        let mut watch = lock(&self.watch);
        watch.blocked = outcome.is_pending();
        watch.moved += u64::from(matches!(outcome, Poll::Ready(Ok(1..))));
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let bytes = &buf.filled()[before..];
        let mut watch = lock(&self.watch);
        if bytes.is_empty() {
            // A client that has said all and closed its half still wants its answer: hyper hears of it afterwards. Of a
            // reset it hears at once, and drops the exchange.
            if matches!(watch.state, State::Busy) && watch.framing.body_complete() {
                return Poll::Pending;
            }
        } else {
            watch.moved += 1;
            if watch.framing.read(bytes) && matches!(watch.state, State::Idle(_)) {
                watch.state = State::Head(Instant::now());
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(&outcome);
        outcome
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(&outcome);
        outcome
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
