//! Checks at start: whether certificates can be ordered, and which ones exist already.

use super::dns01;
use super::store::StateFolder;
use crate::context::settings::{Settings, StartError};
use crate::site::{Site, Tls};

/// Returns the reasons why the start fails: the folder is unusable, or no provider can set records.
pub(crate) fn refused(site: &Site, settings: &Settings) -> Vec<StartError> {
    let Some(acme) = site.acme else { return Vec::new() };
    let mut refused = dns01::refused(acme, settings);
    let folder = StateFolder::new(acme.state.get(settings)).prepare();
    refused.extend(folder.err().map(|message| StartError { message, place: acme.place.clone() }));
    refused
}

/// Returns the stored certificate with its key, if there is one.
pub(crate) fn stored(tls: &Tls, site: &Site, settings: &Settings) -> Option<Vec<u8>> {
    std::fs::read(StateFolder::new(site.acme?.state.get(settings)).certificate(&tls.name)).ok()
}
