//! HTTP's version-independent rules: targets and their canonical form, fields, media types, codings, ranges and
//! conditions. Pure; shared with the compiler.

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
pub mod media;
pub mod methods;
#[cfg(feature = "serve")]
pub(crate) mod ranges;
pub mod target;
#[cfg(feature = "serve")]
pub(crate) mod transformed;
