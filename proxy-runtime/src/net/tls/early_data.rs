//! Early data of TLS 1.3 in QUIC (RFC 8446 section 2.3, RFC 9001 section 4.6): the sessions that may have it ([`EarlySessions`]).
//!
//! What is sent before the handshake can be recorded and sent again. So these sessions are not in tickets but here, and each is taken out when it is
//! used (RFC 8446 section 8.1). A session is accepted only from the address that it was issued to: that address is not spoofed, as the
//! handshake before has shown, and nobody else can make requests in its name.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

/// The most sessions of one `tls`; the oldest are forgotten first, and their clients make a full handshake.
const SESSIONS: usize = 8192;

/// The configuration of connections that may have early data, and their sessions.
pub(super) struct EarlySessions {
    config: ServerConfig,
    sessions: OnceLock<Arc<ServerSessionMemoryCache>>,
}

impl EarlySessions {
    /// `config` has no tickets.
    pub(super) fn new(mut config: ServerConfig) -> EarlySessions {
        // RFC 9001 section 4.6.1: QUIC limits it by flow control instead.
        config.max_early_data_size = u32::MAX;
        EarlySessions { config, sessions: OnceLock::new() }
    }

    /// Returns the configuration for a connection of a client.
    pub(super) fn of_client(&self, client: IpAddr) -> Arc<ServerConfig> {
        let mut config = self.config.clone();
        let sessions = self.sessions.get_or_init(|| ServerSessionMemoryCache::new(SESSIONS));
        config.session_storage = Arc::new(ClientSessions { client, sessions: Arc::clone(sessions) });
        Arc::new(config)
    }
}

/// The sessions of one client.
#[derive(Debug)]
struct ClientSessions {
    client: IpAddr,
    sessions: Arc<ServerSessionMemoryCache>,
}

impl ClientSessions {
    fn key(&self, id: &[u8]) -> Vec<u8> {
        let address = match self.client {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        [&address.octets()[..], id].concat()
    }
}

impl StoresServerSessions for ClientSessions {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.sessions.put(self.key(&id), session)
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        // Nothing may use a session and leave it.
        self.take(id)
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.sessions.take(&self.key(id))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_used_once_by_their_client() {
        let sessions = ServerSessionMemoryCache::new(8);
        let of = |client: [u8; 4]| ClientSessions { client: client.into(), sessions: Arc::clone(&sessions) };
        let (mine, other) = (of([192, 0, 2, 1]), of([192, 0, 2, 2]));
        assert!(mine.put(b"id".to_vec(), b"session".to_vec()));
        assert_eq!((other.take(b"id"), other.get(b"id")), (None, None));
        assert_eq!(mine.take(b"id").as_deref(), Some(&b"session"[..]));
        assert_eq!((mine.take(b"id"), mine.get(b"id")), (None, None));
        assert!(mine.put(b"id".to_vec(), b"session".to_vec()));
        assert!(mine.get(b"id").is_some() && mine.take(b"id").is_none());
    }
}
