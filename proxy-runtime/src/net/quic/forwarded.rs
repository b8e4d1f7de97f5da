//! A datagram on its way to another endpoint ([`ForwardedDatagram`]).

use quinn::udp::RecvMeta;

/// A datagram for another endpoint.
#[derive(Debug, Default)]
pub(super) struct ForwardedDatagram {
    pub(super) bytes: Box<[u8]>,
    pub(super) meta: RecvMeta,
}
