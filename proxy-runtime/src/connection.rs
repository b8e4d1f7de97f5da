//! Connections of clients: accepted ([`accept`]), introduced and encrypted ([`begin`]), and served to their end in HTTP/1.1 ([`http1`]),
//! in HTTP/2 ([`http2`]), or passed through ([`stream`]).

mod accept;
mod begin;
mod draining;
mod http1;
mod http2;
mod proxy_protocol;
mod stream;
#[cfg(feature = "serve")]
pub(crate) mod tunnel;

pub(crate) use self::accept::accept;
