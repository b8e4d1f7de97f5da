//! The result of a TLS handshake ([`Secured`]).

use std::rc::Rc;

use crate::context::facts::ClientCertificate;
use crate::site::{KeyExchangeGroup, Tls, TlsVersion};

/// The result of a TLS handshake.
#[derive(Clone)]
pub(crate) struct Secured {
    /// The index of the `tls` that was used.
    pub(crate) tls: u16,
    pub(crate) version: TlsVersion,
    /// The cipher suite, as IANA names it; empty where that is not known.
    pub(crate) cipher: &'static str,
    /// The host that the client named.
    pub(crate) name: Option<Box<str>>,
    /// The key exchange group, if it is one that a site can require; `None` for a resumed TLS 1.2 session.
    pub(crate) group: Option<KeyExchangeGroup>,
    /// HTTP/2 was negotiated.
    pub(crate) http2: bool,
    /// The client's verified certificate.
    pub(crate) certificate: Option<Rc<ClientCertificate>>,
}

impl Secured {
    /// Returns whether the result of a handshake by the rules of `made_for` also satisfies `wanted`.
    pub(crate) fn serves(&self, made_for: &Tls, wanted: &Tls) -> bool {
        made_for.client == wanted.client
            && self.version >= wanted.min_version
            && (wanted.groups.is_empty() || self.group.is_some_and(|group| wanted.groups.contains(&group)))
    }
}
