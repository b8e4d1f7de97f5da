//! `proxy`: the request goes to a server, its answer comes back.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::Stop;
use crate::body::{Body, Progress, RequestBody};
use crate::connection::Client;
use crate::facts::{Facts, Fields};
use crate::failure::Failure;
use crate::filter::Outgoing;
use crate::forward::{self, announce};
use crate::matcher;
use crate::observe::Record;
use crate::site::{HostField, Proxy, Route};
use crate::target::{self, Target};
use crate::tunnel;
use crate::upstream::{self, Channel, Sent, Unanswered};

/// Forwards a request; the answer's body streams.
pub(super) async fn forward(
    client: &Rc<Client>,
    record: &mut Record,
    route: &'static Route,
    proxy: &'static Proxy,
    parts: &mut Parts,
    incoming: Incoming,
) -> Result<Response<Body>, Stop> {
    let worker = client.worker;
    record.upstream = &worker.site.upstreams[usize::from(proxy.upstream)].name;
    let timeouts = &route.policy.timeouts;
    let waits = Waits {
        connect: timeouts.connect.get(worker.settings),
        response: timeouts.response.get(worker.settings),
        until: record.began.checked_add(timeouts.total.get(worker.settings)),
    };
    let idle = timeouts.idle.get(worker.settings);
    client.idle.set(idle);
    let upgrade = forward::upgrade(&parts.headers);
    let client_side = upgrade.as_ref().and_then(|_| parts.extensions.remove::<OnUpgrade>());
    outgoing_head(client, record, route, proxy, upgrade.as_ref(), parts)?;
    let (request, progress) = outgoing(client, record, route, parts, incoming);
    let (channel, answer) = send(client, record, proxy, request, &progress, &waits).await?;
    incoming_answer(client, client_side, channel, answer, progress, idle, waits.until).map_err(Stop::from)
}

/// The request as it will be sent. Boxed: it passes through several futures, each of which would copy it.
fn outgoing(
    client: &Client,
    record: &Record,
    route: &Route,
    parts: &mut Parts,
    incoming: Incoming,
) -> (Box<Request<RequestBody>>, Rc<Progress>) {
    let settings = client.worker.settings;
    let (limit, patience) = (route.policy.limits.body.get(settings), route.policy.timeouts.request.get(settings));
    let (body, progress) = RequestBody::new(incoming, limit, patience, client.idle.get(), record.began);
    let mut request = Box::new(Request::new(body));
    *request.method_mut() = std::mem::take(&mut parts.method);
    *request.uri_mut() = std::mem::take(&mut parts.uri);
    *request.headers_mut() = std::mem::take(&mut parts.headers);
    (request, progress)
}

/// The answer as it will be passed on.
fn incoming_answer(
    client: &Rc<Client>,
    client_side: Option<OnUpgrade>,
    channel: Channel,
    answer: Response<Incoming>,
    progress: Rc<Progress>,
    idle: Duration,
    until: Option<Instant>,
) -> Result<Response<Body>, Failure> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(client, client_side, channel, answer, idle).ok_or(Failure::UpstreamInvalid);
    }
    let (mut head, incoming) = answer.into_parts();
    // RFC 9112 section 6.3: a length beside chunks may be an attempt at response splitting.
    if head.headers.contains_key(TRANSFER_ENCODING) && head.headers.contains_key(CONTENT_LENGTH) {
        return Err(Failure::UpstreamInvalid);
    }
    forward::strip_connection_fields(&mut head.headers);
    let mut response = Response::new(Body::upstream(channel, incoming, progress, idle, until));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// The head as the server will see it: own fields, then filters, then the path back in normal form.
fn outgoing_head(
    client: &Client,
    record: &Record,
    route: &Route,
    proxy: &Proxy,
    upgrade: Option<&HeaderValue>,
    parts: &mut Parts,
) -> Result<(), Failure> {
    let target = record.target.as_ref().ok_or(Failure::Internal)?;
    let site = client.worker.site;
    let chunked = parts.headers.contains_key(TRANSFER_ENCODING);
    forward::strip_connection_fields(&mut parts.headers);
    if chunked {
        // Left to itself, hyper sends no body of unknown length with GET and HEAD.
        parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    // hyper has answered `100 Continue` itself; the server is not asked again.
    parts.headers.remove(EXPECT);
    if let Some(protocol) = upgrade {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol.clone());
    }
    let authority = target.authority();
    let about = forward::Client {
        address: &client.address,
        peer: client.peer,
        scheme: "http",
        host: authority.clone(),
        trusted: matcher::contains(&site.trusted.networks, client.peer),
    };
    announce(&mut parts.headers, &about, proxy.forwarded);
    match (&proxy.host, authority) {
        // The authority of an absolute-form target goes before the Host field (RFC 9112 section 3.2.2).
        (HostField::Client, Some(host)) if target.uri().authority().is_some() => drop(parts.headers.insert(HOST, host)),
        (HostField::Client, Some(_)) => {}
        (HostField::Fixed(host), _) => {
            parts.headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| Failure::Internal)?);
        }
        // The server's own name is put in once it is chosen.
        (HostField::Client, None) | (HostField::Upstream, _) => drop(parts.headers.remove(HOST)),
    }
    parts.uri = outgoing_uri(client, record, route, target, &mut parts.headers)?;
    parts.version = Version::HTTP_11;
    Ok(())
}

/// Path and query as the server sees them. Without filters and already in normal form: the client's own, not copied.
fn outgoing_uri(
    client: &Client,
    record: &Record,
    route: &Route,
    target: &Target,
    headers: &mut HeaderMap,
) -> Result<Uri, Failure> {
    let Some(filter) = route.request else {
        if !target.changed() && target.uri().authority().is_none() {
            return Ok(target.uri().clone());
        }
        return build_uri(target.path(), target.query());
    };
    let path = std::borrow::Cow::Borrowed(target.path());
    let mut out = Outgoing { path, query: target.query().map(std::borrow::Cow::Borrowed), headers };
    let facts: Facts<'_> = record.facts(Fields::Kept(&[], &[]));
    filter(&mut out, &facts);
    let site = client.worker.site.tables.site(client.listener, target.host());
    let form = site.map(|id| client.worker.site.sites[id as usize].normal_form).ok_or(Failure::Internal)?;
    let path = target::normal_path(&out.path, form).map_err(|_| Failure::BadRewrite)?;
    build_uri(&path, out.query.as_deref())
}

fn build_uri(path: &str, query: Option<&str>) -> Result<Uri, Failure> {
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).map(Uri::from).map_err(|_| Failure::BadRewrite)
}

/// How long to wait for what.
struct Waits {
    connect: Duration,
    response: Duration,
    until: Option<Instant>,
}

/// Sends the request to the server whose turn it is. One that can't be connected to is passed over for the next; a kept
/// connection that turns out to be closed is replaced by a fresh one, where that is safe (RFC 9110 section 9.2.2).
async fn send(
    client: &Client,
    record: &mut Record,
    proxy: &Proxy,
    mut request: Box<Request<RequestBody>>,
    progress: &Rc<Progress>,
    waits: &Waits,
) -> Result<(Channel, Response<Incoming>), Failure> {
    let worker = client.worker;
    let upstream = &worker.servers.upstreams[usize::from(proxy.upstream)];
    let mut tried: Vec<usize> = Vec::new();
    let mut failure = Failure::Unresolved;
    for turn in upstream.rotation.turns() {
        let index = upstream.first + turn;
        let server = &worker.servers.servers[index];
        if tried.contains(&index) || !server.resolved() {
            continue;
        }
        record.server = &server.address;
        if proxy.host == HostField::Upstream || !request.headers().contains_key(HOST) {
            request.headers_mut().insert(HOST, server.host.clone());
        }
        let mut kept = worker.pools.take(index);
        loop {
            let reused = kept.is_some();
            let mut channel = match kept.take() {
                Some(channel) => channel,
                None => {
                    let patience = waits.until.map_or(waits.connect, |until| waits.connect.min(until - Instant::now()));
                    // Boxed: seldom needed, and large, and every exchange would carry its size around.
                    match Box::pin(upstream::connect(server, index, patience, &worker.pools)).await {
                        Ok(channel) => channel,
                        Err(reason) => {
                            failure = reason;
                            break;
                        }
                    }
                }
            };
            let again = (reused && replayable(&request)).then(|| Box::new(Replay::of(&request)));
            let outcome = {
                let mut sending = std::pin::pin!(channel.start(*request));
                std::future::poll_fn(|cx| poll_answer(client, &mut channel, sending.as_mut(), progress, waits, cx))
                    .await
            };
            match outcome {
                Ok(answer) => return Ok((channel, answer)),
                Err(Unsuccessful::Failed(failure)) => return Err(failure),
                // Closed before a byte was sent: as good as never taken. Fresh ones fail only once.
                Err(Unsuccessful::Lost(Unanswered { unsent: Some(unsent), .. })) if reused => request = unsent,
                Err(Unsuccessful::Lost(Unanswered { invalid: false, .. }))
                    if again.is_some() && progress.failure.get().is_none() =>
                {
                    *request = again.ok_or(Failure::Internal)?.request(record.began);
                }
                Err(Unsuccessful::Lost(Unanswered { invalid, .. })) => {
                    // The client's own fault, if it has one, goes first.
                    let reason = if invalid { Failure::UpstreamInvalid } else { Failure::UpstreamReset };
                    return Err(progress.failure.get().unwrap_or(reason));
                }
            }
        }
        tried.push(index);
    }
    Err(failure)
}

/// Whether a request may be sent again after some of it may have arrived: idempotent, and nothing to send but its head.
fn replayable(request: &Request<RequestBody>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

/// What it takes to send a request without a body once more.
struct Replay {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Replay {
    fn of(request: &Request<RequestBody>) -> Replay {
        Replay { method: request.method().clone(), uri: request.uri().clone(), headers: request.headers().clone() }
    }

    fn request(self, began: Instant) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty(began));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// Why there is no answer on this connection.
enum Unsuccessful {
    /// For good.
    Failed(Failure),
    /// The connection is gone.
    Lost(Unanswered),
}

/// Drives the connection until the head of the answer is there: as long as the body is on its way, and then for
/// `timeouts response`. The connection's guard keeps the time, so that a request that is answered in time sets no timer
/// of its own.
fn poll_answer(
    client: &Client,
    channel: &mut Channel,
    sending: Pin<&mut impl Future<Output = Sent>>,
    progress: &Progress,
    waits: &Waits,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<Incoming>, Unsuccessful>> {
    if let Poll::Ready(outcome) = channel.poll_answer(sending, cx) {
        client.alarm.set(None);
        return Poll::Ready(outcome.map_err(Unsuccessful::Lost));
    }
    // As long as the body is not complete, it is the body's own deadline that counts while the client has to send, and
    // `timeouts idle` while the server has to take.
    let taking = progress.held.get().filter(|_| progress.complete.get().is_none());
    let stalled = taking.and_then(|held| held.checked_add(client.idle.get()));
    let response = progress.complete.get().and_then(|complete| complete.checked_add(waits.response));
    if client.struck.replace(false) {
        let now = Instant::now();
        let over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if over(waits.until) {
            return Poll::Ready(Err(Unsuccessful::Failed(Failure::TotalTimeout)));
        }
        if over(stalled) {
            return Poll::Ready(Err(Unsuccessful::Failed(Failure::BodyStalled)));
        }
        if over(response) {
            return Poll::Ready(Err(Unsuccessful::Failed(Failure::ResponseTimeout)));
        }
    }
    client.alarm.set([stalled, response, waits.until].into_iter().flatten().min());
    Poll::Pending
}

/// 101: both sides are handed over, and bytes go through (RFC 9110 section 7.8). `None` where nobody asked for it.
fn switch(
    client: &Rc<Client>,
    client_side: Option<OnUpgrade>,
    channel: Channel,
    mut answer: Response<Incoming>,
    idle: Duration,
) -> Option<Response<Body>> {
    let client_side = client_side?;
    let server_side = hyper::upgrade::on(&mut answer);
    let protocol = answer.headers().get(UPGRADE)?.clone();
    client.upgraded();
    tunnel::start(client, client_side, channel, server_side, idle);
    let (mut head, _) = answer.into_parts();
    forward::strip_connection_fields(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, protocol);
    let mut response = Response::new(Body::bytes(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = head.headers;
    Some(response)
}
