//! `rate-limit`: limits the rate of requests.

use std::time::Duration;

use proxy_runtime::site::{self};

use super::counted::{BY, CountedBy, IPV4, IPV6, refusal};
use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Merge, Policy, PolicyDescription};
use crate::ast::{Rate, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Prop};
use crate::model::Route;
use crate::model::Site;
use crate::model::list;
use crate::source::{Span, Spanned};
use crate::syntax::Leaf;
use crate::value::{self, Parsed};
use crate::wording;

pub(crate) static RATE_LIMIT: Directive = Directive {
    name: "rate-limit",
    places: POLICY,
    args: "RATE|off",
    props: &[
        Prop::new(
            "burst",
            "N",
            "The number of requests that may arrive at once, after a pause. Default: the number in RATE.",
        ),
        Prop::new("by", "TEXT", BY),
        Prop::new("ipv4-prefix", "N", IPV4),
        Prop::new("ipv6-prefix", "N", IPV6),
        Prop::new(
            "delay",
            "DURATION",
            "The longest delay for requests that arrive too early, up to a minute; requests that would need a \
             longer one are refused. Default: no delay.",
        ),
        Prop::new("status", "429|503", "The status of a refusal. Default 429."),
        Prop::new("keys", "N", "The number of clients that are counted at a time, 8 to 16777216. Default 65536."),
    ],
    body: None,
    repeats: true,
    summary: "Limits the rate of requests.",
    details: "\
`RATE` is a number per `s`, `m`, `h` or `d`, as in `\"50/s\"`. The scope of a limit is the place where it is written: a limit in a site
counts the requests of all its routes together, one in a route those of that route, one in a preset those of all its users. All limits
of a request must let it pass: a route's limit applies in addition to its site's. `rate-limit off` turns off the outer limits.

The algorithm is GCRA (generic cell rate algorithm): the rate applies at every moment, without windows in which twice as much could pass. A
refusal has `Retry-After`, `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), and the reason `rate-limited` in
the log. All workers share the counts. The memory is eight bytes for each of `keys`; when there are more clients than that, those that have
been idle longest are forgotten first.",
    example: r#"
site example.com {
    rate-limit "50/s" burst=100
    route "/login" {
        rate-limit "5/m" delay="2s"
        proxy "http://127.0.0.1:3000"
    }
    route "/*" {
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| {
        let rate = r.arg("a RATE", value::rate)?;
        let limit = RateLimit {
            rate: rate.value.map(|value| Spanned { value, span: rate.span }),
            burst: r.prop("burst", value::integer(1, 1_000_000)),
            by: CountedBy::read(r),
            delay: r.prop("delay", short),
            status: r.prop("status", refusal),
            keys: r.prop("keys", value::integer(8, 1 << 24)),
        };
        Some(What::policy(limit))
    },
};

/// Parses a short duration: a delayed request occupies a connection.
fn short(leaf: &Leaf) -> Parsed<Duration> {
    let delay = value::duration(leaf)?;
    if delay <= Duration::from_secs(60) {
        return Ok(delay);
    }
    Err(value::Problem {
        code: "out-of-range",
        message: "a request is delayed for a minute at most".to_owned(),
        help: Vec::new(),
        part: None,
    })
}

/// `rate-limit`; `None` for `off`.
#[derive(Debug, Clone)]
pub(crate) struct RateLimit {
    rate: Option<Spanned<Rate>>,
    burst: Option<Spanned<u64>>,
    by: CountedBy,
    delay: Option<Spanned<Duration>>,
    status: Option<Spanned<u16>>,
    keys: Option<Spanned<u64>>,
}

impl Policy for RateLimit {
    const NAME: &'static str = "rate-limit";
    const MERGE: Merge<Self> = Merge::All;

    fn is_off(&self) -> bool {
        self.rate.is_none()
    }

    fn check(check: &mut Check<'_>, layer: &Layer, scope: &Scope, policy: &mut site::Policy) {
        let limits = layer.all::<RateLimit>().iter();
        let limits: Vec<_> = limits.filter_map(|limit| limit.value.made(check, limit.span, scope)).collect();
        if !limits.is_empty() {
            policy.access.get_or_insert_default().rate_limits = list(limits);
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        of.lines(ExplainStep::Access, Self::NAME, said(of.site, &of.route.policy))
    }

    fn guards(route: &Route) -> Vec<String> {
        let any = route.policy.access.as_ref().is_some_and(|access| !access.rate_limits.is_empty());
        any.then(|| Self::NAME.to_owned()).into_iter().collect()
    }

    fn diff(site: &Site, policy: &site::Policy) -> PolicyDescription {
        PolicyDescription::lines("access", Self::NAME, said(site, policy))
    }
}

/// Returns the description of the policy.
fn said(site: &Site, policy: &site::Policy) -> Vec<String> {
    let limits = policy.access.iter().flat_map(|access| access.rate_limits.iter());
    let text = |limit: &site::RateLimit| {
        let (rate, by) = (wording::rate(limit.interval), wording::by(site, &limit.by));
        let delay = (!limit.delay.is_zero()).then(|| format!(" delay={}", wording::duration(limit.delay)));
        format!("{rate} burst={} by={by}{}", limit.burst, delay.unwrap_or_default())
    };
    limits.map(text).collect()
}

impl RateLimit {
    fn made(&self, check: &mut Check<'_>, span: Span, scope: &Scope) -> Option<site::RateLimit> {
        let Some(Spanned { value: rate, .. }) = self.rate else {
            let others = [
                ("burst", self.burst.as_ref().map(|value| value.span)),
                ("delay", self.delay.as_ref().map(|value| value.span)),
                ("status", self.status.as_ref().map(|value| value.span)),
                ("keys", self.keys.as_ref().map(|value| value.span)),
            ];
            self.by.nothing_beside_off(check, others);
            return None;
        };
        let (by, identified) = self.by.made(check, scope)?;
        Some(site::RateLimit {
            id: check.number(Self::NAME, span),
            interval: rate.per / rate.count,
            burst: self.burst.as_ref().map_or(rate.count, |burst| burst.value as u32),
            identified,
            by,
            delay: self.delay.as_ref().map_or(Duration::ZERO, |delay| delay.value),
            status: self.status.as_ref().map_or(429, |status| status.value),
            keys: self.keys.as_ref().map_or(1 << 16, |keys| keys.value),
        })
    }
}
