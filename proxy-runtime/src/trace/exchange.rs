//! The trace of an exchange ([`ExchangeTrace`]): IDs, attempts at servers, and phases. On the path of requests if the site has `trace`; it
//! allocates for a second attempt, and for the phases of sampled traces.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use super::ids::SpanIds;
use crate::protocol::trace_context::{TraceContext, TraceId};

/// The trace of an exchange, with the exchange's own span.
#[cfg_attr(not(feature = "trace"), allow(dead_code, reason = "made by a `Tracer` alone"))]
pub(crate) struct ExchangeTrace {
    /// The trace, the span of the exchange, and the sampling decision that is sent to servers.
    pub(super) context: TraceContext,
    /// The span of the sender; 0 stands for none.
    pub(super) parent: u64,
    /// The parent of spans that begin now: the exchange, or a phase.
    within: u64,
    /// Whether this is an exchange of the proxy's own, on behalf of the one that has this span.
    pub(super) beside: bool,
    attempts: RefCell<Attempts>,
    pub(super) phases: Vec<PhaseSpan>,
}

/// The attempts at servers. Most exchanges have at most one.
#[derive(Default)]
struct Attempts {
    first: Option<AttemptSpan>,
    more: Vec<AttemptSpan>,
}

/// An attempt at a server.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "trace"), allow(dead_code, reason = "made by a `Tracer` alone"))]
pub(crate) struct AttemptSpan {
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) upstream: &'static str,
    pub(super) server: &'static str,
    pub(super) began: Instant,
    pub(super) end: Option<(Instant, AttemptEnd)>,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    /// A response with this status.
    Status(u16),
    /// No response, for this reason.
    Failed(&'static str),
}

/// A part of an exchange that gets its own span if the trace is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The check of credentials (`auth`).
    Auth,
    /// The cache lookup (`cache`).
    Cache,
}

/// A phase that has begun.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "trace"), allow(dead_code, reason = "made by a `Tracer` alone"))]
pub(super) struct PhaseSpan {
    pub(super) phase: Phase,
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) began: Instant,
    pub(super) took: Option<Duration>,
}

impl ExchangeTrace {
    #[cfg(feature = "trace")]
    pub(super) fn new(context: TraceContext, parent: u64) -> ExchangeTrace {
        ExchangeTrace {
            context,
            parent,
            within: context.span,
            beside: false,
            attempts: RefCell::default(),
            phases: Vec::new(),
        }
    }

    /// Creates the trace for an exchange of the proxy's own, on behalf of this one.
    pub(crate) fn beside(&self) -> ExchangeTrace {
        ExchangeTrace {
            context: self.context,
            parent: 0,
            within: self.within,
            beside: true,
            attempts: RefCell::default(),
            phases: Vec::new(),
        }
    }

    /// Returns the ID of the trace.
    pub(crate) fn id(&self) -> TraceId {
        self.context.trace
    }

    /// Returns whether the whole trace is exported.
    pub(crate) fn is_sampled(&self) -> bool {
        self.context.sampled == Some(true)
    }

    /// Returns the context for a request that this span sends.
    #[cfg(feature = "trace")]
    pub(super) fn told(&self, span: u64) -> TraceContext {
        TraceContext { span, ..self.context }
    }

    /// Returns the parent of spans that begin now.
    pub(crate) fn within(&self) -> u64 {
        self.within
    }

    /// Begins an attempt, and returns the ID of its span.
    pub(crate) fn attempt(&self, ids: &SpanIds, upstream: &'static str, server: &'static str, began: Instant) -> u64 {
        let mut attempts = self.attempts.borrow_mut();
        let span = AttemptSpan { id: ids.span(), parent: self.within, upstream, server, began, end: None };
        match &mut attempts.first {
            first @ None => *first = Some(span),
            Some(_) => attempts.more.push(span),
        }
        span.id
    }

    /// Ends an attempt.
    pub(crate) fn attempted(&self, id: u64, end: AttemptEnd) {
        let mut attempts = self.attempts.borrow_mut();
        let Attempts { first, more } = &mut *attempts;
        if let Some(span) = first.iter_mut().chain(more).find(|span| span.id == id) {
            span.end = Some((Instant::now(), end));
        }
    }

    /// Returns whether the last attempt has failed.
    #[cfg(feature = "trace")]
    pub(super) fn ends_badly(&self) -> bool {
        let attempts = self.attempts.borrow();
        let end = attempts.more.last().or(attempts.first.as_ref()).and_then(|last| last.end);
        matches!(end, Some((_, AttemptEnd::Failed(_) | AttemptEnd::Status(500..))))
    }

    /// Returns all attempts, in order.
    #[cfg(feature = "trace")]
    pub(super) fn attempts(&self) -> Vec<AttemptSpan> {
        let attempts = self.attempts.borrow();
        attempts.first.iter().chain(&attempts.more).copied().collect()
    }

    /// Begins a phase, if the trace is sampled.
    pub(crate) fn enter(&mut self, ids: &SpanIds, phase: Phase) {
        if self.is_sampled() {
            let (id, parent) = (ids.span(), self.within);
            self.phases.push(PhaseSpan { phase, id, parent, began: Instant::now(), took: None });
            self.within = id;
        }
    }

    /// Ends the phase that began last.
    pub(crate) fn leave(&mut self) {
        if let Some(phase) = self.phases.iter_mut().rev().find(|phase| phase.took.is_none()) {
            phase.took = Some(phase.began.elapsed());
            self.within = phase.parent;
        }
    }
}
