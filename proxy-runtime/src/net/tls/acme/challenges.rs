//! The pending challenges: [`Challenges`], which workers read, and [`ChallengeGuard`], which keeps one pending.
//!
//! http-01 is a response to a plain request (RFC 8555 section 8.3), tls-alpn-01 a certificate that is made for a handshake (RFC 8737).
//! Without a pending challenge a request costs one load here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::StatusCode;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::filter::Answer;
use crate::net::tls::provider::provider;
use crate::protocol::names::KnownField;

/// The protocol of a challenge handshake.
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";

/// The path prefix of an authority's http-01 requests.
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

/// The pending challenges of authorities.
#[derive(Default)]
pub(crate) struct Challenges {
    count: AtomicUsize,
    /// The responses by token, for http-01.
    plain: RwLock<HashMap<String, String>>,
    /// The certificates by host, for tls-alpn-01.
    shown: RwLock<HashMap<String, Arc<ServerConfig>>>,
}

impl Challenges {
    /// Returns whether there are any. One load, on the path of every request.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Returns the response to an authority's http-01 request.
    pub(crate) fn answer(&self, path: &str) -> Option<Answer<Bytes>> {
        if !self.any() {
            return None;
        }
        let plain = self.plain.read().unwrap_or_else(PoisonError::into_inner);
        let answer = plain.get(path.strip_prefix(WELL_KNOWN)?)?;
        let mut answer = Answer::new(StatusCode::OK, Bytes::from(answer.clone()));
        answer.fields.add_known(KnownField::CONTENT_TYPE, b"application/octet-stream");
        Some(answer)
    }

    /// Returns the certificate for an authority's tls-alpn-01 handshake.
    pub(crate) fn config(&self, host: &str) -> Option<Arc<ServerConfig>> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    /// Responds to a challenge until the result is dropped.
    ///
    /// # Errors
    /// The certificate for the host can't be created.
    pub(crate) fn meet(&self, proof: Proof<'_>) -> Result<ChallengeGuard<'_>, String> {
        let key = match proof {
            Proof::Plain { token, text } => {
                self.plain.write().unwrap_or_else(PoisonError::into_inner).insert(token.to_owned(), text.to_owned());
                ChallengeKey::Token(token.to_owned())
            }
            Proof::Handshake { host, digest } => {
                let config = handshake(host, digest).map_err(|error| error.to_string())?;
                let name = server_name(host);
                self.shown.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), config);
                ChallengeKey::Name(name)
            }
        };
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(ChallengeGuard { challenges: self, key })
    }
}

/// The proof of control over a host.
pub(crate) enum Proof<'a> {
    /// http-01: this text, under the token.
    Plain { token: &'a str, text: &'a str },
    /// tls-alpn-01: a certificate for the host that contains this digest.
    Handshake { host: &'a str, digest: &'a [u8] },
}

/// Responds to a challenge until it is dropped.
pub(crate) struct ChallengeGuard<'a> {
    challenges: &'a Challenges,
    key: ChallengeKey,
}

enum ChallengeKey {
    Token(String),
    Name(String),
}

impl Drop for ChallengeGuard<'_> {
    fn drop(&mut self) {
        let challenges = self.challenges;
        match &self.key {
            ChallengeKey::Token(token) => {
                challenges.plain.write().unwrap_or_else(PoisonError::into_inner).remove(token);
            }
            ChallengeKey::Name(name) => {
                challenges.shown.write().unwrap_or_else(PoisonError::into_inner).remove(name);
            }
        }
        challenges.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the server name of an authority's handshake for a host. An address has its reverse DNS name (RFC 8738
/// section 6).
fn server_name(host: &str) -> String {
    match address(host) {
        Some(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Some(IpAddr::V6(address)) => {
            let digits = address.octets().into_iter().rev().map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
            format!("{}ip6.arpa", digits.collect::<String>())
        }
        None => host.to_ascii_lowercase(),
    }
}

/// Creates the certificate for tls-alpn-01 (RFC 8737 section 3): self-signed, and containing a digest.
fn handshake(host: &str, digest: &[u8]) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let mut params = rcgen::CertificateParams::new(vec![host.to_owned()])?;
    params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest)];
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
    // Not verified here: the extension is critical, and the library does not know it.
    let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(provider(&[]))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// Returns the address of a host, if it is one.
pub(crate) fn address(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_handshakes() {
        let check = |host, expected| assert_eq!(server_name(host), expected);
        check("A.test", "a.test");
        check("192.0.2.1", "1.2.0.192.in-addr.arpa");
        check("2001:db8::567:89ab", "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
        check("[::1]", &format!("1.{}ip6.arpa", "0.".repeat(31)));
    }
}
