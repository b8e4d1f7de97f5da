//! Shared by tests and benchmarks: build a site with `kiln`, run it, and send requests to it.

pub mod certificates;
pub mod client;
pub mod dns;
pub mod frames;
pub mod instructions;
pub mod kiln;
pub mod load;
pub mod origin;
pub mod proxy;
