//! Connecting to a server, with all that comes before the first request: [`Dialler`].

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::{Group, Server, TargetAddress};
use crate::failure::Failure;
use crate::stream::{Buffers, Link, Stream};
use crate::tls::Engine;

/// Connects, for one thread.
#[derive(Clone, Copy)]
pub(crate) struct Dialler {
    pub(crate) tls: &'static Engine,
    pub(crate) buffers: &'static Buffers,
}

impl Dialler {
    /// Connects to a server of a group: plain, or encrypted where its `tls` has it so. `introduction` goes before the
    /// handshake; on a plain connection it is the caller's to send, with what follows it.
    ///
    /// # Errors
    /// [`Failure::Unresolved`], [`Failure::ConnectFailed`], [`Failure::ConnectTimeout`] or [`Failure::UpstreamTls`].
    pub(crate) async fn connect(
        &self,
        group: &Group,
        server: &Server,
        introduction: &[u8],
        patience: Duration,
    ) -> Result<Link, Failure> {
        let connected = async {
            let link = Link::new(open(server, None).await?, self.buffers);
            if group.upstream.tls.is_some() { self.secure(group, server, introduction, link).await } else { Ok(link) }
        };
        tokio::time::timeout(patience, connected).await.map_err(|_| Failure::ConnectTimeout)?
    }

    /// Connects to ask whether a server is well; another port than its own may be asked.
    ///
    /// # Errors
    /// See [`Dialler::connect`].
    pub(super) async fn probe(
        &self,
        group: &Group,
        server: &Server,
        port: Option<u16>,
        introduction: &[u8],
    ) -> Result<Link, Failure> {
        let link = Link::new(open(server, port).await?, self.buffers);
        if group.upstream.tls.is_some() { self.secure(group, server, introduction, link).await } else { Ok(link) }
    }

    async fn secure(
        &self,
        group: &Group,
        server: &Server,
        introduction: &[u8],
        mut link: Link,
    ) -> Result<Link, Failure> {
        let Some(tls) = &group.upstream.tls else { return Ok(link) };
        link.write_all(introduction).await.map_err(|_| Failure::ConnectFailed)?;
        let refused = |reason: &str| {
            group.tell(&format!("no handshake with server {}: {reason}", server.name()), Instant::now());
            Failure::UpstreamTls
        };
        let secured = self.tls.connect(group.index, tls, server.bare_host(), link).await;
        let (stream, http2) = secured.map_err(|reason| refused(&reason))?;
        if group.upstream.http2 && !http2 {
            return Err(refused("it does not speak HTTP/2"));
        }
        Ok(Link::new(stream, self.buffers))
    }
}

async fn open(server: &Server, port: Option<u16>) -> Result<Stream, Failure> {
    if let TargetAddress::Unix(path) = &server.target {
        return UnixStream::connect(path).await.map(Stream::Unix).map_err(|_| Failure::ConnectFailed);
    }
    let mut address = server.socket_address().ok_or(Failure::Unresolved)?;
    if let Some(port) = port {
        address.set_port(port);
    }
    let stream = TcpStream::connect(address).await.map_err(|_| Failure::ConnectFailed)?;
    // Heads and bodies are written as they come; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let silence = server.kept.tcp_keepalive;
    if silence < Duration::MAX {
        let apart = (silence / 10).max(Duration::from_secs(1));
        let probes = TcpKeepalive::new().with_time(silence).with_interval(apart).with_retries(5);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&probes);
    }
    Ok(Stream::Tcp(stream))
}
