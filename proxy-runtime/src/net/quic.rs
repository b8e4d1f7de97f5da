//! QUIC (RFC 9000) for HTTP/3: the endpoint of a worker ([`endpoint`]) on a UDP socket of its own ([`QuicSocket`]).
//!
//! quinn implements the protocol. The kernel distributes datagrams over the workers' sockets by the addresses of both sides; those of a client whose
//! address has changed may arrive at another worker, which passes them on ([`steering`]).

mod steering;

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, Runtime as _, ServerConfig, TokioRuntime, TransportConfig};
use tokio::sync::mpsc;

use self::steering::{ForwardedDatagram, SteeredSocket, WorkerIds};
use crate::context::settings::{self, Address, Settings};
use crate::site::{Listener, Site};

/// The UDP socket of a worker, and its part in passing datagrams on.
#[derive(Debug)]
pub(crate) struct QuicSocket {
    socket: std::net::UdpSocket,
    /// The datagrams that other workers pass on.
    inbox: mpsc::Receiver<ForwardedDatagram>,
    /// The inboxes of all workers.
    workers: Arc<[mpsc::Sender<ForwardedDatagram>]>,
}

impl QuicSocket {
    /// Takes the sockets of all workers for an address.
    pub(crate) fn of_workers(sockets: Vec<std::net::UdpSocket>) -> Vec<QuicSocket> {
        let (senders, inboxes): (Vec<_>, Vec<_>) = sockets.iter().map(|_| mpsc::channel(INBOX)).unzip();
        let workers: Arc<[_]> = senders.into();
        let joined = sockets.into_iter().zip(inboxes);
        joined.map(|(socket, inbox)| QuicSocket { socket, inbox, workers: Arc::clone(&workers) }).collect()
    }
}

/// The most datagrams that wait for another worker; more are dropped, as a network would.
const INBOX: usize = 256;

/// The size of the kernel's buffers of a socket, which all connections of a worker share; the kernel may limit it further.
pub(crate) const SOCKET_BUFFER: usize = 4 << 20;

/// The only version (RFC 9000).
const VERSION: u32 = 1;

/// The most attempted connections whose packets wait until the worker accepts them, and the most bytes of those packets.
const MAX_INCOMING: usize = 1024;
const MAX_INCOMING_BYTES: u64 = 4 << 20;

/// How long a token of a Retry is valid.
const RETRY_LIFETIME: Duration = Duration::from_secs(10);

/// Creates the endpoint of the worker with this number, and the configuration of its connections.
///
/// # Errors
/// The socket can't be registered with the event loop.
pub(crate) fn endpoint(
    number: usize,
    socket: QuicSocket,
    initial: Arc<QuicServerConfig>,
    transport: TransportConfig,
) -> io::Result<(Endpoint, ServerConfig)> {
    let QuicSocket { socket, inbox, workers } = socket;
    let (number, key) = (number as u16, RandomState::new().hash_one(0));
    let mut config = EndpointConfig::default();
    config.supported_versions(vec![VERSION]);
    config.cid_generator(move || Box::new(WorkerIds::new(number, key)));
    let mut server = ServerConfig::with_crypto(initial);
    server.transport_config(Arc::new(transport));
    server.retry_token_lifetime(RETRY_LIFETIME);
    server.max_incoming(MAX_INCOMING).incoming_buffer_size_total(MAX_INCOMING_BYTES);
    let runtime = Arc::new(TokioRuntime);
    let socket = SteeredSocket::new(runtime.wrap_udp_socket(socket)?, number, inbox, workers);
    let endpoint = Endpoint::new_with_abstract_socket(config, Some(server.clone()), Arc::new(socket), runtime)?;
    Ok((endpoint, server))
}

/// Returns the values of `Alt-Svc` (RFC 7838) by the index of the listener: the port, and for how long clients may remember it.
pub(crate) fn alternatives(site: &Site, settings: &Settings) -> Vec<Option<String>> {
    let alternative = |listener: &Listener| match settings::address(listener.address.get(settings)) {
        Ok(Address::Tcp(_, port)) if listener.speaks.http3 => Some(format!("h3=\":{port}\"; ma={MAX_AGE}")),
        _ => None,
    };
    site.listeners.iter().map(alternative).collect()
}

/// How long clients may remember that there is HTTP/3, in seconds.
const MAX_AGE: u32 = 86_400;
