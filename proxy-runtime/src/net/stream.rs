//! A connection over TCP or a Unix socket, plain or encrypted: [`SocketStream`]; and with a read buffer:
//! [`BufferedStream`].
//!
//! I/O without decisions. Buffers belong to the worker and are lent to a stream only while there are bytes in them: an
//! idle connection, or one that waits for the other side, holds none.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::net::descriptors::DescriptorPermit;

/// A connection.
#[derive(Debug)]
pub(crate) enum SocketStream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// TLS over one of the others.
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::TlsStream<BufferedStream>>),
}

macro_rules! either {
    ($self:expr, $stream:ident => $do:expr) => {
        match $self {
            SocketStream::Tcp($stream) => $do,
            SocketStream::Unix($stream) => $do,
            #[cfg(feature = "tls")]
            SocketStream::Tls($stream) => $do,
        }
    };
}

impl SocketStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }

    /// Waits until there may be something to read.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            SocketStream::Tcp(stream) => stream.poll_read_ready(cx),
            SocketStream::Unix(stream) => stream.poll_read_ready(cx),
            #[cfg(feature = "tls")]
            SocketStream::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Returns the peer's and the local address; a Unix socket has none.
    pub(crate) fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        match self {
            SocketStream::Tcp(stream) => (stream.peer_addr().ok(), stream.local_addr().ok()),
            SocketStream::Unix(_) => (None, None),
            #[cfg(feature = "tls")]
            SocketStream::Tls(stream) => stream.get_ref().0.stream.addresses(),
        }
    }

    /// Writes from the first of `bufs`, and from the second as well if it is not empty. If both are empty, flushes accepted
    /// data, which TLS may still hold.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bufs: [&[u8]; 2]) -> Poll<io::Result<usize>> {
        let [first, second] = bufs;
        let written = match (first.is_empty(), second.is_empty()) {
            (true, true) => return either!(self, stream => Pin::new(stream).poll_flush(cx)).map_ok(|()| 0),
            // `send` costs less than `writev` with a single buffer.
            (false, true) => either!(self, stream => Pin::new(stream).poll_write(cx, first)),
            (true, false) => either!(self, stream => Pin::new(stream).poll_write(cx, second)),
            _ => {
                let both = [IoSlice::new(first), IoSlice::new(second)];
                either!(self, stream => Pin::new(stream).poll_write_vectored(cx, &both))
            }
        };
        match ready!(written) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            outcome => Poll::Ready(outcome),
        }
    }

    /// Writes what [`SocketStream::poll_send_file`] will follow at once: the kernel sends both together (send(2), `MSG_MORE`).
    pub(crate) fn poll_write_before_file(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let SocketStream::Tcp(stream) = self else { return self.poll_write(cx, [bytes, &[]]) };
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, || Ok(rustix::net::send(&*stream, bytes, flags)?)) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// Returns whether the connection is open and there is nothing to read; `None` if that is not known without reading. Costs a
    /// system call only if an event has occurred.
    pub(crate) fn is_quiet(&self) -> Option<bool> {
        let mut byte = [0];
        let read = match self {
            SocketStream::Tcp(stream) => stream.try_read(&mut byte),
            SocketStream::Unix(stream) => stream.try_read(&mut byte),
            #[cfg(feature = "tls")]
            SocketStream::Tls(_) => return None,
        };
        Some(read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock))
    }

    /// Returns whether it is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        !matches!(self, SocketStream::Tcp(_) | SocketStream::Unix(_))
    }

    /// Returns whether [`SocketStream::poll_send_file`] is supported.
    pub(crate) fn sends_files(&self) -> bool {
        matches!(self, SocketStream::Tcp(_))
    }

    /// Sends some of a range of a file with `sendfile`; 0 if the file ends before it. May wait for the disk.
    ///
    /// # Errors
    /// Returns the errors of a write. Fails on a connection that is encrypted or not TCP.
    pub(crate) fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        mut from: u64,
        length: u64,
    ) -> Poll<io::Result<usize>> {
        let SocketStream::Tcp(stream) = self else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        loop {
            ready!(stream.poll_write_ready(cx))?;
            let sent = stream.try_io(Interest::WRITABLE, || {
                rustix::fs::sendfile(&*stream, file, Some(&mut from), length).map_err(io::Error::from)
            });
            match sent {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// Closing the connection will reset it, to signal an error to the peer.
    pub(crate) fn reset_on_close(&self) {
        match self {
            // If this fails, the close is orderly.
            SocketStream::Tcp(stream) => {
                drop(socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)));
            }
            SocketStream::Unix(_) => {}
            #[cfg(feature = "tls")]
            SocketStream::Tls(stream) => stream.get_ref().0.stream.reset_on_close(),
        }
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// A worker's free read buffers.
pub(crate) struct Buffers {
    size: usize,
    /// The one that was given back last. Most reads find nothing, and give back at once what they took.
    last: Cell<Option<Box<[u8]>>>,
    free: RefCell<Vec<Box<[u8]>>>,
    /// The fewest that were free since the last sweep.
    spare: Cell<usize>,
}

/// The most free buffers.
const MAX_FREE: usize = 64;

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Buffers {
    /// Buffers of `size` bytes, the most that a stream reads ahead.
    pub(crate) fn new(size: usize) -> Buffers {
        Buffers { size, last: Cell::new(None), free: RefCell::default(), spare: Cell::new(0) }
    }

    fn take(&self) -> Box<[u8]> {
        self.last.take().unwrap_or_else(|| self.take_free())
    }

    fn take_free(&self) -> Box<[u8]> {
        let mut free = self.free.borrow_mut();
        let buffer = free.pop();
        self.spare.set(self.spare.get().min(free.len()));
        buffer.unwrap_or_else(|| vec![0; self.size].into_boxed_slice())
    }

    /// Drops the buffers that were not needed since the last sweep.
    pub(crate) fn sweep(&self) {
        let mut free = self.free.borrow_mut();
        let needed = free.len().saturating_sub(self.spare.get());
        free.truncate(needed);
        self.spare.set(free.len());
    }

    fn give(&self, buffer: Box<[u8]>) {
        let Some(buffer) = self.last.replace(Some(buffer)) else { return };
        let mut free = self.free.borrow_mut();
        if free.len() < MAX_FREE {
            free.push(buffer);
        }
    }
}

/// A connection, and the bytes that were read from it and not consumed.
#[derive(Debug)]
pub(crate) struct BufferedStream {
    pub(crate) stream: SocketStream,
    buffers: &'static Buffers,
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    /// The peer has closed its sending side.
    ended: bool,
    /// Its descriptor, if it is counted here.
    #[allow(dead_code, reason = "held until the connection is closed")]
    descriptor: Option<DescriptorPermit>,
}

impl BufferedStream {
    pub(crate) fn new(stream: SocketStream, buffers: &'static Buffers) -> BufferedStream {
        BufferedStream { stream, buffers, buffer: None, start: 0, end: 0, ended: false, descriptor: None }
    }

    /// Returns a stream whose descriptor is counted in a budget.
    pub(crate) fn counted(
        stream: SocketStream,
        buffers: &'static Buffers,
        descriptor: DescriptorPermit,
    ) -> BufferedStream {
        let mut link = BufferedStream::new(stream, buffers);
        link.descriptor = Some(descriptor);
        link
    }

    /// Returns the bytes that were read and not consumed.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[self.start..self.end])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns whether the peer has closed its sending side, and all of its data was read.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Consumes bytes.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start += len;
        if self.start == self.end {
            self.rest();
        }
    }

    /// Reads more bytes into the buffer. `Ok(false)`: the peer has closed its sending side.
    ///
    /// # Errors
    /// Returns the errors of a read, and [`io::ErrorKind::OutOfMemory`] if the buffer is full.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        if self.buffer.is_none() {
            // Most reads find nothing: that costs less without a buffer.
            ready!(self.stream.poll_readable(cx))?;
        }
        let mut buffer = self.buffer.take().unwrap_or_else(|| self.buffers.take());
        if self.end == buffer.len() {
            if buffer.len() < self.buffers.size {
                let small = std::mem::replace(&mut buffer, self.buffers.take());
                buffer[..small.len()].copy_from_slice(&small);
            }
            buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut read = ReadBuf::new(&mut buffer[self.end..]);
        let outcome = match read.capacity() {
            0 => Poll::Ready(Err(io::ErrorKind::OutOfMemory.into())),
            _ => self.stream.poll_read(cx, &mut read),
        };
        let len = read.filled().len();
        self.end += len;
        self.buffer = Some(buffer);
        if self.is_empty() {
            self.rest();
        }
        ready!(outcome)?;
        self.ended = len == 0;
        Poll::Ready(Ok(len > 0))
    }

    /// The data is not consumed for a while: moves it into as much memory as it needs. Returns its size.
    pub(crate) fn shrink(&mut self) -> usize {
        let len = self.end - self.start;
        if let Some(buffer) = self.buffer.take_if(|buffer| buffer.len() == self.buffers.size && len < buffer.len() / 2)
        {
            let fits = Box::from(&buffer[self.start..self.end]);
            self.buffers.give(buffer);
            (self.buffer, self.start, self.end) = (Some(fits), 0, len);
        }
        self.buffer.as_ref().map_or(0, |buffer| buffer.len())
    }

    /// Returns the buffer to the worker, and discards its content.
    fn rest(&mut self) {
        (self.start, self.end) = (0, 0);
        if let Some(buffer) = self.buffer.take().filter(|buffer| buffer.len() == self.buffers.size) {
            self.buffers.give(buffer);
        }
    }
}

/// For other protocols over the connection: returns the buffered bytes first.
impl AsyncRead for BufferedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        if link.is_empty() {
            return link.stream.poll_read(cx, buf);
        }
        let len = link.bytes().len().min(buf.remaining());
        buf.put_slice(&link.bytes()[..len]);
        link.consume(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BufferedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream.poll_write(cx, [buf, &[]])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut self.get_mut().stream, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_write(cx, [&[], &[]]).map_ok(drop)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_shutdown(cx)
    }
}

impl Drop for BufferedStream {
    fn drop(&mut self) {
        self.rest();
    }
}
