//! Finds the route of a simulated request, and removes fields that it may not send there.

use std::net::IpAddr;

use http::Method;

use super::admission::turned_away;
use super::outcome::{EarlyOutcome, RehearsalOutcome};
use super::request::{Rehearsal, SiteRequest};
use super::rules::SiteRules;
use crate::access;
use crate::context::view::{RequestVersion, RequestView};
use crate::filter::intake;
use crate::protocol::fields::Fields;
use crate::protocol::target::Target;
use crate::router::route::{Captures, MethodSet, Node, RouteId, RouteLookup, RouteVerdict};

/// Returns the route of a request, given the root of its site.
pub fn find(
    rules: &impl SiteRules,
    root: Node,
    target: &Target,
    method: &Method,
    headers: &Fields,
    (client, version): (IpAddr, RequestVersion),
) -> RouteLookup {
    let (host, path, query) = (target.host(), target.path(), target.query());
    let view = RequestView { method, host, path, query, headers, client, version };
    rules.tables().route(root, target.path(), |route, captures| {
        if !rules.matches(route, &view, captures) {
            return RouteVerdict::No;
        }
        let methods = rules.methods(route);
        if methods.contains(method) { RouteVerdict::Yes } else { RouteVerdict::OtherMethod(MethodSet::of(methods)) }
    })
}

/// The route of a request.
pub(super) struct FoundRoute {
    pub(super) route: RouteId,
    pub(super) captures: Captures,
    /// The request is a CORS preflight.
    pub(super) asks: bool,
}

/// Finds the route of a request, and removes the fields that it may not send there.
pub(super) fn of(
    rules: &impl SiteRules,
    request: &Rehearsal<'_>,
    arrived: &mut SiteRequest,
) -> Result<FoundRoute, EarlyOutcome> {
    let site = arrived.root.id();
    let refused = |status, reason| Err(RehearsalOutcome::refused(Some(site), status, reason));
    let about = (arrived.client, request.version);
    let find = |method: &Method| find(rules, arrived.root, &arrived.target, method, &arrived.fields, about);
    let has_cors = |route| rules.access(route).is_some_and(|access| access.cors.is_some());
    let preflight = access::preflight(&arrived.method, &arrived.fields).map(|asked| find(&asked));
    let preflight = preflight.filter(|found| matches!(found, RouteLookup::Route(route, _) if has_cors(*route)));
    let asks = preflight.is_some();
    let found = preflight.unwrap_or_else(|| find(&arrived.method));
    let around = rules.site_policy(site);
    let policy = match &found {
        RouteLookup::Route(route, _) => rules.policy(*route),
        _ => around,
    };
    if policy.is_some_and(|policy| policy.refuses(arrived.target.path(), rules.normal_form(site))) {
        return refused(400, "bad-path");
    }
    let (route, captures) = match found {
        RouteLookup::Route(route, captures) => (route, captures),
        // Only clients with access learn that a path does not exist.
        other => {
            let access = around.and_then(|policy| policy.access.as_ref());
            let denied = access.and_then(|access| turned_away(access, &arrived.fields, request.body, arrived.client));
            let (status, reason) = denied.unwrap_or(match other {
                RouteLookup::OtherMethod(_) => (405, "method-not-allowed"),
                _ => (404, "no-route"),
            });
            return refused(status, reason);
        }
    };
    if let (Some(policy), Some(around)) = (rules.policy(route), around) {
        intake::for_route(&mut arrived.fields, &policy.fields, &around.fields, arrived.trusted, arrived.odd);
    }
    Ok(FoundRoute { route, captures, asks })
}
