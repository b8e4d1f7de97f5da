//! `fault`: fault injection, which delays or refuses requests.

use std::time::Duration;

use proxy_runtime::site::{self, ParamKind, Setting};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Policy, PolicyDescription};
use crate::ast::{self, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Prop};
use crate::model::Site;
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};
use crate::value;

pub(crate) static FAULT: Directive = Directive {
    name: "fault",
    places: POLICY,
    args: "",
    props: &[
        Prop::new("delay", "DURATION", "Delays requests by this time."),
        Prop::new("delay-percent", "N", "The share of requests to delay, in percent. Default 100."),
        Prop::new("abort", "STATUS", "Refuses requests with this status."),
        Prop::new("abort-percent", "N", "The share of requests to refuse, in percent. Default 100."),
    ],
    body: None,
    repeats: false,
    summary: "Delays or fails a share of the requests (fault injection).",
    details: "\
It acts before any handler; a request may be delayed and then refused. Refused requests are logged with the reason
`fault`. A lint reports this directive, so that it is not forgotten; with a `(param)` the share can be given at start, and be 0.",
    example: r#"
param share type=number default="0"
lint allow fault
site example.com {
    fault delay="300ms" delay-percent=(param)share abort=503 abort-percent=(param)share
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let fault = Fault {
            delay: r.prop("delay", value::setting(value::duration)),
            delay_percent: r.prop("delay-percent", value::number(0, 100)),
            abort: r.prop("abort", value::status),
            abort_percent: r.prop("abort-percent", value::number(0, 100)),
        };
        Some(What::policy(fault))
    },
};

/// `fault`.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    delay: Option<Spanned<ast::Setting<Duration>>>,
    delay_percent: Option<Spanned<ast::Setting<u64>>>,
    abort: Option<Spanned<u16>>,
    abort_percent: Option<Spanned<ast::Setting<u64>>>,
}

impl Policy for Fault {
    const NAME: &'static str = "fault";
    const NEEDS_ALL: bool = true;

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        policy.fault = layer.one::<Fault>().and_then(|fault| fault.value.drill(check, fault.span));
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        of.lines(ExplainStep::Access, Self::NAME, of.route.policy.fault.iter().map(|_| ""))
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::values("fault", Self::NAME)
    }
}

impl Fault {
    fn drill(&self, check: &mut Check<'_>, span: Span) -> Option<site::Fault> {
        for (share, of, what) in
            [(&self.delay_percent, self.delay.is_some(), "delay"), (&self.abort_percent, self.abort.is_some(), "abort")]
        {
            if let Some(share) = share.as_ref().filter(|_| !of) {
                let message = format!("`{what}-percent` has no effect: there is no `{what}`");
                check.error("no-effect", message, share.span);
            }
        }
        if self.delay.is_none() && self.abort.is_none() {
            check.report.add(
                Diagnostic::error("no-effect", "this does nothing", span)
                    .help(Help::beside(span, "delay=\"300ms\""))
                    .help(Help::beside(span, "abort=503")),
            );
            return None;
        }
        check.report.add(
            Diagnostic::lint("fault", "requests are delayed or refused here, on purpose", span)
                .help(check.allowed("for a test", "fault")),
        );
        let all = |given: bool| Setting::Fixed(if given { 100 } else { 0 });
        Some(site::Fault {
            delay: check.or(self.delay.as_ref(), ParamKind::Duration, Setting::Fixed(Duration::ZERO)),
            delay_percent: check.or(self.delay_percent.as_ref(), ParamKind::Number, all(self.delay.is_some())),
            abort: self.abort.as_ref().map_or(503, |status| status.value),
            abort_percent: check.or(self.abort_percent.as_ref(), ParamKind::Number, all(self.abort.is_some())),
        })
    }
}
