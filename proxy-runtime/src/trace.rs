//! Tracing: the trace of an exchange (`exchange`), the decision what is exported (`tracer`), and the export in a thread of its
//! own (`export`). [`declared`] lists spans and attributes.
//!
//! ```text
//! fields of the request ─take_up→ ExchangeTrace (in the Record) ─attempts, phases→ over ─JSON→ SpanQueue ─batches→ collector
//! ```
//!
//! An exchange whose trace is not sampled carries IDs and the times of one attempt, without an allocation. The worker writes the spans to
//! export as JSON into a bounded queue, and never waits for a collector. Without the feature `trace`, no `Tracer` can exist.

#[cfg(feature = "trace")]
mod collector;
pub mod declared;
#[cfg(feature = "trace")]
mod encode;
#[cfg(feature = "serve")]
pub(crate) mod exchange;
#[cfg(feature = "trace")]
mod export;
#[cfg(feature = "serve")]
mod ids;
#[cfg(feature = "trace")]
mod queue;
#[cfg(feature = "serve")]
#[cfg_attr(not(feature = "trace"), path = "trace/absent.rs")]
mod tracer;

#[cfg(feature = "serve")]
pub(crate) use self::exchange::{AttemptEnd, ExchangeTrace, Phase};
#[cfg(feature = "serve")]
pub(crate) use self::ids::SpanIds;
#[cfg(feature = "serve")]
pub(crate) use self::tracer::{TraceExport, Tracer};
