//! Connection ids that name their process and endpoint ([`SteeredIds`], [`destination`]), and the keys that processes of one site share at a takeover
//! ([`QuicIdentity`]).

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hkdf, hmac, rand};
use quinn::crypto::{HandshakeTokenKey, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::{HashedConnectionIdGenerator, InvalidCid};

/// The length of the name of an endpoint in an id: its process, and its number in two bytes.
const NAME: usize = 3;

/// The length of an id.
const LENGTH: usize = NAME + 8;

/// The length of the secret, in bytes.
const SECRET: usize = 32;

/// An endpoint of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EndpointName {
    pub(super) process: u8,
    pub(super) number: u16,
}

/// The name of a process among those that have taken over from each other, and the secret that all of them use: for ids, tokens of Retry, and stateless
/// resets (RFC 9000 section 10.3) of connections whose process is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuicIdentity {
    pub(super) process: u8,
    secret: [u8; SECRET],
}

impl QuicIdentity {
    /// Creates that of a process that takes over from none.
    pub(crate) fn random() -> QuicIdentity {
        let mut secret = [0; SECRET];
        // Without random numbers there is no TLS either, which says so.
        let _ = rand::fill(&mut secret);
        QuicIdentity { process: secret[0], secret }
    }

    /// Returns that of a process to which this one hands over, the `count`th.
    #[cfg(feature = "takeover")]
    pub(crate) fn next(&self, count: u8) -> QuicIdentity {
        QuicIdentity { process: self.process.wrapping_add(count), secret: self.secret }
    }

    /// Returns it as bytes.
    #[cfg(feature = "takeover")]
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&[self.process][..], &self.secret].concat()
    }

    /// Reads it; `None` if this is not one.
    #[cfg(feature = "takeover")]
    pub(crate) fn decode(bytes: &[u8]) -> Option<QuicIdentity> {
        let (process, secret) = bytes.split_first()?;
        Some(QuicIdentity { process: *process, secret: secret.try_into().ok()? })
    }

    fn derived(&self, purpose: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.secret), purpose)
    }

    /// Returns the key of stateless resets.
    pub(super) fn reset_key(&self) -> Arc<dyn HmacKey> {
        Arc::new(hmac::Key::new(hmac::HMAC_SHA256, self.derived(b"reset").as_ref()))
    }

    /// Returns the key of tokens.
    pub(super) fn token_key(&self) -> Arc<dyn HandshakeTokenKey> {
        Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(self.derived(b"token").as_ref()))
    }

    /// Returns the generator of an endpoint's ids.
    pub(super) fn ids(&self, number: u16) -> SteeredIds {
        let key = self.derived(b"ids");
        let key = key.as_ref().first_chunk().map_or(0, |key| u64::from_be_bytes(*key));
        let name = EndpointName { process: self.process, number };
        SteeredIds { name, ids: HashedConnectionIdGenerator::from_key(key) }
    }
}

/// Creates the connection ids of an endpoint: its name, and an id that others can't guess.
pub(super) struct SteeredIds {
    name: EndpointName,
    ids: HashedConnectionIdGenerator,
}

impl ConnectionIdGenerator for SteeredIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let [high, low] = self.name.number.to_be_bytes();
        ConnectionId::new(&[&[self.name.process, high, low][..], &self.ids.generate_cid()].concat())
    }

    /// Ids of other endpoints and processes are valid as well, so that a client whose process is gone gets a stateless reset.
    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.split_at_checked(NAME) {
            Some((_, rest)) if rest.len() == self.ids.cid_len() => self.ids.validate(&ConnectionId::new(rest)),
            _ => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Returns the endpoint that a datagram is for; `None` if any may take it.
pub(super) fn destination(datagram: &[u8], ids: &SteeredIds) -> Option<EndpointName> {
    let name = |id: &[u8]| match *id {
        [process, high, low, ..] => Some(EndpointName { process, number: u16::from_be_bytes([high, low]) }),
        _ => None,
    };
    match *datagram {
        // A short header (RFC 9000 section 17.3.1): the connection id follows the first byte.
        [0..0x80, ref id @ ..] => name(id),
        // A long one: the id follows the version and its length. Before it knows an id of the proxy, a client uses one of its own.
        [_, _, _, _, _, length, ref rest @ ..] if usize::from(length) == LENGTH => {
            let id = rest.get(..LENGTH)?;
            ids.validate(&ConnectionId::new(id)).ok().and_then(|()| name(id))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_endpoint() {
        let identity = QuicIdentity { process: 7, secret: [1; SECRET] };
        let mut ids = identity.ids(258);
        let id = ids.generate_cid();
        assert_eq!(id.len(), ids.cid_len());
        let name = Some(EndpointName { process: 7, number: 258 });
        assert_eq!(destination(&[&b"\x40"[..], &id].concat(), &ids), name);
        let handshake = [&b"\xe0\0\0\0\x01\x0b"[..], &id, b"\x08"].concat();
        assert_eq!(destination(&handshake, &ids), name);
        // A client's own id, another length, and what is cut off.
        assert_eq!(destination(b"\xc0\0\0\0\x01\x0bclient's id", &ids), None);
        assert_eq!(destination(b"\xc0\0\0\0\x01\x08client's", &ids), None);
        for length in 0..handshake.len() - 2 {
            assert_eq!(destination(&handshake[..length], &ids), None, "{length}");
        }
        assert_eq!(destination(b"@\0\x01", &ids), None);
        // Those of all processes with the secret are valid, others are not.
        let later = QuicIdentity { process: 8, ..identity };
        assert!(later.ids(3).validate(&id).is_ok());
        let other = QuicIdentity { process: 7, secret: [2; SECRET] };
        assert!(other.ids(258).validate(&id).is_err());
        assert!(ids.validate(&ConnectionId::new(&[1, 2])).is_err());
    }

    #[cfg(feature = "takeover")]
    #[test]
    fn identities_are_handed_over() {
        let identity = QuicIdentity { process: 255, ..QuicIdentity::random() };
        let next = identity.next(2);
        assert_eq!((next.process, next.secret), (1, identity.secret));
        assert_eq!(QuicIdentity::decode(&next.encode()), Some(next));
        assert_eq!(QuicIdentity::decode(b""), None);
        assert_eq!(QuicIdentity::decode(&next.encode()[1..]), None);
    }
}
