//! What is seen from outside: lines of the access log ([`line`], [`access_log`]), and notices on standard error ([`notice`]).
//!
//! Both are written by threads of their own ([`queue`]), one each, so that no worker waits for who reads them, nor one for the other.

mod access_log;
mod ids;
pub(crate) mod line;
pub(crate) mod notice;
mod output;
mod queue;
#[cfg(feature = "admin")]
pub(crate) mod recent;
mod repeats;
#[cfg_attr(not(feature = "admin"), path = "observe/no_tap.rs")]
pub(crate) mod tap;

pub(crate) use access_log::{AccessLog, LogBuffer};
pub(crate) use ids::RequestIds;
pub(crate) use notice::{announce, notice};
