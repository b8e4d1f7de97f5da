//! Bodies of messages on their way: where they come from ([`source::Source`]), and how they are read from a connection
//! ([`inbound`]) and written to one ([`outbound`]) in HTTP/1.1.
//!
//! Nothing is collected: each is asked for more only when what it gave is sent, so a slow reader slows the writer
//! (back-pressure), and memory is a buffer per side however large the body. Data is sent from the buffer it was read
//! into; only small pieces are copied, so that a head and a short body leave in one write. Every wait ends: by the
//! deadline that a request's body grows with what arrives, by silence, by the total.

pub(crate) mod front;
pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod pace;
pub(crate) mod source;
