//! The body of an answer on disk on its way to a client: [`FileReader`], a block at a time, however large it is.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::task::JoinHandle;

use super::disk::Filed;
use crate::body::Source;
use crate::failure::Failure;
use crate::fields::Fields;

/// See above.
pub(crate) struct FileReader {
    filed: Arc<Filed>,
    /// What is left to read.
    left: Range<u64>,
    current: Bytes,
    reading: Option<JoinHandle<io::Result<(Bytes, usize)>>>,
}

impl FileReader {
    /// Reads a part of a body.
    pub(crate) fn new(filed: &Arc<Filed>, part: Range<u64>) -> FileReader {
        FileReader { filed: Arc::clone(filed), left: part, current: Bytes::new(), reading: None }
    }

    /// How many bytes are left.
    pub(crate) fn length(&self) -> u64 {
        self.left.end - self.left.start + self.current.len() as u64
    }
}

impl Source for FileReader {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        if !self.current.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if self.left.is_empty() {
            return Poll::Ready(Ok(false));
        }
        let (filed, at) = (&self.filed, self.left.start);
        let reading = self.reading.get_or_insert_with(|| {
            let filed = Arc::clone(filed);
            tokio::task::spawn_blocking(move || filed.block(at))
        });
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let Ok(Ok((mut block, within))) = read else { return Poll::Ready(Err(Failure::StoreUnreadable)) };
        block.advance(within);
        block.truncate(usize::try_from(self.left.end - at).unwrap_or(usize::MAX));
        self.left.start += block.len() as u64;
        self.current = block;
        Poll::Ready(Ok(true))
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let took = to(&self.current);
        self.current.advance(took);
        took
    }

    fn trailers(&mut self) -> Option<Fields> {
        None
    }
}
