//! The checks before a request's handler, as far as they are known in advance: limits, access control, patterns of `block`.

use std::net::IpAddr;

use crate::access;
use crate::access::inspect::{Inspector, Scratch};
use crate::context::facts::Facts;
use crate::context::settings::Settings;
use crate::protocol::fields::Fields;
use crate::protocol::target::Target;
use crate::site::{Access, Policy};

/// The result of access control for a request.
pub(super) enum Admission {
    /// The request reaches its handler.
    Passed,
    /// The request is rejected: status and reason.
    Refused(u16, &'static str),
    /// The request is a CORS preflight, with these response fields.
    Preflight(Fields),
}

/// Checks whether a request reaches the handler of a route, given the size of its body, and whether it is a CORS preflight.
pub(super) fn admission(
    policy: Option<&Policy>,
    facts: &Facts<'_>,
    target: &Target,
    (body, asks): (u64, bool),
) -> Admission {
    let (fields, settings) = (facts.fields, facts.settings);
    if let Some((status, reason)) = beyond(policy, target, fields, body, settings) {
        return Admission::Refused(status, reason);
    }
    let Some(access) = policy.and_then(|policy| policy.access.as_ref()) else { return Admission::Passed };
    let denied = turned_away(access, fields, body, facts.client).filter(|(status, _)| *status != 401 || !asks);
    if let Some((status, reason)) = denied {
        return Admission::Refused(status, reason);
    }
    if let Some(cors) = access.cors.as_ref().filter(|_| asks) {
        return match access::answer_preflight(cors, fields, settings) {
            Some(fields) => Admission::Preflight(fields),
            None => Admission::Refused(403, "cors-refused"),
        };
    }
    // The content of bodies is unknown.
    let refused = access.blocks.as_ref().and_then(|blocks| {
        let rule = Inspector::new(blocks).head(facts, &mut Scratch::default()).refused?;
        blocks.rules.get(rule)
    });
    refused.map_or(Admission::Passed, |rule| Admission::Refused(rule.status, "blocked"))
}

/// Returns why access control rejects a request, as far as this is known in advance: networks in files, rate and
/// concurrency limits, and the validity of credentials are not.
pub(super) fn turned_away(access: &Access, fields: &Fields, body: u64, from: IpAddr) -> Option<(u16, &'static str)> {
    if access.networks.as_ref().is_some_and(|networks| !networks.allowed.contains(from)) {
        return Some((403, "address-denied"));
    }
    if body > 0 && !access::may_be_sent(access, fields) {
        return Some((415, "unsupported-media-type"));
    }
    let missing = access.auth.as_ref().is_some_and(|auth| !access::shows_credentials(auth, fields));
    missing.then_some((401, "unauthenticated"))
}

/// Returns the limit that a request exceeds, like in `serve`: status and reason.
fn beyond(
    policy: Option<&Policy>,
    target: &Target,
    fields: &Fields,
    body: u64,
    settings: &Settings,
) -> Option<(u16, &'static str)> {
    let limits = policy?.limits;
    let uri = target.length() as u64;
    if uri > limits.uri.get(settings) {
        return Some((414, "uri-too-long"));
    }
    if (fields.size() + 4 * fields.len()) as u64 + uri > limits.headers.get(settings) {
        return Some((431, "headers-too-large"));
    }
    (body > limits.body.get(settings)).then_some((413, "body-too-large"))
}
