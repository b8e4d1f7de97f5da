//! Replaces `takeover` in a proxy without it: the same names, with types that have no values.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, watch};

use crate::context::settings::{Settings, StartError};
use crate::handover::Handover;
use crate::net::listen::{Accepting, Availability, Inherited};
use crate::net::tls::Engine;
use crate::site::Site;
use crate::worker::StopSignal;

/// Nothing was handed over.
pub(crate) struct Received;

impl Received {
    pub(crate) fn pass_on(&mut self, _: &mut Inherited) {}

    pub(crate) fn left(&mut self, _: &Inherited) {}
}

pub(crate) fn receive(_: &Site, _: &Settings, _: bool) -> Result<Received, Vec<StartError>> {
    Ok(Received)
}

/// No process takes over.
pub(crate) enum Takeover {}

pub(crate) type RolledBack = Arc<OnceLock<String>>;

impl Takeover {
    pub(crate) fn prepare(
        _: &Site,
        _: &Settings,
        _: usize,
        _: Received,
        _: Vec<Accepting>,
    ) -> Result<Option<Takeover>, Vec<StartError>> {
        Ok(None)
    }

    pub(crate) fn handover(&self) -> &'static Handover {
        match *self {}
    }

    pub(crate) fn outcome(&self) -> RolledBack {
        match *self {}
    }

    #[allow(clippy::unused_async, reason = "as the other is")]
    pub(crate) async fn run(self, _: &'static Engine, _: watch::Receiver<StopSignal>, _: &'static Notify) {
        match self {}
    }
}

pub(crate) fn end(_: &str) -> ExitCode {
    ExitCode::FAILURE
}

pub(crate) fn probe(_: &Site, _: &Settings) -> Result<Option<(String, Availability)>, StartError> {
    Ok(None)
}
