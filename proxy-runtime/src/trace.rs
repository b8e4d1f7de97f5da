//! Tracing: the trace that an exchange belongs to (`exchange`), the decision what of it is exported (`tracer`), and the export
//! itself, in a thread of its own (`export`). [`declared`] lists spans and attributes.
//!
//! ```text
//! fields of the request ─take_up→ ExchangeTrace (in the Record) ─attempts, phases→ over ─JSON→ SpanQueue ─batches→ collector
//! ```
//!
//! An exchange whose trace is not sampled carries ids and the times of one attempt, without an allocation; what is exported is written as
//! JSON by the worker, into a queue with bounds. No worker waits for a collector. Without the feature `trace` there can be no `Tracer`.

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
