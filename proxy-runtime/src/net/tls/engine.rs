//! The data that a site's handshakes need ([`Engine`]): made at start and when files are read again, and swapped as a whole.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ClientConfig;

use super::server::TlsConfigs;
use super::{acme, client, server};
use crate::context::settings::{Settings, StartError};
use crate::site::{Certificates, Site, Tls};

/// The data that a site's handshakes need; shared by all workers.
pub(crate) struct Engine {
    /// For clients, as the site's list of `tls`.
    pub(super) served: Vec<ArcSwap<TlsConfigs>>,
    /// For servers, as the site's list of upstreams.
    pub(super) asked: Vec<ArcSwapOption<ClientConfig>>,
    /// What an authority wants to see.
    pub(crate) challenges: acme::Challenges,
}

impl Engine {
    /// Makes what is needed from the files as they were read.
    ///
    /// # Errors
    /// One for each certificate or key that is none.
    pub(crate) fn new(site: &Site, settings: &Settings) -> Result<Engine, Vec<StartError>> {
        let mut refused = Vec::new();
        let mut kept = |outcome: Result<_, Vec<StartError>>| outcome.map_err(|found| refused.extend(found)).ok();
        let served = site.tls.iter().filter_map(|tls| {
            kept(server::make(tls, acme_certificate(tls, site, settings), settings).map(ArcSwap::from_pointee))
        });
        let served = served.collect();
        let mut asked = Vec::new();
        for upstream in site.upstreams {
            match client::make(upstream, settings) {
                Ok(config) => asked.push(ArcSwapOption::new(config)),
                Err(found) => refused.push(found),
            }
        }
        refused.extend(acme::refused(site, settings));
        let challenges = acme::Challenges::default();
        if refused.is_empty() { Ok(Engine { served, asked, challenges }) } else { Err(refused) }
    }

    /// Makes it all again from files that were read again; what can't be made stays as it was. Returns what went wrong.
    pub(crate) fn reload(&self, site: &Site, settings: &Settings) -> Vec<StartError> {
        let mut refused = Vec::new();
        for (tls, served) in site.tls.iter().zip(&self.served) {
            // One that nobody but the proxy signs is as good as another, and clients may have come to know it; those of an
            // authority are seen to elsewhere.
            if !matches!(tls.certificates, Certificates::Files(_)) {
                continue;
            }
            match server::make(tls, None, settings) {
                Ok(made) => served.store(Arc::new(made)),
                Err(found) => refused.extend(found),
            }
        }
        for (upstream, asked) in site.upstreams.iter().zip(&self.asked) {
            match client::make(upstream, settings) {
                Ok(config) => asked.store(config),
                Err(found) => refused.push(found),
            }
        }
        refused
    }
}

/// The certificate that an authority has issued before, if it is still there.
fn acme_certificate(tls: &Tls, site: &Site, settings: &Settings) -> Option<Vec<u8>> {
    (tls.certificates == Certificates::Acme).then(|| acme::stored(tls, site, settings))?
}
