//! Memory that a thread uses again: heads and lists of fields are made and dropped with each request.
//!
//! A thread keeps a bounded number of free pieces; [`Free::sweep`] frees those that were not needed since the last one. Taking one and
//! giving it back are a handful of instructions, and no call of the allocator.

use std::cell::RefCell;

/// The free pieces of a kind.
pub(crate) struct Free<T> {
    pieces: Vec<T>,
    /// The fewest that were free since the last sweep.
    spare: usize,
}

/// The most free pieces of a kind.
const MAX_FREE: usize = 64;

impl<T> Free<T> {
    pub(crate) const fn new() -> Free<T> {
        Free { pieces: Vec::new(), spare: 0 }
    }

    /// Takes a free piece, if there is one.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<T> {
        let piece = self.pieces.pop();
        self.spare = self.spare.min(self.pieces.len());
        piece
    }

    /// Takes back a piece, as it shall be used again.
    #[inline]
    pub(crate) fn give(&mut self, piece: T) {
        if self.pieces.len() < MAX_FREE {
            self.pieces.push(piece);
        }
    }

    /// Frees what was not needed since the last sweep.
    #[cfg(any(test, feature = "serve"))]
    pub(crate) fn sweep(&mut self) {
        self.pieces.truncate(self.pieces.len() - self.spare);
        self.spare = self.pieces.len();
    }
}

/// The space in new buffers, and in those that are used again at most, in bytes.
const SPACE: usize = 1024;
const MOST_SPACE: usize = 8 << 10;

thread_local! {
    static BUFFERS: RefCell<Free<Vec<u8>>> = const { RefCell::new(Free::new()) };
}

/// Returns an empty buffer with space for `capacity` bytes.
#[cfg(any(test, feature = "serve"))]
pub(crate) fn bytes(capacity: usize) -> Vec<u8> {
    let free = BUFFERS.try_with(|buffers| buffers.borrow_mut().take()).ok().flatten();
    let mut buffer = free.unwrap_or_else(|| Vec::with_capacity(SPACE));
    buffer.reserve(capacity);
    buffer
}

/// Takes back a buffer.
pub(crate) fn give(mut buffer: Vec<u8>) {
    if (SPACE..=MOST_SPACE).contains(&buffer.capacity()) {
        buffer.clear();
        // While a thread ends, there may be no list any more.
        let _ = BUFFERS.try_with(|buffers| buffers.borrow_mut().give(buffer));
    }
}

/// Frees the buffers of this thread that were not needed since the last sweep.
#[cfg(feature = "serve")]
pub(crate) fn sweep() {
    BUFFERS.with(|buffers| buffers.borrow_mut().sweep());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_freed() {
        let mut free = Free::new();
        for piece in 0..100 {
            free.give(piece);
        }
        assert_eq!(free.pieces.len(), MAX_FREE);
        free.sweep();
        // Three were needed at a time.
        let pieces: Vec<_> = (0..3).filter_map(|_| free.take()).collect();
        pieces.into_iter().for_each(|piece| free.give(piece));
        free.sweep();
        assert_eq!(free.pieces.len(), 3);
        free.sweep();
        assert_eq!((free.pieces.len(), free.take()), (0, None));
    }

    #[test]
    fn buffers_have_space() {
        for wanted in [0, 1, 1024, 1025, 8192, 8193, 100_000] {
            let buffer = bytes(wanted);
            assert!(buffer.is_empty() && buffer.capacity() >= wanted.max(SPACE), "{wanted}");
            give(buffer);
        }
        assert!(bytes(0).capacity() <= MOST_SPACE);
    }
}
