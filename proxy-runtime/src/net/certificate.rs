//! Checks certificate and key files against the requirements of a site. Pure.
//!
//! The compiler calls it for files that exist when a site is built, and the proxy with `--check` and when it starts. It takes PEM (RFC
//! 7468), and returns its content and [`CertificateError`]s. It needs no cryptography: it compares the certificate with the public key in
//! the key file.

use std::fmt;
use std::time::{Duration, SystemTime};

use pkcs8::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};
use pkcs8::der::{Decode as _, Encode as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, ExtendedKeyUsage, KeyUsage, SubjectAltName};

/// An error in a certificate or its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateError {
    /// The file contains no valid certificate.
    NoCertificate(String),
    /// The file contains no valid key.
    NoKey(String),
    /// The key does not belong to the certificate.
    KeyMismatch,
    /// The certificate at this index of the chain has not signed the one before it.
    Order(usize),
    /// The certificate expired at this time, as text.
    Expired(String),
    /// The certificate is not valid before this time, as text.
    NotYet(String),
    /// The certificate expires soon, at this time, as text.
    Soon(String),
    /// No certificate covers this host.
    NotFor(String),
    /// Its key usage excludes servers: this is missing.
    Purpose(&'static str),
}

impl CertificateError {
    /// Returns whether the certificate can't be served at all.
    pub fn is_fatal(&self) -> bool {
        matches!(self, CertificateError::NoCertificate(_) | CertificateError::NoKey(_) | CertificateError::KeyMismatch)
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::NoCertificate(reason) => write!(f, "there is no certificate that can be read: {reason}"),
            CertificateError::NoKey(reason) => write!(f, "there is no key that can be read: {reason}"),
            CertificateError::KeyMismatch => f.write_str("the key does not belong to the certificate"),
            CertificateError::Order(at) => {
                write!(f, "certificate {} of the chain has not signed the one before it: the order is wrong", at + 1)
            }
            CertificateError::Expired(time) => write!(f, "the certificate has expired: it was valid until {time}"),
            CertificateError::NotYet(time) => write!(f, "the certificate is not valid yet: it is valid from {time} on"),
            CertificateError::Soon(time) => write!(f, "the certificate expires soon: it is valid until {time}"),
            CertificateError::Purpose(missing) => {
                write!(f, "clients refuse the certificate: it is not for servers ({missing})")
            }
            CertificateError::NotFor(host) => write!(f, "no certificate is for `{host}`"),
        }
    }
}

/// A parsed chain of certificates.
#[derive(Debug)]
pub struct Chain {
    /// The certificates, in the order of the file.
    pub certificates: Vec<CertificateDer<'static>>,
    parsed: Vec<Certificate>,
}

impl Chain {
    /// Parses a chain.
    ///
    /// # Errors
    /// [`CertificateError::NoCertificate`].
    pub fn read(pem: &[u8]) -> Result<Chain, CertificateError> {
        let flaw = |reason: &dyn fmt::Display| CertificateError::NoCertificate(reason.to_string());
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| flaw(&error))?;
        if certificates.is_empty() {
            return Err(flaw(&"the file has no `BEGIN CERTIFICATE`"));
        }
        let parsed: Result<Vec<_>, _> = certificates.iter().map(|der| Certificate::from_der(der)).collect();
        Ok(Chain { certificates, parsed: parsed.map_err(|error| flaw(&error))? })
    }

    /// Parses a single certificate, as a client presents it.
    ///
    /// # Errors
    /// [`CertificateError::NoCertificate`].
    pub fn of_der(der: &[u8]) -> Result<Chain, CertificateError> {
        let parsed = Certificate::from_der(der).map_err(|error| CertificateError::NoCertificate(error.to_string()))?;
        Ok(Chain { certificates: vec![CertificateDer::from(der.to_vec())], parsed: vec![parsed] })
    }

    /// Returns the subject of the first certificate, such as `CN=alice,O=Example` (RFC 4514).
    pub fn subject(&self) -> String {
        self.parsed[0].tbs_certificate().subject().to_string()
    }

    /// Returns the hosts of the first certificate: names, wildcards, addresses.
    pub fn hosts(&self) -> Vec<String> {
        let Ok(Some((_, names))) = self.parsed[0].tbs_certificate().get_extension::<SubjectAltName>() else {
            return Vec::new();
        };
        let host = |name: &GeneralName| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
            GeneralName::IpAddress(octets) => match octets.as_bytes() {
                bytes if bytes.len() == 4 => {
                    <[u8; 4]>::try_from(bytes).ok().map(|v4| std::net::IpAddr::from(v4).to_string())
                }
                bytes => <[u8; 16]>::try_from(bytes).ok().map(|v6| std::net::IpAddr::from(v6).to_string()),
            },
            _ => None,
        };
        names.0.iter().filter_map(host).collect()
    }

    /// Returns the validity period of the first certificate.
    pub fn validity(&self) -> (SystemTime, SystemTime) {
        let validity = self.parsed[0].tbs_certificate().validity();
        (validity.not_before.to_system_time(), validity.not_after.to_system_time())
    }

    /// Returns the identifier of the first certificate for an authority: the key identifier of its issuer, and its serial number, both as
    /// they are encoded (RFC 9773 section 4.1).
    pub fn renewal_id(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let first = self.parsed[0].tbs_certificate();
        let (_, signer) = first.get_extension::<AuthorityKeyIdentifier>().ok()??;
        Some((signer.key_identifier?.as_bytes().to_vec(), first.serial_number().as_bytes().to_vec()))
    }

    /// Returns the end of its validity, as text.
    pub fn until(&self) -> String {
        self.parsed[0].tbs_certificate().validity().not_after.to_string()
    }

    /// Returns the errors at a given time, with its key; `soon` is the remaining validity that causes a warning.
    pub fn flaws(&self, key: Option<&PrivateKeyDer<'_>>, now: SystemTime, soon: Duration) -> Vec<CertificateError> {
        let mut flaws = Vec::new();
        if key.is_some_and(|key| self.has_key(key) == Some(false)) {
            flaws.push(CertificateError::KeyMismatch);
        }
        let pairs = self.parsed.windows(2).enumerate();
        flaws.extend(pairs.filter_map(|(at, pair)| {
            (pair[0].tbs_certificate().issuer() != pair[1].tbs_certificate().subject())
                .then_some(CertificateError::Order(at + 1))
        }));
        flaws.extend(self.not_for_servers().map(CertificateError::Purpose));
        let validity = self.parsed[0].tbs_certificate().validity();
        let (from, until) = (validity.not_before.to_system_time(), validity.not_after.to_system_time());
        match until.duration_since(now) {
            Err(_) => flaws.push(CertificateError::Expired(validity.not_after.to_string())),
            Ok(_) if from > now => flaws.push(CertificateError::NotYet(validity.not_before.to_string())),
            Ok(left) if left < soon => flaws.push(CertificateError::Soon(validity.not_after.to_string())),
            Ok(_) => {}
        }
        flaws
    }

    /// Returns the key usage that the first certificate lacks to identify a server, if it restricts its usage (RFC 5280
    /// sections 4.2.1.3 and 4.2.1.12, RFC 8446 section 4.4.2.2).
    fn not_for_servers(&self) -> Option<&'static str> {
        let certificate = self.parsed[0].tbs_certificate();
        let for_servers = |usage: &ExtendedKeyUsage| {
            usage.0.iter().any(|purpose| [ID_KP_SERVER_AUTH, ANY_EXTENDED_KEY_USAGE].contains(purpose))
        };
        let extended = certificate.get_extension::<ExtendedKeyUsage>();
        let signs = certificate.get_extension::<KeyUsage>();
        // Clients do not trust malformed extensions either.
        if !extended.is_ok_and(|found| found.is_none_or(|(_, usage)| for_servers(&usage))) {
            Some("no serverAuth in its extended key usage")
        } else if !signs.is_ok_and(|found| found.is_none_or(|(_, usage)| usage.digital_signature())) {
            Some("no digitalSignature in its key usage")
        } else {
            None
        }
    }

    /// Returns whether a key belongs to the first certificate; `None` if its file does not contain the public key.
    fn has_key(&self, key: &PrivateKeyDer<'_>) -> Option<bool> {
        let public = self.parsed[0].tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
        let sec1 = |der: &[u8]| Some(sec1::EcPrivateKey::from_der(der).ok()?.public_key? == public);
        let rsa = |der: &[u8]| {
            let key: pkcs1::RsaPrivateKeyRef<'_> = pkcs1::RsaPrivateKeyRef::from_der(der).ok()?;
            Some(key.public_key().to_der().ok()? == public)
        };
        match key {
            PrivateKeyDer::Pkcs1(der) => rsa(der.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(der) => sec1(der.secret_sec1_der()),
            PrivateKeyDer::Pkcs8(der) => {
                let info = pkcs8::PrivateKeyInfoRef::from_der(der.secret_pkcs8_der()).ok()?;
                if let Some(own) = info.public_key {
                    return Some(own.raw_bytes() == public);
                }
                let inner = info.private_key.as_bytes();
                sec1(inner).or_else(|| rsa(inner))
            }
            _ => None,
        }
    }
}

/// Parses a key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
///
/// # Errors
/// [`CertificateError::NoKey`].
pub fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let encrypted = pem.windows(9).any(|part| part == b"ENCRYPTED");
        CertificateError::NoKey(if encrypted { "it is encrypted".to_owned() } else { error.to_string() })
    })
}

/// Returns whether a certificate for `name` (which may be a wildcard) covers `host`, a host of a site: a site's
/// `*.example.com` matches all hosts below, but a certificate's only those one label below (RFC 6125 section 6.4.3).
pub fn covers(name: &str, host: &str) -> bool {
    name == host
        || name.strip_prefix("*.").is_some_and(|suffix| {
            host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && label != "*" && rest == suffix)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covered_hosts() {
        for (name, host, expected) in [
            ("a.example", "a.example", true),
            ("a.example", "b.example", false),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", false),
            ("*.example", "example", false),
            ("*.example", "*.example", true),
            ("*.b.example", "*.example", false),
            ("*.example", "*.b.example", false),
        ] {
            assert_eq!(covers(name, host), expected, "{name} {host}");
        }
    }

    #[test]
    fn invalid_files() {
        assert!(matches!(Chain::read(b"junk"), Err(CertificateError::NoCertificate(_))));
        assert!(
            matches!(key(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n"), Err(CertificateError::NoKey(reason)) if reason == "it is encrypted")
        );
    }
}
