//! Access control, in the order of the phases: maintenance, networks, rate limits, concurrency limits,
//! CORS preflights, certificates, credentials, and limits by credentials. `access` makes the decisions;
//! this module calls it.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use super::forward_auth;
use crate::access;
use crate::access::counted::LimitKey;
use crate::access::limiter::LimitDecision;
use crate::access::users;
use crate::client::Client;
use crate::client::record::Record;
use crate::content::respond::Answer;
use crate::context::facts::ClientCertificate;
use crate::failure::{Failure, RateLimited};
use crate::serve::body::Body;
use crate::site::{Access, Auth, AuthScheme, By, ClientCertificateRules, RateLimit};
use crate::trace::Phase;

/// Applies access control. Returns a response if the request ends here. `asks`: the request is a CORS preflight.
///
/// # Errors
/// The request is refused.
pub(super) async fn enforce(
    client: &Rc<Client>,
    record: &mut Record,
    access: &'static Access,
    (asks, has_body): (bool, bool),
) -> Result<Option<Answer<Body>>, Failure> {
    let (state, settings) = (client.worker.access, client.worker.settings);
    if let Some(maintenance) = &access.maintenance
        && state.is_maintained(maintenance, settings, record.began).await
    {
        let wait = maintenance.retry_after.as_ref().map(|after| seconds(after.get(settings)));
        return Err(Failure::Maintenance(wait));
    }
    if let Some(networks) = &access.networks {
        let allowed = match networks.listed {
            None => networks.allowed.contains(record.client),
            Some(listed) => state.listed[listed as usize].load().contains(record.client),
        };
        if !allowed {
            return Err(Failure::AddressDenied);
        }
    }
    if has_body && !access::may_be_sent(access, &record.fields) {
        return Err(Failure::UnsupportedMediaType);
    }
    limits(client, record, access, false).await?;
    if let (Some(cors), true) = (&access.cors, asks) {
        let fields = access::answer_preflight(cors, &record.fields, settings).ok_or(Failure::CorsRefused)?;
        record.preflight = true;
        return Ok(Some(Answer { status: StatusCode::NO_CONTENT, fields, body: Body::Bytes(Bytes::new()) }));
    }
    if let Some(rules) = &access.certificate {
        show_certificate(rules, record.facts().certificate)?;
    }
    if let Some(auth) = &access.auth {
        // Boxed: the future that looks up credentials is large.
        return Box::pin(identified(client, record, (access, auth))).await;
    }
    Ok(None)
}

/// Checks the client's certificate against the rules.
fn show_certificate(rules: &ClientCertificateRules, shown: Option<&ClientCertificate>) -> Result<(), Failure> {
    let shown = shown.ok_or(Failure::NoCertificate)?;
    let any = rules.subjects.is_empty() && rules.fingerprints.is_empty();
    let listed = rules.subjects.iter().any(|subject| *subject == shown.subject)
        || rules.fingerprints.iter().any(|fingerprint| *fingerprint == shown.fingerprint);
    if any || listed { Ok(()) } else { Err(Failure::CertificateDenied) }
}

/// Applies the rate and concurrency limits: those that need an authenticated client, or those that do not.
async fn limits(
    client: &Client,
    record: &mut Record,
    access: &'static Access,
    identified: bool,
) -> Result<(), Failure> {
    let (state, settings) = (client.worker.access, client.worker.settings);
    for limit in access.rate_limits.iter().filter(|limit| limit.identified == identified) {
        // Not when the request began: a client could complete requests in another order.
        let now = state.since.elapsed();
        let turn = keyed(client, record, &limit.by, |key| state.limiters[limit.id as usize].take(key, now));
        match turn {
            LimitDecision::Now => {}
            LimitDecision::After(delay) => tokio::time::sleep(delay).await,
            LimitDecision::Never(wait) => return Err(Failure::RateLimited(limited(limit, wait))),
        }
    }
    for limit in access.in_flight.iter().filter(|limit| limit.identified == identified) {
        let most = limit.most.get(settings);
        let admitted = keyed(client, record, &limit.by, |key| state.in_flight[limit.id as usize].admit(key, most));
        match admitted {
            Some(counted) => record.counted.push(counted),
            None => return Err(Failure::TooManyInFlight(status(limit.status))),
        }
    }
    Ok(())
}

/// Authenticates the client, then applies its limits. Returns a response if the authorization service has refused the
/// request.
async fn identified(
    client: &Rc<Client>,
    record: &mut Record,
    (access, auth): (&'static Access, &'static Auth),
) -> Result<Option<Answer<Body>>, Failure> {
    let ids = &client.worker.span_ids;
    if let Some(trace) = &mut record.trace {
        trace.enter(ids, Phase::Auth);
    }
    let answer = identify(client, record, auth).await;
    if let Some(trace) = &mut record.trace {
        trace.leave();
    }
    let answer = answer?;
    if answer.is_none() {
        limits(client, record, access, true).await?;
    }
    Ok(answer)
}

/// Authenticates the client. Returns a response if the authorization service has refused the request.
async fn identify(
    client: &Rc<Client>,
    record: &mut Record,
    auth: &'static Auth,
) -> Result<Option<Answer<Body>>, Failure> {
    let state = client.worker.access;
    match &auth.scheme {
        AuthScheme::Basic(file) => {
            let list = state.list(*file, false).ok_or(Failure::Internal)?;
            let (name, password) = access::basic_credentials(&record.fields).ok_or(Failure::Unauthenticated)?;
            if !state.verifier.verify(&list, &name, password, record.client).await? {
                return Err(Failure::WrongCredentials);
            }
            record.user = name.into_bytes();
        }
        AuthScheme::ApiKey(file, field) => {
            let list = state.list(*file, true).ok_or(Failure::Internal)?;
            let key = access::api_key(&record.fields, field).ok_or(Failure::Unauthenticated)?;
            record.user = users::key_of(&list, key).ok_or(Failure::WrongCredentials)?.as_bytes().to_owned();
        }
        AuthScheme::Jwt(rules) => {
            let token = access::token(&record.fields, rules.cookie.as_deref()).ok_or(Failure::Unauthenticated)?;
            // Nor is a token still valid because its request began in time.
            let now = Duration::from_millis(client.worker.moment(Instant::now()).0);
            let claims = state.key_sets.claims(rules, token, now).await?;
            record.user = claims.get("sub").unwrap_or_default().as_bytes().to_owned();
            record.claims = Some(claims);
        }
        AuthScheme::Forward(rules) => return forward_auth::ask(client, record, rules).await,
    }
    Ok(None)
}

/// Calls `ask` with the key of a limit. A key from a template is rendered into a buffer of the worker.
fn keyed<T>(client: &Client, record: &Record, by: &By, ask: impl FnOnce(LimitKey<'_>) -> T) -> T {
    match by {
        By::Client(v4, v6) => ask(LimitKey::network(record.client, (*v4, *v6))),
        By::Text(template) => {
            let mut text = client.worker.limited.take();
            text.clear();
            template.render(&record.facts(), &mut text);
            let answer = ask(LimitKey::Bytes(&text));
            client.worker.limited.set(text);
            answer
        }
    }
}

fn limited(limit: &RateLimit, wait: Duration) -> RateLimited {
    let window = limit.interval.saturating_mul(limit.burst);
    RateLimited {
        status: status(limit.status),
        wait: seconds(wait).max(1),
        quota: limit.burst,
        window: seconds(window).max(1),
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::TOO_MANY_REQUESTS)
}
