//! What both sides of the proxy have in common in HTTP/2 (RFC 9113): how fields become header maps and back, and how a body
//! goes out ([`Outbound`]).

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::body::Source;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::intake::may_trail;

/// What is received of one body, and of all bodies of a connection, before it is passed on, in bytes.
pub(crate) const WINDOW: u32 = 256 << 10;
pub(crate) const CONNECTION_WINDOW: u32 = 512 << 10;

/// What waits to be sent of one body, in bytes.
pub(crate) const SEND_BUFFER: usize = 64 << 10;

/// A body on its way out.
pub(crate) struct Outbound {
    /// How much is left to send, where that is known.
    left: Option<u64>,
    /// How many bytes were sent.
    pub(crate) sent: u64,
    /// Since when the other side takes nothing.
    pub(crate) blocked: Option<Instant>,
}

impl Outbound {
    /// For a body of so many bytes, where that is known.
    pub(crate) fn new(length: Option<u64>) -> Outbound {
        Outbound { left: length, sent: 0, blocked: None }
    }

    /// Sends what there is, until all is sent. The error is the source's failure; none where the other side takes no more.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Source,
        stream: &mut SendStream<Bytes>,
    ) -> Poll<Result<(), Option<Failure>>> {
        loop {
            if !ready!(source.poll_fill(cx)).map_err(Some)? {
                let sent = match source.trailers() {
                    Some(trailers) => stream.send_trailers(to_send(&trailers)),
                    None => stream.send_data(Bytes::new(), true),
                };
                return Poll::Ready(sent.map_err(|_| None));
            }
            let mut there = 0;
            source.take(|data| {
                there = data.len();
                0
            });
            stream.reserve_capacity(there.min(SEND_BUFFER));
            while stream.capacity() == 0 {
                match stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(None)),
                    Poll::Pending => {
                        self.blocked.get_or_insert_with(Instant::now);
                        return Poll::Pending;
                    }
                }
            }
            self.blocked = None;
            let (mut piece, room) = (Bytes::new(), stream.capacity());
            source.take(|data| {
                piece = Bytes::copy_from_slice(&data[..data.len().min(room)]);
                piece.len()
            });
            self.sent += piece.len() as u64;
            let last = self.left.as_mut().is_some_and(|left| {
                *left = left.saturating_sub(piece.len() as u64);
                *left == 0
            });
            stream.send_data(piece, last).map_err(|_| None)?;
            if last {
                // The source is told that it is at its end.
                return match source.poll_fill(cx) {
                    Poll::Ready(Err(failure)) => Poll::Ready(Err(Some(failure))),
                    Poll::Ready(Ok(_)) | Poll::Pending => Poll::Ready(Ok(())),
                };
            }
        }
    }
}

/// Fields as they were received.
pub(crate) fn received(headers: &HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
}

/// The same of trailers, but for those that mean nothing behind a body (RFC 9110 section 6.5.1).
pub(crate) fn received_trailers(headers: &HeaderMap) -> Fields {
    let mut fields = received(headers);
    fields.retain(|name, _| may_trail(name));
    fields
}

/// Fields as they are sent: without those that belong to a connection, which HTTP/2 has not (RFC 9113 section 8.2.2), and
/// without the host, which is not a field there.
pub(crate) fn to_send(fields: &Fields) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(fields.len() + 2);
    for (name, value) in fields.raw() {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else { continue };
        let of_connection = ["connection", "upgrade", "keep-alive", "proxy-connection", "transfer-encoding", "host"];
        if !of_connection.contains(&name.as_str()) {
            headers.append(name, value);
        }
    }
    headers
}
