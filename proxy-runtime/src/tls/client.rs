//! What the proxy asks of servers: an upstream's `tls`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::{Engine, TlsStream, provider};
use crate::certificate::{self, Chain};
use crate::settings::{Refused, Settings};
use crate::site::{Upstream, UpstreamTls};
use crate::stream::{Link, Stream};

/// Makes what connections to an upstream's servers need; `None` where they are plain.
///
/// # Errors
/// A certificate or key is none, or there is nothing to verify servers by.
pub(super) fn make(upstream: &Upstream, settings: &Settings) -> Result<Option<Arc<ClientConfig>>, Refused> {
    let Some(tls) = &upstream.tls else { return Ok(None) };
    let refuse = |message: String| Refused { message, place: upstream.place.clone() };
    let provider = provider(&[]);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(error.to_string()))?;
    let builder = if tls.verify {
        builder.with_root_certificates(roots(tls.ca, settings).map_err(refuse)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    };
    let mut config = match tls.certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = Chain::read(&settings.file(chain)).map_err(|flaw| refuse(flaw.to_string()))?;
            let key = certificate::key(&settings.file(key)).map_err(|flaw| refuse(flaw.to_string()))?;
            builder.with_client_auth_cert(chain.certificates, key).map_err(|error| refuse(error.to_string()))?
        }
    };
    config.alpn_protocols = vec![if upstream.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(Some(Arc::new(config)))
}

/// What servers are verified by: the certificates in this file, or those that the machine trusts.
pub(super) fn roots(ca: Option<u16>, settings: &Settings) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let chain = Chain::read(&settings.file(file)).map_err(|flaw| flaw.to_string())?;
            for certificate in chain.certificates {
                roots.add(certificate).map_err(|error| error.to_string())?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this machine has no certificates to verify servers by: write `ca=`".to_owned());
            }
        }
    }
    Ok(roots)
}

impl Engine {
    /// Makes the handshake with a server of the upstream with this index, which is asked for as `name`. Gives the
    /// connection, and whether the server has agreed to HTTP/2.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(crate) async fn connect(
        &self,
        upstream: usize,
        tls: &UpstreamTls,
        name: &str,
        link: Link,
    ) -> Result<(Stream, bool), String> {
        let config = self.asked.get(upstream).and_then(|config| config.load_full()).ok_or("nothing is known of it")?;
        let name = tls.sni.as_deref().unwrap_or(name);
        let name = ServerName::try_from(name.to_owned()).map_err(|error| format!("`{name}`: {error}"))?;
        let stream = TlsConnector::from(config).connect(name, link).await.map_err(|error| error.to_string())?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Stream::Tls(Box::new(TlsStream(stream.into()))), http2))
    }
}

/// `verify=#false`: any certificate will do. The handshake's signature is still looked at: the server has the key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
