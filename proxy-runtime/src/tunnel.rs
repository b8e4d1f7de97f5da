//! Tunnels: after an upgrade, bytes both ways until both sides have ended, or both are silent, or the drain is over.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use crate::connection::Client;
use crate::upstream::Channel;

/// Starts a tunnel. It begins once both sides are handed over, the client's after its 101 was written.
pub(crate) fn start(
    client: &Rc<Client>,
    client_side: OnUpgrade,
    channel: Channel,
    server_side: OnUpgrade,
    idle: Duration,
) {
    let client = Rc::clone(client);
    tokio::task::spawn_local(async move {
        let running = client.worker.running();
        let handed_over = async { tokio::join!(client_side, async { tokio::join!(server_side, channel.finish()).0 }) };
        if let Ok((Ok(client_side), Ok(server_side))) = tokio::time::timeout(idle, handed_over).await {
            through(client_side, server_side, idle).await;
        }
        drop(running);
    });
}

async fn through(client: Upgraded, server: Upgraded, idle: Duration) {
    let moved = Rc::new(Cell::new(0_u64));
    let mut client = Counted { io: TokioIo::new(client), moved: Rc::clone(&moved) };
    let mut server = TokioIo::new(server);
    let silence = async {
        loop {
            let before = moved.get();
            tokio::time::sleep(idle).await;
            if moved.get() == before {
                return;
            }
        }
    };
    tokio::select! {
        // Either side's error ends both; there is nobody left to tell.
        _ = copy_bidirectional(&mut client, &mut server) => {}
        () = silence => {}
    }
}

/// Counts what moves, in either direction: all of it passes the client's side.
struct Counted {
    io: TokioIo<Upgraded>,
    moved: Rc<Cell<u64>>,
}

impl Counted {
    fn count<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.moved.set(self.moved.get() + 1);
        }
        outcome
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        self.count(outcome)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.count(outcome)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
