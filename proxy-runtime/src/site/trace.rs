//! The part of the contract for `trace`.

use crate::context::param::Setting;
use crate::context::template::Template;
use crate::value::{List, Place, Text};

/// The directive `trace`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The URL that spans are sent to.
    pub url: Setting<Text>,
    /// The header fields of requests to the collector.
    pub headers: List<TraceHeader>,
    /// The value of `service.name`.
    pub service: Text,
    /// The share of traces that are exported, out of [`Trace::ALL`].
    pub share: u64,
    /// Whether a sender's sampling decision applies; the share is for traces without one.
    pub follows: bool,
    /// The clients whose traces are continued.
    pub trust: TraceTrust,
    /// The formats in which a trace is propagated; the first one that a request has is used.
    pub formats: List<TraceFormat>,
    /// Where it was declared.
    pub place: Place,
}

impl Trace {
    /// The share of all traces: the number of IDs, as far as sampling uses them. Their last 56 bits are random (Trace Context, level 2,
    /// section 3.2.2.3).
    pub const ALL: u64 = 1 << 56;
}

/// A header field of requests to a collector.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHeader {
    /// The name, in lower case.
    pub name: Text,
    /// The value, which does not depend on a request.
    pub value: Template,
}

/// The clients whose traces are continued.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceTrust {
    /// The proxies of `trusted-proxies`.
    Proxies,
    /// All clients.
    Any,
    /// No client.
    Nobody,
}

/// A format in which a trace is propagated.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceFormat {
    /// The header fields `traceparent` and `tracestate`.
    W3c,
    /// The header field `b3`.
    B3,
    /// The header fields `X-B3-TraceId` and so on.
    B3Multi,
}
