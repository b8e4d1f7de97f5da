//! Requests of the proxy's own: fetches a whole response on a separate connection ([`get`]).

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt as _;

use super::connect::{Dialler, why};
use super::proxy_protocol::announce_own;
use super::server::ServerState;
use super::servers::Servers;
use super::state::UpstreamState;
use crate::body::inbound::Inbound;
use crate::http1::HeadReader;

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
    let mut reading = HeadReader::default();
    let head = std::future::poll_fn(|cx| {
        loop {
            if let Some(head) = reading.answer(link.bytes(), &Method::GET).map_err(|_| "it is not a valid response")? {
                link.consume(head.size);
                return std::task::Poll::Ready(Ok(head));
            }
            match std::task::ready!(link.poll_fill(cx)) {
                Ok(true) => {}
                Ok(false) | Err(_) => return std::task::Poll::Ready(Err("the response is incomplete")),
            }
        }
    });
    let head = head.await?;
    if head.start != StatusCode::OK {
        return Err(format!("it answers {}", head.start.as_u16()));
    }
    let (mut inbound, mut body) = (Inbound::of_server(head.framing), Vec::new());
    loop {
        let more = std::future::poll_fn(|cx| inbound.poll(cx, &mut link)).await;
        if more.map_err(|_| "the response is incomplete")? == 0 {
            return Ok(body);
        }
        inbound.take(&mut link, |data| {
            body.extend_from_slice(&data[..data.len().min(limit + 1 - body.len())]);
            data.len()
        });
        if body.len() > limit {
            return Err(format!("more than {} KiB", limit >> 10));
        }
    }
}
