//! What tests and benchmarks share: building a site with `kiln`, running it, talking to it.

pub mod certificates;
pub mod client;
pub mod dns;
pub mod frames;
pub mod kiln;
pub mod origin;
pub mod proxy;
