//! Replaces `tracer` in a proxy that is built without tracing: the same names, with types that have no values.

use std::io;
use std::time::Instant;

use super::exchange::ExchangeTrace;
use super::ids::SpanIds;
use crate::context::facts::Facts;
use crate::context::settings::{Settings, StartError};
use crate::failure::Failure;
use crate::protocol::fields::Fields;
use crate::site::Site;

/// Stands for the tracer, which no site has.
pub(crate) enum Tracer {}

/// Stands for the export, which no site has.
pub(crate) enum TraceExport {}

impl Tracer {
    pub(crate) fn new(_: &'static Site, _: &'static Settings) -> Result<Option<&'static Tracer>, StartError> {
        Ok(None)
    }

    pub(crate) fn start(&'static self) -> io::Result<TraceExport> {
        match *self {}
    }

    pub(crate) fn take_up(&self, _: &mut Fields, _: bool, _: &SpanIds) -> ExchangeTrace {
        match *self {}
    }

    pub(crate) fn tell(&self, _: &mut Fields, _: &ExchangeTrace, _: u64) {
        match *self {}
    }

    #[cfg(feature = "admin")]
    pub(crate) fn counts(&self) -> (u64, u64) {
        match *self {}
    }

    pub(crate) fn wants(&self, _: &ExchangeTrace, _: u16, _: Option<Failure>) -> bool {
        match *self {}
    }

    pub(crate) fn over(&self, _: &ExchangeTrace, _: &Facts<'_>, _: (Option<Failure>, tokio::time::Instant)) {
        match *self {}
    }
}

impl TraceExport {
    pub(crate) fn close(&self, _: Instant) {
        match *self {}
    }

    pub(crate) fn finish(&self, _: Instant) {
        match *self {}
    }
}
