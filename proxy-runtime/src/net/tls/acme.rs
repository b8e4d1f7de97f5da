//! `tls acme`: orders certificates from an authority (RFC 8555), and renews them.
//!
//! There is one task per `tls` on the main thread ([`super::keeper`]); few orders run at once. [`schedule`] decides when to order, [`order`]
//! carries it out. A new certificate is served at once, and written as soon as possible: an order is never repeated because a
//! disk is full. The account, each certificate with its key, and the pause before the next order are files in the folder `state`, so
//! that a restarted proxy continues where the last one stopped.

pub(super) mod account;
pub(super) mod ari;
pub(super) mod challenges;
mod client;
mod dns01;
pub(super) mod error;
pub(super) mod order;
pub(super) mod schedule;
mod start;
pub(super) mod store;

pub(crate) use self::challenges::Challenges;
pub(super) use self::challenges::PROTOCOL;
pub(super) use self::start::{refused, stored};
