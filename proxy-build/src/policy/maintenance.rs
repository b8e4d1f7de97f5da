//! `maintenance`: refuses all requests while a file exists.

use std::time::Duration;

use proxy_runtime::site::{self, ParamKind};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Policy, PolicyDescription};
use crate::ast::{self, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Prop};
use crate::model::Route;
use crate::model::Site;
use crate::source::{Span, Spanned};
use crate::value;
use crate::wording;

pub(crate) static MAINTENANCE: Directive = Directive {
    name: "maintenance",
    places: POLICY,
    args: "",
    props: &[
        Prop::new("when", "PATH", "The file; with `(param)NAME` it is given at start."),
        Prop::new("retry-after", "DURATION", "The value of `Retry-After`. Default: none."),
    ],
    body: None,
    repeats: false,
    summary: "Refuses all requests while a file exists (maintenance mode).",
    details: "\
The response is a 503 with the page of `error-page 503`, and the reason in the log is `maintenance`. This check comes before all others. The
proxy looks for the file once a second: `touch` it, and remove it when the work is done. No restart or reload is needed.",
    example: r#"
site example.com {
    maintenance when="/run/site/maintenance" retry-after="5m"
    error-page 503 (file)"/etc/site/back-soon.html"
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::policy(Maintenance {
            when: r.required("when", value::setting(value::text))?,
            retry_after: r.prop("retry-after", value::setting(value::duration)),
        }))
    },
};

/// `maintenance`.
#[derive(Debug, Clone)]
pub(crate) struct Maintenance {
    when: Spanned<ast::Setting<String>>,
    retry_after: Option<Spanned<ast::Setting<Duration>>>,
}

impl Policy for Maintenance {
    const NAME: &'static str = "maintenance";

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        if let Some(made) = layer.one::<Maintenance>().and_then(|written| written.value.made(check, written.span)) {
            policy.access.get_or_insert_default().maintenance = Some(made);
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        of.lines(ExplainStep::Access, Self::NAME, said(of.site, &of.route.policy))
    }

    fn guards(route: &Route) -> Vec<String> {
        let any = route.policy.access.as_ref().is_some_and(|access| access.maintenance.is_some());
        any.then(|| Self::NAME.to_owned()).into_iter().collect()
    }

    fn diff(site: &Site, policy: &site::Policy) -> PolicyDescription {
        PolicyDescription::lines("access", Self::NAME, said(site, policy))
    }
}

/// Returns the description of the policy.
fn said(site: &Site, policy: &site::Policy) -> Vec<String> {
    let maintenance = policy.access.as_ref().and_then(|access| access.maintenance.as_ref());
    maintenance.map(|it| wording::setting(site, &it.when, ToString::to_string)).into_iter().collect()
}

impl Maintenance {
    fn made(&self, check: &mut Check<'_>, span: Span) -> Option<site::Maintenance> {
        Some(site::Maintenance {
            id: check.number(Self::NAME, span),
            when: check.absolute_path(&self.when)?,
            retry_after: match &self.retry_after {
                Some(after) => Some(check.setting(after, ParamKind::Duration)?),
                None => None,
            },
        })
    }
}
