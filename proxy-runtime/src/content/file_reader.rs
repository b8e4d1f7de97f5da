//! Reads a body from disk for a client: [`FileReader`], a block at a time, for any size. Data that is not in memory is read outside the
//! event loop, with a time-out of `file_pool::WAIT`: a disk may be slow, or hang. If the bytes need no transformation, the kernel sends
//! them (`sendfile`).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::body::outbound::SendError;
use crate::body::source::{Source, split_block};
use crate::cache::OpenBodyFile;
use crate::content::files::disk::{self, Patience};
use crate::failure::Failure;
use crate::file_pool::{self, Unavailable};
use crate::net::descriptors::CountedFile;
use crate::net::stream::SocketStream;
use crate::protocol::fields::Fields;
use bytes::{Buf as _, Bytes};

/// The file to read.
#[derive(Clone)]
pub(crate) enum FileSource {
    /// A file in a cache folder.
    Store(Arc<OpenBodyFile>),
    /// A plain file.
    Plain(Arc<CountedFile>),
}

/// How much of a file is read at a time, in bytes.
const BLOCK: u64 = 64 << 10;

/// A pending read.
type PendingRead<T> = Pin<Box<dyn Future<Output = Result<io::Result<T>, Unavailable>>>>;

impl FileSource {
    /// Reads the block with a byte, outside the event loop.
    fn read(&self, at: u64, left: u64) -> PendingRead<(Bytes, usize)> {
        let from = self.clone();
        let read = move || from.block(at, left);
        match self {
            FileSource::Store(opened) => {
                let opened = Arc::clone(opened);
                Box::pin(async move {
                    let read = opened.pool().run(read).await;
                    // A file that can't be read must not block one thread after another.
                    read.inspect_err(|why| {
                        if *why == Unavailable::TimedOut {
                            opened.spoil()
                        }
                    })
                })
            }
            FileSource::Plain(_) => Box::pin(file_pool::run_static(read)),
        }
    }

    /// Returns the block with a byte, and the offset of the byte in it.
    fn block(&self, at: u64, left: u64) -> io::Result<(Bytes, usize)> {
        match self {
            FileSource::Store(opened) => opened.block(at),
            FileSource::Plain(file) => {
                let block = disk::read(file, at, left.min(BLOCK), Patience::Any)?;
                // The file has been truncated since its length was announced.
                if block.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok((block, 0)) }
            }
        }
    }

    /// Returns a block that is known to be in memory: no disk is waited for.
    fn at_once(&self, at: u64, left: u64) -> Option<Bytes> {
        let FileSource::Plain(file) = self else { return None };
        disk::read(file, at, left.min(BLOCK), Patience::None).ok().filter(|block| !block.is_empty())
    }

    fn failure(&self) -> Failure {
        match self {
            FileSource::Store(_) => Failure::StoreUnreadable,
            FileSource::Plain(_) => Failure::FileUnreadable,
        }
    }
}

/// How much of a file is checked to be in memory at a time, in bytes, before the kernel sends it.
const WINDOW: u64 = 512 << 10;

/// A file that is being read for a client.
pub(crate) struct FileReader {
    from: FileSource,
    /// The range that is left to read.
    left: Range<u64>,
    current: Bytes,
    reading: Option<PendingRead<(Bytes, usize)>>,
    /// The offset up to which the file is in memory, as far as is known.
    seen: u64,
    warming: Option<PendingRead<()>>,
}

impl FileReader {
    /// Reads a part of a body.
    pub(crate) fn new(from: FileSource, part: Range<u64>) -> FileReader {
        FileReader { from, left: part, current: Bytes::new(), reading: None, seen: 0, warming: None }
    }

    /// Returns how many bytes are left.
    pub(crate) fn length(&self) -> u64 {
        self.left.end - self.left.start + self.current.len() as u64
    }
}

/// `sendfile`: the kernel sends the file without a copy.
impl FileReader {
    /// Returns whether [`FileReader::poll_send`] can be used.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.from, FileSource::Plain(_))
    }

    /// Sends some of what is left; 0 once nothing is. `Err(None)`: the peer accepts no data now.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut SocketStream,
    ) -> Poll<Result<usize, Option<SendError>>> {
        let unreadable = || Poll::Ready(Err(Some(SendError::Source(self.from.failure()))));
        let FileSource::Plain(file) = &self.from else { return unreadable() };
        if self.left.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.left.start >= self.seen {
            let window = self.left.start..self.left.end.min(self.left.start + WINDOW);
            if self.warming.is_some() || !is_in_memory(file, &window) {
                let warming = self.warming.get_or_insert_with(|| {
                    let (file, window) = (Arc::clone(file), window.clone());
                    Box::pin(file_pool::run_static(move || read_through(&file, window)))
                });
                let read = ready!(warming.as_mut().poll(cx));
                self.warming = None;
                if !matches!(read, Ok(Ok(()))) {
                    return unreadable();
                }
            }
            self.seen = window.end;
        }
        match stream.poll_send_file(cx, file, self.left.start, self.seen - self.left.start) {
            // The file has been truncated since its length was announced.
            Poll::Ready(Ok(0)) => unreadable(),
            Poll::Ready(Ok(sent)) => {
                self.left.start += sent as u64;
                Poll::Ready(Ok(sent))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Some(SendError::Sink))),
            Poll::Pending => Poll::Ready(Err(None)),
        }
    }
}

/// Returns whether a part of a file is in memory, judged by its ends: the kernel reads and evicts contiguous ranges.
fn is_in_memory(file: &File, part: &Range<u64>) -> bool {
    let has = |at| disk::read(file, at, 1, Patience::None).is_ok_and(|byte| !byte.is_empty());
    has(part.start) && has(part.end - 1)
}

/// Reads a part of a file into memory. Blocks.
fn read_through(file: &File, part: Range<u64>) -> io::Result<()> {
    let mut at = part.start;
    while at < part.end {
        let block = disk::read(file, at, BLOCK.min(part.end - at), Patience::Any)?;
        if block.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += block.len() as u64;
    }
    Ok(())
}

impl Source for FileReader {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        if !self.current.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if self.left.is_empty() {
            return Poll::Ready(Ok(false));
        }
        let (at, left) = (self.left.start, self.left.end - self.left.start);
        if self.reading.is_none()
            && let Some(block) = self.from.at_once(at, left)
        {
            self.left.start += block.len() as u64;
            self.current = block;
            return Poll::Ready(Ok(true));
        }
        let reading = self.reading.get_or_insert_with(|| self.from.read(at, left));
        let read = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        let Ok(Ok((mut block, within))) = read else { return Poll::Ready(Err(self.from.failure())) };
        block.advance(within);
        block.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        self.left.start += block.len() as u64;
        self.current = block;
        Poll::Ready(Ok(true))
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let took = to(&self.current);
        self.current.advance(took);
        took
    }

    fn take_bytes(&mut self, most: usize) -> Bytes {
        split_block(&mut self.current, most)
    }

    fn rest(&mut self) -> usize {
        // The current block can be read again.
        self.left.start -= std::mem::take(&mut self.current).len() as u64;
        if self.reading.is_some() { BLOCK as usize } else { 0 }
    }

    fn trailers(&mut self) -> Option<Fields> {
        None
    }
}
