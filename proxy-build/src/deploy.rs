//! Deployment of a site: what it needs of the system that it runs on ([`Footprint`]), and files for service managers, which are written from
//! that: a unit for systemd ([`mod@unit`]), manifests for Kubernetes ([`kubernetes`]) of an image with the files that [`image`] names.

mod folders;
mod footprint;
pub mod image;
pub mod kubernetes;
pub mod unit;

pub use self::footprint::{Endpoint, Footprint, HealthProbe, SocketPath};

/// A generated file.
#[derive(Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its name, without a folder.
    pub name: String,
    /// Its content.
    pub text: String,
}
