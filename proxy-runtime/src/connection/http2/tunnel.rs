//! The tunnel of a WebSocket over HTTP/2 ([`through`]).

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::time::Instant;

use crate::client::Client;
use crate::client::http2::Http2Client;
use crate::connection::going_away::{GoingAway, Next};
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
    let mut going_away = GoingAway::new(client.worker);
    let mut silent = (Instant::now(), 0);
    let orderly = std::future::poll_fn(|cx| {
        if going_away.poll(cx, &client.timer) {
            // An orderly end of the connection (RFC 8441 section 5).
            return Poll::Ready(down.shut || stream.send_data(Bytes::new().into(), true).is_ok());
        }
        let ended = [up.up(cx, http2, &mut server), down.down(cx, &mut server, &mut stream, &mut going_away)];
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
            let Poll::Ready(there) = http2.poll_body(cx) else {
                // TLS keeps records that the socket did not take.
                return match server.stream.poll_write(cx, [&[], &[]]) {
                    Poll::Ready(Err(_)) => Poll::Ready(Err(())),
                    _ => Poll::Pending,
                };
            };
            if there.map_err(drop)? == 0 {
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
        going_away: &mut GoingAway,
    ) -> Poll<Result<(), ()>> {
        while !self.shut {
            match going_away.next(server.bytes()) {
                Next::Data([]) => {}
                Next::Data(data) => {
                    let len = ready!(poll_room(cx, stream, data.len()))?;
                    going_away.sent(&data[..len]);
                    stream.send_data(Bytes::copy_from_slice(&data[..len]).into(), false).map_err(drop)?;
                    server.consume(len);
                    self.moved += 1;
                    continue;
                }
                Next::Close(close) => {
                    let len = ready!(poll_room(cx, stream, close.len()))?;
                    going_away.sent_close(len);
                    stream.send_data(Bytes::from_static(&close[..len]).into(), false).map_err(drop)?;
                    continue;
                }
                Next::Discard => server.consume(server.bytes().len()),
            }
            if !ready!(server.poll_fill(cx)).map_err(drop)? {
                stream.send_data(Bytes::new().into(), true).map_err(drop)?;
                self.shut = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Returns how much of `wanted` the client accepts; ready once that is not zero.
fn poll_room(cx: &mut Context<'_>, stream: &mut SendStream<DataPiece>, wanted: usize) -> Poll<Result<usize, ()>> {
    stream.reserve_capacity(wanted);
    while stream.capacity() == 0 {
        if !matches!(ready!(stream.poll_capacity(cx)), Some(Ok(_))) {
            return Poll::Ready(Err(()));
        }
    }
    Poll::Ready(Ok(stream.capacity().min(wanted)))
}
