//! Encrypted connections, from clients and to servers: [`Engine`].
//!
//! rustls does the protocol and aws-lc the cryptography; here it is decided which certificate a client sees and what is asked
//! of a server's. The name a client asks for (RFC 6066 section 3) leads to its site by the table that leads requests there,
//! and the site to its certificates: perfect hashing, whether there are ten or a hundred thousand. What handshakes need is
//! made at start and when files are read again, and swapped whole: connections go on with what they began with.

mod accept;
#[cfg(feature = "acme")]
pub(crate) mod acme;
#[cfg(not(feature = "acme"))]
#[path = "tls/no_acme.rs"]
pub(crate) mod acme;
mod client;
mod connect;
mod engine;
mod explain;
#[cfg_attr(not(feature = "acme"), path = "tls/no_keeper.rs")]
pub(crate) mod keeper;
mod provider;
mod server;

pub(crate) use self::engine::Engine;
pub(crate) use self::server::warnings;
