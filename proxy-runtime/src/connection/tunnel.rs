//! Tunnels: copy bytes in both directions until both sides have ended, or both are idle. Used after an upgrade, and for streams.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::going_away::{GoingAway, Next};
use crate::client::Client;
use crate::client::http1::Http1Client;
use crate::exchange::UpstreamExchange;
use crate::net::clock::{Timer, after};
use crate::net::stream::BufferedStream;

/// Copies bytes between the client and the server. An error on either side ends both; nobody is left to report it to.
pub(crate) async fn through(client: &Client, http1: &Http1Client, call: UpstreamExchange, is_websocket: bool) {
    let Some((mut server, _lease)) = call.into_link() else { return };
    let going_away = is_websocket.then(|| GoingAway::new(client.worker));
    pump((&http1.link, &mut server), (&client.timer, client.idle.get()), going_away, |_| {}).await;
}

/// Copies bytes between a client and a server; `silence` is how long both may be idle. `progress` is called with the number of
/// bytes sent to the client.
pub(crate) async fn pump(
    (client, server): (&RefCell<BufferedStream>, &mut BufferedStream),
    (timer, silence): (&Timer, Duration),
    mut going_away: Option<GoingAway>,
    mut progress: impl FnMut(u64),
) {
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let mut silent = (Instant::now(), 0);
    std::future::poll_fn(|cx| {
        let mut client = client.borrow_mut();
        if going_away.as_mut().is_some_and(|going_away| going_away.poll(cx, timer)) {
            return Poll::Ready(());
        }
        let ended = [up.poll(cx, &mut client, server, None), down.poll(cx, server, &mut client, going_away.as_mut())];
        progress(down.moved);
        if ended.iter().any(|way| matches!(way, Poll::Ready(Err(_)))) || ended.iter().all(Poll::is_ready) {
            return Poll::Ready(());
        }
        let moved = up.moved + down.moved;
        if moved != silent.1 {
            silent = (Instant::now(), moved);
        }
        if timer.over(after(silent.0, silence)) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// One direction.
#[derive(Default)]
struct Direction {
    /// How many bytes were copied.
    moved: u64,
    /// The end was passed on.
    shut: bool,
}

impl Direction {
    /// Copies what is available; ready once this direction has ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut BufferedStream,
        to: &mut BufferedStream,
        mut going_away: Option<&mut GoingAway>,
    ) -> Poll<io::Result<()>> {
        while !self.shut {
            let next = match &going_away {
                Some(going_away) => going_away.next(from.bytes()),
                None => Next::Data(from.bytes()),
            };
            match next {
                Next::Data([]) => {}
                Next::Data(data) => {
                    let written = ready!(to.stream.poll_write(cx, [data, &[]]))?;
                    if let Some(going_away) = &mut going_away {
                        going_away.sent(&data[..written]);
                    }
                    from.consume(written);
                    self.moved += written as u64;
                    continue;
                }
                Next::Close(close) => {
                    let written = ready!(to.stream.poll_write(cx, [close, &[]]))?;
                    if let Some(going_away) = &mut going_away {
                        going_away.sent_close(written);
                    }
                    continue;
                }
                Next::Discard => from.consume(from.bytes().len()),
            }
            match from.poll_fill(cx)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    ready!(to.stream.poll_shutdown(cx))?;
                    self.shut = true;
                }
                Poll::Pending => {
                    // Flush buffered data before reading more.
                    let _ = to.stream.poll_write(cx, [&[], &[]])?;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
