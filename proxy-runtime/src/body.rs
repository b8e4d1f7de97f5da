//! Bodies of messages: their sources ([`source::Source`]), and how HTTP/1.1 reads them from a connection
//! ([`inbound`]) and writes them to one ([`outbound`]); responses to the proxy's own requests ([`own`]).
//!
//! Bodies are streamed: a source is polled for more only when its data is sent, so a slow reader slows the writer
//! (back-pressure), and memory is a buffer per side for bodies of any size. Data is sent from the buffer that it was read
//! into; only small pieces are copied, so that a head and a short body leave in one write. Every wait ends: by the
//! deadline of a request's body, which grows with the data that arrives, by the idle time-out, or by the total.

pub(crate) mod front;
pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod own;
pub(crate) mod pace;
pub(crate) mod source;
