//! Client connections: accept ([`accept`]), PROXY header and TLS ([`begin`]), and the loops of HTTP/1.1 ([`http1`]),
//! HTTP/2 ([`http2`]), HTTP/3 (`http3`, over `quic`), and streams ([`stream`]).

mod accept;
mod begin;
mod draining;
mod going_away;
mod http1;
mod http2;
#[cfg(feature = "h3")]
mod http3;
mod proxy_protocol;
#[cfg(feature = "h3")]
mod quic;
mod stream;
#[cfg(feature = "serve")]
pub(crate) mod tunnel;
mod websocket;

pub(crate) use self::accept::accept;
