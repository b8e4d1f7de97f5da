//! THE PATH OF A REQUEST: [`exchange`], one request and its answer.
//!
//! ```text
//! request ─framing, target→ host, path ─route→ Found ─limits→ handler ─response filters→ answer
//! ```
//!
//! Its steps stand in this order in [`steps`]. A step that says no gives a [`Failure`], which is answered and logged by
//! its name. Futures may be dropped at every `await`: what must be let go then is let go by `Drop` (the connection to
//! the server closes, the record is written).

mod proxy;

use std::rc::Rc;

use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use hyper::body::Incoming;

use crate::answer;
use crate::body::Body;
use crate::connection::Client;
use crate::facts::Fields;
use crate::failure::Failure;
use crate::forward;
use crate::framing::Smuggled;
use crate::handler;
use crate::observe::Record;
use crate::rehearse;
use crate::route::{Found, MethodSet};
use crate::site::Handler;
use crate::target::Target;

/// Why an exchange has no answer yet.
pub(crate) enum Stop {
    /// Something went wrong; it is answered with the failure's status.
    Failure(Failure),
    /// `abort`: there will be none.
    Abort,
}

impl<F: Into<Failure>> From<F> for Stop {
    fn from(failure: F) -> Stop {
        Stop::Failure(failure.into())
    }
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub(crate) struct Aborted;

impl std::fmt::Display for Aborted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for Aborted {}

/// One request and its answer. `parts` are boxed: the future is moved before it is polled, and they would be with it.
///
/// # Errors
/// The route says `abort`.
pub(crate) async fn exchange(
    client: Rc<Client>,
    mut parts: Box<Parts>,
    incoming: Incoming,
    framed: Result<(), Smuggled>,
) -> Result<Response<Body>, Aborted> {
    let mut record = Record::new(client.worker, parts.method.clone(), parts.version, client.peer);
    let answer = steps(&client, &mut record, &mut parts, incoming, framed).await;
    let mut response = match answer {
        Ok(response) => response,
        Err(Stop::Failure(failure)) => {
            record.failed(failure);
            if failure.closes() {
                client.linger.set(true);
            }
            answer::failure(&record, failure).map(Body::bytes)
        }
        Err(Stop::Abort) => return Err(Aborted),
    };
    record.answered(response.status().as_u16());
    if let Some(filter) = record.route.and_then(|route| route.response) {
        filter(response.headers_mut(), &record.facts_kept());
    }
    let watch = client.busy_until_done();
    Ok(response.map(|body| body.record(Some(record)).watch(watch)))
}

async fn steps(
    client: &Rc<Client>,
    record: &mut Record,
    parts: &mut Parts,
    incoming: Incoming,
    framed: Result<(), Smuggled>,
) -> Result<Response<Body>, Stop> {
    let site = client.worker.site;
    record.holds(site.root, &parts.headers);
    framed.map_err(|Smuggled| Failure::BadFraming)?;
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Failure::MethodNotAllowed(MethodSet::default()).into());
    }

    // Which site, which path.
    let mut target = Target::parse(parts)?;
    let found = site.tables.site(client.listener, target.host());
    let Some(host) = found.map(|id| (id, &site.sites[id as usize])) else {
        record.target = Some(target);
        return Err(Failure::UnknownHost.into());
    };
    let (site_id, host) = host;
    record.holds(host.policy, &parts.headers);
    let normal = target.normalise(host.normal_form);
    record.target = Some(target);
    normal?;

    // Which route.
    record.client = forward::client_address(&parts.headers, client.peer, site.trusted);
    let target = record.target.as_ref().ok_or(Failure::Internal)?;
    let route = match rehearse::find(site, site_id, target, &parts.method, &parts.headers, record.client) {
        Found::Route(id, captures) => {
            record.captures = captures;
            &site.routes[id as usize]
        }
        Found::OtherMethod(methods) => return Err(Failure::MethodNotAllowed(methods).into()),
        Found::Nothing => return Err(Failure::NoRoute.into()),
    };
    record.route = Some(route);
    record.holds(route.policy, &parts.headers);
    within_limits(client, record, &parts.headers)?;
    expects_only_continue(&parts.headers)?;

    // Who answers.
    match &route.handler {
        Handler::Proxy(proxy) => proxy::forward(client, record, route, proxy, parts, incoming).await,
        Handler::Respond(respond) => Ok(own(record, &parts.headers, |facts| handler::respond(facts, respond))),
        Handler::Redirect(redirect) => Ok(own(record, &parts.headers, |facts| handler::redirect(facts, redirect))),
        Handler::Echo => {
            let (limits, timeouts) = (&route.policy.limits, &route.policy.timeouts);
            let settings = client.worker.settings;
            parts.headers.remove(EXPECT);
            // Boxed, as it is large and seldom needed: every exchange would carry its size around.
            let echo = answer::echo(
                record,
                &parts.headers,
                incoming,
                limits.body.get(settings),
                timeouts.request.get(settings),
                timeouts.idle.get(settings),
            );
            Ok(Box::pin(echo).await?)
        }
        Handler::Abort => Err(Stop::Abort),
    }
}

fn own(
    record: &Record,
    headers: &HeaderMap,
    answer: impl FnOnce(&crate::facts::Facts<'_>) -> Response<Bytes>,
) -> Response<Body> {
    answer(&record.facts(Fields::All(headers))).map(Body::bytes)
}

/// `limits`, as far as the head tells.
fn within_limits(client: &Client, record: &Record, headers: &HeaderMap) -> Result<(), Failure> {
    let (policy, settings) = (record.policy(), client.worker.settings);
    let uri =
        record.target.as_ref().ok_or(Failure::Internal)?.uri().path_and_query().map_or(0, |path| path.as_str().len())
            as u64;
    if uri > policy.limits.uri.get(settings) {
        return Err(Failure::UriTooLong);
    }
    // hyper holds every head to the largest limit of all; only stricter ones are left to check.
    let limit = policy.limits.headers.get(settings);
    if limit < client.worker.head_limit {
        let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if fields as u64 + uri > limit {
            return Err(Failure::HeadTooLarge);
        }
    }
    let length = headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > policy.limits.body.get(settings)) {
        return Err(Failure::BodyTooLarge);
    }
    Ok(())
}

/// RFC 9110 section 10.1.1: an expectation that is not known fails.
fn expects_only_continue(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(Failure::UnknownExpectation),
        _ => Ok(()),
    }
}
