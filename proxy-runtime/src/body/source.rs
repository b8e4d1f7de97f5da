//! The source of a body ([`Source`]).

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::failure::Failure;
use crate::protocol::fields::Fields;

/// A source of body data.
pub(crate) trait Source {
    /// Makes data available; `false` at the end. Called again only after all data was consumed.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>>;
    /// Passes the data to `to`, which returns how much it has consumed.
    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize;
    /// Takes up to `most` bytes of the data; without a copy if it is shared memory.
    fn take_bytes(&mut self, most: usize) -> Bytes {
        let mut taken = Bytes::new();
        self.take(|data| {
            taken = Bytes::copy_from_slice(&data[..data.len().min(most)]);
            taken.len()
        });
        taken
    }
    /// Returns whether the data is always available without waiting.
    fn is_at_hand(&self) -> bool {
        false
    }
    /// Called when the consumer pauses: releases memory that can be filled again. Returns how much memory is still held
    /// that is not accounted for elsewhere.
    fn rest(&mut self) -> usize {
        0
    }
    /// Returns the trailers.
    fn trailers(&mut self) -> Option<Fields>;
    /// Returns the failure after the available data, if it is known already.
    fn broken(&self) -> Option<Failure> {
        None
    }
}

/// Takes bytes from the front of memory that is shared with others.
pub(crate) fn split(bytes: &mut Bytes, most: usize) -> Bytes {
    bytes.split_to(bytes.len().min(most))
}

/// Takes bytes from the front of a block; a small part is copied, so that it does not keep the block alive.
pub(crate) fn split_block(block: &mut Bytes, most: usize) -> Bytes {
    let part = split(block, most);
    if part.len() < block.len() { Bytes::copy_from_slice(&part) } else { part }
}
