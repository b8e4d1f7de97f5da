//! The source of a body ([`Source`]).

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::failure::Failure;
use crate::protocol::fields::Fields;

/// Where a body comes from.
pub(crate) trait Source {
    /// Makes data available; `false` at the end. Asked again only after all of it was consumed.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>>;
    /// Gives the data to `to`, which says how much of it is dealt with.
    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize;
    /// Takes up to so many bytes of the data; without a copy, where it is shared memory.
    fn take_bytes(&mut self, most: usize) -> Bytes {
        let mut taken = Bytes::new();
        self.take(|data| {
            taken = Bytes::copy_from_slice(&data[..data.len().min(most)]);
            taken.len()
        });
        taken
    }
    /// Whether the data is in memory, whoever asks.
    fn is_at_hand(&self) -> bool {
        false
    }
    /// Nobody takes the data for a while: lets go of what can be had again. Says how much memory is still held that nobody else
    /// answers for.
    fn rest(&mut self) -> usize {
        0
    }
    /// What follows the data.
    fn trailers(&mut self) -> Option<Fields>;
    /// Why nothing follows the data that there is, where that is known already.
    fn broken(&self) -> Option<Failure> {
        None
    }
}

/// Takes from the front of shared memory that somebody else keeps.
pub(crate) fn split(bytes: &mut Bytes, most: usize) -> Bytes {
    bytes.split_to(bytes.len().min(most))
}

/// Takes from the front of a block that lives as long as its parts: of a small one it must not.
pub(crate) fn split_block(block: &mut Bytes, most: usize) -> Bytes {
    let part = split(block, most);
    if part.len() < block.len() { Bytes::copy_from_slice(&part) } else { part }
}
