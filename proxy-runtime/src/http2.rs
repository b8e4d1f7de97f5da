//! Code for both sides of HTTP/2 (RFC 9113): conversion of fields, sending a body
//! ([`Http2Outbound`]) in pieces ([`DataPiece`]), and checks beside the library ([`monitor`]).

pub(crate) mod budget;
mod fields;
pub(crate) mod flood;
mod frames;
mod hpack;
pub(crate) mod monitor;
mod outbound;
pub(crate) mod priorities;
pub(crate) mod request;

pub(crate) use self::fields::{are_well_formed, received, received_trailers, to_send};
pub(crate) use self::outbound::{DataPiece, Http2Outbound, SEND_BUFFER};
