//! `proxy`: forwards the request to a server, and its response to the client.

use std::rc::Rc;
use std::time::Duration;

use http::{StatusCode, Version};

use super::mirror;
use super::options;
use super::retry::{self, Sending, UpstreamRequest};
use super::send_file;
use super::stop::Stop;
use crate::balance::split;
use crate::cache::{device, key};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::exchange::forward;
use crate::exchange::{UpstreamExchange, Waits};
use crate::failure::Failure;
use crate::filter::Outgoing;
use crate::http1::Framing;
use crate::protocol::fields::Fields;
use crate::protocol::grpc;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;
use crate::site::{HostField, Mirror, Proxy, Retry, Route};
use crate::upstream::UpstreamState;
use crate::worker::Worker;

/// An upstream response, and the cookies for this client alone.
pub(super) struct Reply {
    pub(super) answer: Answer<Body>,
    /// `Set-Cookie` values that keep the client with its server.
    pub(super) cookies: Vec<String>,
}

impl Reply {
    /// Returns the response, with its cookies added.
    pub(super) fn with_cookies(mut self) -> Answer<Body> {
        add_cookies(&mut self.answer.fields, &self.cookies);
        self.answer
    }
}

/// Adds cookies to a response.
pub(super) fn add_cookies(fields: &mut Fields, cookies: &[String]) {
    for cookie in cookies {
        fields.add_known(KnownField::SET_COOKIE, cookie.as_bytes());
    }
}

/// Forwards a request; the response's body streams.
pub(super) async fn forward(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    body: RequestBody,
) -> Result<Answer<Body>, Stop> {
    // Boxed: the future has kilobytes, which would enlarge exchanges that are not forwarded.
    Ok(Box::pin(ask(client, record, route, proxy, body, |_| {})).await?.with_cookies())
}

/// Forwards a request, after `alter` has changed its head.
pub(super) async fn ask(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    body: RequestBody,
    alter: impl FnOnce(&mut UpstreamRequest),
) -> Result<Reply, Stop> {
    let (mut sending, plan, buffered) = prepared(client, record, route, proxy, body, alter)?;
    if let Some((limit, mirror)) = buffered {
        Box::pin(sending.buffer(limit)).await?;
        if let (Some(mirror), Some((request, body))) = (mirror, sending.whole()) {
            mirror::send(client, record, mirror, request, body);
        }
    }
    let call = retry::send(&mut sending, record).await?;
    let (mut reply, file) = reply(record, proxy, &plan, call)?;
    if let Some(file) = file {
        reply.answer = Box::pin(send_file::answer(client, record, file, reply.answer.fields)).await?;
    }
    if let Some(device) = route.policy.cache.as_ref().and_then(|cache| cache.key.device.as_ref()) {
        device::tell_clients(device, &mut reply.answer.fields);
    }
    Ok(reply)
}

/// What is known of a request before it is sent.
struct ForwardPlan {
    upstream: &'static UpstreamState,
    /// The client's cookie names the upstream, or there is no choice.
    sticks: bool,
    /// The client asks for another protocol.
    upgrade: bool,
}

/// A body that is received completely before it is sent, if it is no longer than this; and who gets a copy of it.
type Buffering = Option<(u64, Option<&'static Mirror>)>;

/// Chooses the upstream, and builds the request for it.
fn prepared<'a>(
    client: &'a Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    mut body: RequestBody,
    alter: impl FnOnce(&mut UpstreamRequest),
) -> Result<(Sending<'a>, ForwardPlan, Buffering), Failure> {
    let worker = client.worker;
    let (upstream, sticks) = choose(client, record, proxy);
    let upstream = &worker.servers.upstreams[usize::from(upstream)];
    record.upstream = &upstream.config.name;
    let timeouts = &route.policy.timeouts;
    let waits = Waits {
        response: timeouts.response.get(worker.settings),
        proceed: timeouts.proceed.get(worker.settings),
        idle: client.idle.get(),
        until: record.began.checked_add(total(record, timeouts.total.get(worker.settings))),
    };
    let connect = timeouts.connect.get(worker.settings);
    // HTTP/2 has no upgrade (RFC 9113 section 8.6), and a server may always ignore one (RFC 9110 section 7.8).
    let upgrade = !upstream.config.http2 && forward::upgrade(&record.fields).is_some();
    let mirror = mirrored(worker, record, &body);
    if proxy.asks_server && mirror.is_none() {
        body.leave_to_server();
    }
    let mut request = request(client, record, route, proxy, upgrade, &body)?;
    alter(&mut request);
    let retry = retry::allowed(record, &request);
    // A body that the client has not started to send need not be buffered for retries.
    let buffered = longest_kept(worker, retry.filter(|_| !body.asks_server()), mirror);
    let mut sending = Sending::new(client, upstream, (request, retry), body, (connect, waits));
    if buffered.is_none() {
        sending.keeps_beginning();
    }
    let buffered = buffered.map(|limit| (limit, mirror));
    Ok((sending, ForwardPlan { upstream, sticks, upgrade }, buffered))
}

/// A file that a server names in place of a body.
type NamedFile = Option<send_file::FolderFile>;

/// Converts the response of a server for the client.
fn reply(
    record: &mut Record,
    proxy: &Proxy,
    plan: &ForwardPlan,
    mut call: Box<UpstreamExchange>,
) -> Result<(Reply, NamedFile), Failure> {
    call.settle();
    record.calls_it(call.head());
    let mut cookies: Vec<String> = Vec::new();
    cookies.extend(sticky_cookie(plan.upstream, record, &call));
    if let Some(cookie) = proxy.cookie.as_ref().filter(|_| !plan.sticks) {
        let value = split::cookie_value(&plan.upstream.config.name);
        cookies.push(format!("{cookie}={value}; Path=/; SameSite=Lax; HttpOnly"));
    }
    let asked = if plan.upgrade { forward::upgrade(&record.fields) } else { None };
    let named = send_file::named(plan.upstream.config, call.head(), record.worker.settings);
    let answer = answer(call, asked)?;
    Ok((Reply { answer, cookies }, named?))
}

/// Returns the total time-out: for a gRPC call, no longer than the client's deadline.
fn total(record: &Record, total: Duration) -> Duration {
    if record.version >= Version::HTTP_2 && grpc::is_call(&record.fields) {
        return grpc::deadline(&record.fields).map_or(total, |deadline| total.min(deadline));
    }
    total
}

/// Returns the chosen upstream, and whether the client's cookie named it.
fn choose(client: &Client, record: &Record, proxy: &Proxy) -> (u16, bool) {
    if let [only] = &*proxy.shares {
        return (only.upstream, true);
    }
    let worker = client.worker;
    split::share(
        proxy,
        &record.facts(),
        || worker.dice.number(),
        |index| &worker.site.upstreams[usize::from(index)].name,
    )
}

/// Returns the mirror for a request, if the request is mirrored.
fn mirrored(worker: &Worker, record: &Record, body: &RequestBody) -> Option<&'static Mirror> {
    let mirror = record.policy().mirror.as_ref()?;
    let limit = mirror.body.get(worker.settings);
    let fits =
        matches!(body.framing, Framing::Empty) || matches!(body.framing, Framing::Length(length) if length <= limit);
    (fits && mirror::is_wanted(worker, mirror)).then_some(mirror)
}

/// Returns the longest body that is buffered before it is sent.
fn longest_kept(worker: &Worker, retry: Option<&Retry>, mirror: Option<&Mirror>) -> Option<u64> {
    let limits =
        [retry.map(|retry| retry.body.get(worker.settings)), mirror.map(|mirror| mirror.body.get(worker.settings))];
    limits.into_iter().flatten().max()
}

/// Space reserved for the fields that are added to a request, in bytes.
const ROOM: usize = 256;

/// Returns the request head for the server.
fn request(
    client: &Client,
    record: &Record,
    route: &Route,
    proxy: &Proxy,
    upgrade: bool,
    body: &RequestBody,
) -> Result<UpstreamRequest, Failure> {
    let (mut fields, target) = head(client, record, route, proxy, (upgrade, !body.is_empty()));
    let target = target?;
    if body.framing != Framing::Empty && !body.asks_server() {
        // The proxy sends `100 Continue` itself; the server is not asked.
        fields.remove(KnownField::EXPECT);
    }
    let own_host = proxy.host == HostField::Upstream || !fields.contains(KnownField::HOST);
    Ok(UpstreamRequest { method: record.method.clone(), target, fields, own_host })
}

/// Returns the fields that the server receives for a request without a body.
pub(super) fn fields(client: &Client, record: &Record, route: &Route, proxy: &Proxy) -> Fields {
    head(client, record, route, proxy, (false, false)).0
}

/// Builds the fields, path and query for the server: end-to-end fields, then the proxy's own, then the route's filters.
fn head(
    client: &Client,
    record: &Record,
    route: &Route,
    proxy: &Proxy,
    (upgrade, has_body): (bool, bool),
) -> (Fields, Result<String, Failure>) {
    let mut fields = forward::end_to_end(record.fields.with_room(ROOM, 6));
    if let Some(left) = options::forwards_left(&record.method, &fields) {
        fields.set(options::MAX_FORWARDS, left.to_string().as_bytes());
    }
    if let Some(protocol) = record.fields.get(KnownField::UPGRADE).filter(|_| upgrade) {
        fields.add_known(KnownField::CONNECTION, b"upgrade");
        fields.add_known(KnownField::UPGRADE, protocol);
    }
    let about = forward::ForwardedClient {
        address: &client.peer.text,
        peer: client.peer.ip,
        // RFC 9110 section 7.6.3.
        via: match record.version {
            Version::HTTP_2 => "2 kiln",
            Version::HTTP_3 => "3 kiln",
            Version::HTTP_10 => "1.0 kiln",
            _ => "1.1 kiln",
        },
        client: record.client,
        scheme: record.scheme,
        connection: client.peer.scheme(),
        host: record.target.as_ref().and_then(|target| target.authority(record.scheme)),
        trusted: record.trusted.then_some(&client.worker.site.trusted.header),
    };
    forward::announce(&mut fields, &about, proxy);
    match (&proxy.host, about.host) {
        // In canonical form, with the authority of an absolute-form target if there is one (RFC 9112 section 3.2.2), because caches use
        // it as a key.
        (HostField::Client, Some(host)) if fields.get(KnownField::HOST) == Some(host.as_bytes()) => {}
        (HostField::Client, Some(host)) => fields.set(KnownField::HOST, host.as_bytes()),
        (HostField::Fixed(host), _) => fields.set(KnownField::HOST, host.as_bytes()),
        // The server's own name is set once the server is chosen.
        (HostField::Client, None) | (HostField::Upstream, _) => fields.remove(KnownField::HOST),
    }
    let target = outgoing_target(client, record, route, has_body, &mut fields);
    if let Some(device) = route.policy.cache.as_ref().and_then(|cache| cache.key.device.as_ref()) {
        device::announce(device, &record.fields, &mut fields);
    }
    (fields, target)
}

/// Returns the path and query for the server: in canonical form, without the parameters that `send=keyed` omits, and as changed by
/// filters; with `rewrite raw`, as received.
fn outgoing_target(
    client: &Client,
    record: &Record,
    route: &Route,
    has_body: bool,
    fields: &mut Fields,
) -> Result<String, Failure> {
    let target = record.target.as_ref().ok_or(Failure::Internal)?;
    let cache = route.policy.cache.as_ref();
    let sent = cache.and_then(|cache| key::sent(cache, &record.facts(), has_body));
    let Some(filter) = route.request else {
        return Ok(sent.unwrap_or_else(|| target.path_and_query().to_owned()));
    };
    let mut out = Outgoing::of(target, sent.as_deref(), fields);
    filter(&mut out, &record.facts());
    let site = client.worker.site.tables.site(client.peer.listener, target.host());
    let form = site.map(|root| client.worker.site.sites[root.id() as usize].normal_form).ok_or(Failure::Internal)?;
    out.target(target, route.policy.form(form)).map_err(|_| Failure::BadRewrite)
}

/// Returns whether the server receives the target as it arrived (`rewrite raw`), and not in canonical form, so that the cache key, which has
/// that form, does not tell what the response is about. A canonical target, as most are, costs a comparison.
pub(super) fn sends_other_target(record: &Record, route: &Route) -> bool {
    let (Some(filter), Some(target)) = (route.request, &record.target) else { return false };
    if target.is_canonical() {
        return false;
    }
    let mut fields = record.fields.clone();
    let mut out = Outgoing::of(target, None, &mut fields);
    filter(&mut out, &record.facts());
    out.raw
}

/// Returns the cookie that keeps the client with its server; `None` if the client has it already.
fn sticky_cookie(upstream: &UpstreamState, record: &Record, call: &UpstreamExchange) -> Option<String> {
    let sticky = upstream.config.sticky.as_ref()?;
    let server = call.lease()?.server;
    let had = retry::sticky(record.worker.servers, upstream, &record.fields) == Some(server.index);
    let name = upstream.name(server).filter(|_| !had)?;
    Some(format!("{}={name:016x}{}", sticky.cookie, sticky.attributes))
}

/// Converts an upstream response for the client. `asked` is the protocol that the client wants to upgrade to.
pub(super) fn answer(mut call: Box<UpstreamExchange>, asked: Option<&[u8]>) -> Result<Answer<Body>, Failure> {
    let head = call.take_head();
    let changes = head.start == StatusCode::SWITCHING_PROTOCOLS;
    let mut protocol = None;
    if changes || head.start == StatusCode::UPGRADE_REQUIRED {
        protocol = head.fields.get(KnownField::UPGRADE).map(<[u8]>::to_owned);
    }
    if changes && !protocol.as_deref().is_some_and(|to| asked.is_some_and(|asked| is_among(to, asked))) {
        return Err(Failure::UpstreamInvalid);
    }
    let mut fields = forward::received(head.fields);
    // `TE` is a request field (RFC 9110 section 10.1.4).
    fields.remove(KnownField::TE);
    if let Some(protocol) = protocol {
        // `Upgrade` is a hop-by-hop field, but a 426 needs it (RFC 9110 section 15.5.22).
        fields.add_known(KnownField::CONNECTION, b"upgrade");
        fields.add_known(KnownField::UPGRADE, &protocol);
    }
    let body = if changes {
        Body::Tunnel(call)
    } else if head.framing == Framing::Empty
        || head.start == StatusCode::RESET_CONTENT && head.framing == Framing::Length(0)
    {
        call.release();
        Body::None(call.declared())
    } else {
        Body::Server(call)
    };
    Ok(Answer { status: head.start, fields, body })
}

/// Returns whether the server upgrades only to protocols that it was offered (RFC 9110 section 7.8).
fn is_among(to: &[u8], asked: &[u8]) -> bool {
    let of = |list: &[u8]| -> Vec<Vec<u8>> {
        let tokens = list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        tokens.filter(|token| !token.is_empty()).map(<[u8]>::to_ascii_lowercase).collect()
    };
    let (to, asked) = (of(to), of(asked));
    !to.is_empty() && to.iter().all(|one| asked.contains(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols() {
        let check = |to: &str, asked: &str, expected: bool| {
            assert_eq!(is_among(to.as_bytes(), asked.as_bytes()), expected, "{to:?} of {asked:?}");
        };
        check("websocket", "websocket", true);
        check("WebSocket", "foo/2, websocket", true);
        check("foo/2, websocket", "websocket,foo/2", true);
        check("foo/2, websocket", "websocket", false);
        check("foo/2", "foo", false);
        check("", "websocket", false);
        check(" , ", "websocket", false);
    }
}
