//! The connection to a collector ([`Collector`]): a single one, with one request after the other, over hyper.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::context::settings::Settings;

/// The time-out of a request, connecting included.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest response that is read, in bytes.
const LONGEST: usize = 64 << 10;

/// The collector's address, from a URL.
pub(super) struct Endpoint {
    host: String,
    port: u16,
    path: String,
    /// The value of `Host`.
    authority: HeaderValue,
    encryption: Option<Encryption>,
}

/// The response of a collector.
pub(super) struct CollectorResponse {
    pub(super) status: StatusCode,
    /// The value of `Retry-After`, in seconds.
    pub(super) retry_after: Option<u64>,
    pub(super) body: Bytes,
}

/// A byte stream to a collector.
trait ByteStream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream for T {}

impl Endpoint {
    /// Parses the URL of a collector.
    ///
    /// # Errors
    /// Fails if it is not valid, or there are no certificates to verify the collector by.
    pub(super) fn new(url: &str, settings: &Settings) -> Result<Endpoint, String> {
        let wrong = || format!("`{url}` is not a URL with `http://` or `https://`");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (encrypted, usual) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(wrong()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let encryption = if encrypted { Some(Encryption::new(&host, settings)?) } else { None };
        let port = authority.port_u16().unwrap_or(usual);
        let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
        Ok(Endpoint { host, port, path, authority, encryption })
    }

    async fn connect(&self) -> Result<Box<dyn ByteStream>, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| error.to_string())?;
        // A request is written at once; waiting for more would only delay it.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        match &self.encryption {
            None => Ok(Box::new(stream)),
            Some(encryption) => encryption.connect(stream).await.map_err(|error| error.to_string()),
        }
    }

    /// Returns the host and port, for messages. The path is left out, because it may contain secrets.
    pub(super) fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

#[cfg(feature = "tls")]
struct Encryption {
    connector: tokio_rustls::TlsConnector,
    name: rustls::pki_types::ServerName<'static>,
}

#[cfg(feature = "tls")]
impl Encryption {
    fn new(host: &str, settings: &Settings) -> Result<Encryption, String> {
        let connector = crate::net::tls::verifying_client(settings)?.into();
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        Ok(Encryption { connector, name })
    }

    async fn connect(&self, stream: TcpStream) -> io::Result<Box<dyn ByteStream>> {
        Ok(Box::new(self.connector.connect(self.name.clone(), stream).await?))
    }
}

#[cfg(not(feature = "tls"))]
enum Encryption {}

#[cfg(not(feature = "tls"))]
impl Encryption {
    fn new(_: &str, _: &Settings) -> Result<Encryption, String> {
        Err("built without TLS, which an `https` URL needs".to_owned())
    }

    async fn connect(&self, _: TcpStream) -> io::Result<Box<dyn ByteStream>> {
        match *self {}
    }
}

/// A collector, and its connection if there is one.
pub(super) struct Collector<'e> {
    endpoint: &'e Endpoint,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl<'e> Collector<'e> {
    pub(super) fn new(endpoint: &'e Endpoint) -> Collector<'e> {
        Collector { endpoint, open: None }
    }

    /// Sends a request, and returns its response.
    ///
    /// # Errors
    /// Fails with a message if there is no response.
    pub(super) async fn post(&mut self, headers: &HeaderMap, body: Bytes) -> Result<CollectorResponse, String> {
        match tokio::time::timeout(PATIENCE, self.exchange(headers, body)).await {
            Ok(response) => response,
            Err(_) => {
                self.open = None;
                Err(format!("it does not respond within {PATIENCE:?}"))
            }
        }
    }

    async fn exchange(&mut self, headers: &HeaderMap, body: Bytes) -> Result<CollectorResponse, String> {
        let mut open = self.open.take();
        // The collector may have closed the connection meanwhile.
        if let Some(sender) = &mut open
            && sender.ready().await.is_err()
        {
            open = None;
        }
        let mut sender = match open {
            Some(sender) => sender,
            None => {
                let stream = TokioIo::new(self.endpoint.connect().await?);
                let (sender, connection) = handshake(stream).await.map_err(|error| error.to_string())?;
                tokio::task::spawn_local(connection);
                sender
            }
        };
        let mut request =
            Request::post(&self.endpoint.path).body(Full::new(body)).map_err(|error| error.to_string())?;
        let fields = request.headers_mut();
        fields.extend(headers.clone());
        fields.insert(HOST, self.endpoint.authority.clone());
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(USER_AGENT, HeaderValue::from_static(concat!("kiln/", env!("CARGO_PKG_VERSION"))));
        let (head, body) = sender.send_request(request).await.map_err(|error| why(&error))?.into_parts();
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        // After a body that is too long or breaks off, the connection is not used again.
        let body = match Limited::new(body, LONGEST).collect().await {
            Ok(body) => {
                self.open = Some(sender);
                body.to_bytes()
            }
            Err(_) => Bytes::new(),
        };
        Ok(CollectorResponse { status: head.status, retry_after, body })
    }
}

/// Returns an error with its source: hyper's own message says little.
fn why(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |url: &str, expected: Option<(&str, &str)>| {
            let found = Endpoint::new(url, &Settings::default()).ok();
            let found = found.as_ref().map(|endpoint| (endpoint.shown(), endpoint.path.as_str()));
            assert_eq!(found, expected.map(|(shown, path)| (shown.to_owned(), path)), "{url}");
        };
        check("http://127.0.0.1:4318/v1/traces", Some(("127.0.0.1:4318", "/v1/traces")));
        check("http://[::1]:4318/v1/traces?a=b", Some(("::1:4318", "/v1/traces?a=b")));
        check("http://collector", Some(("collector:80", "/")));
        for wrong in
            ["", "collector:4318", "ftp://a/", "http://", "http://a:b@c/", "http://a b/", "/v1/traces", "grpc://a:4317"]
        {
            check(wrong, None);
        }
    }
}
