//! Replaces `takeover` in a proxy without it: the same names, with types that have no values.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, watch};

use crate::access::state::AccessState;
use crate::context::settings::{Settings, StartError};
use crate::handover::Handover;
use crate::net::listen::{Availability, HandedOver, Inherited};
use crate::net::tls::Engine;
use crate::site::Site;
use crate::worker::StopSignal;

/// Nothing was handed over.
pub(crate) struct ReceivedSockets;

impl ReceivedSockets {
    pub(crate) fn pass_on(&mut self, _: &mut Inherited) {}

    pub(crate) fn left(&mut self, _: &Inherited) {}
}

pub(crate) fn receive(
    _: &Site,
    _: &Settings,
    _: (bool, &Inherited),
) -> Result<Result<ReceivedSockets, ExitCode>, Vec<StartError>> {
    Ok(Ok(ReceivedSockets))
}

/// There is none.
pub(crate) enum TakeoverOutcome {}

impl TakeoverOutcome {
    pub(crate) fn end(&self, _: ExitCode) -> ExitCode {
        match *self {}
    }
}

/// No process takes over.
pub(crate) enum TakeoverTask {}

impl TakeoverTask {
    pub(crate) fn prepare(
        _: (&Site, &Settings),
        _: (&Engine, &AccessState),
        _: usize,
        _: ReceivedSockets,
        _: HandedOver,
    ) -> Option<TakeoverTask> {
        None
    }

    pub(crate) fn handover(&self) -> &'static Handover {
        match *self {}
    }

    pub(crate) fn outcome(&self) -> Arc<OnceLock<TakeoverOutcome>> {
        match *self {}
    }

    #[allow(clippy::unused_async, reason = "as the other is")]
    pub(crate) async fn run(self, _: watch::Receiver<StopSignal>, _: &'static Notify, _: impl FnOnce()) {
        match self {}
    }
}

pub(crate) fn probe(_: &Site, _: &Settings) -> Result<Option<(String, Availability)>, StartError> {
    Ok(None)
}
