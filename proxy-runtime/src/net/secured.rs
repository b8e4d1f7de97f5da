//! The result of a TLS handshake ([`Secured`]).

use std::rc::Rc;

use crate::context::facts::ClientCertificate;
use crate::site::{KeyExchangeGroup, Tls, TlsVersion};

/// The result of a TLS handshake.
pub(crate) struct Secured {
    /// The `tls` that the client was served by, by index.
    pub(crate) tls: u16,
    pub(crate) version: TlsVersion,
    /// The group of the key exchange, if it is one that a site can ask for; `None` for a session of TLS 1.2 that was resumed.
    pub(crate) group: Option<KeyExchangeGroup>,
    /// HTTP/2 was agreed on.
    pub(crate) http2: bool,
    /// Who the client has shown to be.
    pub(crate) certificate: Option<Rc<ClientCertificate>>,
}

impl Secured {
    /// Whether what was agreed on by the rules of `made_for` is what `wanted` would have agreed to as well.
    pub(crate) fn serves(&self, made_for: &Tls, wanted: &Tls) -> bool {
        made_for.client == wanted.client
            && self.version >= wanted.min_version
            && (wanted.groups.is_empty() || self.group.is_some_and(|group| wanted.groups.contains(&group)))
    }
}
