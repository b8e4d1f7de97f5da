//! The tunnel of a WebSocket over HTTP/2 ([`through`]).

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::time::Instant;

use crate::client::Client;
use crate::client::http2::Http2Client;
use crate::exchange::UpstreamExchange;
use crate::http2::DataPiece;
use crate::net::clock::after;
use crate::net::stream::BufferedStream;

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
