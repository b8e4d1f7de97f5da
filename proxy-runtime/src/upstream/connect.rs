//! Connects to a server, including everything before the first request: [`Dialler`].

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};

use super::race;
use super::server::{ResolvedName, ServerState, TargetAddress};
use super::state::UpstreamState;
use crate::failure::Failure;
use crate::net::descriptors::{self, Descriptors};
use crate::net::stream::{BufferedStream, Buffers, SocketStream};
use crate::net::tls::Engine;

/// Connects to servers, for one thread.
#[derive(Clone, Copy)]
pub(crate) struct Dialler {
    pub(crate) tls: &'static Engine,
    pub(crate) buffers: &'static Buffers,
    pub(crate) descriptors: &'static Descriptors,
}

impl Dialler {
    /// Connects to a server of an upstream, at any of its addresses, with TLS if its `tls` says so. With TLS,
    /// `introduction` is sent before the handshake; otherwise the caller sends it.
    ///
    /// # Errors
    /// [`Failure::NameUnresolved`], [`Failure::NoDescriptors`], [`Failure::ConnectFailed`], [`Failure::ConnectTimeout`] or
    /// [`Failure::UpstreamTls`].
    pub(crate) async fn connect(
        &self,
        upstream: &UpstreamState,
        server: &ServerState,
        introduction: &[u8],
        patience: Duration,
    ) -> Result<BufferedStream, Failure> {
        let connected = async {
            let Some(descriptor) = self.descriptors.servers.take() else { return Err(Failure::NoDescriptors) };
            let link = BufferedStream::counted(open(server, None, patience).await?, self.buffers, descriptor);
            if upstream.config.tls.is_some() {
                self.secure(upstream, server, introduction, link).await
            } else {
                Ok(link)
            }
        };
        tokio::time::timeout(patience, connected).await.map_err(|_| Failure::ConnectTimeout)?
    }

    /// Connects for a health check, optionally to another port. The caller enforces `patience`.
    ///
    /// # Errors
    /// See [`Dialler::connect`].
    pub(crate) async fn probe(
        &self,
        upstream: &UpstreamState,
        server: &ServerState,
        port: Option<u16>,
        introduction: &[u8],
        patience: Duration,
    ) -> Result<BufferedStream, Failure> {
        let link = BufferedStream::new(open(server, port, patience).await?, self.buffers);
        if upstream.config.tls.is_some() { self.secure(upstream, server, introduction, link).await } else { Ok(link) }
    }

    async fn secure(
        &self,
        upstream: &UpstreamState,
        server: &ServerState,
        introduction: &[u8],
        mut link: BufferedStream,
    ) -> Result<BufferedStream, Failure> {
        let Some(tls) = &upstream.config.tls else { return Ok(link) };
        link.write_all(introduction).await.map_err(|_| Failure::ConnectFailed)?;
        let refused = |reason: &str| {
            upstream.notice(&format!("no handshake with server {}: {reason}", server.name()));
            Failure::UpstreamTls
        };
        let secured = self.tls.connect(upstream.index, tls, server.bare_host(), link).await;
        let (stream, http2) = secured.map_err(|reason| refused(&reason))?;
        if upstream.config.http2 && !http2 {
            return Err(refused("it does not support HTTP/2"));
        }
        Ok(BufferedStream::new(stream, self.buffers))
    }
}

async fn open(server: &ServerState, port: Option<u16>, patience: Duration) -> Result<SocketStream, Failure> {
    let to = |mut address: SocketAddr| {
        address.set_port(port.unwrap_or(address.port()));
        TcpStream::connect(address)
    };
    let connected = match &server.target {
        TargetAddress::Unix(path) => {
            return UnixStream::connect(path).await.map(SocketStream::Unix).map_err(|error| unconnected(&error));
        }
        TargetAddress::Fixed(address) => to(*address).await,
        TargetAddress::Discovered(found) => {
            let address = found.load().as_ref().map(|found| found.address).ok_or(Failure::NameUnresolved)?;
            to(address).await
        }
        TargetAddress::Name(name) => {
            let addresses = name.addresses.load_full();
            match addresses[..] {
                [] => return Err(Failure::NameUnresolved),
                [only] => to(only).await,
                _ => Box::pin(name.race(&addresses, patience, to)).await,
            }
        }
    };
    let stream = connected.map_err(|error| unconnected(&error))?;
    // Heads and bodies are written when they are ready; Nagle's algorithm would only delay them.
    let _ = stream.set_nodelay(true);
    let silence = server.kept.tcp_keepalive;
    if silence < Duration::MAX {
        let apart = (silence / 10).max(Duration::from_secs(1));
        let probes = TcpKeepalive::new().with_time(silence).with_interval(apart).with_retries(5);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&probes);
    }
    Ok(SocketStream::Tcp(stream))
}

/// Returns the failure for a connection error: the server is not to blame if this process has no descriptor left.
fn unconnected(error: &io::Error) -> Failure {
    if descriptors::are_exhausted(error) { Failure::NoDescriptors } else { Failure::ConnectFailed }
}

impl ResolvedName {
    /// Connects to several addresses, and returns the first connection.
    async fn race<F: Future<Output = io::Result<TcpStream>>>(
        &self,
        addresses: &[SocketAddr],
        patience: Duration,
        to: impl Fn(SocketAddr) -> F,
    ) -> io::Result<TcpStream> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let order = race::order(addresses, turn, self.failed.load(Ordering::Relaxed));
        let (stream, winner, failed) =
            race::race(&order, race::delay(order.len(), patience), |index| to(addresses[index]))
                .await
                .map_err(|last| last.unwrap_or_else(|| io::ErrorKind::TimedOut.into()))?;
        // These are tried last until the name is resolved again.
        self.failed.fetch_or(failed, Ordering::Relaxed);
        self.failed.fetch_and(!(1 << winner), Ordering::Relaxed);
        Ok(stream)
    }
}

/// Returns why there is no connection, as text.
pub(crate) fn why(failure: Failure) -> String {
    let why = match failure {
        Failure::NameUnresolved => "its name does not resolve",
        Failure::UpstreamTls => "no handshake with it",
        _ => "it can't be connected to",
    };
    why.to_owned()
}
