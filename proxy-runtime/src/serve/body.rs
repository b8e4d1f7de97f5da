//! The body of a response, from any source ([`Body`]).

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::body::source::{Source, split};
use crate::cache::{EncodedVariants, Follower};
use crate::content::compress::CompressedBody;
use crate::content::file_reader::FileReader;
use crate::content::replace::ReplacedBody;
use crate::exchange::UpstreamExchange;
use crate::failure::Failure;
use crate::protocol::fields::Fields;

/// The body of a response.
pub(crate) enum Body {
    /// No body; a response to HEAD may still have a length.
    None(Option<u64>),
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes in memory, in non-empty pieces.
    Pieces(VecDeque<Bytes>),
    /// A file, read in parts while it is sent.
    File(Box<FileReader>),
    /// The body of an upstream response.
    Server(Box<UpstreamExchange>),
    /// The body of an upstream response, shared with other requests.
    Joined(Box<Follower>),
    /// A cached body on a route that compresses: the cache may have an encoded variant of it.
    Kept(Box<StoredBody>),
    /// Another body, compressed while it is sent.
    Compressed(Box<CompressedBody<Body>>),
    /// Another body, in which strings are replaced while it is sent.
    Replaced(Box<ReplacedBody<Body>>),
    /// A tunnel, after a 101.
    Tunnel(Box<UpstreamExchange>),
}

impl Body {
    /// Returns the length in bytes, if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Body::None(length) => *length,
            Body::Bytes(bytes) => Some(bytes.len() as u64),
            Body::Pieces(pieces) => Some(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Body::Server(call) => call.length(),
            Body::File(reader) => Some(reader.length()),
            Body::Joined(reader) => reader.length(),
            Body::Kept(kept) => kept.body.length(),
            Body::Compressed(_) | Body::Replaced(_) | Body::Tunnel(_) => None,
        }
    }
}

impl Source for Body {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        match self {
            Body::None(_) | Body::Tunnel(_) => Poll::Ready(Ok(false)),
            Body::Bytes(bytes) => Poll::Ready(Ok(!bytes.is_empty())),
            Body::Pieces(pieces) => Poll::Ready(Ok(!pieces.is_empty())),
            Body::Server(call) => call.poll_fill(cx),
            Body::File(reader) => reader.poll_fill(cx),
            Body::Joined(reader) => reader.poll_fill(cx),
            Body::Kept(kept) => kept.body.poll_fill(cx),
            Body::Compressed(body) => body.poll_fill(cx),
            Body::Replaced(body) => body.poll_fill(cx),
        }
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        match self {
            Body::None(_) | Body::Tunnel(_) => 0,
            Body::Bytes(bytes) => {
                let took = to(bytes);
                bytes::Buf::advance(bytes, took);
                took
            }
            Body::Pieces(pieces) => {
                let Some(piece) = pieces.front_mut() else { return 0 };
                let took = to(piece);
                bytes::Buf::advance(piece, took);
                if piece.is_empty() {
                    pieces.pop_front();
                }
                took
            }
            Body::Server(call) => call.take(to),
            Body::File(reader) => reader.take(to),
            Body::Joined(reader) => reader.take(to),
            Body::Kept(kept) => kept.body.take(to),
            Body::Compressed(body) => body.take(to),
            Body::Replaced(body) => body.take(to),
        }
    }

    fn take_bytes(&mut self, most: usize) -> Bytes {
        match self {
            Body::None(_) | Body::Tunnel(_) => Bytes::new(),
            Body::Bytes(bytes) => split(bytes, most),
            Body::Pieces(pieces) => {
                let Some(piece) = pieces.front_mut() else { return Bytes::new() };
                let taken = split(piece, most);
                if piece.is_empty() {
                    pieces.pop_front();
                }
                taken
            }
            Body::Server(call) => call.take_bytes(most),
            Body::File(reader) => reader.take_bytes(most),
            Body::Joined(reader) => reader.take_bytes(most),
            Body::Kept(kept) => kept.body.take_bytes(most),
            Body::Compressed(body) => body.take_bytes(most),
            Body::Replaced(body) => body.take_bytes(most),
        }
    }

    fn is_at_hand(&self) -> bool {
        matches!(self, Body::Bytes(_) | Body::Pieces(_))
    }

    fn rest(&mut self) -> usize {
        match self {
            // The memory is accounted for by the site, the store or the in-flight fetch.
            Body::None(_) | Body::Tunnel(_) | Body::Bytes(_) | Body::Pieces(_) | Body::Joined(_) => 0,
            Body::Server(call) => call.rest(),
            Body::File(reader) => reader.rest(),
            Body::Kept(kept) => kept.body.rest(),
            Body::Compressed(body) => body.rest(),
            Body::Replaced(body) => body.rest(),
        }
    }

    fn trailers(&mut self) -> Option<Fields> {
        match self {
            Body::Server(call) => call.trailers(),
            Body::Compressed(body) => body.trailers(),
            Body::Replaced(body) => body.trailers(),
            Body::None(_)
            | Body::Bytes(_)
            | Body::Pieces(_)
            | Body::File(_)
            | Body::Joined(_)
            | Body::Kept(_)
            | Body::Tunnel(_) => None,
        }
    }

    fn broken(&self) -> Option<Failure> {
        match self {
            Body::Joined(reader) => reader.broken(),
            Body::Compressed(body) => body.broken(),
            Body::Replaced(body) => body.broken(),
            _ => None,
        }
    }
}

impl From<VecDeque<Bytes>> for Body {
    fn from(pieces: VecDeque<Bytes>) -> Body {
        Body::Pieces(pieces)
    }
}

/// A cached body, complete and in memory.
pub(crate) struct StoredBody {
    pub(crate) body: Body,
    pub(crate) variants: EncodedVariants,
}
