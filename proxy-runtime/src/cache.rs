//! Answers that are kept to be used again: a shared cache (RFC 9111).
//!
//! What the rules are is pure: `control` reads what messages say, `freshness` decides what is kept and what may be used,
//! [`key`] tells answers apart (shared with the compiler). What is kept is in a `Store`, shared by all workers; an answer on
//! its way is a `Flight`, which others may join. `serve::cached` is where an exchange meets them.

pub mod key;

#[cfg(feature = "serve")]
mod bans;
#[cfg(feature = "serve")]
mod behind;
#[cfg(feature = "serve")]
pub(crate) mod control;
#[cfg(feature = "serve")]
mod disk;
#[cfg(feature = "serve")]
mod file;
#[cfg(feature = "serve")]
mod flight;
#[cfg(feature = "serve")]
pub(crate) mod freshness;
#[cfg(feature = "serve")]
mod record;
#[cfg(feature = "serve")]
mod store;

#[cfg(feature = "serve")]
pub(crate) use self::behind::Filing;
#[cfg(feature = "serve")]
pub(crate) use self::file::FileReader;
#[cfg(feature = "serve")]
pub(crate) use self::flight::{Fill, Flight, Joined, Landed, Reader};
#[cfg(feature = "serve")]
pub(crate) use self::store::{Content, Head, Looked, Place, Purge, Reserved, Store};
