//! Health checks over HTTP/2: by a path as in HTTP/1.1, or by gRPC's health service (grpc.health.v1).

use bytes::Bytes;
use http::Method;

use super::super::server::ServerState;
use super::super::shared::MAX_HEADER;
use super::super::state::UpstreamState;
use super::verdict::{MAX_ANSWER, verdict};
use crate::http1::Framing;
use crate::http2::monitor::{Monitor, Monitored, PeerRole};
use crate::http2::request;
use crate::net::stream::BufferedStream;
use crate::protocol::escape;
use crate::protocol::fields::Fields;
use crate::site::HealthCheck;

/// Performs a check on a connection of its own; the error says why the server is unhealthy.
pub(super) async fn talk(
    upstream: &UpstreamState,
    check: &HealthCheck,
    server: &ServerState,
    link: BufferedStream,
) -> Result<(), String> {
    let failed = |error: h2::Error| error.to_string();
    let (method, path, fields, body) = match (&check.grpc, &check.path) {
        (Some(service), _) => {
            let fields = [("content-type", "application/grpc"), ("te", "trailers")].into_iter().collect();
            (Method::POST, "/grpc.health.v1.Health/Check", fields, question(service))
        }
        (None, Some(path)) => (Method::GET, &**path, Fields::new(), Bytes::new()),
        (None, None) => return Ok(()),
    };
    let scheme = if upstream.config.tls.is_some() { "https" } else { "http" };
    let host = check.host.as_deref().unwrap_or(server.host());
    let request = request::head((&method, path), scheme, Some(host), &fields, Framing::Empty);
    let mut request = request.map_err(|failure| failure.reason().to_owned())?;
    let agent = http::HeaderValue::from_static("kiln-health-check");
    request.headers_mut().insert(http::header::USER_AGENT, agent);
    let monitor = Monitor::new(PeerRole::Server, MAX_HEADER);
    let mut builder = h2::client::Builder::new();
    builder.max_header_list_size(monitor.most()).enable_push(false);
    let (sender, connection) = builder.handshake(Monitored::new(link, &monitor)).await.map_err(failed)?;
    let asked = async {
        let mut sender = sender.ready().await.map_err(failed)?;
        let (response, mut stream) = sender.send_request(request, body.is_empty()).map_err(failed)?;
        if !body.is_empty() {
            stream.send_data(body, true).map_err(failed)?;
        }
        let (parts, mut answer) = response.await.map_err(failed)?.into_parts();
        let mut whole = Vec::new();
        while let Some(data) = answer.data().await {
            let data = data.map_err(failed)?;
            whole.extend_from_slice(&data);
            if whole.len() as u64 > MAX_ANSWER {
                break;
            }
            // This fails only if the stream has ended.
            let _ = answer.flow_control().release_capacity(data.len());
        }
        if check.grpc.is_some() {
            let trailers = answer.trailers().await.map_err(failed)?.unwrap_or_default();
            let code = trailers.get("grpc-status").or_else(|| parts.headers.get("grpc-status"));
            return serving(code.map(http::HeaderValue::as_bytes), &whole);
        }
        let text = check.body.as_deref().unwrap_or_default();
        verdict(check, parts.status.as_u16(), &whole).unwrap_or_else(|| Err(format!("`{text}` is not in its response")))
    };
    tokio::select! {
        found = asked => found,
        ended = connection => Err(ended.map_or_else(failed, |()| "it closes the connection".to_owned())),
    }
}

/// Returns a gRPC message with a `HealthCheckRequest`, whose one field (number 1, a string) is the service.
fn question(service: &str) -> Bytes {
    // `check` limits a service's name to less than 128 bytes, so its length is one byte.
    let field = match service.len() {
        0 => Vec::new(),
        length => [&[0x0A, length as u8][..], service.as_bytes()].concat(),
    };
    [&[0, 0, 0, 0, field.len() as u8][..], &field].concat().into()
}

/// Returns whether a response says `SERVING`: status 0, and a `HealthCheckResponse` whose one field (number 1) is 1.
fn serving(code: Option<&[u8]>, message: &[u8]) -> Result<(), String> {
    match (code, message) {
        (Some(b"0"), [0, 0, 0, 0, 2, 0x08, 1]) => Ok(()),
        (Some(b"0"), _) => Err("its status is not `SERVING`".to_owned()),
        (Some(code), _) => Err(format!("it responds with the code {}", escape::shown(code))),
        (None, _) => Err("it is not a gRPC response".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0A, 2, b'a', b'b']);
        assert!(serving(Some(b"0"), &[0, 0, 0, 0, 2, 8, 1]).is_ok());
        assert!(serving(Some(b"0"), &[0, 0, 0, 0, 2, 8, 2]).is_err());
        assert!(serving(Some(b"0"), &[0, 0, 0, 0, 0]).is_err());
        assert!(serving(Some(b"12"), &[]).is_err_and(|reason| reason.ends_with("code 12")));
        assert!(serving(None, &[]).is_err());
    }
}
