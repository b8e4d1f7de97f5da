//! Connecting to a server.

use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::{Channel, Link, Pools, Server, TargetAddress};
use crate::failure::Failure;
use crate::stream::Stream;

/// The largest head of an answer, in bytes, and the size of the buffer it is read into.
const MAX_ANSWER_HEAD: usize = 64 << 10;

/// The most header fields of an answer.
const MAX_ANSWER_FIELDS: usize = 200;

/// Connects to a server, and makes it ready for requests.
///
/// # Errors
/// [`Failure::Unresolved`], [`Failure::ConnectFailed`] or [`Failure::ConnectTimeout`].
pub(crate) async fn connect(
    server: &Server,
    index: usize,
    patience: Duration,
    pools: &Rc<Pools>,
) -> Result<Channel, Failure> {
    let stream = tokio::time::timeout(patience, open(server)).await.map_err(|_| Failure::ConnectTimeout)??;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_ANSWER_HEAD)
        .max_headers(MAX_ANSWER_FIELDS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::ConnectFailed)?;
    let link = Link { sender, driver: Box::pin(connection.with_upgrades()), over: false };
    Ok(Channel { link, pools: Rc::clone(pools), server: index })
}

async fn open(server: &Server) -> Result<Stream, Failure> {
    if let TargetAddress::Unix(path) = &server.target {
        return UnixStream::connect(path).await.map(Stream::Unix).map_err(|_| Failure::ConnectFailed);
    }
    let address = server.socket_address().ok_or(Failure::Unresolved)?;
    let stream = TcpStream::connect(address).await.map_err(|_| Failure::ConnectFailed)?;
    // Heads and bodies are written as they come; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    Ok(Stream::Tcp(stream))
}
