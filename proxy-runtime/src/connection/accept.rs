//! Accepts connections from a listener's socket until the drain begins; each becomes a task of the worker ([`accept`]).
//!
//! Closing a socket resets the connections that wait in its queue. So they are accepted when the drain begins, unless another process has the socket, too,
//! and accepts instead of this one ([`Handover`](crate::handover::Handover)).

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::Instant;

use super::begin::{Accepted, serve};
use crate::client::peer::Peer;
use crate::client::record::Record;
use crate::handover::{paused, resumed};
use crate::net::descriptors;
use crate::net::listen::{self, AcceptFrom, Bound};
use crate::net::stream::SocketStream;
use crate::observe::notice;
use crate::protocol::fields::Fields;
use crate::worker::{StopSignal, Worker};

/// A listener in an event loop.
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Accepts connections until the drain begins. Each connection becomes a task of this worker.
///
/// # Errors
/// The socket can't be registered with the event loop.
pub(crate) async fn accept(worker: &'static Worker, listener: u32, socket: AcceptFrom) -> io::Result<()> {
    let listening = match socket {
        #[cfg(feature = "h3")]
        AcceptFrom::Quic(socket) => return super::quic::accept(worker, listener, socket).await,
        AcceptFrom::Stream(Bound::Tcp(socket)) => Listening::Tcp(TcpListener::from_std(socket)?),
        AcceptFrom::Stream(Bound::Unix(socket)) => Listening::Unix(UnixListener::from_std(socket)?),
    };
    let mut stop = worker.stop.clone();
    let mut pauses = worker.handover.map(|handover| handover.follow(listener));
    let mut pause = SHORTEST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop != StopSignal::No) => return empty(worker, listener, listening),
            () = paused(&mut pauses) => None,
            accepted = listening.accept() => Some(accepted),
        };
        let Some(accepted) = accepted else {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop != StopSignal::No) => return Ok(()),
                () = resumed(&mut pauses) => continue,
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = SHORTEST_PAUSE;
                admit(worker, listener, stream, peer);
            }
            // The peer disconnected before the accept, for example.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Out of descriptors or memory, in this process or the system: retry after a pause.
                if descriptors::are_exhausted(&error) {
                    worker.descriptors.press();
                    worker.pools.let_go();
                }
                let name = &worker.site.listeners[listener as usize].name;
                notice(&format!("can't accept on `{name}`, trying again: {error}"));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The most connections that are accepted at the end: as many as a queue holds.
const MOST_WAITING: i32 = listen::BACKLOG;

/// Accepts the connections that are waiting.
fn empty(worker: &'static Worker, listener: u32, listening: Listening) -> io::Result<()> {
    match listening {
        Listening::Tcp(socket) => {
            let socket = socket.into_std()?;
            accept_waiting(
                || socket.accept(),
                |(stream, peer)| {
                    stream.set_nonblocking(true)?;
                    let _ = stream.set_nodelay(true);
                    admit(worker, listener, SocketStream::Tcp(TcpStream::from_std(stream)?), peer.ip().to_canonical());
                    Ok(())
                },
            );
        }
        Listening::Unix(socket) => {
            let socket = socket.into_std()?;
            accept_waiting(
                || socket.accept(),
                |(stream, _)| {
                    stream.set_nonblocking(true)?;
                    admit(
                        worker,
                        listener,
                        SocketStream::Unix(UnixStream::from_std(stream)?),
                        Ipv4Addr::LOCALHOST.into(),
                    );
                    Ok(())
                },
            );
        }
    }
    Ok(())
}

/// Accepts until the queue is empty, or descriptors run out.
fn accept_waiting<T>(mut accept: impl FnMut() -> io::Result<T>, mut admit: impl FnMut(T) -> io::Result<()>) {
    for _ in 0..MOST_WAITING {
        let passed = match accept() {
            Ok(accepted) => admit(accepted),
            Err(error) => Err(error),
        };
        match passed {
            Err(error) if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                return;
            }
            _ => {}
        }
    }
}

/// The pauses after failures to accept, which double.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Listening {
    async fn accept(&self) -> io::Result<(SocketStream, IpAddr)> {
        match self {
            Listening::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                // Responses are written when they are ready; Nagle's algorithm would only delay them.
                let _ = stream.set_nodelay(true);
                Ok((SocketStream::Tcp(stream), peer.ip().to_canonical()))
            }
            // The peer of a Unix socket is on this machine.
            Listening::Unix(socket) => Ok((SocketStream::Unix(socket.accept().await?.0), Ipv4Addr::LOCALHOST.into())),
        }
    }
}

fn admit(worker: &'static Worker, listener: u32, stream: SocketStream, peer: IpAddr) {
    // Behind a proxy, the client is only known after the PROXY header.
    let introduced = worker.site.listeners[listener as usize].speaks.proxy_protocol.is_some();
    match worker.budget.admit((!introduced).then_some(peer)) {
        Ok(permit) => {
            if let Some(counters) = worker.counters {
                counters.accepted();
            }
            tokio::task::spawn_local(serve(
                worker,
                Accepted { stream, peer, listener, permit, running: worker.running() },
            ));
        }
        Err(failure) => {
            const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 24\r\nconnection: close\r\n\r\n503 Service Unavailable\n";
            // A fresh socket has space for this; if not, closing it is enough. Only an HTTP/1 client understands it.
            let speaks = &worker.site.listeners[listener as usize].speaks;
            let plain = speaks.http1 && !speaks.tls;
            let _ = match &stream {
                SocketStream::Tcp(stream) if plain => stream.try_write(FULL),
                SocketStream::Unix(stream) if plain => stream.try_write(FULL),
                _ => Ok(0),
            };
            let method = http::Method::from_bytes(b"-").unwrap_or_default();
            let (version, began) = (http::Version::HTTP_11, Instant::now());
            let peer = Rc::new(Peer::new(worker, listener, peer));
            let mut record = Record::new(&peer, method, version, Fields::new(), began);
            record.failed(failure);
            record.answered(failure.status().as_u16());
            record.finished();
        }
    }
}
