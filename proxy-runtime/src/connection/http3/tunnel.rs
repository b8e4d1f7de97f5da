//! The tunnel of a WebSocket over HTTP/3 ([`through`]): bytes are in DATA frames (RFC 9220 section 3).

use std::pin::pin;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use crate::client::Client;
use crate::client::http3::Http3Client;
use crate::connection::going_away::{GoingAway, Next};
use crate::exchange::UpstreamExchange;
use crate::http3::codes::ErrorCode;
use crate::http3::head;
use crate::net::clock::after;
use crate::net::stream::BufferedStream;

/// Sends the head of the response, and then copies bytes until both sides have ended, or both are idle. Returns whether it has ended in order.
pub(super) async fn through(client: &Client, http3: &Http3Client, head: Vec<u8>, call: UpstreamExchange) -> bool {
    let Some((mut server, _lease)) = call.into_link() else {
        http3.reset(ErrorCode::Internal);
        return false;
    };
    let mut up = UpDirection::default();
    let mut down = DownDirection { unsent: head, left: 0, moved: 0, shut: false };
    let mut going_away = GoingAway::new(client.worker);
    let mut silent = (Instant::now(), 0);
    let mut cancelled = pin!(http3.cancelled());
    let orderly = std::future::poll_fn(|cx| {
        if going_away.poll(cx, &client.timer) {
            return Poll::Ready(down.end(http3));
        }
        let ended = [up.poll(cx, http3, &mut server), down.poll(cx, &mut server, http3, &mut going_away)];
        if ended.contains(&Poll::Ready(Err(()))) || cancelled.as_mut().poll(cx).is_ready() {
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
        // RFC 9220 section 3: what is not the end of a stream is this.
        http3.reset(ErrorCode::RequestCancelled);
        http3.stop(ErrorCode::RequestCancelled);
    }
    orderly
}

/// From the client to the server.
#[derive(Default)]
struct UpDirection {
    /// How often bytes were copied.
    moved: u64,
    /// The end was passed on.
    shut: bool,
}

impl UpDirection {
    fn poll(&mut self, cx: &mut Context<'_>, http3: &Http3Client, server: &mut BufferedStream) -> Poll<Result<(), ()>> {
        while !self.shut {
            if ready!(self.flushed(cx, http3, server))? == 0 {
                ready!(server.stream.poll_shutdown(cx)).map_err(drop)?;
                self.shut = true;
                break;
            }
            let mut outcome = Poll::Pending;
            http3.take_body(|data| {
                outcome = server.stream.poll_write(cx, [data, &[]]);
                if let Poll::Ready(Ok(written)) = &outcome { *written } else { 0 }
            });
            ready!(outcome).map_err(drop)?;
            self.moved += 1;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for bytes of the client, while what was written before is flushed.
    fn flushed(
        &mut self,
        cx: &mut Context<'_>,
        http3: &Http3Client,
        server: &mut BufferedStream,
    ) -> Poll<Result<usize, ()>> {
        let there = http3.poll_body(cx);
        if there.is_pending() {
            let _ = server.stream.poll_write(cx, [&[], &[]]).map_err(drop)?;
        }
        there.map_err(drop)
    }
}

/// From the server to the client.
struct DownDirection {
    /// The head, or the header of a frame.
    unsent: Vec<u8>,
    /// How many bytes of the server belong to the frame.
    left: usize,
    /// How often bytes were copied.
    moved: u64,
    /// The end was passed on.
    shut: bool,
}

impl DownDirection {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        server: &mut BufferedStream,
        http3: &Http3Client,
        going_away: &mut GoingAway,
    ) -> Poll<Result<(), ()>> {
        while !self.shut {
            if !self.is_between() {
                let here = self.left.min(server.bytes().len());
                let written = ready!(http3.poll_write(cx, [&self.unsent, &server.bytes()[..here]])).map_err(drop)?;
                let of_head = written.min(self.unsent.len());
                self.unsent.drain(..of_head);
                going_away.sent(&server.bytes()[..written - of_head]);
                server.consume(written - of_head);
                self.left -= written - of_head;
                self.moved += 1;
                continue;
            }
            match going_away.next(server.bytes()) {
                Next::Data([]) => {}
                Next::Data(data) => {
                    self.left = data.len();
                    head::write_data(&mut self.unsent, self.left as u64);
                    continue;
                }
                Next::Close(close) => {
                    head::write_data(&mut self.unsent, close.len() as u64);
                    self.unsent.extend_from_slice(close);
                    going_away.sent_close(close.len());
                    continue;
                }
                Next::Discard => server.consume(server.bytes().len()),
            }
            if !ready!(server.poll_fill(cx)).map_err(drop)? {
                self.end(http3);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Returns whether all frames were sent to their ends.
    fn is_between(&self) -> bool {
        self.unsent.is_empty() && self.left == 0
    }

    /// Ends the stream, if that is possible between frames.
    fn end(&mut self, http3: &Http3Client) -> bool {
        if self.is_between() && !self.shut {
            http3.finish();
            self.shut = true;
        }
        self.shut
    }
}
