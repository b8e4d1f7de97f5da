//! HTTP/1.1 messages as bytes (RFC 9112): heads, and how bodies are framed. Pure; on the hot path.
//!
//! `httparse` reads the lines; what they mean for the message's extent is decided here, and strictly: whatever two
//! programs could read in two ways (both lengths, several lengths, chunks with anything odd about them) is refused, from
//! clients and from servers, as that is what request smuggling is made of. Line ends without CR and padded chunk sizes, which
//! real servers send, are accepted from these where they can be read in one way alone.

mod chunks;
mod framing;
mod head;

pub(crate) use chunks::{ChunkStep, Decoder};
pub(crate) use framing::Framing;
pub(crate) use head::{HeadReader, MessageHead, declared_length, usual_reason, write_request, write_response};
