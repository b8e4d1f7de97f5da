//! The body of a cached response: [`Content`], in memory or on disk.

use std::sync::Arc;

use bytes::Bytes;

use super::filed::Opened;

/// The body of a cached response.
#[derive(Clone)]
pub(crate) enum Content {
    One(Bytes),
    Many(Arc<[Bytes]>),
    /// On disk, and open.
    Filed(Arc<Opened>),
}

impl Content {
    /// Puts what was received together: small bodies in one piece, large ones in pieces that are not too small.
    pub(crate) fn of(chunks: &[Bytes]) -> Content {
        let length: usize = chunks.iter().map(Bytes::len).sum();
        match chunks {
            [] => Content::One(Bytes::new()),
            [one] => Content::One(one.clone()),
            _ if length <= PIECE => Content::One(chunks.concat().into()),
            _ => {
                let (mut pieces, mut piece) = (Vec::new(), Vec::new());
                for chunk in chunks {
                    if piece.is_empty() && chunk.len() >= PIECE {
                        pieces.push(chunk.clone());
                        continue;
                    }
                    piece.extend_from_slice(chunk);
                    if piece.len() >= PIECE {
                        pieces.push(Bytes::from(std::mem::take(&mut piece).into_boxed_slice()));
                    }
                }
                if !piece.is_empty() {
                    pieces.push(Bytes::from(piece.into_boxed_slice()));
                }
                Content::Many(pieces.into())
            }
        }
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Content::Filed(opened) => opened.length(),
            _ => self.pieces().iter().map(|piece| piece.len() as u64).sum(),
        }
    }

    /// Its pieces, in order; none of what is on disk.
    pub(crate) fn pieces(&self) -> &[Bytes] {
        match self {
            Content::One(one) => std::slice::from_ref(one),
            Content::Many(many) => many,
            Content::Filed(_) => &[],
        }
    }

    /// How much memory it takes.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Content::Filed(_) => 0,
            _ => self.len() + 64 * self.pieces().len() as u64,
        }
    }
}

/// A body of up to so many bytes is kept in one piece, a larger one in pieces of at least as many.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces() {
        let check = |sizes: &[usize], expected: &[usize]| {
            let chunks: Vec<Bytes> = sizes.iter().map(|&size| Bytes::from(vec![7; size])).collect();
            let content = Content::of(&chunks);
            assert_eq!(content.pieces().iter().map(Bytes::len).collect::<Vec<_>>(), expected, "{sizes:?}");
        };
        check(&[], &[0]);
        check(&[5], &[5]);
        check(&[5, 6], &[11]);
        check(&[PIECE, 6], &[PIECE, 6]);
        check(&[30_000, 30_000, 30_000, 1], &[90_000, 1]);
    }
}
