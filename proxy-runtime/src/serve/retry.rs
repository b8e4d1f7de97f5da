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
use crate::upstream::{Lease, PickRequest, Servers, UpstreamState, announce};

/// A request as it is sent to a server.
#[derive(Clone)]
pub(super) struct UpstreamRequest {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) fields: Fields,
    /// `Host` is the server's own name, and not among the fields.
    pub(super) own_host: bool,
}

/// A response whose head has arrived.
pub(super) type UpstreamResponse = (Box<UpstreamExchange>, MessageHead<StatusCode>);

/// The most times that a request is sent again because a server has not processed it.
const MAX_RESENDS: usize = 10;

/// The data that all attempts of a request share.
struct AttemptContext<'a> {
    client: &'a Rc<Client>,
    record: &'a Record,
    upstream: &'static UpstreamState,
    request: &'a UpstreamRequest,
    framing: Framing,
    /// The body, if it is buffered.
    kept: Option<Bytes>,
    connect: Duration,
    waits: Waits,
}

/// Why an attempt failed.
struct AttemptError {
    failure: Failure,
    kind: AttemptErrorKind,
    /// The request's body, if it can be sent again.
    body: Option<RequestBody>,
    /// The second server of a hedged request.
    also: Option<usize>,
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
    fn for_good(failure: Failure) -> AttemptError {
        AttemptError { failure, kind: AttemptErrorKind::Final, body: None, also: None }
    }
}

/// Sends a request to a server that the load-balancing policy chooses, and to others if retries are allowed and may
/// help.
///
/// # Errors
/// No server has responded: the last failure.
pub(super) async fn send(
    client: &Rc<Client>,
    record: &mut Record,
    upstream: &'static UpstreamState,
    (mut request, retry): (UpstreamRequest, Option<&Retry>),
    (body, kept): (RequestBody, Option<Bytes>),
    (connect, mut waits): (Duration, Waits),
) -> Result<UpstreamResponse, Failure> {
    let worker = client.worker;
    let framing = body.framing;
    let mut connect = connect;
    if let Some(per_try) = retry.map(|retry| retry.per_try.get(worker.settings)) {
        (connect, waits.response) = (connect.min(per_try), waits.response.min(per_try));
    }
    let key = upstream.config.key.as_ref().map_or(0, |key| balance::hash(&key.rendered(&record.facts()), 0));
    let sticky = sticky(worker.servers, upstream, &record.fields);
    let mut left = retry.map_or(0, |retry| retry.times);
    let mut resends_left = MAX_RESENDS.min(upstream.size() + 2);
    let mut resending = false;
    let (mut tried, mut unreachable): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut streaming = Some(body);
    let mut last: Result<UpstreamResponse, Failure> = Err(Failure::NoHealthyUpstream);
    let (mut began, mut retrying) = (record.began, None);
    loop {
        let pick = PickRequest { key, dice: &worker.dice, tried: &tried, sticky };
        let mut lease = upstream.lease(&worker.servers.servers, &pick, began);
        if matches!(lease, Err(Failure::UpstreamOverloaded)) {
            // Boxed: rarely needed, and it would enlarge every exchange.
            lease = Box::pin(upstream.wait(&worker.servers.servers, &pick)).await;
        }
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
        let index = lease.server.index;
        record.asked(lease.server.name(), lease.server.load.active());
        if let Some(counters) = worker.counters
            && (resending || retrying.is_some() || !tried.is_empty())
        {
            counters.retry(upstream.index);
        }
        let span = begin_span(record, &mut request, &lease, began);
        let attempt =
            AttemptContext { client, record, upstream, request: &request, framing, kept: kept.clone(), connect, waits };
        let hedge = retry.map(|retry| (retry, retry.hedge.get(worker.settings)));
        let outcome = match (hedge, &kept) {
            (Some((retry, hedge)), Some(_)) if hedge < Duration::MAX && left > 0 => {
                tried.push(index);
                let pick = PickRequest { key, dice: &worker.dice, tried: &tried, sticky: None };
                Box::pin(attempt.hedged((lease, began, span), (retry, hedge), &pick)).await
            }
            (_, Some(kept)) => attempt.once(lease, RequestBody::of(client, framing, kept.clone()), (began, span)).await,
            (_, None) => match streaming.take() {
                Some(body) => attempt.once(lease, body, (began, span)).await,
                None => return last,
            },
        };
        let kind = match outcome {
            Ok(answer) => {
                if record.is_timed() {
                    record.server_took(began.elapsed());
                }
                let wanted = retry.is_some_and(|retry| is_to_be_retried(retry, &answer.1));
                let server = answer.0.lease().map(|lease| lease.server);
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
                streaming = missed.body;
                tried.extend(missed.also);
                // A bad response is better than none.
                last = last.or(Err(missed.failure));
                Some(missed.kind)
            }
        };
        began = Instant::now();
        if !tried.contains(&index) {
            tried.push(index);
        }
        if kind == Some(AttemptErrorKind::Unreachable) {
            unreachable.push(index);
            continue;
        }
        let repeatable = kept.is_some() || streaming.is_some();
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
        if kind.is_none() && kept.is_none() {
            // The exchange of that response still has the body.
            streaming = last.as_mut().ok().and_then(|(call, _)| call.take_body());
            if streaming.is_none() {
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

/// Writes the PROXY header for the server, if the upstream has `proxy-protocol`.
pub(super) fn introduce(client: &Client, record: &Record, upstream: &UpstreamState, out: &mut Vec<u8>) {
    if let Some(version) = upstream.config.proxy_protocol {
        let (peer, ours) = client.peer.addresses;
        announce(version, peer.map(|peer| (record.client, peer.port()).into()), ours, out);
    }
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

/// A started attempt, and whether its connection was reused; or why it could not start.
type AttemptStart = Result<(Box<UpstreamExchange>, bool), Box<(Lease, RequestBody, Failure, AttemptErrorKind)>>;

impl AttemptContext<'_> {
    /// Makes one attempt, measured from `began`. Reports the outcome to the upstream's health, and counts it.
    async fn once(
        &self,
        lease: Lease,
        body: RequestBody,
        (began, span): (Instant, Option<u64>),
    ) -> Result<UpstreamResponse, AttemptError> {
        let place = (self.upstream.index, lease.server.index);
        let outcome = self.attempt(lease, body, began).await;
        if let Some(counters) = self.client.worker.counters {
            let counted = match &outcome {
                Ok((_, head)) => Ok(head.start.as_u16()),
                Err(error) => Err(error.kind.counted()),
            };
            counters.attempt(place, counted, began.elapsed());
        }
        if let (Some(span), Some(trace)) = (span, &self.record.trace) {
            let end = match &outcome {
                Ok((_, head)) => AttemptEnd::Status(head.start.as_u16()),
                Err(error) => AttemptEnd::Failed(error.failure.reason()),
            };
            trace.attempted(span, end);
        }
        outcome
    }

    async fn attempt(
        &self,
        mut lease: Lease,
        mut body: RequestBody,
        began: Instant,
    ) -> Result<UpstreamResponse, AttemptError> {
        let mut first = true;
        loop {
            let begun = if self.upstream.config.http2 {
                Box::pin(self.begin_http2(lease, body, began)).await
            } else {
                self.begin(lease, body, began, first).await
            };
            let at_first = std::mem::replace(&mut first, false);
            let (mut call, reused) = match begun {
                Ok((call, reused)) => (call, reused && at_first),
                Err(back) => {
                    let (lease, body, failure, kind) = *back;
                    if kind == AttemptErrorKind::Unreachable {
                        self.report(&lease, false, None);
                    }
                    return Err(AttemptError { failure, kind, body: Some(body), also: None });
                }
            };
            let outcome = call.answer().await;
            // A connection that is closing is not the server's failure; refused requests are.
            let refuses = matches!(outcome, Err(ExchangeError::Unprocessed(NotProcessed::Server)));
            let (failure, kind) = match outcome {
                Ok(head) => {
                    if let Some(lease) = call.lease() {
                        self.report(lease, !head.start.is_server_error(), Some(began));
                    }
                    return Ok((call, head));
                }
                Err(ExchangeError::Unprocessed(NotProcessed::Server)) => {
                    (Failure::UpstreamReset, AttemptErrorKind::Unprocessed)
                }
                Err(gone @ (ExchangeError::Lost | ExchangeError::Unprocessed(NotProcessed::Connection))) => {
                    let unprocessed = matches!(gone, ExchangeError::Unprocessed(_));
                    // A retry is safe if the request was not processed or is idempotent. Only a reused connection fails
                    // this way, so this happens once.
                    if reused && (unprocessed || self.request.method.is_idempotent()) {
                        let again = match &self.kept {
                            Some(kept) => Some(RequestBody::of(self.client, self.framing, kept.clone())),
                            None => call.take_body(),
                        };
                        if let Some(again) = again {
                            let Some(held) = call.into_lease() else {
                                return Err(AttemptError::for_good(Failure::Internal));
                            };
                            (lease, body) = (held, again);
                            continue;
                        }
                    }
                    (
                        Failure::UpstreamReset,
                        if unprocessed { AttemptErrorKind::Unprocessed } else { AttemptErrorKind::Reset },
                    )
                }
                Err(ExchangeError::Failed(failure)) => match failure {
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
            return Err(AttemptError { failure, kind, body, also: None });
        }
    }

    /// Sends the request on a pooled connection if `kept` allows it and there is one, or else on a fresh one. Returns
    /// whether it was a pooled one.
    async fn begin(&self, lease: Lease, body: RequestBody, began: Instant, kept: bool) -> AttemptStart {
        let worker = self.client.worker;
        let kept = if kept { worker.pools.take(lease.server, began) } else { None };
        let reused = kept.is_some();
        let channel = match kept {
            Some(channel) => channel,
            None => {
                let mut first = Vec::new();
                if self.upstream.config.tls.is_some() {
                    introduce(self.client, self.record, self.upstream, &mut first);
                }
                // Boxed: rarely needed, and it would enlarge every exchange.
                match Box::pin(worker.pools.connect(self.upstream, lease.server, &first, self.patience())).await {
                    Ok(channel) => channel,
                    Err(failure) => {
                        return Err(Box::new((lease, body, failure, AttemptErrorKind::of_unconnected(failure))));
                    }
                }
            }
        };
        let mut head = Vec::new();
        if self.upstream.config.tls.is_none() {
            introduce(self.client, self.record, self.upstream, &mut head);
        }
        let UpstreamRequest { method, target, fields, own_host } = self.request;
        let host = own_host.then_some(lease.server.host());
        http1::write_request(&mut head, (method, target), host, fields, self.framing);
        let request = (method.clone(), head);
        let call = Http1Exchange::new(self.client, (lease, channel), request, body, self.waits, began);
        Ok((Box::new(UpstreamExchange::Http1(call)), reused))
    }

    /// Sends the request on a shared HTTP/2 connection. Returns whether the connection existed before.
    async fn begin_http2(&self, lease: Lease, body: RequestBody, began: Instant) -> AttemptStart {
        let UpstreamRequest { method, target, fields, own_host } = self.request;
        let host = own_host.then_some(lease.server.host());
        let scheme = if self.upstream.config.tls.is_some() { "https" } else { "http" };
        let request = match request::head((method, target), scheme, host, fields, self.framing) {
            Ok(request) => request,
            // The client's request can't be expressed in HTTP/2, which is not the server's failure.
            Err(failure) => return Err(Box::new((lease, body, failure, AttemptErrorKind::Final))),
        };
        let held = self.client.worker.shared.hold(self.upstream, lease.server, self.patience()).await;
        let (held, reused) = match held {
            Ok(held) => held,
            Err(failure) => return Err(Box::new((lease, body, failure, AttemptErrorKind::of_unconnected(failure)))),
        };
        match Http2Exchange::new(self.client, (lease, held), request, body, self.waits, began) {
            Ok(call) => Ok((Box::new(UpstreamExchange::Http2(call)), reused)),
            Err(back) => {
                let (lease, body) = *back;
                Err(Box::new((lease, body, Failure::UpstreamReset, AttemptErrorKind::Unprocessed)))
            }
        }
    }

    /// Returns the time left for connecting.
    fn patience(&self) -> Duration {
        let left = self.waits.until.map(|until| until.saturating_duration_since(Instant::now()));
        left.map_or(self.connect, |left| self.connect.min(left))
    }

    fn report(&self, lease: &Lease, good: bool, began: Option<Instant>) {
        if self.upstream.observes() {
            lease.report(&self.client.worker.servers.servers, good, began.map(|began| began.elapsed()), Instant::now());
        }
    }

    /// Makes an attempt, and a second one at another server if the first takes longer than `after`; the first response
    /// wins. Needs a buffered body.
    async fn hedged(
        &self,
        (lease, began, span): (Lease, Instant, Option<u64>),
        (retry, after): (&Retry, Duration),
        pick: &PickRequest<'_>,
    ) -> Result<UpstreamResponse, AttemptError> {
        // Of the second attempt, and here because they have to outlive both.
        let (mut request, beside);
        let body = || RequestBody::of(self.client, self.framing, self.kept.clone().unwrap_or_default());
        let mut first = Box::pin(self.once(lease, body(), (began, span)));
        if let Ok(outcome) = tokio::time::timeout(after, &mut first).await {
            return outcome;
        }
        let Some(_retrying) = self.upstream.retry(retry.budget) else { return first.await };
        let lease = self.upstream.lease(&self.client.worker.servers.servers, pick, Instant::now());
        let Ok(lease) = lease else { return first.await };
        if let Some(counters) = self.client.worker.counters {
            counters.retry(self.upstream.index);
        }
        let (second, now) = (lease.server.index, Instant::now());
        request = self.request.clone();
        let span = begin_span(self.record, &mut request, &lease, now);
        beside = AttemptContext { request: &request, kept: self.kept.clone(), ..*self };
        let mut both: [Option<Pin<Box<_>>>; 2] = [Some(first), Some(Box::pin(beside.once(lease, body(), (now, span))))];
        std::future::poll_fn(|cx| {
            for at in [0, 1] {
                let Some(attempt) = &mut both[at] else { continue };
                let Poll::Ready(outcome) = attempt.as_mut().poll(cx) else { continue };
                // A failure counts only if the other attempt fails, too.
                if outcome.is_ok() || both[1 - at].is_none() {
                    return Poll::Ready(outcome.map_err(|error| AttemptError { also: Some(second), ..error }));
                }
                both[at] = None;
            }
            Poll::Pending
        })
        .await
    }
}
