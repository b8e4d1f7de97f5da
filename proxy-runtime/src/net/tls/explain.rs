//! Explains a failed handshake in a few words, for the log. Pure.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

pub(super) const NO_CIPHER_SUITE: &str = "no cipher suite in common";
pub(super) const NO_GROUP: &str = "no key exchange group in common";

/// Errors that an operator can act on have their own texts: no common parameters, a certificate that either side rejects, or a
/// closed connection.
pub(super) fn explain(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => of_library(error),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => "the client closed the connection",
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "the client reset the connection",
            _ => "the connection failed",
        },
    }
}

pub(super) fn of_library(error: &Error) -> &'static str {
    match error {
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => NO_CIPHER_SUITE,
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => NO_GROUP,
        Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon) => {
            "no signature algorithm in common that a certificate is for"
        }
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "no protocol version in common",
        Error::PeerIncompatible(_) => "the client lacks what TLS needs",
        Error::NoApplicationProtocol => "no application protocol in common (ALPN)",
        Error::NoCertificatesPresented => "the client sent no certificate",
        Error::InvalidCertificate(flaw) => match flaw {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the client's certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the client's certificate is not valid yet"
            }
            CertificateError::UnknownIssuer => "the client's certificate is not signed by `client-ca`",
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "the client's certificate is not for clients (clientAuth)"
            }
            CertificateError::BadSignature => "the client's certificate or its proof has a bad signature",
            _ => "the client's certificate is invalid",
        },
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(_) => "not TLS",
        Error::DecryptError => "a record can't be decrypted",
        Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerSentOversizedRecord => "the client breaks the protocol",
        _ => "the handshake failed",
    }
}

/// Alerts from the client, mostly about the proxy's certificate (RFC 8446 section 6.2).
pub(super) fn of_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA => {
            "the client sent the alert unknown_ca: it does not trust the certificate's issuer"
        }
        AlertDescription::CertificateUnknown => {
            "the client sent the alert certificate_unknown: it refuses the certificate"
        }
        AlertDescription::BadCertificate => "the client sent the alert bad_certificate: it refuses the certificate",
        AlertDescription::UnsupportedCertificate => {
            "the client sent the alert unsupported_certificate: it refuses the certificate"
        }
        AlertDescription::CertificateExpired => {
            "the client sent the alert certificate_expired: it refuses the certificate"
        }
        AlertDescription::CertificateRevoked => {
            "the client sent the alert certificate_revoked: it refuses the certificate"
        }
        AlertDescription::ProtocolVersion => "the client sent the alert protocol_version",
        AlertDescription::HandshakeFailure => "the client sent the alert handshake_failure",
        AlertDescription::InsufficientSecurity => "the client sent the alert insufficient_security",
        AlertDescription::DecryptError => "the client sent the alert decrypt_error",
        AlertDescription::IllegalParameter => "the client sent the alert illegal_parameter",
        AlertDescription::InternalError => "the client sent the alert internal_error",
        AlertDescription::UserCanceled | AlertDescription::CloseNotify => "the client ended the handshake",
        _ => "the client sent an alert",
    }
}

#[cfg(test)]
mod tests {
    use rustls::PeerMisbehaved;

    use super::*;

    fn check(error: io::Error, expected: &str) {
        assert_eq!(explain(&error), expected, "{error}");
    }

    #[test]
    fn texts() {
        let library = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
        check(library(PeerIncompatible::NoCipherSuitesInCommon.into()), "no cipher suite in common");
        check(library(PeerIncompatible::NullCompressionRequired.into()), "the client lacks what TLS needs");
        check(library(Error::NoCertificatesPresented), "the client sent no certificate");
        check(library(CertificateError::Revoked.into()), "the client's certificate is invalid");
        check(library(PeerMisbehaved::TooMuchEarlyDataReceived.into()), "the client breaks the protocol");
        check(library(Error::AlertReceived(AlertDescription::NoRenegotiation)), "the client sent an alert");
        check(io::ErrorKind::UnexpectedEof.into(), "the client closed the connection");
        check(io::ErrorKind::TimedOut.into(), "the connection failed");
    }
}
