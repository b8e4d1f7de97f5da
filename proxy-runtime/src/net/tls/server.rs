//! TLS settings for clients: certificates and settings of each `tls`, as [`TlsConfigs`].

#[cfg(feature = "h3")]
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureAlgorithm, SupportedProtocolVersion, version};

#[cfg(feature = "h3")]
use super::early_data::EarlySessions;
use super::provider::provider;
use super::tickets::TicketKeys;
use crate::context::settings::{Settings, StartError};
use crate::net::certificate::{self, CertificateError, Chain, covers};
use crate::site::{Certificate, Certificates, ClientCertificates, Site, Speaks, Tls, TlsVersion};

/// The configurations of one `tls`, for the protocols of listeners.
pub(super) struct TlsConfigs {
    /// There is no certificate yet: an authority has to issue it.
    empty: bool,
    /// Verifies client certificates, if clients are asked for them.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
    both: Arc<ServerConfig>,
    #[cfg(feature = "h3")]
    http3: Arc<ServerConfig>,
    /// For listeners with early data, if this `tls` allows it.
    #[cfg(feature = "h3")]
    early: Option<EarlySessions>,
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "read by `admin` alone"))]
    certificates: Arc<CertResolver>,
}

impl TlsConfigs {
    #[cfg(feature = "admin")]
    /// The certificates: hosts, and when they expire.
    pub(super) fn certificates(&self) -> impl Iterator<Item = (&[String], SystemTime)> {
        self.certificates.0.iter().map(|shown| (shown.hosts.as_slice(), shown.not_after))
    }

    /// What verifies client certificates, if clients are asked for them.
    pub(super) fn verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.verifier.clone()
    }

    /// Whether there is no certificate yet.
    #[cfg(feature = "h3")]
    pub(super) fn is_empty(&self) -> bool {
        self.empty
    }

    /// The configuration for HTTP/3.
    #[cfg(feature = "h3")]
    pub(super) fn http3(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.http3)
    }

    /// The configuration for HTTP/3 with a client on a listener with early data.
    #[cfg(feature = "h3")]
    pub(super) fn http3_early(&self, client: IpAddr) -> Arc<ServerConfig> {
        self.early.as_ref().map_or_else(|| self.http3(), |early| early.of_client(client))
    }

    /// `None` until there is a certificate.
    pub(super) fn config(&self, speaks: &Speaks) -> Option<Arc<ServerConfig>> {
        let config = match (speaks.http1, speaks.http2) {
            (true, true) => &self.both,
            (false, true) => &self.http2,
            _ => &self.http1,
        };
        (!self.empty).then(|| Arc::clone(config))
    }
}

/// Builds the configurations of a `tls` from its files; `stored` is the last certificate of an authority, with its key.
///
/// # Errors
/// One for each invalid certificate or key.
pub(super) fn make(
    tls: &Tls,
    stored: Option<Vec<u8>>,
    settings: &Settings,
    tickets: &TicketKeys,
) -> Result<TlsConfigs, Vec<StartError>> {
    let refuse = |message: String| vec![StartError { message, place: tls.place.clone() }];
    let keys = match &tls.certificates {
        Certificates::Files(files) => certified(files, settings)?,
        // Without a certificate, handshakes are refused.
        Certificates::Acme => stored.iter().filter_map(|pem| candidate(pem, pem, None).ok()).collect(),
        Certificates::Internal => {
            vec![internal(tls).map_err(|error| refuse(format!("can't make a certificate: {error}")))?]
        }
    };
    with(keys, tls, settings, tickets)
}

/// Builds the configurations with these certificates.
///
/// # Errors
/// Another part of the configuration is invalid.
pub(super) fn with(
    keys: Vec<HostCertificate>,
    tls: &Tls,
    settings: &Settings,
    tickets: &TicketKeys,
) -> Result<TlsConfigs, Vec<StartError>> {
    let refuse = |message: String| vec![StartError { message, place: tls.place.clone() }];
    let provider = provider(&tls.groups);
    let versions: &[&SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::V12 => &[&version::TLS13, &version::TLS12],
        TlsVersion::V13 => &[&version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| refuse(error.to_string()))?;
    let verifier = match &tls.client {
        None => None,
        Some(client) => {
            let roots = roots(client, settings).map_err(refuse)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if client.required { verifier } else { verifier.allow_unauthenticated() };
            Some(verifier.build().map_err(|error| refuse(error.to_string()))?)
        }
    };
    let builder = match &verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
    };
    let empty = keys.is_empty();
    let certificates = Arc::new(CertResolver(keys));
    let mut config = builder.with_cert_resolver(Arc::<CertResolver>::clone(&certificates));
    // Clients store sessions in tickets; here they would take memory.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    #[cfg(feature = "h3")]
    let early = (tls.tickets.is_some() && tls.client.is_none()).then(|| {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h3".to_vec()];
        EarlySessions::new(config)
    });
    match &tls.tickets {
        Some(rotate) => {
            let seconds = u32::try_from(rotate.get(settings).as_secs()).unwrap_or(u32::MAX).max(1);
            config.ticketer = tickets.ticketer(tls, settings, seconds).map_err(refuse)?;
        }
        None => config.send_tls13_tickets = 0,
    }
    let with = |protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    };
    let (http1, http2, both) = (with(&[b"http/1.1"]), with(&[b"h2"]), with(&[b"h2", b"http/1.1"]));
    Ok(TlsConfigs {
        empty,
        verifier,
        http1,
        http2,
        both,
        #[cfg(feature = "h3")]
        // RFC 9114 section 3.1.
        http3: with(&[b"h3"]),
        #[cfg(feature = "h3")]
        early,
        certificates,
    })
}

/// Chooses a certificate for a client.
#[derive(Debug)]
struct CertResolver(Vec<HostCertificate>);

/// A certificate for clients.
#[derive(Debug)]
pub(super) struct HostCertificate {
    key: Arc<CertifiedKey>,
    hosts: Vec<String>,
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "read by `admin` alone"))]
    not_after: SystemTime,
}

impl ResolvesServerCert for CertResolver {
    /// Returns the first certificate that covers the host and that the client can verify; otherwise, any that it can verify.
    /// If it can verify none, returns any: then the library finds no common signature algorithm and sends `handshake_failure`,
    /// whereas without a certificate it would send `access_denied`.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |shown: &&HostCertificate| shown.key.key.choose_scheme(hello.signature_schemes()).is_some();
        let host = hello.server_name().unwrap_or_default();
        let is_for = |shown: &&HostCertificate| shown.hosts.iter().any(|name| covers(name, host));
        let mut fitting = self.0.iter().filter(fits);
        let found = fitting.clone().find(is_for).or_else(|| fitting.next()).or_else(|| self.0.first());
        found.map(|shown| Arc::clone(&shown.key))
    }
}

fn certified(files: &[Certificate], settings: &Settings) -> Result<Vec<HostCertificate>, Vec<StartError>> {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for file in files {
        match certify(file, settings) {
            Ok(shown) => found.push(shown),
            Err(flaw) => refused.push(StartError { message: flaw.to_string(), place: file.place.clone() }),
        }
    }
    // Signing with an elliptic curve costs the server a tenth of what RSA does.
    found.sort_by_key(|shown| shown.key.key.algorithm() == SignatureAlgorithm::RSA);
    if refused.is_empty() { Ok(found) } else { Err(refused) }
}

fn certify(file: &Certificate, settings: &Settings) -> Result<HostCertificate, CertificateError> {
    candidate(&settings.file(file.chain), &settings.file(file.key), file.ocsp.map(|ocsp| settings.file(ocsp).to_vec()))
}

/// Parses a chain and its key.
pub(super) fn candidate(chain: &[u8], key: &[u8], ocsp: Option<Vec<u8>>) -> Result<HostCertificate, CertificateError> {
    let (chain, key) = (Chain::read(chain)?, certificate::key(key)?);
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| CertificateError::NoKey(error.to_string()))?;
    let (hosts, (_, not_after)) = (chain.hosts(), chain.validity());
    let mut certified = CertifiedKey::new(chain.certificates, key);
    if matches!(certified.keys_match(), Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch))) {
        return Err(CertificateError::KeyMismatch);
    }
    certified.ocsp = ocsp.filter(|ocsp| !ocsp.is_empty());
    Ok(HostCertificate { key: Arc::new(certified), hosts, not_after })
}

/// Creates a self-signed certificate for `tls internal`, at each start. For development.
fn internal(tls: &Tls) -> Result<HostCertificate, Box<dyn std::error::Error>> {
    let named = tls.hosts.iter().filter(|host| **host != "*").map(ToString::to_string);
    let hosts: Vec<String> = named.chain(["localhost".to_owned()]).collect();
    let made = rcgen::generate_simple_self_signed(hosts.clone())?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let key = aws_lc_rs::sign::any_supported_type(&key)?;
    let (_, not_after) = Chain::of_der(made.cert.der()).map_err(|flaw| flaw.to_string())?.validity();
    Ok(HostCertificate { key: Arc::new(CertifiedKey::new(vec![made.cert.der().clone()], key)), hosts, not_after })
}

/// Returns the root certificates that client certificates are verified with.
fn roots(client: &ClientCertificates, settings: &Settings) -> Result<RootCertStore, String> {
    let chain = Chain::read(&settings.file(client.ca)).map_err(|flaw| flaw.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in chain.certificates {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

/// Warnings about certificates that can be served: expired, for other hosts, in the wrong order, or expiring within `soon`.
pub(crate) fn warnings(site: &Site, settings: &Settings, soon: Duration) -> Vec<StartError> {
    let mut found = Vec::new();
    for tls in site.tls {
        let Certificates::Files(files) = &tls.certificates else { continue };
        let mut hosts = Vec::new();
        for file in files.iter() {
            let Ok(chain) = Chain::read(&settings.file(file.chain)) else { continue };
            hosts.extend(chain.hosts());
            let flaws = chain.flaws(None, SystemTime::now(), soon);
            let refused = flaws.iter().map(|flaw| StartError { message: flaw.to_string(), place: file.place.clone() });
            found.extend(refused);
        }
        for host in tls.hosts.iter().filter(|host| **host != "*" && !hosts.iter().any(|name| covers(name, host))) {
            let message = CertificateError::NotFor(host.to_string()).to_string();
            found.push(StartError { message, place: tls.place.clone() });
        }
    }
    found
}

/// The remaining validity that causes a warning.
pub(crate) const SOON: Duration = Duration::from_secs(7 * 24 * 3600);
