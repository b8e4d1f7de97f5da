//! `tls acme`: certificates that an authority is asked for (RFC 8555), and asked again before they expire.
//!
//! One task per `tls` on the main thread ([`super::keeper`]); few ask at once. When it may order is [`schedule`]'s to say, the order itself is
//! [`order`]'s. A certificate that has come is served at once, and written as soon as that is possible: an order is never repeated because a
//! disk is full. The account, each certificate with its key, and the pause before the next order are files in the folder `state`, so
//! that a new start goes on where the last one was.

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
