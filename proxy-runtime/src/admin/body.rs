//! Bodies of responses to operators ([`AdminBody`]): one piece, or a stream ([`PieceStream`]).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The body of a response.
pub(super) enum AdminBody {
    /// A body of one piece; `None` once it is sent.
    Whole(Option<Bytes>),
    Stream(Box<dyn PieceStream>),
}

/// A body that comes piece by piece. The next piece is polled after the client has read the one before.
pub(super) trait PieceStream {
    /// Returns the next piece; `None` at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            AdminBody::Whole(piece) => piece.take().filter(|piece| !piece.is_empty()),
            AdminBody::Stream(stream) => ready!(stream.poll_piece(cx)),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, AdminBody::Whole(piece) if piece.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AdminBody::Whole(piece) => SizeHint::with_exact(piece.as_ref().map_or(0, |piece| piece.len() as u64)),
            AdminBody::Stream(_) => SizeHint::default(),
        }
    }
}
