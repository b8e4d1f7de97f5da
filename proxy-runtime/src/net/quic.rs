//! QUIC (RFC 9000) for HTTP/3: the endpoint of a worker ([`endpoint`]) on a UDP socket of its own ([`QuicSocket`]).
//!
//! quinn implements the protocol. The kernel distributes datagrams over the workers' sockets by the addresses of both sides; those of a client whose
//! address has changed may arrive at another worker, which passes them on ([`steering`]). So does a process that has taken over ([`group`]).

mod forwarded;
#[cfg_attr(not(feature = "takeover"), allow(dead_code, reason = "relays are for takeovers"))]
mod group;
mod ids;
#[cfg_attr(not(feature = "takeover"), allow(dead_code, reason = "relays are for takeovers"))]
mod relay;
mod steering;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, Runtime as _, ServerConfig, TokioRuntime, TransportConfig};
use tokio::sync::mpsc;

use self::forwarded::ForwardedDatagram;
pub(crate) use self::group::{QuicGroup, RelayReceiver};
pub(crate) use self::ids::QuicIdentity;
use self::steering::SteeredSocket;
use crate::context::settings::{self, Address, Settings};
use crate::site::{Listener, Site};

/// The UDP socket of an endpoint, and its part in passing datagrams on.
#[derive(Debug)]
pub(crate) struct QuicSocket {
    socket: std::net::UdpSocket,
    /// Its index among the endpoints of the listener.
    number: u16,
    /// The datagrams that others pass on.
    inbox: mpsc::Receiver<ForwardedDatagram>,
    group: Arc<QuicGroup>,
}

impl QuicSocket {
    /// Makes endpoints of the sockets of a listener.
    pub(crate) fn of_listener(
        sockets: Vec<std::net::UdpSocket>,
        identity: QuicIdentity,
    ) -> (Arc<QuicGroup>, Vec<QuicSocket>) {
        let (group, inboxes) = QuicGroup::new(identity, sockets.len());
        let joined = (0..).zip(sockets.into_iter().zip(inboxes));
        let joined =
            joined.map(|(number, (socket, inbox))| QuicSocket { socket, number, inbox, group: Arc::clone(&group) });
        let sockets = joined.collect();
        (group, sockets)
    }
}

/// The size of the kernel's buffers of a socket, which all connections of a worker share; the kernel may limit it further.
pub(crate) const SOCKET_BUFFER: usize = 4 << 20;

/// The only version (RFC 9000).
const VERSION: u32 = 1;

/// The most attempted connections whose packets wait until the worker accepts them, and the most bytes of those packets.
const MAX_INCOMING: usize = 1024;
const MAX_INCOMING_BYTES: u64 = 4 << 20;

/// How long a token of a Retry is valid.
const RETRY_LIFETIME: Duration = Duration::from_secs(10);

/// Creates an endpoint, and the configuration of its connections.
///
/// # Errors
/// The socket can't be registered with the event loop.
pub(crate) fn endpoint(
    socket: QuicSocket,
    initial: Arc<QuicServerConfig>,
    transport: TransportConfig,
) -> io::Result<(Endpoint, ServerConfig)> {
    let QuicSocket { socket, number, inbox, group } = socket;
    let identity = group.identity();
    let mut config = EndpointConfig::new(identity.reset_key());
    config.supported_versions(vec![VERSION]);
    config.cid_generator(move || Box::new(identity.ids(number)));
    let mut server = ServerConfig::new(initial, identity.token_key());
    server.transport_config(Arc::new(transport));
    server.retry_token_lifetime(RETRY_LIFETIME);
    server.max_incoming(MAX_INCOMING).incoming_buffer_size_total(MAX_INCOMING_BYTES);
    let runtime = Arc::new(TokioRuntime);
    let socket = SteeredSocket::new(runtime.wrap_udp_socket(socket)?, number, inbox, group);
    let endpoint = Endpoint::new_with_abstract_socket(config, Some(server.clone()), Arc::new(socket), runtime)?;
    Ok((endpoint, server))
}

/// Returns the values of `Alt-Svc` (RFC 7838) by the index of the listener: the port, and for how long clients may remember it.
pub(crate) fn alternatives(site: &Site, settings: &Settings) -> Vec<Option<String>> {
    let alternative = |listener: &Listener| match settings::address(listener.address.get(settings)) {
        Ok(Address::Tcp(_, port)) if listener.speaks.http3 => {
            let public = listener.speaks.http3_port.as_ref().map_or(port.into(), |public| public.get(settings));
            Some(format!("h3=\":{public}\"; ma={MAX_AGE}"))
        }
        _ => None,
    };
    site.listeners.iter().map(alternative).collect()
}

/// How long clients may remember that there is HTTP/3, in seconds.
const MAX_AGE: u32 = 86_400;
