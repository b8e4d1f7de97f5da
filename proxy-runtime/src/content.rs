//! Responses without a server, and transformations of bodies: files, constants and redirects, compression, replacements.

#[cfg(feature = "serve")]
pub(crate) mod compress;
pub mod cookies;
#[cfg(feature = "serve")]
pub(crate) mod file_reader;
pub mod files;
#[cfg(feature = "serve")]
pub mod pages;
#[cfg(feature = "serve")]
pub(crate) mod replace;
pub mod respond;
