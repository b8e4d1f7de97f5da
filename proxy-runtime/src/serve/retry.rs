//! Sends a request to servers until one responds: [`send`].
//!
//! It sends a request again in these cases:
//! - A server that can't be connected to is skipped for the next one: nothing was sent.
//! - A pooled connection that turns out to be closed is replaced by a fresh one to the same server, if that is safe
//!   (RFC 9110 section 9.2.2).
//! - A request that a server has certainly not processed is sent again whatever its method (RFC 9113 section 8.7): on another connection,
//!   or to another server; as often as there are servers, and twice more, ten times at most. This needs the body from its beginning: the
//!   proxy keeps the sent part, up to a bound, until the server responds.
//! - Failures that `retry` names are retried on another server, as often as it says and as far as the budget allows. The last response is held
//!   meanwhile, and is passed on if no better one comes.
//!
//! Every wait is bounded: by `timeouts`, by `per-try`, by `circuit-breaker`.

use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::Instant;

use super::introduce::introduce;
use crate::balance;
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::context::view::cookie_values;
use crate::exchange::{ExchangeError, Http1Exchange, Http2Exchange, NotProcessed, UpstreamExchange, Waits};
use crate::failure::Failure;
use crate::http1::{self, Framing, MessageHead};
use crate::http2::request;
use crate::metrics::counters::AttemptFailure;
use crate::protocol::fields::Fields;
use crate::protocol::grpc;
use crate::site::Retry;
use crate::trace::AttemptEnd;
use crate::upstream::{Lease, PickRequest, ServerId, Servers, UpstreamConnection, UpstreamState};

/// A request as it is sent to a server.
#[derive(Clone)]
pub(super) struct UpstreamRequest {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) fields: Fields,
    /// `Host` is the server's own name, and not among the fields.
    pub(super) own_host: bool,
}

/// An exchange whose response's head has arrived.
pub(super) type UpstreamResponse = Box<UpstreamExchange>;

/// How much of a streamed body is kept for a second attempt, in bytes, without `retry`.
const REPLAYED: u64 = 64 << 10;

/// The most times that a request is sent again because a server has not processed it.
const MAX_RESENDS: usize = 10;

/// A request to an upstream, as all attempts share it.
pub(super) struct Sending<'a> {
    client: &'a Rc<Client>,
    upstream: &'static UpstreamState,
    request: UpstreamRequest,
    retry: Option<&'a Retry>,
    framing: Framing,
    /// The body, until an attempt has it.
    streaming: Option<RequestBody>,
    /// The body, if it was received completely: each attempt gets a copy.
    kept: Option<Bytes>,
    connect: Duration,
    waits: Waits,
}

/// An attempt under way.
struct Attempt<'a> {
    sending: &'a Sending<'a>,
    record: &'a Record,
    request: &'a UpstreamRequest,
}

/// Why an attempt failed.
struct AttemptError {
    failure: Failure,
    kind: AttemptErrorKind,
    /// The request's body, if it can be sent again.
    body: Option<RequestBody>,
    /// The second server of a hedged request.
    also: Option<ServerId>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AttemptErrorKind {
    /// Nothing was sent.
    Unreachable,
    /// The connection ended.
    Reset,
    /// A time-out expired.
    Timeout,
    /// The server has not processed the request.
    Unprocessed,
    /// A retry would not help.
    Final,
}

impl AttemptErrorKind {
    fn counted(self) -> AttemptFailure {
        match self {
            AttemptErrorKind::Unreachable => AttemptFailure::Unreachable,
            AttemptErrorKind::Reset => AttemptFailure::Reset,
            AttemptErrorKind::Timeout => AttemptFailure::Timeout,
            AttemptErrorKind::Unprocessed => AttemptFailure::Unprocessed,
            AttemptErrorKind::Final => AttemptFailure::Other,
        }
    }

    /// Classifies a failure to connect: another server may accept a connection, unless this process has no descriptors
    /// left.
    fn of_unconnected(failure: Failure) -> AttemptErrorKind {
        if failure == Failure::NoDescriptors { AttemptErrorKind::Final } else { AttemptErrorKind::Unreachable }
    }
}

impl AttemptError {
    fn for_good(failure: Failure) -> Box<AttemptError> {
        Box::new(AttemptError { failure, kind: AttemptErrorKind::Final, body: None, also: None })
    }
}

impl<'a> Sending<'a> {
    /// Prepares a request.
    pub(super) fn new(
        client: &'a Rc<Client>,
        upstream: &'static UpstreamState,
        (request, retry): (UpstreamRequest, Option<&'a Retry>),
        body: RequestBody,
        (mut connect, mut waits): (Duration, Waits),
    ) -> Sending<'a> {
        if let Some(per_try) = retry.map(|retry| retry.per_try.get(client.worker.settings)) {
            (connect, waits.response) = (connect.min(per_try), waits.response.min(per_try));
        }
        let framing = body.framing;
        Sending { client, upstream, request, retry, framing, streaming: Some(body), kept: None, connect, waits }
    }

    /// Receives the body completely, if it is not longer than `limit`; it can be sent several times then.
    ///
    /// # Errors
    /// See [`RequestBody::collect`].
    pub(super) async fn buffer(&mut self, limit: u64) -> Result<(), Failure> {
        if let Some(body) = &mut self.streaming {
            self.kept = body.collect(limit).await?;
        }
        if self.kept.is_none() {
            self.keeps_beginning();
        }
        Ok(())
    }

    /// Keeps the beginning of a streamed body until the response arrives. Without `retry`, that is for requests that turn out not to
    /// have been processed, or that may be sent again on a fresh connection.
    pub(super) fn keeps_beginning(&mut self) {
        let kept = match self.retry {
            Some(retry) => retry.body.get(self.client.worker.settings),
            None if self.upstream.config.http2 || self.request.method.is_idempotent() => REPLAYED,
            None => 0,
        };
        if let Some(body) = &mut self.streaming {
            body.may_be_replayed(kept);
        }
    }

    /// Returns the request and its body, if that was received completely.
    pub(super) fn whole(&self) -> Option<(&UpstreamRequest, (Framing, Bytes))> {
        Some((&self.request, (self.framing, self.kept.clone()?)))
    }

    fn body(&self) -> Option<RequestBody> {
        self.kept.as_ref().map(|kept| RequestBody::of(self.client, self.framing, kept.clone()))
    }

    /// Returns after which time a second server is asked beside the first one, if it is, and the body can be sent twice.
    fn hedge(&self) -> Option<(&'a Retry, Duration)> {
        let retry = self.retry.filter(|_| self.kept.is_some())?;
        let after = retry.hedge.get(self.client.worker.settings);
        (after < Duration::MAX).then_some((retry, after))
    }

    /// Begins an attempt; `None` if the body was used up.
    fn begin(&mut self, record: &Record, lease: Lease, began: Instant) -> Option<Begun> {
        let body = self.body().or_else(|| self.streaming.take())?;
        Some(self.attempt(record).begin(lease, body, began))
    }

    fn attempt<'s>(&'s self, record: &'s Record) -> Attempt<'s> {
        Attempt { sending: self, record, request: &self.request }
    }
}

/// Sends a request to a server that the load-balancing policy chooses, and to others if retries are allowed and may
/// help.
///
/// # Errors
/// No server has responded: the last failure.
pub(super) async fn send(sending: &mut Sending<'_>, record: &mut Record) -> Result<UpstreamResponse, Failure> {
    let (worker, upstream, retry) = (sending.client.worker, sending.upstream, sending.retry);
    let key = upstream.config.key.as_ref().map_or(0, |key| balance::hash(&key.rendered(&record.facts()), 0));
    let sticky = sticky(worker.servers, upstream, &record.fields);
    let mut left = retry.map_or(0, |retry| retry.times);
    let mut resends_left = MAX_RESENDS.min(upstream.size() + 2);
    let mut resending = false;
    let (mut tried, mut unreachable): (Vec<ServerId>, Vec<ServerId>) = (Vec::new(), Vec::new());
    let mut last: Result<UpstreamResponse, Failure> = Err(Failure::NoHealthyUpstream);
    // Not when the client began: what it and this proxy have done since is not the server's time.
    let (mut began, mut retrying) = (Instant::now(), None);
    loop {
        let lease = {
            let pick = PickRequest { key, dice: &worker.dice, tried: &tried, sticky };
            match upstream.lease(&worker.servers.servers, &pick, began) {
                // Boxed: rarely needed, and it would enlarge every exchange.
                Err(Failure::UpstreamOverloaded) => {
                    let waited = Box::pin(upstream.wait(&worker.servers.servers, &pick)).await;
                    began = Instant::now();
                    waited
                }
                lease => lease,
            }
        };
        let lease = match lease {
            Ok(lease) => lease,
            // All servers were tried: those that could be reached get another attempt.
            Err(Failure::NoHealthyUpstream) if (resending || retrying.is_some()) && tried.len() > unreachable.len() => {
                tried.clone_from(&unreachable);
                continue;
            }
            Err(failure) => {
                let first = matches!(last, Err(Failure::NoHealthyUpstream));
                return if first { Err(failure) } else { last };
            }
        };
        let (index, id) = (lease.server.index, lease.id);
        record.asked(lease.server.name(), lease.server.load.active());
        if let Some(counters) = worker.counters
            && (resending || retrying.is_some() || !tried.is_empty())
        {
            counters.retry(upstream.index);
        }
        let span = begin_span(record, &mut sending.request, &lease, began);
        let outcome = if let Some((retry, after)) = sending.hedge().filter(|_| left > 0) {
            tried.push(id);
            let pick = PickRequest { key, dice: &worker.dice, tried: &tried, sticky: None };
            Box::pin(sending.attempt(record).hedged((lease, began, span), (retry, after), &pick)).await
        } else {
            let Some(begun) = sending.begin(record, lease, began) else { return last };
            sending.attempt(record).once(index, begun, (began, span)).await
        };
        let kind = match outcome {
            Ok(answer) => {
                if record.is_timed() {
                    record.server_took(began.elapsed());
                }
                let wanted = retry.is_some_and(|retry| is_to_be_retried(retry, answer.head()));
                let server = answer.lease().map(|lease| lease.server);
                if let Some(server) = server.filter(|server| server.index != index) {
                    record.asked(server.name(), server.load.active());
                }
                if !wanted {
                    return Ok(answer);
                }
                last = Ok(answer);
                None
            }
            Err(missed) => {
                sending.streaming = missed.body;
                tried.extend(missed.also);
                // A bad response is better than none.
                last = last.or(Err(missed.failure));
                Some(missed.kind)
            }
        };
        began = Instant::now();
        if !tried.contains(&id) {
            tried.push(id);
        }
        if kind == Some(AttemptErrorKind::Unreachable) {
            unreachable.push(id);
            if unreachable.len() > upstream.max_unreachable() {
                return last;
            }
            continue;
        }
        let repeatable = sending.kept.is_some() || sending.streaming.is_some();
        if kind == Some(AttemptErrorKind::Unprocessed) && resends_left > 0 && repeatable {
            (resends_left, resending) = (resends_left - 1, true);
            continue;
        }
        let again = retry.filter(|retry| match kind {
            None => true,
            Some(AttemptErrorKind::Reset) => retry.on_reset,
            Some(AttemptErrorKind::Timeout) => retry.on_timeout,
            Some(AttemptErrorKind::Unreachable | AttemptErrorKind::Unprocessed | AttemptErrorKind::Final) => false,
        });
        let Some(retry) = again.filter(|_| left > 0 && (repeatable || kind.is_none())) else { return last };
        left -= 1;
        // Release the budget of the previous retry.
        drop(retrying.take());
        retrying = upstream.retry(retry.budget);
        if retrying.is_none() {
            return last;
        }
        if kind.is_none() && sending.kept.is_none() {
            // The exchange of that response still has the body.
            sending.streaming = last.as_mut().ok().and_then(|call| call.take_body());
            if sending.streaming.is_none() {
                return last;
            }
        }
    }
}

/// Returns whether `retry` names a response, as far as its head tells: once there is more, it is being sent to the
/// client.
fn is_to_be_retried(retry: &Retry, head: &MessageHead<StatusCode>) -> bool {
    retry.on_statuses.contains(&head.start.as_u16())
        || !retry.on_grpc_statuses.is_empty()
            && grpc::status(&head.fields).is_some_and(|status| retry.on_grpc_statuses.contains(&status))
}

/// Returns the retry policy of a request, if its method may be retried.
pub(super) fn allowed(record: &Record, request: &UpstreamRequest) -> Option<&'static Retry> {
    record.policy().retry.as_ref().filter(|retry| retry.methods.contains(&request.method))
}

/// Returns the server that the client's sticky cookie names.
pub(super) fn sticky(servers: &Servers, upstream: &UpstreamState, fields: &Fields) -> Option<usize> {
    let sticky = upstream.config.sticky.as_ref()?;
    cookie_values(fields, &sticky.cookie).find_map(|value| upstream.named(&servers.servers, value))
}

/// An attempt begins in a span of its own, where the site has traces, and the server is told so.
fn begin_span(record: &Record, request: &mut UpstreamRequest, lease: &Lease, began: Instant) -> Option<u64> {
    let (tracer, trace) = (record.worker.tracer?, record.trace.as_ref()?);
    let span = trace.attempt(&record.worker.span_ids, &lease.upstream.config.name, lease.server.name(), began);
    tracer.tell(&mut request.fields, trace, span);
    Some(span)
}

/// A started attempt, or a request that was not sent, as there was no idle connection.
type Begun = Result<Box<UpstreamExchange>, Box<Unsent>>;

/// A request that was not sent.
struct Unsent {
    lease: Lease,
    body: RequestBody,
}

/// A started attempt, and whether its connection existed before; or why it could not start.
type AttemptStart = Result<(Box<UpstreamExchange>, bool), (Box<Unsent>, Failure, AttemptErrorKind)>;

impl Attempt<'_> {
    /// Makes the attempt that has begun, at the server with this index. Reports the outcome to the upstream's health, and counts it.
    async fn once(
        &self,
        server: usize,
        mut begun: Begun,
        (began, span): (Instant, Option<u64>),
    ) -> Result<UpstreamResponse, Box<AttemptError>> {
        let mut first = true;
        let outcome = loop {
            let (mut call, existed) = match begun {
                Ok(call) => (call, true),
                Err(unsent) => match Box::pin(self.begin_anew(unsent)).await {
                    Ok(begun) => begun,
                    Err(not_begun) => break Err(self.not_begun(not_begun)),
                },
            };
            let reused = std::mem::replace(&mut first, false) && existed;
            match call.answer().await {
                Ok(()) => {
                    if let Some(lease) = call.lease() {
                        self.report(lease, !call.head().start.is_server_error(), Some(began));
                    }
                    break Ok(call);
                }
                Err(error) => match self.failed(call, error, reused) {
                    Ok(unsent) => begun = Err(unsent),
                    Err(error) => break Err(error),
                },
            }
        };
        if let Some(counters) = self.sending.client.worker.counters {
            let counted = match &outcome {
                Ok(call) => Ok(call.head().start.as_u16()),
                Err(error) => Err(error.kind.counted()),
            };
            counters.attempt((self.sending.upstream.index, server), counted, began.elapsed());
        }
        if let (Some(span), Some(trace)) = (span, &self.record.trace) {
            let end = match &outcome {
                Ok(call) => AttemptEnd::Status(call.head().start.as_u16()),
                Err(error) => AttemptEnd::Failed(error.failure.reason()),
            };
            trace.attempted(span, end);
        }
        outcome
    }

    /// The request could not be sent.
    fn not_begun(&self, (unsent, failure, kind): (Box<Unsent>, Failure, AttemptErrorKind)) -> Box<AttemptError> {
        if kind == AttemptErrorKind::Unreachable {
            self.report(&unsent.lease, false, None);
        }
        Box::new(AttemptError { failure, kind, body: Some(unsent.body), also: None })
    }

    /// There is no response: returns the request where it is to be sent again to the same server, on a fresh connection. `reused`: it was sent
    /// on one that existed before.
    fn failed(
        &self,
        mut call: Box<UpstreamExchange>,
        error: ExchangeError,
        reused: bool,
    ) -> Result<Box<Unsent>, Box<AttemptError>> {
        // A connection that is closing is not the server's failure; refused requests are.
        let refuses = matches!(error, ExchangeError::Unprocessed(NotProcessed::Server));
        let (failure, kind) = match error {
            ExchangeError::Unprocessed(NotProcessed::Server) => (Failure::UpstreamReset, AttemptErrorKind::Unprocessed),
            ExchangeError::Lost | ExchangeError::Unprocessed(NotProcessed::Connection) => {
                let unprocessed = matches!(error, ExchangeError::Unprocessed(_));
                // A retry is safe if the request was not processed or is idempotent. Only a reused connection fails
                // this way, so this happens once.
                if reused
                    && (unprocessed || self.request.method.is_idempotent())
                    && let Some(body) = self.sending.body().or_else(|| call.take_body())
                {
                    let lease = call.into_lease().ok_or_else(|| AttemptError::for_good(Failure::Internal))?;
                    return Ok(Box::new(Unsent { lease, body }));
                }
                let kind = if unprocessed { AttemptErrorKind::Unprocessed } else { AttemptErrorKind::Reset };
                (Failure::UpstreamReset, kind)
            }
            ExchangeError::Failed(failure) => match failure {
                Failure::UpstreamReset | Failure::UpstreamInvalid => (failure, AttemptErrorKind::Reset),
                Failure::ResponseTimeout => (failure, AttemptErrorKind::Timeout),
                _ => (failure, AttemptErrorKind::Final),
            },
        };
        let at_fault = refuses || matches!(kind, AttemptErrorKind::Reset | AttemptErrorKind::Timeout);
        if let Some(lease) = call.lease().filter(|_| at_fault) {
            self.report(lease, false, None);
        }
        let body = if kind == AttemptErrorKind::Final { None } else { call.take_body() };
        Err(Box::new(AttemptError { failure, kind, body, also: None }))
    }

    /// Sends the request, if there is an idle connection of its own for it. This needs no future.
    fn begin(&self, lease: Lease, body: RequestBody, began: Instant) -> Begun {
        let idle = if self.sending.upstream.config.http2 {
            None
        } else {
            self.sending.client.worker.pools.take(lease.server, began)
        };
        match idle {
            Some(channel) => Ok(self.send_over(channel, Unsent { lease, body }, began)),
            None => Err(Box::new(Unsent { lease, body })),
        }
    }

    /// Sends the request on a new connection, or on a shared one.
    async fn begin_anew(&self, unsent: Box<Unsent>) -> AttemptStart {
        if self.sending.upstream.config.http2 {
            return self.begin_http2(unsent).await;
        }
        let mut first = Vec::new();
        if self.sending.upstream.config.tls.is_some() {
            introduce(self.sending.client, self.record, self.sending.upstream, &mut first);
        }
        let pools = &self.sending.client.worker.pools;
        match pools.connect(self.sending.upstream, unsent.lease.server, &first, self.patience()).await {
            Ok(channel) => Ok((self.send_over(channel, *unsent, Instant::now()), false)),
            Err(failure) => Err(self.unconnected(unsent, failure)),
        }
    }

    /// There is no connection. That the request's own time is over, which the client may have set (`grpc-timeout`), says nothing about the server.
    fn unconnected(&self, unsent: Box<Unsent>, failure: Failure) -> (Box<Unsent>, Failure, AttemptErrorKind) {
        if self.sending.waits.until.is_some_and(|until| until <= Instant::now()) {
            return (unsent, Failure::TotalTimeout, AttemptErrorKind::Final);
        }
        (unsent, failure, AttemptErrorKind::of_unconnected(failure))
    }

    /// Sends the request over a connection.
    fn send_over(&self, channel: UpstreamConnection, unsent: Unsent, began: Instant) -> Box<UpstreamExchange> {
        let mut head = Vec::new();
        if self.sending.upstream.config.tls.is_none() {
            introduce(self.sending.client, self.record, self.sending.upstream, &mut head);
        }
        let UpstreamRequest { method, target, fields, own_host } = self.request;
        let host = own_host.then_some(unsent.lease.server.host());
        http1::write_request(&mut head, (method, target), host, fields, self.sending.framing);
        let (request, Unsent { lease, body }) = ((method.clone(), head), unsent);
        let call = Http1Exchange::new(self.sending.client, (lease, channel), request, body, self.sending.waits, began);
        Box::new(UpstreamExchange::Http1(call))
    }

    /// Sends the request on a shared HTTP/2 connection. Returns whether the connection existed before.
    async fn begin_http2(&self, unsent: Box<Unsent>) -> AttemptStart {
        let UpstreamRequest { method, target, fields, own_host } = self.request;
        let host = own_host.then_some(unsent.lease.server.host());
        let scheme = if self.sending.upstream.config.tls.is_some() { "https" } else { "http" };
        let request = match request::head((method, target), scheme, host, fields, self.sending.framing) {
            Ok(request) => request,
            // The client's request can't be expressed in HTTP/2, which is not the server's failure.
            Err(failure) => return Err((unsent, failure, AttemptErrorKind::Final)),
        };
        let held =
            self.sending.client.worker.shared.hold(self.sending.upstream, unsent.lease.server, self.patience()).await;
        let (held, existed) = match held {
            Ok(held) => held,
            Err(failure) => return Err(self.unconnected(unsent, failure)),
        };
        let Unsent { lease, body } = *unsent;
        match Http2Exchange::new(self.sending.client, (lease, held), request, body, self.sending.waits, Instant::now())
        {
            Ok(call) => Ok((Box::new(UpstreamExchange::Http2(call)), existed)),
            Err(back) => {
                let (lease, body) = *back;
                Err((Box::new(Unsent { lease, body }), Failure::UpstreamReset, AttemptErrorKind::Unprocessed))
            }
        }
    }

    /// Returns the time left for connecting.
    fn patience(&self) -> Duration {
        let left = self.sending.waits.until.map(|until| until.saturating_duration_since(Instant::now()));
        left.map_or(self.sending.connect, |left| self.sending.connect.min(left))
    }

    fn report(&self, lease: &Lease, good: bool, began: Option<Instant>) {
        if self.sending.upstream.observes() {
            lease.report(
                &self.sending.client.worker.servers.servers,
                good,
                began.map(|began| began.elapsed()),
                Instant::now(),
            );
        }
    }

    /// Makes an attempt, and a second one at another server if the first takes longer than `after`; the first response
    /// wins. Needs a buffered body.
    async fn hedged(
        &self,
        (lease, began, span): (Lease, Instant, Option<u64>),
        (retry, after): (&Retry, Duration),
        pick: &PickRequest<'_>,
    ) -> Result<UpstreamResponse, Box<AttemptError>> {
        // Of the second attempt, and here because they have to outlive both.
        let (mut request, beside);
        let body = || {
            let kept = self.sending.kept.clone().unwrap_or_default();
            RequestBody::of(self.sending.client, self.sending.framing, kept)
        };
        let server = lease.server.index;
        let mut first = Box::pin(self.once(server, self.begin(lease, body(), began), (began, span)));
        if let Ok(outcome) = tokio::time::timeout(after, &mut first).await {
            return outcome;
        }
        let Some(_retrying) = self.sending.upstream.retry(retry.budget) else { return first.await };
        let lease = self.sending.upstream.lease(&self.sending.client.worker.servers.servers, pick, Instant::now());
        let Ok(lease) = lease else { return first.await };
        if let Some(counters) = self.sending.client.worker.counters {
            counters.retry(self.sending.upstream.index);
        }
        let (second, now) = (lease.id, Instant::now());
        request = self.request.clone();
        let span = begin_span(self.record, &mut request, &lease, now);
        beside = Attempt { request: &request, ..*self };
        let begun = beside.begin(lease, body(), now);
        let mut both: [Option<Pin<Box<_>>>; 2] =
            [Some(first), Some(Box::pin(beside.once(second.index, begun, (now, span))))];
        std::future::poll_fn(|cx| {
            for at in [0, 1] {
                let Some(attempt) = &mut both[at] else { continue };
                let Poll::Ready(outcome) = attempt.as_mut().poll(cx) else { continue };
                // A failure counts only if the other attempt fails, too.
                if outcome.is_ok() || both[1 - at].is_none() {
                    return Poll::Ready(outcome.map_err(|mut error| {
                        error.also = Some(second);
                        error
                    }));
                }
                both[at] = None;
            }
            Poll::Pending
        })
        .await
    }
}
