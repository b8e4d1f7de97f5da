//! Logs and the tap: lines of the access log ([`line`], [`access_log`]), notices in the error log ([`notice`]), and live
//! exchanges ([`tap`]).
//! Both logs go to the outputs that the site names ([`outputs`]). A thread of its own writes to each output ([`queue`]), so that no worker
//! waits for an output, and no output for another.
//! waits for who reads them, nor one output for another.

mod access_log;
mod choice;
mod framing;
mod ids;
mod line;
pub(crate) mod notice;
mod output;
pub(crate) mod outputs;
mod queue;
#[cfg(feature = "admin")]
pub(crate) mod recent;
mod repeats;
#[cfg_attr(not(feature = "admin"), path = "observe/no_tap.rs")]
pub(crate) mod tap;
mod tell;

pub(crate) use access_log::{AccessLog, LogBuffers};
pub(crate) use ids::RequestIds;
pub(crate) use notice::{announce, announce_warning, notice};
