//! THE PATH OF A REQUEST: [`exchange`], one request and its response.
//!
//! ```text
//! request ─framing, target→ host, path ─route→ RouteLookup ─limits→ handler ─response filters→ response
//! ```
//!
//! [`steps`] has the steps in this order. A step that rejects the request returns a [`Failure`], which becomes an error response and the
//! reason in the log. A future may be dropped at every `await`: `Drop` then releases everything (the connection to the server closes,
//! the record is written).

mod access;
pub(crate) mod body;
mod cached;
mod compress;
mod files;
mod forward_auth;
mod handler;
mod inspected;
mod introduce;
pub(crate) mod local_response;
mod mirror;
mod options;
mod proxy;
pub(crate) mod purge;
mod replace;
mod retry;
mod selected;
mod send_file;
mod stop;
pub(crate) mod warm;

use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, StatusCode, Version};

use self::body::Body;
use self::compress::compress;
pub(crate) use self::stop::{Aborted, Stop};
use crate::access::trust;
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::cookies;
use crate::content::respond::{self, Answer};
use crate::context::facts::Facts;
use crate::context::view::RequestVersion;
use crate::failure::Failure;
use crate::filter::Functions;
use crate::filter::intake;
use crate::http1::Framing;
use crate::protocol::fields::Fields;
use crate::protocol::grpc;
use crate::protocol::names::KnownField;
use crate::protocol::target::Target;
use crate::rehearse::{self, SiteRules as _};
use crate::router::route::{MethodSet, Node, RouteId, RouteLookup, SiteId};
use crate::site::{Cors, Fault, Host, Route, Site};

/// Handles one request and returns its response. `target` is the request's target as received, and `framing` how its body is framed;
/// the rest of the head is in `record`.
///
/// # Errors
/// The route's handler is `abort`.
pub(crate) async fn exchange(
    client: &Rc<Client>,
    record: &mut Record,
    target: String,
    framing: Framing,
) -> Result<Answer<Body>, Aborted> {
    let answer = match steps(client, record, target, framing).await {
        Ok(answer) => answer,
        Err(Stop::Failure(failure)) => refuse(record, failure),
        Err(Stop::Abort) => return Err(Aborted),
    };
    Ok(finished(record, answer))
}

/// Returns the error response that replaces a broken response of which nothing was sent.
pub(crate) fn instead(record: &mut Record, failure: Failure) -> Answer<Body> {
    let answer = refuse(record, failure);
    finished(record, answer)
}

/// Applies the route's response policies: fields, filters, replacement and compression.
fn finished(record: &mut Record, mut answer: Answer<Body>) -> Answer<Body> {
    record.answered(answer.status.as_u16());
    apply_response_policy(record, &mut answer);
    if let Some(functions) = record.route.and_then(|route| route.functions)
        && let Err(panicked) = functions.show(&record.facts(), answer.status, &mut answer.fields)
    {
        record.rule = panicked.name;
        answer = refuse(record, Failure::FilterPanicked);
        apply_response_policy(record, &mut answer);
    }
    if answer.status == StatusCode::RESET_CONTENT {
        // RFC 9110 section 15.3.6: a 205 has no body, whatever the server sends.
        answer.body = Body::Bytes(Bytes::new());
    }
    if let Some(rule) = record.route.and_then(|route| route.policy.replace.as_ref()) {
        answer = replace::replace(&record.worker.replacers[rule.id as usize], record, answer);
    }
    if let Some(policy) = record.route.and_then(|route| route.policy.compress.as_ref()) {
        answer = compress(policy, record, answer);
    }
    #[cfg(feature = "h3")]
    record.advertise_http3(&mut answer.fields);
    record.responds_with(&answer.fields);
    record.shows(&answer.fields);
    answer
}

/// Sets the fields that the route's policies add to every response.
fn apply_response_policy(record: &Record, answer: &mut Answer<Body>) {
    if let (Some(cors), false) = (cors(record), record.preflight) {
        crate::access::cross_origin(cors, &record.fields, &mut answer.fields);
    }
    forward_auth::pass_on(&record.copied, &mut answer.fields);
    let Some(route) = record.route else { return };
    if !route.policy.cookies.is_empty() {
        answer.fields.change(KnownField::SET_COOKIE, |line| cookies::rewritten(&route.policy.cookies, line));
    }
    if let Some(filter) = route.response {
        filter(&mut answer.fields, &record.facts());
    }
}

/// Returns the response to a malformed request.
pub(crate) fn refuse_malformed(client: &Client, record: &mut Record, failure: Failure) -> Answer<Body> {
    take_in(client, record, None);
    refuse(record, failure)
}

/// Returns the error response for a failure, and records the failure.
pub(crate) fn refuse(record: &mut Record, failure: Failure) -> Answer<Body> {
    record.failed(failure);
    if record.version >= Version::HTTP_2 && grpc::is_call(&record.fields) {
        let answer = local_response::grpc_failure(failure);
        record.answered(answer.status.as_u16());
        return answer;
    }
    record.answered(failure.status().as_u16());
    local_response::failure(record, failure).map(Body::Bytes)
}

async fn steps(
    client: &Rc<Client>,
    record: &mut Record,
    target: String,
    framing: Framing,
) -> Result<Answer<Body>, Stop> {
    // Rare and large futures are boxed, so that they do not enlarge every exchange.
    let (route, asks) = match way(client, record, target)? {
        RouteDecision::To(route, asks) => (route, asks),
        RouteDecision::Nowhere(host, failure) => {
            return Ok(Box::pin(not_found_after_access(client, record, host, failure)).await?);
        }
        RouteDecision::Answered(answer) => return Ok(answer),
    };
    record.route = Some(route);
    record.holds(route.policy);
    let mut body = within_limits(client, record, framing)?;
    expects_only_continue(&record.fields)?;
    if let Some(access) = &route.policy.access {
        if let Some(answer) = access::enforce(client, record, access, (asks, !body.is_empty())).await? {
            return Ok(answer);
        }
        if let Some(blocks) = &access.blocks {
            inspected::head(client, record, blocks)?;
            if blocks.body > 0 && !body.is_empty() {
                body = Box::pin(inspected::body(client, record, blocks, body)).await?;
            }
        }
    }

    if let Some(functions) = route.functions
        && let Some(answer) = answered_by(record, functions, &mut body)?
    {
        return Ok(answer);
    }

    if let Some(cache) = &route.policy.cache
        && cached::is_purge(record, cache)
    {
        return Ok(Box::pin(cached::purge(client, record, cache)).await?);
    }
    if let Some(fault) = &route.policy.fault {
        Box::pin(inject(client, fault)).await?;
    }

    handler::answer(client, record, &route, body).await
}

/// The result of routing a request.
enum RouteDecision {
    /// A route; `true` for a CORS preflight.
    To(Route, bool),
    /// The host has no route for the request.
    Nowhere(&'static Host, Failure),
    /// The response is known without a route.
    Answered(Answer<Body>),
}

/// Routes a request.
fn way(client: &Client, record: &mut Record, target: String) -> Result<RouteDecision, Failure> {
    let site = client.worker.site;

    // Find the site and the path, and remove fields that the client may not set.
    let parsed = Target::parse(target, &record.fields, record.version);
    let host = parsed.as_ref().ok().map(Target::host);
    let root = host.and_then(|host| site.tables.site(client.peer.listener, host));
    let host = root.map(|root| &site.sites[root.id() as usize]);
    let odd = take_in(client, record, host);
    if matches!(record.method, Method::CONNECT | Method::TRACE) {
        return Err(Failure::MethodNotAllowed(MethodSet::default()));
    }
    let mut target = parsed?;
    if target.is_https() && !client.peer.may_say_https() {
        record.target = Some(target);
        return Err(Failure::MisdirectedRequest);
    }
    if let Some(answer) = client.worker.engine.challenges.answer(target.path()) {
        record.target = Some(target);
        return Ok(RouteDecision::Answered(answer.map(Body::Bytes)));
    }
    if let Some(answer) = options::about_server(&record.method, &target) {
        record.target = Some(target);
        return Ok(RouteDecision::Answered(answer));
    }
    let (Some(root), Some(host)) = (root, host) else {
        record.target = Some(target);
        return Err(Failure::UnknownHost);
    };
    record.holds(host.policy);
    let normal = target.normalise(host.normal_form);
    record.target = Some(target);
    normal?;
    if let Some(answer) = check_connection(client, record, (root.id(), host))? {
        return Ok(RouteDecision::Answered(answer));
    }

    // Find the route.
    let about = (record.client, RequestVersion::of(record.version));
    let target = record.target.as_ref().ok_or(Failure::Internal)?;
    let asked = preflight(site, root, record, about);
    let asks = asked.is_some();
    let found = match asked {
        Some(found) => found,
        None => rehearse::find(site, root, target, &record.method, &record.fields, about),
    };
    let (id, captures) = match found {
        RouteLookup::Route(id, captures) => (id, captures),
        _ if host.policy.refuses(target.path(), host.normal_form) => return Err(Failure::BadPath),
        RouteLookup::OtherMethod(methods) => {
            // PURGE also matches a route for GET alone.
            match rehearse::find(site, root, target, &Method::GET, &record.fields, about) {
                RouteLookup::Route(id, captures)
                    if record.method.as_str() == purge::PURGE && may_be_purged(site, id) =>
                {
                    (id, captures)
                }
                _ => return Ok(RouteDecision::Nowhere(host, Failure::MethodNotAllowed(methods))),
            }
        }
        RouteLookup::Nothing => return Ok(RouteDecision::Nowhere(host, Failure::NoRoute)),
    };
    record.captures = captures;
    let route = site.routes.get(id).ok_or(Failure::Internal)?;
    if route.policy.refuses(target.path(), host.normal_form) {
        return Err(Failure::BadPath);
    }
    intake::for_route(&mut record.fields, &route.policy.fields, &host.policy.fields, record.trusted, odd);
    Ok(RouteDecision::To(route, asks))
}

/// Removes request fields that the client may not set, and determines the client's address. Returns `true` if fields are left whose
/// names may be aliases of a route's fields.
fn take_in(client: &Client, record: &mut Record, host: Option<&Host>) -> bool {
    let trusted = client.worker.site.trusted;
    let origin = trust::origin(&record.fields, client.peer.ip, trusted);
    (record.client, record.trusted) = (origin.client, origin.trusted);
    record.scheme = origin.scheme.unwrap_or(record.scheme);
    let site = host.map(|host| &host.policy.fields);
    let rules = intake::IntakeRules { header: &trusted.header, trusted: origin.trusted, site };
    let odd = intake::take_in(&mut record.fields, &rules);
    if let Some(tracer) = client.worker.tracer {
        let taken_up = tracer.take_up(&mut record.fields, origin.trusted, &client.worker.span_ids);
        record.trace = Some(Box::new(taken_up));
    }
    odd
}

/// Calls the user's request functions (`filter`); returns the response if one of them responds.
fn answered_by(
    record: &mut Record,
    functions: &Functions,
    body: &mut RequestBody,
) -> Result<Option<Answer<Body>>, Failure> {
    let mut fields = std::mem::take(&mut record.fields);
    let mut seen_to = Vec::new();
    let asked = functions.ask(&record.facts(), &mut fields, &mut seen_to);
    record.fields = fields;
    body.trailers_without(seen_to);
    match asked {
        Ok(None) => Ok(None),
        Ok(Some((name, answer))) => {
            record.rule = name;
            Ok(Some(answer.map(Body::Bytes)))
        }
        Err(panicked) => {
            record.rule = panicked.name;
            Err(Failure::FilterPanicked)
        }
    }
}

/// Applies the site's access control to a request without a route, so that only clients with access learn that a path
/// does not exist.
async fn not_found_after_access(
    client: &Rc<Client>,
    record: &mut Record,
    host: &'static Host,
    failure: Failure,
) -> Result<Answer<Body>, Failure> {
    let answer = match &host.policy.access {
        Some(access) => access::enforce(client, record, access, (false, false)).await?,
        None => None,
    };
    answer.ok_or(failure)
}

/// Returns the route's CORS rules.
fn cors(record: &Record) -> Option<&'static Cors> {
    record.route.as_ref()?.policy.access.as_ref()?.cors.as_ref()
}

/// Returns the route for a CORS preflight (Fetch standard, "CORS-preflight request"), if that route has CORS rules.
fn preflight(site: &Site, root: Node, record: &Record, about: (IpAddr, RequestVersion)) -> Option<RouteLookup> {
    let method = crate::access::preflight(&record.method, &record.fields)?;
    let found = rehearse::find(site, root, record.target.as_ref()?, &method, &record.fields, about);
    let RouteLookup::Route(id, _) = &found else { return None };
    site.routes.get(*id)?.policy.access.as_ref()?.cors.is_some().then_some(found)
}

/// Checks that the connection fits the site: redirects plain HTTP to HTTPS if the site says so, and rejects TLS
/// connections whose handshake was for a site with other requirements.
fn check_connection(
    client: &Client,
    record: &Record,
    (id, host): (SiteId, &Host),
) -> Result<Option<Answer<Body>>, Failure> {
    let site = client.worker.site;
    let speaks = &site.listeners[client.peer.listener as usize].speaks;
    match &client.peer.secured {
        Some(secured) => {
            let wanted = host.tls.or(speaks.default).unwrap_or(secured.tls);
            if secured.tls == wanted {
                return Ok(None);
            }
            // RFC 9110 section 15.5.20: the handshake was for another site, and its result does not meet this site's
            // requirements.
            let rules = |tls: u16| site.tls.get(usize::from(tls)).ok_or(Failure::Internal);
            let serves = secured.serves(rules(secured.tls)?, rules(wanted)?);
            if serves { Ok(None) } else { Err(Failure::MisdirectedRequest) }
        }
        None => {
            let Some(to) = site.redirect_https(id, client.peer.listener) else { return Ok(None) };
            if record.scheme == "http" {
                return Ok(Some(local_response(record, |facts| respond::to_https(facts, to.get(facts.settings)))));
            }
            // Behind a proxy that terminates TLS, the client uses HTTPS already; but has shown no certificate here.
            if site.requires_certificate(id) { Err(Failure::MisdirectedRequest) } else { Ok(None) }
        }
    }
}

/// Returns whether the cache of a route allows PURGE.
fn may_be_purged(site: &Site, route: RouteId) -> bool {
    let policy = site.routes.get(route).map(|route| route.policy);
    policy.and_then(|policy| policy.cache.as_ref()).is_some_and(|cache| !cache.purge.is_empty())
}

fn local_response(record: &Record, answer: impl FnOnce(&Facts<'_>) -> Answer<Bytes>) -> Answer<Body> {
    answer(&record.facts()).map(Body::Bytes)
}

/// Injects the route's faults (`fault`): a delay, or an error response.
async fn inject(client: &Client, fault: &Fault) -> Result<(), Failure> {
    let (worker, settings) = (client.worker, client.worker.settings);
    let hits = |percent: u64| (worker.dice.below(100) as u64) < percent;
    if hits(fault.delay_percent.get(settings)) {
        tokio::time::sleep(fault.delay.get(settings)).await;
    }
    if hits(fault.abort_percent.get(settings)) {
        return Err(Failure::Fault(StatusCode::from_u16(fault.abort).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)));
    }
    Ok(())
}

/// Applies `limits` and `timeouts`: checks the head, and returns a body with its limits set.
fn within_limits(client: &Rc<Client>, record: &Record, framing: Framing) -> Result<RequestBody, Failure> {
    if client.worker.memory.resident.is_exceeded() {
        return Err(Failure::MemoryLimit);
    }
    let (policy, settings) = (record.policy(), client.worker.settings);
    let uri = record.target.as_ref().map_or(0, Target::length) as u64;
    if uri > policy.limits.uri.get(settings) {
        return Err(Failure::UriTooLong);
    }
    // Every head is checked against the largest limit while it is received; only stricter ones are left to check.
    let limit = policy.limits.headers.get(settings);
    if limit < client.worker.head_limit {
        // As in a head of HTTP/1: the list may hold the whole head, some of its lines in another form as well.
        let lines = record.fields.iter().map(|(name, value)| name.len() + value.len() + 4);
        if lines.sum::<usize>() as u64 + uri > limit {
            return Err(Failure::HeadersTooLarge);
        }
    }
    let limit = policy.limits.body.get(settings);
    if matches!(framing, Framing::Length(length) if length > limit) {
        return Err(Failure::BodyTooLarge);
    }
    let idle = policy.timeouts.idle.get(settings);
    client.idle.set(idle);
    client.half_close.set(policy.limits.half_close);
    let mut body = RequestBody::new(client, framing);
    if !body.is_empty() {
        body.takes_trailers_by(&policy.fields);
        let limits = (limit, policy.limits.min_rate);
        body.hold(limits, policy.timeouts.request.get(settings), record.began.elapsed(), idle);
    }
    Ok(body)
}

/// Rejects expectations other than `100-continue` (RFC 9110 section 10.1.1).
fn expects_only_continue(fields: &Fields) -> Result<(), Failure> {
    match fields.get(KnownField::EXPECT) {
        Some(value) if !value.eq_ignore_ascii_case(b"100-continue") => Err(Failure::ExpectationFailed),
        _ => Ok(()),
    }
}
