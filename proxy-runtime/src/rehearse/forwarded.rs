//! The request as the upstream would receive it, and what the cache would do.

use super::outcome::{RehearsalOutcome, pairs, text};
use super::rules::SiteRules;
use crate::cache::key::PassReason;
use crate::cache::{device, key};
use crate::context::facts::Facts;
use crate::filter::Outgoing;
use crate::protocol::target::Target;
use crate::router::route::RouteId;
use crate::site::{NormalForm, Policy};

/// Adds the forwarded request to the outcome.
pub(super) fn forward(
    rules: &impl SiteRules,
    route: RouteId,
    form: NormalForm,
    (target, has_body): (&Target, bool),
    facts: &Facts<'_>,
    outcome: &mut RehearsalOutcome,
) {
    outcome.upstream = Some(facts.upstream.to_owned());
    let form = rules.policy(route).map_or(form, |policy| policy.form(form));
    let mut headers = facts.fields.clone();
    let cache = rules.policy(route).and_then(|policy| policy.cache.as_ref());
    let sent = cache.and_then(|cache| key::sent(cache, facts, has_body));
    let mut out = Outgoing::of(target, sent.as_deref(), &mut headers);
    rules.filter(route, &mut out, facts);
    let is_raw = out.raw && !target.is_canonical();
    match out.target(target, form) {
        Ok(path) => outcome.upstream_path = Some(path),
        Err(_) => {
            outcome.status = Some(400);
            outcome.reason = Some("bad-rewrite");
        }
    }
    if let Some(device) = rules.policy(route).and_then(|policy| policy.cache.as_ref()?.key.device.as_ref()) {
        device::announce(device, facts.fields, &mut headers);
    }
    outcome.upstream_headers = pairs(&headers);
    cached(rules.policy(route), facts, (has_body, is_raw), outcome);
}

/// Adds what an empty cache would do. `is_raw`: the server receives the target in another form than the canonical one.
fn cached(
    policy: Option<&Policy>,
    facts: &Facts<'_>,
    (has_body, is_raw): (bool, bool),
    outcome: &mut RehearsalOutcome,
) {
    let Some(cache) = policy.and_then(|policy| policy.cache.as_ref()) else {
        outcome.cache = Some(("off", ""));
        return;
    };
    if let Some(pass) = key::passes(cache, facts, has_body).or(is_raw.then_some(PassReason::Raw)) {
        outcome.cache = Some(("pass", pass.reason()));
        return;
    }
    let (mut url, mut variant) = (String::new(), Vec::new());
    key::url(&cache.key, facts, &mut url);
    key::variant(&cache.key, std::iter::empty(), facts.fields, &mut variant);
    // A route's number is internal.
    let said = variant.split(|&byte| byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"route "));
    outcome.cache = Some(("lookup", ""));
    outcome.cache_key = Some(said.fold(url, |key, line| key + " " + &text(line)));
}
