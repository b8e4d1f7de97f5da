//! HTTP/1.1 messages as bytes (RFC 9112): heads, and the framing of bodies. Pure; on the hot path.
//!
//! [`scan`] reads the lines, and what is above it decides the extent of the message, strictly: messages that two
//! programs could read in two ways (both lengths, several lengths, chunks with anything odd about them) are refused, from
//! clients and from servers, as request smuggling relies on these. Line ends without CR and padded chunk sizes, which
//! real servers send, are accepted from servers if they are unambiguous.

mod chunks;
mod framing;
mod head;
mod scan;

pub(crate) use chunks::{ChunkStep, Decoder};
pub(crate) use framing::Framing;
pub(crate) use head::{HeadReader, MessageHead, declared_length, usual_reason, write_request, write_response};
