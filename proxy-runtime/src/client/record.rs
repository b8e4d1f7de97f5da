//! The log record of an exchange ([`Record`]), which becomes a line of the access log when it is dropped.
//!
//! A record is dropped with the response's body, in any case, so that every exchange is logged.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode, Version};
use tokio::time::Instant;

use super::peer::Peer;
use crate::access::in_flight::ConcurrencyGuard;
use crate::cache::Flight;
use crate::context::claims::Claims;
use crate::context::facts::{Facts, RequestId, Timestamp};
use crate::failure::Failure;
use crate::http1::MessageHead;
use crate::metrics::counters::Exchange;
use crate::observe::tap::{TappedExchange, Taps};
use crate::protocol::fields::Fields;
use crate::protocol::target::Target;
use crate::protocol::trace_context::TraceId;
use crate::router::captures::Captures;
use crate::site::{LogField, LogFormat, Policy, Route};
use crate::trace::ExchangeTrace;
#[cfg(feature = "h3")]
use crate::worker::StopSignal;
use crate::worker::Worker;

/// An exchange, from the request's first byte to the response's last.
pub(crate) struct Record {
    pub(crate) worker: &'static Worker,
    peer: Rc<Peer>,
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// The request's fields as received.
    pub(crate) fields: Fields,
    pub(crate) target: Option<Target>,
    /// The client's address: the peer's, or the one that a trusted peer reports.
    pub(crate) client: IpAddr,
    /// The client's scheme, `http` or `https`, from the connection or as a trusted peer reports.
    pub(crate) scheme: &'static str,
    /// Whether the peer is trusted.
    pub(crate) trusted: bool,
    pub(crate) route: Option<Route>,
    pub(crate) captures: Captures,
    pub(crate) upstream: &'static str,
    server: &'static str,
    /// The server's concurrent exchanges when it was chosen, including this one.
    server_connections: u32,
    /// How many servers were tried.
    attempts: u32,
    pub(crate) request_id: RequestId,
    /// Its part in a trace, where the site has traces.
    pub(crate) trace: Option<Box<ExchangeTrace>>,
    pub(crate) began: Instant,
    /// When there was the head of a response, where that is counted or logged.
    first_byte: Option<Instant>,
    /// How long the last server took for the head of its response, where that is logged.
    server_duration: Option<Duration>,
    /// Fields of the response that are logged.
    response_fields: Option<Box<Fields>>,
    /// How many bytes of a body the request had, so far.
    received: u64,
    policy: &'static Policy,
    status: u16,
    /// The server's reason phrase, if it is not the usual one.
    reason: Option<(StatusCode, Box<[u8]>)>,
    bytes: u64,
    failure: Option<Failure>,
    /// The cache's result and reason.
    cache: (&'static str, &'static str),
    /// The in-flight fetch of the response, if it is also stored.
    flight: Option<Arc<Flight>>,
    /// The authenticated user; as an authorization service may set it, it need not be UTF-8.
    pub(crate) user: Vec<u8>,
    /// The claims of the client's token.
    pub(crate) claims: Option<Arc<Claims>>,
    /// The rule that has refused the request, or would have.
    pub(crate) rule: &'static str,
    /// The authorization service's fields for the client.
    pub(crate) copied: Fields,
    /// The request was a CORS preflight and was answered.
    pub(crate) preflight: bool,
    /// The guards of concurrency limits, held until the exchange ends.
    pub(crate) counted: Vec<ConcurrencyGuard>,
    /// Somebody taps.
    tapped: Option<Box<TappedExchange>>,
    /// The record is not logged.
    unseen: bool,
    over: bool,
}

impl Record {
    pub(crate) fn new(
        peer: &Rc<Peer>,
        method: Method,
        version: Version,
        fields: Fields,
        began: Instant,
    ) -> Box<Record> {
        let worker = peer.worker;
        Box::new(Record {
            worker,
            peer: Rc::clone(peer),
            method,
            version,
            fields,
            target: None,
            client: peer.ip,
            scheme: peer.scheme(),
            trusted: false,
            route: None,
            captures: Captures::default(),
            upstream: "",
            server: "",
            server_connections: 0,
            attempts: 0,
            request_id: worker.request_id(),
            trace: None,
            began,
            first_byte: None,
            server_duration: None,
            response_fields: None,
            received: 0,
            policy: worker.site.root,
            status: 0,
            reason: None,
            bytes: 0,
            failure: None,
            cache: ("", ""),
            flight: None,
            user: Vec::new(),
            claims: None,
            rule: "",
            copied: Fields::new(),
            preflight: false,
            counted: Vec::new(),
            tapped: worker.taps.and_then(Taps::begin),
            unseen: false,
            over: false,
        })
    }

    /// Returns a record for the proxy's own requests on behalf of this exchange, which is not logged.
    pub(crate) fn unseen(&self) -> Box<Record> {
        let fields = self.fields.clone();
        let mut record = Record::new(&self.peer, self.method.clone(), self.version, fields, Instant::now());
        (record.target, record.client) = (self.target.clone(), self.client);
        (record.scheme, record.trusted) = (self.scheme, self.trusted);
        (record.route, record.captures, record.policy) = (self.route, self.captures, self.policy);
        record.user.clone_from(&self.user);
        record.claims.clone_from(&self.claims);
        record.trace = self.trace.as_ref().map(|trace| Box::new(trace.beside()));
        record.unseen = true;
        record
    }

    /// Sets the cache's result and reason.
    pub(crate) fn cached(&mut self, word: &'static str, reason: &'static str) {
        self.cache = (word, reason);
    }

    /// Marks the record as the proxy's own, which is not logged.
    pub(crate) fn hide(&mut self) {
        self.unseen = true;
    }

    /// Returns whether its response is cached now; if not, the reason, if it is known.
    pub(crate) fn is_cached(&self) -> Result<(), &'static str> {
        match (self.failure, self.cache.0, self.cache_reason()) {
            (Some(failure), ..) => Err(failure.reason()),
            (None, "hit" | "joined" | "stale" | "revalidated", _) | (None, "miss", "" | "lock-timeout") => Ok(()),
            (None, _, reason) => Err(reason),
        }
    }

    /// The in-flight fetch tells at the end whether the response was stored.
    pub(crate) fn watches(&mut self, flight: Arc<Flight>) {
        self.flight = Some(flight);
    }

    fn cache_reason(&self) -> &'static str {
        match self.flight.as_ref().and_then(|flight| flight.unkept()) {
            Some(unkept) if self.cache.1.is_empty() => unkept.reason(),
            _ => self.cache.1,
        }
    }

    /// Sets the policy that applies from here on.
    pub(crate) fn holds(&mut self, policy: &'static Policy) {
        self.policy = policy;
    }

    pub(crate) fn policy(&self) -> &'static Policy {
        self.policy
    }

    /// Records the chosen server, which has this many concurrent exchanges.
    pub(crate) fn asked(&mut self, server: &'static str, connections: u32) {
        (self.server, self.server_connections) = (server, connections);
        self.attempts += 1;
    }

    /// Records the server's own reason phrase.
    pub(crate) fn calls_it(&mut self, head: &MessageHead<StatusCode>) {
        self.reason = head.reason.clone().map(|reason| (head.start, reason));
    }

    /// Returns the server's own reason phrase for a response with this status.
    pub(crate) fn reason(&self, status: StatusCode) -> Option<&[u8]> {
        self.reason.as_ref().filter(|(of, _)| *of == status && self.failure.is_none()).map(|(_, reason)| &**reason)
    }

    pub(crate) fn answered(&mut self, status: u16) {
        self.status = status;
        if self.worker.counters.is_some() || self.tapped.is_some() || self.is_timed() {
            self.first_byte = Some(Instant::now());
        }
    }

    /// Returns whether the log has times of responses' heads.
    pub(crate) fn is_timed(&self) -> bool {
        self.policy.log.as_ref().is_some_and(|log| log.timed)
    }

    /// Records how long the last server took for the head of its response.
    pub(crate) fn server_took(&mut self, took: Duration) {
        self.server_duration = Some(took);
    }

    /// Records the fields of the response, as they are sent, that the log has.
    pub(crate) fn responds_with(&mut self, fields: &Fields) {
        let Some(log) = self.policy.log.as_ref().filter(|log| log.of_response) else { return };
        let LogFormat::Json(members) = &log.format else { return };
        let mut wanted = Fields::new();
        for member in members.list.iter().filter(|member| member.field == LogField::ResponseHeader) {
            if let Some(value) = fields.get(&member.header) {
                wanted.add(member.header.as_bytes(), value);
            }
        }
        self.response_fields = Some(Box::new(wanted));
    }

    /// The response's fields, for whoever taps.
    pub(crate) fn shows(&mut self, fields: &Fields) {
        if let Some(tapped) = &mut self.tapped {
            tapped.responded(fields);
        }
    }

    /// The client has disconnected before a byte of the response was sent. The status of the client's own errors is
    /// kept.
    pub(crate) fn unanswered(&mut self) {
        if self.failure.is_none() {
            self.status = 0;
        }
    }

    /// Tells the client that the listener has HTTP/3 (RFC 7838), unless the worker is draining.
    #[cfg(feature = "h3")]
    pub(crate) fn advertise_http3(&self, fields: &mut Fields) {
        let alternative = self.worker.alternatives.get(self.peer.listener as usize);
        if let Some(Some(alternative)) = alternative
            && *self.worker.stop.borrow() == StopSignal::No
        {
            fields.set(crate::protocol::names::KnownField::ALT_SVC, alternative.as_bytes());
        }
    }

    /// Records the reason for a failure; the first one counts.
    pub(crate) fn failed(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// The exchange has completed; a record that is dropped before was cut off.
    pub(crate) fn finished(&mut self) {
        self.over = true;
    }

    /// Sets how many bytes of the body were sent so far.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    fn until_first_byte(&self) -> Option<Duration> {
        self.first_byte.map(|at| at.saturating_duration_since(self.began))
    }

    /// How many bytes of a body the request had.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.received = bytes;
    }

    fn count(&self, took: Duration) {
        let Some(counters) = self.worker.counters else { return };
        counters.exchange(&Exchange {
            route: self.route.map(|route| route.id),
            status: self.status,
            bytes: self.bytes,
            took,
            first_byte: self.until_first_byte(),
            failure: self.failure,
            trace: self.trace.as_ref().filter(|trace| trace.is_sampled()).map(|trace| trace.id()),
        });
    }

    /// Exports what is to be exported.
    fn traced(&self) {
        if let (Some(tracer), Some(trace)) = (self.worker.tracer, &self.trace)
            && tracer.wants(trace, self.status, self.failure)
        {
            tracer.over(trace, &self.facts(), (self.failure, self.began));
        }
    }

    /// Returns the normalized path; as received if it could not be normalized.
    pub(crate) fn path(&self) -> &str {
        self.target.as_ref().map_or("", Target::path)
    }

    /// Returns the data for templates and filters.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            method: &self.method,
            scheme: self.scheme,
            host: self.target.as_ref().map_or("", Target::host),
            authority: self.target.as_ref().and_then(|target| target.authority(self.scheme)).unwrap_or_default(),
            path: self.path(),
            query: self.target.as_ref().and_then(Target::query),
            protocol: match self.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2.0",
                Version::HTTP_3 => "HTTP/3.0",
                _ => "HTTP/1.1",
            },
            tls: self.peer.secured.as_ref().map_or("", |secured| secured.version.name()),
            tls_cipher: self.peer.secured.as_ref().map_or("", |secured| secured.cipher),
            tls_server_name: self.peer.secured.as_ref().and_then(|secured| secured.name.as_deref()).unwrap_or_default(),
            certificate: self.peer.secured.as_ref().and_then(|secured| secured.certificate.as_deref()),
            client: self.client,
            user: &self.user,
            claims: self.claims.as_deref(),
            fields: &self.fields,
            captures: &self.captures,
            route: self.route.map_or("", |route| route.pattern),
            row: self.route.map_or("", |route| route.row),
            settings: self.worker.settings,
            request_id: self.request_id,
            trace_id: self.trace.as_ref().map_or(TraceId(0), |trace| trace.id()),
            upstream: self.upstream,
            server: self.server,
            server_connections: self.server_connections,
            attempts: self.attempts,
            status: self.status,
            bytes: self.bytes,
            request_bytes: self.received,
            duration: Duration::ZERO,
            first_byte: self.first_byte.map(|at| at.saturating_duration_since(self.began)),
            server_duration: self.server_duration,
            response_fields: self.response_fields.as_deref(),
            reason: self.failure.map_or("", Failure::reason),
            detail: self.failure.map_or("", Failure::detail),
            rule: self.rule,
            cache: self.cache.0,
            cache_reason: self.cache_reason(),
            time: Timestamp(0),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.unseen {
            return self.traced();
        }
        if let Some(handover) = self.worker.handover {
            let failed = self.status >= 500 || self.failure.is_some_and(|failure| failure.status().is_server_error());
            handover.count(self.worker.number, failed);
        }
        if let Some(cache) = self.route.as_ref().and_then(|route| route.policy.cache.as_ref()) {
            self.worker.stores[usize::from(cache.store)].count(self.worker.number, self.cache.0);
        }
        let is_observed = self.worker.counters.is_some() || self.tapped.is_some() || self.trace.is_some();
        if !is_observed && self.policy.log.is_none() {
            return;
        }
        if !self.over {
            self.failed(Failure::ClientDisconnected);
        }
        let took = self.began.elapsed();
        self.count(took);
        self.traced();
        if self.tapped.is_none() && self.policy.log.is_none() {
            return;
        }
        let facts = Facts { duration: took, time: Timestamp::now(), ..self.facts() };
        if let Some(tapped) = &self.tapped {
            tapped.pass(&facts, self.until_first_byte());
        }
        if let Some(log) = &self.policy.log {
            self.worker.log.write(log, &facts, &self.worker.dice);
        }
    }
}
