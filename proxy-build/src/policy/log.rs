//! `log`: the access log of a route, and of all sites. The files of the folder have its directives, the members of a line, outputs,
//! conditions, and the error log.

pub(crate) mod conditions;
pub(crate) mod directives;
mod errors;
pub(crate) mod members;
pub(crate) mod outputs;
pub(crate) mod shown;

use proxy_runtime::context::template::Template;
use proxy_runtime::site::{self, EVERY, LogField, LogFormat};

use self::conditions::{LogSample, When};
use self::members::{Fields, Rename};
use self::outputs::To;
use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Policy, PolicyDescription};
use crate::ast::{self, Item};
use crate::check::Check;
use crate::check::scope::{Phase, Scope};
use crate::model::{Site, list};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

/// `log`, as written in a site or route, or at the top level.
#[derive(Debug, Clone)]
pub(crate) enum Log {
    /// `log off`.
    Off,
    /// `log access`.
    Access(WrittenLog),
}

/// `log access`.
#[derive(Debug, Clone)]
pub(crate) struct WrittenLog {
    /// The value of `format=`.
    format: Option<Spanned<WrittenFormat>>,
    /// Whether `names=` is `ecs`.
    ecs: Option<Spanned<bool>>,
    /// The lines in its braces.
    items: Vec<Item>,
}

/// The value of `log access format=`.
#[derive(Debug, Clone)]
pub(crate) enum WrittenFormat {
    /// `json`.
    Json,
    /// `combined`.
    Combined,
    /// A custom line.
    Template(ast::Template),
}

// There is no `is_off`: `log off` only states the default.
impl Policy for Log {
    const NAME: &'static str = "log";

    fn check_place(check: &mut Check<'_>, said: &[Spanned<Log>]) {
        let [first, others @ ..] = said else { return };
        for other in others {
            let message = "the access log is configured twice here, and one of them would have no effect";
            let help = "one `log access` may have several outputs, as in: to file \"/var/log/access.log\"";
            let found = Diagnostic::error("duplicate-node", message, other.span).label("the second");
            check.report.add(found.also(first.span, "the first").help(help));
        }
    }

    fn check(check: &mut Check<'_>, layer: &Layer, scope: &Scope, policy: &mut site::Policy) {
        policy.log = layer.one::<Log>().and_then(|log| match &log.value {
            Log::Off => None,
            Log::Access(written) => written.made(check, log.span, scope),
        });
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        match &of.route.policy.log {
            None => vec![ExplainLine::new(ExplainStep::Finish, Self::NAME, "off")],
            Some(log) => of.lines(ExplainStep::Finish, Self::NAME, [shown::explained(of.site, log)]),
        }
    }

    fn diff(site: &Site, policy: &site::Policy) -> PolicyDescription {
        let words = policy.log.as_ref().map(|log| shown::described(site, log));
        PolicyDescription::words("log", words.unwrap_or_default())
    }
}

impl WrittenLog {
    fn made(&self, check: &mut Check<'_>, span: Span, scope: &Scope) -> Option<site::Log> {
        let format = match self.format.as_ref().map(|format| &format.value) {
            None | Some(WrittenFormat::Json) => {
                LogFormat::Json(members::made(check, &self.items, self.ecs.as_ref().is_some_and(|ecs| ecs.value)))
            }
            Some(WrittenFormat::Combined) => {
                self.without_members(check);
                LogFormat::Template(Template { pieces: list(members::combined()) })
            }
            Some(WrittenFormat::Template(template)) => {
                self.without_members(check);
                members::keeps_secrets(check, template);
                LogFormat::Template(check.template(template, scope, Phase::Log)?)
            }
        };
        let has = |of: &[LogField]| match &format {
            LogFormat::Json(members) => members.list.iter().any(|member| of.contains(&member.field)),
            LogFormat::Template(_) => false,
        };
        let (timed, of_response) =
            (has(&[LogField::FirstByte, LogField::ServerDuration]), has(&[LogField::ResponseHeader]));
        let when: Vec<_> =
            self.items.iter().filter_map(Item::line::<When>).map(|when| when.made(check, scope)).collect();
        let sample = self.items.iter().find_map(Item::line::<LogSample>).map_or(EVERY, |sample| sample.0);
        let outputs = outputs::of_access(check, &self.items, span);
        Some(site::Log { format, outputs: list(outputs), when: list(when), sample, timed, of_response })
    }

    /// Reports lines about members, which have no effect in other formats.
    fn without_members(&self, check: &mut Check<'_>) {
        if let Some(ecs) = &self.ecs {
            check.error("no-effect", "`names` has no effect: it is about the members of format=json", ecs.span);
        }
        for item in &self.items {
            let name = match (item.line::<Fields>(), item.line::<Rename>()) {
                (Some(_), _) => "fields",
                (_, Some(_)) => "rename",
                _ => continue,
            };
            let message = format!("`{name}` has no effect: it is about the members of format=json");
            check.error("no-effect", message, item.span);
        }
    }

    /// Returns the `to` lines with their spans.
    fn outputs(items: &[Item]) -> impl Iterator<Item = (&To, Span)> {
        items.iter().filter_map(|item| Some((item.line::<To>()?, item.span)))
    }
}
