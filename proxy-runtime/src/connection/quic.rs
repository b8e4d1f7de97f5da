//! Accepts QUIC connections ([`accept`]): limits, the handshake, and then HTTP/3 ([`http3`]).
//!
//! Nothing is kept for a client that has not shown that its address is its own, beyond `limits handshakes`: when half of them are under way, such
//! clients get a Retry (RFC 9000 section 8.1.2), which costs the proxy no memory.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Method, Version};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connecting, Connection, ConnectionError, Incoming, ServerConfig, TransportConfig, VarInt, ZeroRttAccepted,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::http3;
use crate::client::peer::Peer;
use crate::client::record::Record;
use crate::failure::Failure;
use crate::http2::budget::{WINDOW, WINDOW_AT_FIRST};
use crate::net::budget::Permit;
use crate::net::quic::{self, QuicSocket};
use crate::net::secured::Secured;
use crate::net::tls::quic::{QuicTls, explain_close};
use crate::protocol::fields::Fields;
use crate::worker::{StopSignal, Worker};

/// A listener of a worker.
struct QuicListener {
    worker: &'static Worker,
    /// Its index.
    listener: u32,
    port: u16,
    config: ServerConfig,
    initial: Arc<QuicServerConfig>,
    /// Held by each connection, for the end to wait for.
    open: mpsc::Sender<()>,
}

/// Accepts connections until the drain begins, and then waits for those that are open. Each becomes a task of this worker.
///
/// # Errors
/// The socket can't be registered with the event loop.
pub(super) async fn accept(worker: &'static Worker, listener: u32, socket: QuicSocket) -> io::Result<()> {
    let initial = worker.engine.quic().ok_or_else(|| io::Error::other("no `tls` fits QUIC"))?;
    let (endpoint, config) = quic::endpoint(socket, Arc::clone(&initial), transport(worker))?;
    let (open, mut all_closed) = mpsc::channel(1);
    let listener = QuicListener { worker, listener, port: endpoint.local_addr()?.port(), config, initial, open };
    let mut stop = worker.stop.clone();
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop != StopSignal::No) => break,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => listener.admit(incoming),
                None => break,
            },
        }
    }
    // As with TCP, what has arrived is accepted. Other clients are refused, and use another version of HTTP.
    let waker = Waker::noop();
    while let Poll::Ready(Some(incoming)) = pin!(endpoint.accept()).poll(&mut Context::from_waker(waker)) {
        listener.admit(incoming);
    }
    endpoint.set_server_config(None);
    drop(listener);
    let _ = all_closed.recv().await;
    // The library would repeat CONNECTION_CLOSE for seconds to clients that have vanished. RFC 9000 section 10.2 allows to end that early, as later
    // packets get no response from a process that has ended.
    let _ = tokio::time::timeout(LAST_CLOSE, endpoint.wait_idle()).await;
    Ok(())
}

/// For how long clients whose CONNECTION_CLOSE was lost get it again at the end of the process.
const LAST_CLOSE: Duration = Duration::from_millis(500);

/// The most unidirectional streams that a client may have open: control and QPACK have three, and unknown types are allowed.
const UNI_STREAMS: u32 = 8;

fn transport(worker: &Worker) -> TransportConfig {
    let max_streams = worker.site.process.max_streams.get(worker.settings);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(u32::try_from(max_streams).unwrap_or(u32::MAX)))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW_AT_FIRST))
        .send_window(http3::SEND_WINDOW_AT_FIRST)
        // All waits for a client have their own time-outs, as in the other versions of HTTP; a long wait for a server is none.
        .max_idle_timeout(None)
        // Datagrams (RFC 9221) are not used.
        .datagram_receive_buffer_size(None);
    config
}

impl QuicListener {
    /// Checks the limits, and begins the handshake.
    fn admit(&self, incoming: Incoming) {
        let worker = self.worker;
        let remote = incoming.remote_address();
        let ip = remote.ip().to_canonical();
        if incoming.may_retry() && worker.budget.is_shaking_much() {
            // A packet that can't be answered is lost.
            let _ = incoming.retry();
            return;
        }
        let shaking = worker.budget.handshake();
        let admitted = match shaking {
            Some(shaking) => worker.budget.admit(None).map(|permit| (permit, shaking)),
            None => Err(Failure::TooManyHandshakes),
        };
        match admitted {
            Err(_) if incoming.may_retry() => drop(incoming.retry()),
            Err(failure) => {
                incoming.refuse();
                self.refused(ip, failure);
            }
            Ok((permit, shaking)) => {
                if let Some(counters) = worker.counters {
                    counters.accepted();
                }
                let tls = Arc::new(QuicTls {
                    engine: worker.engine,
                    site: worker.site,
                    listener: self.listener,
                    own: incoming.local_ip(),
                    initial: Arc::clone(&self.initial),
                    early: worker.site.listeners[self.listener as usize].speaks.early_data.then_some(ip),
                    is_early: AtomicBool::new(false),
                    failure: OnceLock::new(),
                });
                let mut config = self.config.clone();
                config.crypto = Arc::<QuicTls>::clone(&tls);
                // An error is a malformed packet, which anybody may send.
                let Ok(connecting) = incoming.accept_with(Arc::new(config)) else { return };
                let (listener, port, open) = (self.listener, self.port, self.open.clone());
                tokio::task::spawn_local(async move {
                    let _open = open;
                    let _running = worker.running();
                    let mut permit = permit;
                    let began = Instant::now();
                    let outcome = shake(worker, &tls, (ip, connecting), &mut permit).await;
                    drop(tls);
                    match outcome {
                        Ok((connection, None)) => {
                            drop(shaking);
                            Box::pin(serve(worker, (listener, port), (remote, connection), None)).await;
                        }
                        Ok((connection, Some(handshake))) => {
                            let (done, complete) = watch::channel(false);
                            let finishing = async {
                                let in_time = tokio::time::timeout_at(began + patience(worker), handshake).await;
                                if in_time.is_err() {
                                    http3::refuse(&connection);
                                    log(worker, listener, ip, Failure::HandshakeTimeout);
                                } else if connection.close_reason().is_none() {
                                    let _ = done.send(true);
                                }
                                drop((shaking, done));
                            };
                            let serving = serve(worker, (listener, port), (remote, connection.clone()), Some(complete));
                            Box::pin(async { tokio::join!(serving, finishing) }).await;
                        }
                        Err(failure) => log(worker, listener, ip, failure),
                    }
                    drop(permit);
                });
            }
        }
    }

    fn refused(&self, ip: IpAddr, failure: Failure) {
        log(self.worker, self.listener, ip, failure);
    }
}

/// Performs the handshake, or its part before early data. The client's address is its own from then on, so only then does the connection count as
/// this client's: with early data, an earlier handshake has shown that.
async fn shake(
    worker: &'static Worker,
    tls: &QuicTls,
    (ip, connecting): (IpAddr, Connecting),
    permit: &mut Permit,
) -> Result<(Connection, Option<ZeroRttAccepted>), Failure> {
    let shaken = tokio::time::timeout(patience(worker), begin(tls, connecting)).await;
    let shaken = shaken.map_err(|_| Failure::HandshakeTimeout)?;
    let (connection, handshake) = shaken.map_err(|error| {
        let detail = match error {
            ConnectionError::ConnectionClosed(close) => explain_close(close.error_code),
            ConnectionError::ApplicationClosed(_) => "the client closed the connection",
            ConnectionError::Reset => "the client reset the connection",
            ConnectionError::TransportError(_) => "the client breaks the protocol",
            _ => "the connection failed",
        };
        tls.failure.get().copied().unwrap_or(Failure::Handshake(detail))
    })?;
    permit.count(ip).inspect_err(|_| http3::refuse(&connection))?;
    Ok((connection, handshake))
}

fn patience(worker: &Worker) -> Duration {
    worker.site.root.timeouts.handshake.get(worker.settings).min(Duration::from_secs(3600))
}

/// Returns the connection at the end of its handshake, or as soon as there is early data, with the rest of the handshake.
async fn begin(
    tls: &QuicTls,
    mut connecting: Connecting,
) -> Result<(Connection, Option<ZeroRttAccepted>), ConnectionError> {
    if tls.early.is_some() {
        connecting.handshake_data().await?;
        if tls.is_early.load(Ordering::Relaxed) {
            match connecting.into_0rtt() {
                Ok((connection, handshake)) => return Ok((connection, Some(handshake))),
                Err(whole) => connecting = whole,
            }
        }
    }
    Ok((connecting.await?, None))
}

/// Serves a connection after its handshake, or its early data while `handshake` is not `true`. `remote` is the address that the handshake has shown to
/// be the client's. Of another one that packets come from later, the library does not tell whether it was validated (RFC 9000 section 9.3), and anybody
/// may write it on a packet, so it only gets the responses.
async fn serve(
    worker: &'static Worker,
    (listener, port): (u32, u16),
    (remote, connection): (SocketAddr, Connection),
    handshake: Option<watch::Receiver<bool>>,
) {
    let secured = connection.handshake_data().and_then(|data| data.downcast::<Secured>().ok());
    let Some(secured) = secured else { return };
    if let Some(counters) = worker.counters {
        counters.handshake(secured.version);
    }
    let mut peer = Peer::new(worker, listener, remote.ip().to_canonical());
    if worker.announces {
        let own = connection.local_ip().map(|own| (own.to_canonical(), port).into());
        peer.addresses = (Some((remote.ip().to_canonical(), remote.port()).into()), own);
    }
    peer.secured = Some(*secured);
    http3::serve(Rc::new(peer), connection, handshake).await;
}

/// Logs a connection that was refused before its first request.
fn log(worker: &'static Worker, listener: u32, ip: IpAddr, failure: Failure) {
    let peer = Rc::new(Peer::new(worker, listener, ip));
    let method = Method::from_bytes(b"-").unwrap_or_default();
    let mut record = Record::new(&peer, method, Version::HTTP_3, Fields::new(), Instant::now());
    record.failed(failure);
    record.answered(failure.status().as_u16());
    record.finished();
}
