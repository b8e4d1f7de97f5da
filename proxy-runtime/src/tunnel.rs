//! Tunnels: after an upgrade, bytes both ways until both sides have ended, or both are silent.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use crate::clock::after;
use crate::connection::Client;
use crate::connection::http1::Http1;
use crate::stream::Link;
use crate::upstream::Call;

/// Passes bytes through. Either side's error ends both; there is nobody left to tell.
pub(crate) async fn through(client: &Client, http1: &Http1, call: Call) {
    let Some((mut server, _lease)) = call.into_link() else { return };
    let (mut up, mut down) = (Way::default(), Way::default());
    let mut silent = (Instant::now(), 0);
    std::future::poll_fn(|cx| {
        let mut client_side = http1.link.borrow_mut();
        let ended = [up.poll(cx, &mut client_side, &mut server), down.poll(cx, &mut server, &mut client_side)];
        if ended.iter().any(|way| matches!(way, Poll::Ready(Err(_)))) || ended.iter().all(Poll::is_ready) {
            return Poll::Ready(());
        }
        let moved = up.moved + down.moved;
        if moved != silent.1 {
            silent = (Instant::now(), moved);
        }
        if client.timer.over(after(silent.0, client.idle.get())) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Counts what moves.
    moved: u64,
    /// The end was passed on.
    shut: bool,
}

impl Way {
    /// Passes on what there is; ready when all of it was.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Link, to: &mut Link) -> Poll<io::Result<()>> {
        while !self.shut {
            if !from.is_empty() {
                let written = ready!(to.stream.poll_write(cx, [from.bytes(), &[]]))?;
                from.consume(written);
                self.moved += 1;
                continue;
            }
            match from.poll_fill(cx)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    ready!(to.stream.poll_shutdown(cx))?;
                    self.shut = true;
                }
                Poll::Pending => {
                    // What the other side has taken is seen off before there is more.
                    let _ = to.stream.poll_write(cx, [&[], &[]])?;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
