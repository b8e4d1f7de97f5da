//! TLS in QUIC (RFC 9001): [`QuicTls`], which chooses the site's certificate and requirements for a connection as [`Engine::accept`] does for a
//! TCP connection.
//!
//! The library begins a session with one configuration for all. Here a session first collects the client's hello, whose server name
//! chooses the configuration ([`QuicSession`]).

use std::any::Any;
use std::io::Cursor;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn::{ConnectionId, Side};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{TransportError, TransportErrorCode};
use rustls::pki_types::UnixTime;
use rustls::quic::{KeyChange, Secrets, ServerConnection, Version};
use rustls::server::Acceptor;
use rustls::server::danger::ClientCertVerifier;
use rustls::{AlertDescription, CommonState};

use super::accept::{secured, still_verified};
use super::engine::Engine;
use super::explain;
use crate::failure::Failure;
use crate::site::Site;

/// The largest hello, in bytes.
const MAX_HELLO: usize = 16 << 10;

/// The largest TLS record.
const RECORD: usize = 16 << 10;

impl Engine {
    /// Returns the configuration for the packets before a connection is accepted.
    pub(crate) fn quic(&self) -> Option<Arc<QuicServerConfig>> {
        let config = self.served.first()?.load().http3();
        QuicServerConfig::try_from(config).ok().map(Arc::new)
    }
}

/// The TLS of one connection.
pub(crate) struct QuicTls {
    pub(crate) engine: &'static Engine,
    pub(crate) site: &'static Site,
    pub(crate) listener: u32,
    /// The local address.
    pub(crate) own: Option<IpAddr>,
    pub(crate) initial: Arc<QuicServerConfig>,
    /// The client's address, if it may send early data.
    pub(crate) early: Option<IpAddr>,
    /// The client has sent early data, which is accepted.
    pub(crate) is_early: AtomicBool,
    /// Why the handshake has failed on this side.
    pub(crate) failure: OnceLock<Failure>,
}

impl QuicTls {
    /// Records a failure, and returns the alert for the client.
    fn refuse(&self, failure: Failure, alert: AlertDescription) -> TransportError {
        let _ = self.failure.set(failure);
        let code = TransportErrorCode::crypto(alert.into());
        TransportError { code, frame: None, reason: failure.reason().to_owned() }
    }

    fn failed(&self, error: &rustls::Error, alert: AlertDescription) -> TransportError {
        self.refuse(Failure::Handshake(explain::of_library(error)), alert)
    }

    /// Begins the session that a complete hello asks for.
    fn begin(&self, hello: &[u8], parameters: &[u8]) -> Result<BegunSession, TransportError> {
        let mut acceptor = Acceptor::default();
        let malformed = || self.refuse(Failure::Handshake("not TLS"), AlertDescription::DecodeError);
        let mut accepted = None;
        for part in hello.chunks(RECORD) {
            let length = u16::try_from(part.len()).map_err(|_| malformed())?.to_be_bytes();
            // The header of a handshake record (RFC 8446 section 5.1), which QUIC does not have.
            let record = [&[22, 3, 1, length[0], length[1]], part].concat();
            let mut record = record.as_slice();
            while !record.is_empty() {
                if !matches!(acceptor.read_tls(&mut record), Ok(1..)) {
                    return Err(malformed());
                }
            }
            accepted = acceptor.accept().map_err(|(error, _)| self.failed(&error, AlertDescription::DecodeError))?;
        }
        let accepted = accepted.ok_or_else(malformed)?;
        let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
        let Some(tls) = self.engine.chosen(self.site, self.listener, name.as_deref(), self.own) else {
            return Err(self.refuse(Failure::UnknownServerName, AlertDescription::UnrecognisedName));
        };
        let served = self.engine.served[usize::from(tls)].load();
        if served.is_empty() {
            let failure = Failure::Handshake("the authority has not issued a certificate yet");
            return Err(self.refuse(failure, AlertDescription::InternalError));
        }
        let config = self.early.map_or_else(|| served.http3(), |client| served.http3_early(client));
        let mut connection = ServerConnection::new(config, Version::V1, parameters.to_vec())
            .map_err(|error| self.failed(&error, AlertDescription::InternalError))?;
        let read = connection.read_hs(hello);
        self.is_early.store(connection.zero_rtt_keys().is_some(), Ordering::Relaxed);
        let verifier = served.verifier();
        let begun = BegunSession { tls, name, connection, verifier, next: None, announced: false };
        read.map(|()| begun).map_err(|error| self.failed(&error, AlertDescription::HandshakeFailure))
    }
}

impl ServerConfig for QuicTls {
    fn initial_keys(&self, version: u32, id: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.initial.initial_keys(version, id)
    }

    fn retry_tag(&self, version: u32, id: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.initial.retry_tag(version, id, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, parameters: &TransportParameters) -> Box<dyn Session> {
        let mut written = Vec::new();
        parameters.write(&mut written);
        Box::new(QuicSession { tls: self, version, parameters: written, hello: Vec::new(), begun: None })
    }
}

/// A TLS session of QUIC.
struct QuicSession {
    tls: Arc<QuicTls>,
    version: u32,
    /// The proxy's transport parameters.
    parameters: Vec<u8>,
    /// The client's hello, while it is incomplete.
    hello: Vec<u8>,
    begun: Option<BegunSession>,
}

/// A session whose hello was read.
struct BegunSession {
    /// The index of the `tls`.
    tls: u16,
    /// The server name of the hello.
    name: Option<String>,
    connection: ServerConnection,
    /// Verifies the client's certificate when the handshake is complete, if clients are asked for one.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    next: Option<Secrets>,
    /// The library was told that the hello was read.
    announced: bool,
}

impl Session for QuicSession {
    fn initial_keys(&self, id: &ConnectionId, _: Side) -> Keys {
        // Only called by clients, after a Retry; the version was accepted already.
        match self.tls.initial.initial_keys(self.version, id) {
            Ok(keys) => keys,
            Err(UnsupportedVersion) => unreachable!("the endpoint accepts one version"),
        }
    }

    /// Returns the [`Secured`](crate::net::secured::Secured) of the connection.
    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let begun = self.begun.as_ref()?;
        let state: &CommonState = &begun.connection;
        Some(Box::new(secured(state, begun.tls, begun.name.clone())))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        let keys = self.begun.as_ref()?.connection.zero_rtt_keys()?;
        Some((Box::new(keys.header), Box::new(keys.packet)))
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        self.begun.as_ref().is_none_or(|begun| begun.connection.is_handshaking())
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        match &mut self.begun {
            Some(begun) => {
                if let Err(error) = begun.connection.read_hs(bytes) {
                    let alert = begun.connection.alert().unwrap_or(AlertDescription::HandshakeFailure);
                    return Err(self.tls.failed(&error, alert));
                }
                // Before the connection is handed out, which is when the handshake is complete.
                if let Some(verifier) = begun.verifier.take_if(|_| !begun.connection.is_handshaking()) {
                    still_verified(Some(&*verifier), &begun.connection, UnixTime::now())
                        .map_err(|error| self.tls.failed(&error, AlertDescription::CertificateExpired))?;
                }
            }
            None => {
                if self.hello.len() + bytes.len() > MAX_HELLO {
                    let failure = Failure::Handshake("the client's hello is too large");
                    return Err(self.tls.refuse(failure, AlertDescription::DecodeError));
                }
                self.hello.extend_from_slice(bytes);
                // The type of the message and its length (RFC 8446 section 4).
                let &[_, high, middle, low, ..] = self.hello.as_slice() else { return Ok(false) };
                let length = u32::from_be_bytes([0, high, middle, low]) as usize;
                if self.hello.len() < length.saturating_add(4) && length <= MAX_HELLO {
                    return Ok(false);
                }
                self.begun = Some(self.tls.begin(&std::mem::take(&mut self.hello), &self.parameters)?);
            }
        }
        let first = self.begun.as_mut().is_some_and(|begun| !std::mem::replace(&mut begun.announced, true));
        Ok(first)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(written) = self.begun.as_ref().and_then(|begun| begun.connection.quic_transport_parameters()) else {
            return Ok(None);
        };
        Ok(Some(TransportParameters::read(Side::Server, &mut Cursor::new(written))?))
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        let begun = self.begun.as_mut()?;
        let keys = match begun.connection.write_hs(out)? {
            KeyChange::Handshake { keys } => keys,
            KeyChange::OneRtt { keys, next } => {
                begun.next = Some(next);
                keys
            }
        };
        Some(Keys {
            header: KeyPair { local: Box::new(keys.local.header), remote: Box::new(keys.remote.header) },
            packet: KeyPair { local: Box::new(keys.local.packet), remote: Box::new(keys.remote.packet) },
        })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.begun.as_mut()?.next.as_mut()?.next_packet_keys();
        Some(KeyPair { local: Box::new(keys.local), remote: Box::new(keys.remote) })
    }

    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        // Only clients receive Retry packets.
        false
    }

    fn export_keying_material(&self, _: &mut [u8], _: &[u8], _: &[u8]) -> Result<(), ExportKeyingMaterialError> {
        // Nothing here uses it.
        Err(ExportKeyingMaterialError)
    }
}

/// Explains why a client has closed a connection within the handshake: by an alert of TLS, or otherwise.
pub(crate) fn explain_close(code: TransportErrorCode) -> &'static str {
    /// The codes of alerts (RFC 9001 section 4.8).
    const ALERTS: u64 = 0x100;
    match u64::from(code).checked_sub(ALERTS).and_then(|alert| u8::try_from(alert).ok()) {
        Some(alert) => explain::of_alert(alert.into()),
        None => "the client closed the connection",
    }
}
