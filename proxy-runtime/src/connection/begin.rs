//! Begins a client connection: determines the client ([`Peer`]) and the protocol.
//!
//! It takes [`Accepted`] and returns nothing. In this order, as the listener is configured: the PROXY header, the TLS
//! handshake, then HTTP/1.1 ([`http1`]) or HTTP/2 ([`http2`]). Exchanges see all of them as a [`Client`]. Connections of a `stream`
//! are passed through ([`stream`]).

use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::draining::{DRAIN_GRACE, Draining};
use super::{http1, http2, proxy_protocol, stream};
use crate::client::peer::Peer;
use crate::client::record::Record;
use crate::context::matcher;
use crate::failure::Failure;
use crate::net::budget::Permit;
use crate::net::clock::{Timer, after};
use crate::net::stream::{BufferedStream, SocketStream};
use crate::protocol::fields::Fields;
use crate::site::ProxyProtocolIn;
use crate::worker::{DrainGuard, Worker};

/// An accepted connection, counted against the limits until it is dropped.
pub(super) struct Accepted {
    pub(super) stream: SocketStream,
    pub(super) peer: IpAddr,
    /// The index of the listener.
    pub(super) listener: u32,
    pub(super) permit: Permit,
    /// The drain waits for it from the moment it is accepted.
    pub(super) running: DrainGuard,
}

/// Serves a connection until it is closed.
pub(crate) async fn serve(worker: &'static Worker, accepted: Accepted) {
    let Accepted { stream, peer, listener, mut permit, running: _running } = accepted;
    let speaks = &worker.site.listeners[listener as usize].speaks;
    let mut peer = Peer::new(worker, listener, peer);
    if worker.announces {
        peer.addresses = stream.addresses();
    }
    let link = BufferedStream::new(stream, worker.buffers);
    let plain = !speaks.tls && speaks.proxy_protocol.is_none() && !speaks.http2;
    if let Some(stream) = speaks.stream {
        // Boxed: HTTP futures are large enough.
        Box::pin(stream::serve(Rc::new(peer), link, &worker.site.streams[usize::from(stream)])).await;
    } else if plain {
        http1::serve(Rc::new(peer), link).await;
    } else {
        // Boxed: large, and short-lived.
        match Box::pin(begin(&mut peer, link, &mut permit)).await {
            Ok(Some((link, false))) => http1::serve(Rc::new(peer), link).await,
            Ok(Some((link, true))) => Box::pin(http2::serve(Rc::new(peer), link)).await,
            Ok(None) => {}
            Err((failure @ Failure::PlainHttp, Some(link))) => {
                Box::pin(http1::turn_away(Rc::new(peer), link, failure)).await;
            }
            Err((failure, link)) => {
                let method = http::Method::from_bytes(b"-").unwrap_or_default();
                let mut record =
                    Record::new(&Rc::new(peer), method, http::Version::HTTP_11, Fields::new(), Instant::now());
                record.failed(failure);
                record.finished();
                if let Some(link) = link {
                    Box::pin(part(link)).await;
                }
            }
        }
    }
    drop(permit);
}

/// How long a rejected client may take to close, and how much it may still send, in bytes.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_WORDS: u64 = 64 << 10;

/// Closes a connection after a TLS alert: closing with unread bytes would reset it, and the alert might be lost.
async fn part(mut link: BufferedStream) {
    let parted = async {
        let _ = link.shutdown().await;
        tokio::io::copy(&mut (&mut link).take(PARTING_WORDS), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(PARTING, parted).await;
}

/// The reason why a connection is rejected, and the connection if it is still open.
type RejectedConnection = (Failure, Option<BufferedStream>);

/// Performs the TLS handshake and determines the protocol. Returns the connection, and whether it uses HTTP/2; `None` if
/// the client has disconnected without sending anything.
async fn begin(
    peer: &mut Peer,
    mut link: BufferedStream,
    permit: &mut Permit,
) -> Result<Option<(BufferedStream, bool)>, RejectedConnection> {
    let (worker, speaks) = (peer.worker, &peer.listener().speaks);
    let patience = worker.site.root.timeouts.handshake.get(worker.settings);
    let until = Instant::now() + patience.min(Duration::from_secs(3600));
    if let Some(expected) = &speaks.proxy_protocol {
        let introduced = tokio::time::timeout_at(until, introduction(peer, expected, &mut link)).await;
        let introduced = introduced.unwrap_or(Err(Failure::HandshakeTimeout));
        introduced.and_then(|()| permit.count(peer.ip)).map_err(|failure| (failure, None))?;
    }
    if speaks.tls {
        return tokio::time::timeout_at(until, secure(peer, link))
            .await
            .unwrap_or(Err((Failure::HandshakeTimeout, None)));
    }
    let http2 = match (speaks.http1, speaks.http2) {
        (_, false) => Some(false),
        (false, true) => Some(true),
        (true, true) => prior_knowledge(worker, &mut link).await,
    };
    Ok(http2.map(|http2| (link, http2)))
}

/// Returns the TLS handshake.
async fn secure(
    peer: &mut Peer,
    mut link: BufferedStream,
) -> Result<Option<(BufferedStream, bool)>, RejectedConnection> {
    let worker = peer.worker;
    match std::future::poll_fn(|cx| if link.is_empty() { link.poll_fill(cx) } else { Poll::Ready(Ok(true)) }).await {
        Ok(true) => {}
        Ok(false) | Err(_) => return Ok(None),
    }
    // A TLS handshake record begins with 22, a request with a letter.
    if link.bytes()[0].is_ascii_uppercase() {
        return Err((Failure::PlainHttp, Some(link)));
    }
    // A client that connects and sends nothing does not count as a handshake.
    let Some(_shaking) = worker.budget.handshake() else { return Err((Failure::TooManyHandshakes, None)) };
    let secured = worker.engine.accept(worker.site, peer.listener, link).await;
    let (stream, secured) = secured?;
    let http2 = secured.http2 || !peer.listener().speaks.http1;
    if let Some(counters) = worker.counters {
        counters.handshake(secured.version);
    }
    peer.secured = Some(secured);
    Ok(Some((BufferedStream::new(stream, worker.buffers), http2)))
}

/// Reads the PROXY header (`proxy-protocol`), whose addresses replace the peer's.
async fn introduction(peer: &mut Peer, expected: &ProxyProtocolIn, link: &mut BufferedStream) -> Result<(), Failure> {
    if !matcher::contains(&expected.from, peer.ip) {
        return Err(Failure::ProxyProtocol);
    }
    let header = std::future::poll_fn(|cx| {
        loop {
            match proxy_protocol::read(link.bytes(), expected) {
                Ok(None) => {}
                Ok(Some(header)) => return Poll::Ready(Ok(header)),
                Err(proxy_protocol::MalformedHeader) => return Poll::Ready(Err(Failure::ProxyProtocol)),
            }
            match std::task::ready!(link.poll_fill(cx)) {
                Ok(true) => {}
                Ok(false) | Err(_) => return Poll::Ready(Err(Failure::ProxyProtocol)),
            }
        }
    })
    .await?;
    link.consume(header.size);
    if let Some((client, proxy)) = header.addresses {
        peer.ip = client.ip().to_canonical();
        peer.text = peer.ip.to_string();
        peer.addresses = (Some(client), Some(proxy));
    }
    Ok(())
}

/// Returns whether the connection begins with the HTTP/2 preface (RFC 9113 section 3.4); no HTTP/1 method is `PRI`.
/// `None`: the client has disconnected, or sends nothing.
async fn prior_knowledge(worker: &'static Worker, link: &mut BufferedStream) -> Option<bool> {
    const PREFACE: &[u8] = b"PRI ";
    let idle = worker.site.root.timeouts.idle.get(worker.settings);
    let (timer, mut draining) = (Timer::default(), Draining::new(worker));
    let began = Instant::now();
    let first = pin!(std::future::poll_fn(|cx| {
        loop {
            let len = link.bytes().len().min(PREFACE.len());
            if link.bytes()[..len] != PREFACE[..len] {
                return Poll::Ready(Some(false));
            }
            if len == PREFACE.len() {
                return Poll::Ready(Some(true));
            }
            match link.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        let over = match draining.poll(cx) {
            Some(since) => timer.over(after(since, DRAIN_GRACE)),
            None => timer.over(after(began, idle)),
        };
        if over { Poll::Ready(None) } else { Poll::Pending }
    }));
    timer.run(first).await
}
