//! When the certificates expire that clients are shown ([`ServedCertificate`]), for operators.

use std::time::{SystemTime, UNIX_EPOCH};

/// A certificate that clients are shown, or that is to come.
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "without TLS there are none"))]
pub(crate) struct ServedCertificate {
    /// The name of its `tls`.
    pub(crate) tls: &'static str,
    /// The hosts that it is for.
    pub(crate) names: Vec<String>,
    /// When it expires; `None` as long as an authority has not issued it.
    pub(crate) not_after: Option<SystemTime>,
}

impl ServedCertificate {
    /// When it expires, in seconds since 1970.
    pub(crate) fn expires(&self) -> Option<u64> {
        Some(self.not_after?.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }
}
