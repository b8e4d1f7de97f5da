//! The part of the contract that is about `trace`.

use crate::context::param::Setting;
use crate::context::template::Template;
use crate::value::{List, Place, Text};

/// `trace`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Where spans are sent to.
    pub url: Setting<Text>,
    /// Fields of the requests to it.
    pub headers: List<TraceHeader>,
    /// `service.name`.
    pub service: Text,
    /// The share of traces that are exported, out of [`Trace::ALL`].
    pub share: u64,
    /// A sender's decision holds; the share is for traces without one.
    pub follows: bool,
    /// Whose fields are taken up.
    pub trust: TraceTrust,
    /// The fields in which a trace is passed on; the first of them that a request has is taken up.
    pub formats: List<TraceFormat>,
    /// Where it is written.
    pub place: Place,
}

impl Trace {
    /// All traces: the number of ids, as far as they count for sampling. Their last 56 bits are random (Trace Context, level 2, section
    /// 3.2.2.3).
    pub const ALL: u64 = 1 << 56;
}

/// A field of requests to a collector.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHeader {
    /// Its name, in lower case.
    pub name: Text,
    /// Its value, in which nothing is about a request.
    pub value: Template,
}

/// Whose traces are continued.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceTrust {
    /// Those of `trusted-proxies`.
    Proxies,
    /// Everybody's.
    Any,
    /// Nobody's.
    Nobody,
}

/// The fields in which a trace is passed on.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceFormat {
    /// `traceparent` and `tracestate`.
    W3c,
    /// `b3`.
    B3,
    /// `X-B3-TraceId` and so on.
    B3Multi,
}
