//! The handshake with a server ([`Engine::connect`]).

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

#[cfg(feature = "admin")]
use super::client;
use super::engine::Engine;
use crate::net::stream::{BufferedStream, SocketStream};
use crate::site::UpstreamTls;

impl Engine {
    /// Performs the handshake with a server of the upstream with this index, whose name is `name`. Returns the
    /// connection, and whether HTTP/2 was negotiated.
    ///
    /// # Errors
    /// The reason for the failure, as text.
    pub(crate) async fn connect(
        &self,
        upstream: usize,
        tls: &UpstreamTls,
        name: &str,
        link: BufferedStream,
    ) -> Result<(SocketStream, bool), String> {
        let config = self.asked.get(upstream).and_then(|config| config.load_full()).ok_or("nothing is known of it")?;
        let name = tls.sni.as_deref().unwrap_or(name);
        let name = ServerName::try_from(name.to_owned()).map_err(|error| format!("`{name}`: {error}"))?;
        let stream = TlsConnector::from(config).connect(name, link).await.map_err(|error| error.to_string())?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((SocketStream::Tls(Box::new(stream.into())), http2))
    }
}

/// What a client of its own has in files, as they were read.
#[cfg(feature = "admin")]
pub(crate) struct ClientFiles {
    /// What the server is verified by; else what the machine trusts.
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) certificate: Option<Vec<u8>>,
    pub(crate) key: Option<Vec<u8>>,
}

/// Makes the handshake with a server of this name, for HTTP/1.1.
///
/// # Errors
/// Why there is none, for people.
#[cfg(feature = "admin")]
pub(crate) async fn connect_verified(
    files: &ClientFiles,
    name: &str,
    link: BufferedStream,
) -> Result<SocketStream, String> {
    let config = client::verified(files.ca.as_deref(), files.certificate.as_deref().zip(files.key.as_deref()))?;
    let server = ServerName::try_from(name.to_owned()).map_err(|error| format!("`{name}`: {error}"))?;
    let stream = TlsConnector::from(config).connect(server, link).await.map_err(|error| error.to_string())?;
    Ok(SocketStream::Tls(Box::new(stream.into())))
}
