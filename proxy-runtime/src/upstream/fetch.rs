//! Requests of the proxy's own: fetches a whole response on a separate connection ([`get`]).

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt as _;

use super::connect::{Dialler, why};
use super::proxy_protocol::announce_own;
use super::server::ServerState;
use super::servers::Servers;
use super::state::UpstreamState;
use crate::body::own::OwnResponse;

/// Returns the servers of an upstream, in order.
pub(crate) fn members(servers: &'static Servers, upstream: &UpstreamState) -> &'static [ServerState] {
    &servers.servers[upstream.members.clone()]
}

/// Fetches the body of a 200 response of at most `limit` bytes. The caller enforces a time-out.
///
/// # Errors
/// The reason why the fetch failed.
pub(crate) async fn get(
    upstream: &UpstreamState,
    server: &ServerState,
    dialler: Dialler,
    path: &str,
    limit: usize,
) -> Result<Vec<u8>, String> {
    let mut head = Vec::new();
    if let Some(version) = upstream.config.proxy_protocol {
        announce_own(version, &mut head);
    }
    let mut link = dialler.probe(upstream, server, None, &head, Duration::MAX).await.map_err(why)?;
    if upstream.config.tls.is_some() {
        // The PROXY header was sent before the handshake.
        head.clear();
    }
    let host = server.host();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: kiln\r\naccept: */*\r\nconnection: close\r\n\r\n");
    let cut = |error: std::io::Error| error.to_string();
    head.extend_from_slice(request.as_bytes());
    link.write_all(&head).await.map_err(cut)?;
    link.flush().await.map_err(cut)?;
    let mut response = OwnResponse::receive(link, &Method::GET).await?;
    if response.head.start != StatusCode::OK {
        return Err(format!("it answers {}", response.head.start.as_u16()));
    }
    response.whole(limit).await
}
