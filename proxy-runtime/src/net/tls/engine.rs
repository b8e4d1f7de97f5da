//! The data that a site's handshakes need ([`Engine`]): created at start and when files are read again, and swapped as a
//! whole.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ClientConfig;

use super::server::TlsConfigs;
use super::tickets::TicketKeys;
use super::{acme, client, server};
use crate::context::settings::{Settings, StartError};
#[cfg(feature = "admin")]
use crate::net::expiry::ServedCertificate;
use crate::site::{Certificates, Site, Tls};

/// The data that a site's handshakes need; shared by all workers.
pub(crate) struct Engine {
    /// The configurations for clients, in the order of the site's list of `tls`.
    pub(super) served: Vec<ArcSwap<TlsConfigs>>,
    /// The configurations for servers, in the order of the site's upstreams.
    pub(super) asked: Vec<ArcSwapOption<ClientConfig>>,
    /// The keys for session tickets.
    pub(super) tickets: TicketKeys,
    /// The pending ACME challenges.
    pub(crate) challenges: acme::Challenges,
}

impl Engine {
    /// Builds the configurations from the site's files.
    ///
    /// # Errors
    /// One for each invalid certificate or key.
    pub(crate) fn new(site: &Site, settings: &Settings) -> Result<Engine, Vec<StartError>> {
        let mut refused = Vec::new();
        let mut kept = |outcome: Result<_, Vec<StartError>>| outcome.map_err(|found| refused.extend(found)).ok();
        let tickets = TicketKeys::default();
        let served = site.tls.iter().filter_map(|tls| {
            let made = server::make(tls, acme_certificate(tls, site, settings), settings, &tickets);
            kept(made.map(ArcSwap::from_pointee))
        });
        let served = served.collect();
        let mut asked = Vec::new();
        for upstream in site.upstreams {
            match client::make(upstream, settings) {
                Ok(config) => asked.push(ArcSwapOption::new(config)),
                Err(found) => refused.push(found),
            }
        }
        if site.process.sandbox.as_ref().is_some_and(|sandbox| sandbox.verifies) {
            // Later, they can't be read: an authority of `acme` is first asked within the sandbox.
            client::of_machine();
        }
        refused.extend(acme::refused(site, settings));
        let challenges = acme::Challenges::default();
        if refused.is_empty() { Ok(Engine { served, asked, tickets, challenges }) } else { Err(refused) }
    }

    /// Returns the keys for session tickets, to hand them over to a new process.
    #[cfg(feature = "takeover")]
    pub(crate) fn ticket_keys(&self) -> Vec<Vec<u8>> {
        self.tickets.hand_over()
    }

    /// Goes on with keys that another process has handed over, so that clients can resume its sessions.
    #[cfg(feature = "takeover")]
    pub(crate) fn adopt_ticket_keys(&self, handed_over: &[Vec<u8>]) {
        handed_over.iter().for_each(|keys| self.tickets.adopt(keys));
    }

    #[cfg(feature = "admin")]
    /// The certificates that clients are shown, and those to come.
    pub(crate) fn certificates(&self, site: &'static Site) -> Vec<ServedCertificate> {
        let mut found = Vec::new();
        for (tls, served) in site.tls.iter().zip(&self.served) {
            let (name, before) = (&*tls.name, found.len());
            found.extend(served.load().certificates().map(|(names, not_after)| ServedCertificate {
                tls: name,
                names: names.to_vec(),
                not_after: Some(not_after),
            }));
            if found.len() == before {
                let names = tls.hosts.iter().map(ToString::to_string).collect();
                found.push(ServedCertificate { tls: name, names, not_after: None });
            }
        }
        found
    }

    /// Rebuilds them from files that were read again; those that can't be built are unchanged. Returns the errors.
    pub(crate) fn reload(&self, site: &Site, settings: &Settings) -> Vec<StartError> {
        let mut refused = Vec::new();
        for (tls, served) in site.tls.iter().zip(&self.served) {
            // A self-signed certificate need not change, and clients may trust it; those of an authority are updated
            // elsewhere.
            if !matches!(tls.certificates, Certificates::Files(_)) {
                continue;
            }
            match server::make(tls, None, settings, &self.tickets) {
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

/// Returns the stored certificate of an authority, if there is one.
fn acme_certificate(tls: &Tls, site: &Site, settings: &Settings) -> Option<Vec<u8>> {
    (tls.certificates == Certificates::Acme).then(|| acme::stored(tls, site, settings))?
}
