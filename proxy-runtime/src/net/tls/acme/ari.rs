//! The authority's suggested renewal time (ACME Renewal Information, RFC 9773): earlier than usual if a certificate has to be revoked, or
//! to spread load.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use instant_acme::{Account, CertificateIdentifier};

use super::error::AcmeError;
use super::schedule::{self, Window};
use crate::net::certificate::Chain;

/// An authority's renewal information for a certificate.
pub(crate) struct RenewalInfo {
    pub(crate) window: Window,
    /// The URL of an explanation for people.
    pub(crate) explanation: Option<String>,
    /// When to ask for it again.
    pub(crate) ask_again: Duration,
}

/// Returns the identifier of a certificate for its authority (RFC 9773 section 4.1).
pub(crate) fn identifier(chain: &Chain) -> Option<CertificateIdentifier<'static>> {
    let (signer, serial) = chain.renewal_id()?;
    Some(CertificateIdentifier::new(signer.as_slice().into(), serial.as_slice().into()).into_owned())
}

/// Fetches a certificate's renewal information; `None` if the authority does not support it.
///
/// # Errors
/// The authority can't be reached, does not know the certificate, or its response is invalid.
pub(crate) async fn ask(account: &Account, id: &CertificateIdentifier<'_>) -> Result<Option<RenewalInfo>, AcmeError> {
    let (info, retry_after) = match account.renewal_info(id).await {
        Err(instant_acme::Error::Unsupported(_)) => return Ok(None),
        outcome => outcome?,
    };
    let at = |seconds: i64| -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
    };
    let window = &info.suggested_window;
    match (at(window.start.unix_timestamp()), at(window.end.unix_timestamp())) {
        (Some(start), Some(end)) if start < end => Ok(Some(RenewalInfo {
            window: Window { start, end },
            explanation: info.explanation_url,
            ask_again: schedule::ask_again(retry_after),
        })),
        // RFC 9773 section 4.2: an invalid window is ignored.
        _ => Err("a window for renewal ends before it begins".into()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SerialNumber};

    use super::*;

    #[test]
    fn identifiers() {
        let check = |serial: &[u8], expected: &str| {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            let signer = data_encoding::BASE64URL_NOPAD.encode(&params.key_identifier(&key));
            let issuer = Issuer::new(params, key);
            let mut params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
            params.serial_number = Some(SerialNumber::from_slice(serial));
            params.use_authority_key_identifier_extension = true;
            let signed = params.signed_by(&KeyPair::generate().expect("a key"), &issuer).expect("signed");
            let chain = Chain::of_der(signed.der()).expect("a certificate");
            let found = identifier(&chain).expect("an identifier");
            assert_eq!(found.to_string(), format!("{signer}.{expected}"));
        };
        // The example of RFC 9773: 0x8765_4321 is encoded with a leading zero.
        check(&[0x87, 0x65, 0x43, 0x21], "AIdlQyE");
        check(&[0x12, 0x34], "EjQ");
    }
}
