//! The pending challenges: [`Challenges`], which workers read, and [`ChallengeGuard`], a guard that keeps one in it.
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

/// The protocol of a handshake that is a challenge.
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";

/// Where plain requests of an authority go.
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

/// The pending challenges of authorities.
#[derive(Default)]
pub(crate) struct Challenges {
    count: AtomicUsize,
    /// What is answered to a token.
    plain: RwLock<HashMap<String, String>>,
    /// What is shown for a host.
    shown: RwLock<HashMap<String, Arc<ServerConfig>>>,
}

impl Challenges {
    /// Whether there is any. One load, on the path of every request.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// The response to a plain request, if it is an authority's.
    pub(crate) fn answer(&self, path: &str) -> Option<Answer<Bytes>> {
        if !self.any() {
            return None;
        }
        let plain = self.plain.read().unwrap_or_else(PoisonError::into_inner);
        let answer = plain.get(path.strip_prefix(WELL_KNOWN)?)?;
        let mut answer = Answer::new(StatusCode::OK, Bytes::from(answer.clone()));
        answer.fields.add(b"content-type", b"application/octet-stream");
        Some(answer)
    }

    /// What is shown in a handshake, if it is an authority's.
    pub(crate) fn config(&self, host: &str) -> Option<Arc<ServerConfig>> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    /// Meets a challenge until what is returned is dropped.
    ///
    /// # Errors
    /// There is no certificate to be made for that host.
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

/// How a host is shown to be one's own.
pub(crate) enum Proof<'a> {
    /// This text, to whoever asks for the token.
    Plain { token: &'a str, text: &'a str },
    /// A certificate for the host with this digest in it.
    Handshake { host: &'a str, digest: &'a [u8] },
}

/// A challenge that is met until this is dropped.
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

/// The name that an authority gives in its handshake for a host. That of an address is the one it has in the DNS (RFC 8738 section 6).
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

/// What tls-alpn-01 wants to see (RFC 8737 section 3): a certificate that nobody has signed, with a digest in it.
fn handshake(host: &str, digest: &[u8]) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let mut params = rcgen::CertificateParams::new(vec![host.to_owned()])?;
    params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest)];
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
    // Not looked at here: the extension is critical, and the library does not know it.
    let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(provider(&[]))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// The address that a host is, if it is one.
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
