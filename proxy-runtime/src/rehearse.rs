//! Simulates a request: applies the site's rules without sending it. For the tests of a site file, run by the compiler
//! over its plan and by the binary over its tables, and for `kiln explain`. Pure.
//!
//! It follows the same steps as `serve::exchange`, through the same functions, up to the point where I/O would begin.

mod admission;
mod expectations;
mod forwarded;
mod outcome;
mod request;
mod route;
mod rules;

use http::StatusCode;

use self::admission::{Admission, admission};
pub use self::expectations::{misses, outcome, run};
pub use self::outcome::RehearsalOutcome;
use self::outcome::{pairs, text};
pub use self::request::Rehearsal;
use self::request::SiteRequest;
use self::route::FoundRoute;
pub use self::route::find;
pub use self::rules::{NotCompiled, SiteRules};
use crate::access;
use crate::balance::split;
use crate::content::respond;
use crate::context::facts::Facts;
use crate::context::settings::Settings;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;

/// Simulates a request.
///
/// # Errors
/// The method or URL is invalid.
pub fn rehearse(
    rules: &impl SiteRules,
    request: &Rehearsal<'_>,
    settings: &Settings,
) -> Result<RehearsalOutcome, String> {
    let found = request.arrive(rules, settings)?.and_then(|mut arrived| {
        let found = route::of(rules, request, &mut arrived)?;
        Ok(answered(rules, request, settings, &arrived, &found))
    });
    Ok(found.unwrap_or_else(|ended| *ended))
}

/// Determines the response of a route.
fn answered(
    rules: &impl SiteRules,
    request: &Rehearsal<'_>,
    settings: &Settings,
    arrived: &SiteRequest,
    found: &FoundRoute,
) -> RehearsalOutcome {
    let (route, target) = (found.route, &arrived.target);
    let handler = rules.handler(route).for_method(&arrived.method);
    let mut facts = Facts {
        scheme: arrived.scheme,
        host: target.host(),
        authority: target.authority(arrived.scheme).unwrap_or_default(),
        path: target.path(),
        query: target.query(),
        protocol: request.version.name(),
        client: arrived.client,
        captures: &found.captures,
        route: rules.pattern(route),
        row: rules.row(route),
        ..Facts::nothing(&arrived.method, &arrived.fields, settings)
    };
    if let Some(proxy) = handler.proxy() {
        // For a random choice, the first upstream with a share is used.
        let (index, _) = split::share(proxy, &facts, || 0, |index| rules.upstream(index));
        facts.upstream = rules.upstream(index);
    }
    let functions = rules.functions(route);
    let mut outcome = RehearsalOutcome {
        site: Some(arrived.root.id()),
        route: Some(route),
        pattern: Some(rules.pattern(route).to_owned()),
        handler: Some(handler.name()),
        not_asked: functions.is_err(),
        ..RehearsalOutcome::default()
    };

    // The checks before the handler, which may respond themselves.
    let (mut fields, mut answer) = (arrived.fields.clone(), None);
    let admission = admission(rules.policy(route), &facts, target, (request.body, found.asks));
    let is_preflight = matches!(admission, Admission::Preflight(_));
    match (admission, functions) {
        (Admission::Refused(status, reason), _) => outcome.refuse(status, reason),
        (Admission::Preflight(fields), _) => {
            (outcome.status, outcome.handler, answer) = (Some(204), None, Some(fields));
        }
        (Admission::Passed, Ok(Some(functions))) => match functions.ask(&facts, &mut fields, &mut Vec::new()) {
            Ok(None) => {}
            Ok(Some((_, own))) => {
                (outcome.status, outcome.handler, answer) = (Some(own.status.as_u16()), None, Some(own.fields));
            }
            Err(_) => outcome.refuse(500, "filter-panicked"),
        },
        (Admission::Passed, _) => {}
    }
    facts.fields = &fields;

    if outcome.reason.is_none() && answer.is_none() {
        if !handler.responds() {
            return outcome;
        }
        if !handler.takes(&arrived.method) {
            (outcome.status, outcome.reason) = (Some(405), Some("method-not-allowed"));
        } else if let Some(head) = respond::head(&facts, handler) {
            outcome.status = Some(head.status.as_u16());
            outcome.location = head.fields.get(KnownField::LOCATION).map(text);
            answer = Some(head.fields);
        } else if handler.proxy().is_some() {
            let form = rules.normal_form(arrived.root.id());
            forwarded::forward(rules, route, form, (target, request.body > 0), &facts, &mut outcome);
        }
    }

    // The response filters.
    let mut answer = answer.unwrap_or_else(Fields::new);
    if let Some(cors) = rules.access(route).and_then(|access| access.cors.as_ref()).filter(|_| !is_preflight) {
        access::cross_origin(cors, &arrived.fields, &mut answer);
    }
    let code = outcome.status.unwrap_or(200);
    rules.respond(route, &mut answer, &Facts { status: code, ..facts });
    if let (Ok(Some(functions)), Ok(status)) = (functions, StatusCode::from_u16(code))
        && functions.show(&facts, status, &mut answer).is_err()
    {
        outcome.refuse(500, "filter-panicked");
    }
    outcome.response_headers = pairs(&answer);
    outcome
}
