//! Parts of memory that is shared: taken without a copy, where that keeps nothing else from being let go.

use bytes::Bytes;

/// Takes from the front of shared memory that somebody else keeps.
pub(crate) fn split(bytes: &mut Bytes, most: usize) -> Bytes {
    bytes.split_to(bytes.len().min(most))
}

/// Takes from the front of a block that lives as long as its parts: of a small one it must not.
pub(crate) fn split_block(block: &mut Bytes, most: usize) -> Bytes {
    let part = split(block, most);
    if part.len() < block.len() { Bytes::copy_from_slice(&part) } else { part }
}
