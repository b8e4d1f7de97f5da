//! Checks certificate and key files against the needs of a site. Pure.
//!
//! The compiler calls it for files that exist when a site is built, and the proxy with `--check` and when it starts. It takes PEM (RFC
//! 7468), and returns its content and [`CertificateError`]s. It needs no cryptography: it compares the certificate with the public half in
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
    /// There is no certificate in the file, or what is there can't be read.
    NoCertificate(String),
    /// There is no key in the file, or what is there can't be read.
    NoKey(String),
    /// The key is another one's.
    KeyMismatch,
    /// The certificate at this place of the chain (from 0) is not what signed the one before it.
    Order(usize),
    /// It was good until then, as text.
    Expired(String),
    /// It will be good from then on, as text.
    NotYet(String),
    /// It is good until then, which is soon, as text.
    Soon(String),
    /// None of the certificates is for this host.
    NotFor(String),
    /// The certificate says what it is for, and that is not to identify a server: this is missing.
    Purpose(&'static str),
}

impl CertificateError {
    /// Whether nothing can be encrypted with it at all.
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

/// A chain of certificates that was read.
#[derive(Debug)]
pub struct Chain {
    /// The certificates, in the order of the file.
    pub certificates: Vec<CertificateDer<'static>>,
    parsed: Vec<Certificate>,
}

impl Chain {
    /// Reads a chain.
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

    /// Reads a chain of one certificate, as a client shows it.
    ///
    /// # Errors
    /// [`CertificateError::NoCertificate`].
    pub fn of_der(der: &[u8]) -> Result<Chain, CertificateError> {
        let parsed = Certificate::from_der(der).map_err(|error| CertificateError::NoCertificate(error.to_string()))?;
        Ok(Chain { certificates: vec![CertificateDer::from(der.to_vec())], parsed: vec![parsed] })
    }

    /// Whose the first certificate is, as in `CN=alice,O=Example` (RFC 4514).
    pub fn subject(&self) -> String {
        self.parsed[0].tbs_certificate().subject().to_string()
    }

    /// The hosts that the first certificate is for: names, wildcards, addresses.
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

    /// From when until when it is good.
    pub fn validity(&self) -> (SystemTime, SystemTime) {
        let validity = self.parsed[0].tbs_certificate().validity();
        (validity.not_before.to_system_time(), validity.not_after.to_system_time())
    }

    /// What an authority knows the first certificate by: the identifier of the key that has signed it, and its own serial number, both as they
    /// are encoded (RFC 9773 section 4.1).
    pub fn renewal_id(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let first = self.parsed[0].tbs_certificate();
        let (_, signer) = first.get_extension::<AuthorityKeyIdentifier>().ok()??;
        Some((signer.key_identifier?.as_bytes().to_vec(), first.serial_number().as_bytes().to_vec()))
    }

    /// Until when, as text.
    pub fn until(&self) -> String {
        self.parsed[0].tbs_certificate().validity().not_after.to_string()
    }

    /// What is wrong with it at a time, given its key; `soon` is how near its end is too near.
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

    /// What the first certificate would need to identify a server, where it says what it is for (RFC 5280 sections 4.2.1.3 and
    /// 4.2.1.12, RFC 8446 section 4.4.2.2). One that says nothing is for everything.
    fn not_for_servers(&self) -> Option<&'static str> {
        let certificate = self.parsed[0].tbs_certificate();
        let for_servers = |usage: &ExtendedKeyUsage| {
            usage.0.iter().any(|purpose| [ID_KP_SERVER_AUTH, ANY_EXTENDED_KEY_USAGE].contains(purpose))
        };
        let extended = certificate.get_extension::<ExtendedKeyUsage>();
        let signs = certificate.get_extension::<KeyUsage>();
        // What can't be read is not trusted by clients either.
        if !extended.is_ok_and(|found| found.is_none_or(|(_, usage)| for_servers(&usage))) {
            Some("no serverAuth in its extended key usage")
        } else if !signs.is_ok_and(|found| found.is_none_or(|(_, usage)| usage.digital_signature())) {
            Some("no digitalSignature in its key usage")
        } else {
            None
        }
    }

    /// Whether a key is the first certificate's; `None` where the key's file does not have its public half in it.
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

/// Reads a key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
///
/// # Errors
/// [`CertificateError::NoKey`].
pub fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let encrypted = pem.windows(9).any(|part| part == b"ENCRYPTED");
        CertificateError::NoKey(if encrypted { "it is encrypted".to_owned() } else { error.to_string() })
    })
}

/// Whether a certificate for `name` (which may be a wildcard) is good for `host`, a host of a site: `*.example.com` stands
/// for all hosts below, and a certificate can be for no more than those one label below (RFC 6125 section 6.4.3).
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
    fn which_hosts_are_covered() {
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
    fn what_is_none() {
        assert!(matches!(Chain::read(b"junk"), Err(CertificateError::NoCertificate(_))));
        assert!(
            matches!(key(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n"), Err(CertificateError::NoKey(reason)) if reason == "it is encrypted")
        );
    }
}
