//! `concurrency-limit`: limits a client's concurrent requests.

use proxy_runtime::site::{self, ParamKind};

use super::counted::{BY, CountedBy, IPV4, IPV6, refusal};
use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Merge, Policy, PolicyDescription};
use crate::ast::{self, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Prop};
use crate::model::Route;
use crate::model::Site;
use crate::model::list;
use crate::source::{Span, Spanned};
use crate::syntax::Scalar;
use crate::value::{self};
use crate::wording;

pub(crate) static IN_FLIGHT: Directive = Directive {
    name: "concurrency-limit",
    places: POLICY,
    args: "N|off",
    props: &[
        Prop::new("by", "TEXT", BY),
        Prop::new("ipv4-prefix", "N", IPV4),
        Prop::new("ipv6-prefix", "N", IPV6),
        Prop::new("status", "429|503", "The status of a refusal. Default 429."),
    ],
    body: None,
    repeats: true,
    summary: "Limits the concurrent requests of a client.",
    details: "\
A request counts until the last byte of its response is sent; downloads count, and so does each HTTP/2 stream. As with
`rate-limit`, the scope of a limit is the place where it is written, all limits apply, and `concurrency-limit off` turns off the outer
ones. The reason in the log is `too-many-in-flight`. `limits per-client` limits a client's connections.",
    example: r#"
site example.com {
    route "/downloads/*" {
        concurrency-limit 4
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| {
        let off = matches!(r.peek().map(|leaf| &leaf.value), Some(Scalar::Text(word)) if word == "off");
        let most = match off {
            true => r.arg("N", value::word(&[("off", ())])).map(|_| None)?,
            false => Some(r.arg("a number N", value::number(1, 1 << 24))?),
        };
        let limit = InFlight { most, by: CountedBy::read(r), status: r.prop("status", refusal) };
        Some(What::policy(limit))
    },
};

/// `concurrency-limit`; `None` for `off`.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    most: Option<Spanned<ast::Setting<u64>>>,
    by: CountedBy,
    status: Option<Spanned<u16>>,
}

impl Policy for InFlight {
    const NAME: &'static str = "concurrency-limit";
    const MERGE: Merge<Self> = Merge::All;

    fn is_off(&self) -> bool {
        self.most.is_none()
    }

    fn check(check: &mut Check<'_>, layer: &Layer, scope: &Scope, policy: &mut site::Policy) {
        let limits = layer.all::<InFlight>().iter();
        let limits: Vec<_> = limits.filter_map(|limit| limit.value.made(check, limit.span, scope)).collect();
        if !limits.is_empty() {
            policy.access.get_or_insert_default().in_flight = list(limits);
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        of.lines(ExplainStep::Access, Self::NAME, said(of.site, &of.route.policy))
    }

    fn guards(route: &Route) -> Vec<String> {
        let any = route.policy.access.as_ref().is_some_and(|access| !access.in_flight.is_empty());
        any.then(|| Self::NAME.to_owned()).into_iter().collect()
    }

    fn diff(site: &Site, policy: &site::Policy) -> PolicyDescription {
        PolicyDescription::lines("access", Self::NAME, said(site, policy))
    }
}

/// Returns the description of the policy.
fn said(site: &Site, policy: &site::Policy) -> Vec<String> {
    let limits = policy.access.iter().flat_map(|access| access.in_flight.iter());
    let most = |limit: &site::InFlight| wording::setting(site, &limit.most, ToString::to_string);
    limits.map(|limit| format!("{} by={}", most(limit), wording::by(site, &limit.by))).collect()
}

impl InFlight {
    fn made(&self, check: &mut Check<'_>, span: Span, scope: &Scope) -> Option<site::InFlight> {
        let Some(most) = &self.most else {
            self.by.nothing_beside_off(check, [("status", self.status.as_ref().map(|value| value.span))]);
            return None;
        };
        let (by, identified) = self.by.made(check, scope)?;
        Some(site::InFlight {
            id: check.number(Self::NAME, span),
            most: check.setting(most, ParamKind::Number)?,
            identified,
            by,
            status: self.status.as_ref().map_or(429, |status| status.value),
        })
    }
}
