//! `mirror`: sends copies of requests to another upstream.

use proxy_runtime::site::{self, ParamKind, Setting};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Policy, PolicyDescription};
use crate::ast::{self, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Prop};
use crate::model::Site;
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::value;

pub(crate) static MIRROR: Directive = Directive {
    name: "mirror",
    places: POLICY,
    args: "UPSTREAM",
    props: &[
        Prop::new("percent", "N", "The share of requests to copy, in percent. Default 100."),
        Prop::new(
            "body",
            "SIZE",
            "Requests with larger bodies, or bodies of unknown length, are not copied. Default `\"64KiB\"`.",
        ),
    ],
    body: None,
    repeats: false,
    summary: "Sends copies of requests to another upstream (traffic mirroring).",
    details: "\
Use it to test a new version with real requests. The copy is the request that the upstream of the route gets, with `-shadow` appended to the host;
its response is dropped. It is sent on a separate connection; the exchange never waits for it and does not fail
with it, but a body that is copied is received completely before it is forwarded. A worker has up to 100 copies in flight, each
for up to ten seconds; beyond that, and while the upstream has no available server, requests are not copied.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
}
upstream next {
    server "10.0.0.12:8080"
}
site example.com {
    mirror next percent=10
    proxy app
}
"#,
    read: |r| {
        Some(What::policy(Mirror {
            upstream: r.arg("an UPSTREAM", value::name)?,
            percent: r.prop("percent", value::integer(1, 100)),
            body: r.prop("body", value::size_within(0, value::MAX_KEPT_BODY)),
        }))
    },
};

/// `mirror`.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    upstream: Spanned<String>,
    percent: Option<Spanned<u64>>,
    body: Option<Spanned<ast::Setting<u64>>>,
}

impl Policy for Mirror {
    const NAME: &'static str = "mirror";
    const NEEDS_UPSTREAM: bool = true;

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        policy.mirror = layer.one::<Mirror>().and_then(|mirror| mirror.value.copied(check));
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        let mirror = of.route.policy.mirror.iter();
        let text = |mirror: &site::Mirror| {
            format!("{}, {} %", of.site.upstreams[usize::from(mirror.upstream)].name, mirror.percent)
        };
        of.lines(ExplainStep::Forward, Self::NAME, mirror.map(text))
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::values("mirror", Self::NAME)
    }
}

impl Mirror {
    fn copied(&self, check: &mut Check<'_>) -> Option<site::Mirror> {
        let upstream = check.upstreams.look_up("upstream", &self.upstream, check.report)?;
        if check.upstreams.entries[upstream].value.http2 {
            check.report.add(
                Diagnostic::error(
                    "contradiction",
                    "copies are sent over HTTP/1.1, and these servers use HTTP/2",
                    self.upstream.span,
                )
                .also(check.upstreams.entries[upstream].span, "the upstream")
                .help("declare another `upstream` for copies, without `http h2`"),
            );
        }
        Some(site::Mirror {
            upstream: check.upstream_index(upstream, self.upstream.span),
            percent: self.percent.as_ref().map_or(100, |percent| percent.value),
            body: check.or(self.body.as_ref(), ParamKind::Size, Setting::Fixed(64 << 10)),
        })
    }
}
