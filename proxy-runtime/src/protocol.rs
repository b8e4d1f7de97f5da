//! HTTP's rules that are the same for every version: targets and their canonical form, fields, media types, codings,
//! ranges, conditions and the fields of traces. Pure; shared with the compiler.

pub mod b3;
pub mod canonical;
#[cfg(feature = "serve")]
pub(crate) mod conditions;
#[cfg(feature = "serve")]
pub(crate) mod date;
pub mod encodings;
pub mod escape;
pub mod fields;
pub(crate) mod forwarded;
pub mod grpc;
pub mod huffman;
pub mod media;
pub mod methods;
pub mod names;
pub(crate) mod octets;
#[cfg(feature = "serve")]
pub(crate) mod priority;
#[cfg(feature = "serve")]
pub(crate) mod ranges;
pub mod target;
pub mod trace_context;
#[cfg(feature = "serve")]
pub(crate) mod transformed;
#[cfg(feature = "serve")]
pub(crate) mod websocket;
