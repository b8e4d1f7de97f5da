//! WebSocket over HTTP/2 (RFC 8441): converts an extended CONNECT to a `GET` with `Upgrade`, its 101 to a 200, and then copies
//! bytes in both directions.

mod sha1;

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::StatusCode;
use tokio::time::Instant;

use crate::balance::Dice;
use crate::client::Client;
use crate::client::http2::Http2Client;
use crate::content::respond::Answer;
use crate::exchange::UpstreamExchange;
use crate::http2::DataPiece;
use crate::net::clock::after;
use crate::net::stream::BufferedStream;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;

/// The key that is sent to a server, which must prove that it has understood it (RFC 6455 section 1.3).
pub(super) struct WebSocketKey([u8; 24]);

/// Adds the fields of an HTTP/1.1 upgrade (RFC 6455 section 4.1); HTTP/2 has no key (RFC 8441 section 5.1).
pub(super) fn ask(fields: &mut Fields, dice: &Dice) -> WebSocketKey {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // 16 bytes in base64: 22 digits, of which the last has only two significant bits, and the padding.
    let mut key = [b'='; 24];
    key[..21].fill_with(|| DIGITS[dice.below(64)]);
    key[21] = b"AQgw"[dice.below(4)];
    fields.set(KnownField::CONNECTION, b"upgrade");
    fields.set(KnownField::UPGRADE, b"websocket");
    fields.set("sec-websocket-key", &key);
    WebSocketKey(key)
}

impl WebSocketKey {
    /// Returns the expected `Sec-WebSocket-Accept` (RFC 6455 section 4.2.2).
    fn accepted(&self) -> String {
        const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        data_encoding::BASE64.encode(&sha1::digest(&[&self.0, GUID].concat()))
    }
}

/// Converts a 101 to the response to an extended CONNECT. `false`: the server's key does not match (RFC 6455 section 4.1).
pub(super) fn accept(key: &WebSocketKey, answer: &mut Answer<Body>) -> bool {
    let mut shown = answer.fields.all("sec-websocket-accept");
    if shown.next() != Some(key.accepted().as_bytes()) || shown.next().is_some() {
        return false;
    }
    drop(shown);
    answer.status = StatusCode::OK;
    for name in ["connection", "upgrade", "sec-websocket-accept"] {
        answer.fields.remove(name);
    }
    true
}

/// Copies bytes until both sides have ended, or both are idle.
pub(super) async fn through(
    client: &Client,
    http2: &Http2Client,
    mut stream: SendStream<DataPiece>,
    call: UpstreamExchange,
) {
    let Some((mut server, _lease)) = call.into_link() else { return stream.send_reset(Reason::INTERNAL_ERROR) };
    let (mut up, mut down) = (WebSocketDirection::default(), WebSocketDirection::default());
    let mut silent = (Instant::now(), 0);
    let orderly = std::future::poll_fn(|cx| {
        let ended = [up.up(cx, http2, &mut server), down.down(cx, &mut server, &mut stream)];
        if ended.contains(&Poll::Ready(Err(()))) || stream.poll_reset(cx).is_ready() {
            return Poll::Ready(false);
        }
        if ended.iter().all(Poll::is_ready) {
            return Poll::Ready(true);
        }
        let moved = up.moved + down.moved;
        if moved != silent.1 {
            silent = (Instant::now(), moved);
        }
        if client.timer.over(after(silent.0, client.idle.get())) { Poll::Ready(false) } else { Poll::Pending }
    })
    .await;
    if !orderly {
        stream.send_reset(Reason::CANCEL);
    }
}

/// One direction.
#[derive(Default)]
struct WebSocketDirection {
    /// How many bytes were copied.
    moved: u64,
    /// The end was passed on.
    shut: bool,
}

impl WebSocketDirection {
    fn up(&mut self, cx: &mut Context<'_>, http2: &Http2Client, server: &mut BufferedStream) -> Poll<Result<(), ()>> {
        while !self.shut {
            if ready!(http2.poll_body(cx)).map_err(drop)? == 0 {
                ready!(server.stream.poll_shutdown(cx)).map_err(drop)?;
                self.shut = true;
                break;
            }
            let mut outcome = Poll::Pending;
            http2.take_body(|data| {
                outcome = server.stream.poll_write(cx, [data, &[]]);
                if let Poll::Ready(Ok(written)) = &outcome { *written } else { 0 }
            });
            ready!(outcome).map_err(drop)?;
            self.moved += 1;
        }
        server.stream.poll_write(cx, [&[], &[]]).map(|flushed| flushed.map(drop).map_err(drop))
    }

    fn down(
        &mut self,
        cx: &mut Context<'_>,
        server: &mut BufferedStream,
        stream: &mut SendStream<DataPiece>,
    ) -> Poll<Result<(), ()>> {
        while !self.shut {
            if server.is_empty() && !ready!(server.poll_fill(cx)).map_err(drop)? {
                stream.send_data(Bytes::new().into(), true).map_err(drop)?;
                self.shut = true;
                break;
            }
            stream.reserve_capacity(server.bytes().len());
            while stream.capacity() == 0 {
                match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(Err(())),
                }
            }
            let len = server.bytes().len().min(stream.capacity());
            let piece = Bytes::copy_from_slice(&server.bytes()[..len]);
            server.consume(len);
            stream.send_data(piece.into(), false).map_err(drop)?;
            self.moved += 1;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        // The example of RFC 6455 section 1.3.
        assert_eq!(WebSocketKey(*b"dGhlIHNhbXBsZSBub25jZQ==").accepted(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
