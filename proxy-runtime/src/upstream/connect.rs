//! Connecting to a server.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use super::{Server, TargetAddress};
use crate::failure::Failure;
use crate::stream::Stream;

/// Connects to a server.
///
/// # Errors
/// [`Failure::Unresolved`], [`Failure::ConnectFailed`] or [`Failure::ConnectTimeout`].
pub(crate) async fn connect(server: &Server, patience: Duration) -> Result<Stream, Failure> {
    tokio::time::timeout(patience, open(server)).await.map_err(|_| Failure::ConnectTimeout)?
}

async fn open(server: &Server) -> Result<Stream, Failure> {
    if let TargetAddress::Unix(path) = &server.target {
        return UnixStream::connect(path).await.map(Stream::Unix).map_err(|_| Failure::ConnectFailed);
    }
    let address = server.socket_address().ok_or(Failure::Unresolved)?;
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
