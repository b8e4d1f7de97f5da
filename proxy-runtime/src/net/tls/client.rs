//! TLS settings for connections to servers: the `tls` of an upstream.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::provider::provider;
use crate::context::settings::{Settings, StartError};
use crate::net::certificate::{self, Chain};
use crate::observe::notice;
use crate::site::Upstream;

/// Builds the TLS configuration of an upstream; `None` if its connections are plain.
///
/// # Errors
/// A certificate or key is invalid, or there are no root certificates.
pub(super) fn make(upstream: &Upstream, settings: &Settings) -> Result<Option<Arc<ClientConfig>>, StartError> {
    let Some(tls) = &upstream.tls else { return Ok(None) };
    let refuse = |message: String| StartError { message, place: upstream.place.clone() };
    let provider = provider(&[]);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(error.to_string()))?;
    let builder = if tls.verify {
        builder.with_root_certificates(roots(tls.ca, settings).map_err(refuse)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
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

/// What connections need to a server that is no upstream's, and that the certificates of the machine verify.
///
/// # Errors
/// There is nothing to verify it by.
#[cfg(feature = "trace")]
pub(crate) fn verifying(settings: &Settings) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(provider(&[]))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots(None, settings)?).with_no_client_auth()))
}

/// Makes what a connection of its own needs, from files as they were read.
///
/// # Errors
/// A certificate or key is none, or there is nothing to verify servers by.
#[cfg(feature = "admin")]
pub(super) fn verified(ca: Option<&[u8]>, own: Option<(&[u8], &[u8])>) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(provider(&[]))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(trusted(ca)?);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = Chain::read(chain).map_err(|flaw| flaw.to_string())?;
            let key = certificate::key(key).map_err(|flaw| flaw.to_string())?;
            builder.with_client_auth_cert(chain.certificates, key).map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Returns the root certificates that servers are verified with: those in this file, or the system's.
pub(super) fn roots(ca: Option<u16>, settings: &Settings) -> Result<Arc<RootCertStore>, String> {
    match ca {
        Some(file) => trusted(Some(&settings.file(file))),
        None => trusted(None),
    }
}

fn trusted(ca: Option<&[u8]>) -> Result<Arc<RootCertStore>, String> {
    let Some(pem) = ca else {
        let roots = of_machine();
        if roots.is_empty() {
            return Err("this machine has no certificates to verify servers by: write `ca=`".to_owned());
        }
        return Ok(roots);
    };
    let mut roots = RootCertStore::empty();
    let chain = Chain::read(pem).map_err(|flaw| flaw.to_string())?;
    for certificate in chain.certificates {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(Arc::new(roots))
}

/// Returns the certificates of the machine's authorities. They are read once, at start: they may be anywhere, so that the process would have to be able to
/// read all files later.
pub(super) fn of_machine() -> Arc<RootCertStore> {
    static READ: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = READ.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        if let Some(error) = found.errors.first() {
            notice(&format!("some certificates of this machine's authorities can't be read: {error}"));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    });
    Arc::clone(read)
}

/// `verify=#false`: accepts any certificate. The handshake's signature is still verified, so the server has the
/// certificate's key.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
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
