//! The protocol of HTTP/3 (RFC 9114), without its connections: frames ([`frames`]), unidirectional streams ([`control`]), fields
//! ([`qpack`]), heads ([`head`]) and error codes ([`codes`]). Pure.

pub(crate) mod codes;
pub(crate) mod control;
pub(crate) mod frames;
pub(crate) mod head;
pub(crate) mod integer;
pub(crate) mod qpack;

#[cfg(test)]
mod random;
