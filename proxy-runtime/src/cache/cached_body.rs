//! The body of a cached response: [`CachedBody`], in memory or on disk.

use std::sync::Arc;

use bytes::Bytes;

use super::body_file::OpenBodyFile;

/// The body of a cached response.
#[derive(Clone)]
pub(crate) enum CachedBody {
    One(Bytes),
    Many(Arc<[Bytes]>),
    /// On disk, opened.
    BodyFile(Arc<OpenBodyFile>),
}

impl CachedBody {
    /// Combines received chunks: small bodies into one piece, large ones into pieces that are not too small.
    pub(crate) fn of(chunks: &[Bytes]) -> CachedBody {
        let length: usize = chunks.iter().map(Bytes::len).sum();
        match chunks {
            [] => CachedBody::One(Bytes::new()),
            [one] => CachedBody::One(one.clone()),
            _ if length <= PIECE => CachedBody::One(chunks.concat().into()),
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
                CachedBody::Many(pieces.into())
            }
        }
    }

    /// Returns its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            CachedBody::BodyFile(opened) => opened.length(),
            _ => self.pieces().iter().map(|piece| piece.len() as u64).sum(),
        }
    }

    /// Returns its pieces, in order; none if it is on disk.
    pub(crate) fn pieces(&self) -> &[Bytes] {
        match self {
            CachedBody::One(one) => std::slice::from_ref(one),
            CachedBody::Many(many) => many,
            CachedBody::BodyFile(_) => &[],
        }
    }

    /// Returns the memory that it takes.
    pub(super) fn weight(&self) -> u64 {
        match self {
            CachedBody::BodyFile(_) => 0,
            _ => self.len() + 64 * self.pieces().len() as u64,
        }
    }
}

/// A body of up to this size is stored in one piece, a larger one in pieces of at least this size.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_combined() {
        let check = |sizes: &[usize], expected: &[usize]| {
            let chunks: Vec<Bytes> = sizes.iter().map(|&size| Bytes::from(vec![7; size])).collect();
            let content = CachedBody::of(&chunks);
            assert_eq!(content.pieces().iter().map(Bytes::len).collect::<Vec<_>>(), expected, "{sizes:?}");
        };
        check(&[], &[0]);
        check(&[5], &[5]);
        check(&[5, 6], &[11]);
        check(&[PIECE, 6], &[PIECE, 6]);
        check(&[30_000, 30_000, 30_000, 1], &[90_000, 1]);
    }
}
