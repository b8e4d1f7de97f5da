//! Network and resources: listeners, streams, TLS, timers, and the budgets of connections, descriptors and memory.

#[cfg(feature = "serve")]
pub(crate) mod accounts;
#[cfg(feature = "serve")]
pub(crate) mod budget;
#[cfg(feature = "certificates")]
pub mod certificate;
#[cfg(feature = "serve")]
pub(crate) mod clock;
#[cfg(feature = "serve")]
pub(crate) mod descriptors;
#[cfg(feature = "admin")]
pub(crate) mod expiry;
#[cfg(feature = "serve")]
pub(crate) mod listen;
#[cfg(feature = "serve")]
pub(crate) mod memory;
#[cfg(feature = "h3")]
pub(crate) mod quic;
#[cfg(feature = "serve")]
pub(crate) mod secured;
#[cfg(feature = "serve")]
pub(crate) mod stream;
#[cfg(feature = "serve")]
#[cfg_attr(not(feature = "tls"), path = "net/tls/absent.rs")]
pub(crate) mod tls;
