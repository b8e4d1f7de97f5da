//! Replaces `tls` in a proxy that was built without it: the same names, with types that have no values.

use crate::context::settings::{Settings, StartError};
use crate::failure::Failure;
use crate::net::secured::Secured;
use crate::net::stream::{BufferedStream, SocketStream};
use crate::site::{Site, UpstreamTls};

/// An empty engine.
pub(crate) struct Engine {
    pub(crate) challenges: acme::Challenges,
}

#[path = "no_acme.rs"]
pub(crate) mod acme;
#[path = "no_keeper.rs"]
pub(crate) mod keeper;

impl Engine {
    pub(crate) fn new(_: &Site, _: &Settings) -> Result<Engine, Vec<StartError>> {
        Ok(Engine { challenges: acme::Challenges::default() })
    }

    #[cfg(feature = "admin")]
    pub(crate) fn certificates(&self, _: &Site) -> Vec<crate::net::expiry::ServedCertificate> {
        Vec::new()
    }

    #[cfg(feature = "takeover")]
    pub(crate) fn ticket_keys(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    #[cfg(feature = "takeover")]
    pub(crate) fn adopt_ticket_keys(&self, _: &[Vec<u8>]) {}

    pub(crate) fn reload(&self, _: &Site, _: &Settings) -> Vec<StartError> {
        Vec::new()
    }

    pub(crate) async fn accept(
        &self,
        _: &Site,
        _: u32,
        link: BufferedStream,
    ) -> Result<(SocketStream, Secured), (Failure, Option<BufferedStream>)> {
        Err((Failure::Internal, Some(link)))
    }

    pub(crate) async fn server_name(&self, _: &mut BufferedStream) -> Option<String> {
        None
    }

    pub(crate) async fn connect(
        &self,
        _: usize,
        _: &UpstreamTls,
        _: &str,
        _: BufferedStream,
    ) -> Result<(SocketStream, bool), String> {
        Err("built without TLS".to_owned())
    }
}

pub(crate) const SOON: std::time::Duration = std::time::Duration::ZERO;

pub(crate) fn warnings(_: &Site, _: &Settings, _: std::time::Duration) -> Vec<StartError> {
    Vec::new()
}

/// What no connection is made with.
#[cfg(feature = "admin")]
#[allow(dead_code, reason = "as the other has them")]
pub(crate) struct ClientFiles {
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) certificate: Option<Vec<u8>>,
    pub(crate) key: Option<Vec<u8>>,
}

#[cfg(feature = "admin")]
#[allow(clippy::unused_async, reason = "as the other does")]
pub(crate) async fn connect_verified(_: &ClientFiles, _: &str, _: BufferedStream) -> Result<SocketStream, String> {
    Err("built without TLS".to_owned())
}
