//! TLS connections, from clients and to servers: [`Engine`].
//!
//! rustls implements the protocol and aws-lc the cryptography; this module chooses the certificate for a client and the requirements
//! for a server's. The host name of a client (RFC 6066 section 3) is looked up in the table that maps requests to sites, and the site
//! has its certificates: a perfect hash, for ten as for a hundred thousand sites. The data that handshakes need is created at start
//! and when files are read again, and swapped as a whole: open connections continue with the data that they began with.

mod accept;
#[cfg(feature = "acme")]
pub(crate) mod acme;
#[cfg(not(feature = "acme"))]
#[path = "tls/no_acme.rs"]
pub(crate) mod acme;
mod client;
mod connect;
#[cfg(feature = "h3")]
mod early_data;
mod engine;
mod explain;
#[cfg_attr(not(feature = "acme"), path = "tls/no_keeper.rs")]
pub(crate) mod keeper;
mod provider;
#[cfg(feature = "h3")]
pub(crate) mod quic;
mod server;
#[cfg_attr(not(feature = "takeover"), path = "tls/library_tickets.rs")]
mod tickets;

#[cfg(feature = "trace")]
pub(crate) use self::client::verifying as verifying_client;
#[cfg(feature = "admin")]
pub(crate) use self::connect::{ClientFiles, connect_verified};
pub(crate) use self::engine::Engine;
pub(crate) use self::server::{SOON, warnings};
