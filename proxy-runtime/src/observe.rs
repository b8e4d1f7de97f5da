//! What is seen from outside: lines of the access log ([`line`], [`sink`]), and notices on standard error ([`notice`]).

mod ids;
pub(crate) mod line;
mod notice;
mod sink;

pub(crate) use ids::RequestIds;
pub(crate) use notice::notice;
pub(crate) use sink::{LogBuffer, Sink};
