//! Reads a message body from an HTTP/1.1 connection ([`Inbound`]).

use std::task::{Context, Poll, ready};

use crate::http1::{ChunkStep, Decoder, Framing};
use crate::net::stream::BufferedStream;

/// A body that is being received.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) decoder: Decoder,
    /// How much data is at the front of the stream's buffer.
    ready: usize,
}

/// Why a received body is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Its framing is malformed.
    Malformed,
    /// The connection ended before the body.
    Truncated,
}

impl Inbound {
    pub(crate) fn new(framing: Framing) -> Inbound {
        Inbound { decoder: Decoder::new(framing), ready: 0 }
    }

    /// Returns a body from a server.
    pub(crate) fn of_server(framing: Framing) -> Inbound {
        Inbound { decoder: Decoder::of_server(framing), ready: 0 }
    }

    /// Returns how much data is available now; 0 at the end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, link: &mut BufferedStream) -> Poll<Result<usize, BodyError>> {
        loop {
            match self.decoder.find(link.bytes()).map_err(|_| BodyError::Malformed)? {
                ChunkStep::Data { skip, len } => {
                    link.consume(skip);
                    self.ready = len;
                    return Poll::Ready(Ok(len));
                }
                ChunkStep::End { skip } => {
                    link.consume(skip);
                    return Poll::Ready(Ok(0));
                }
                ChunkStep::More { skip } => link.consume(skip),
            }
            match ready!(link.poll_fill(cx)) {
                Ok(true) => {}
                Ok(false) if self.decoder.closed() => return Poll::Ready(Ok(0)),
                Ok(false) | Err(_) => return Poll::Ready(Err(BodyError::Truncated)),
            }
        }
    }

    /// Passes the data to `to`.
    pub(crate) fn take(&mut self, link: &mut BufferedStream, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let took = to(&link.bytes()[..self.ready]);
        self.ready -= took;
        self.decoder.took(took);
        link.consume(took);
        took
    }
}
