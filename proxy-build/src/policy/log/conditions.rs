//! Conditions of the access log: `when` and `sample`.

use std::time::Duration;

use proxy_runtime::context::settings;
use proxy_runtime::site::LogCondition;

use super::directives::BRACES;
use crate::ast::What;
use crate::check::Check;
use crate::check::scope::Scope;
use crate::code::reasons::{self, ReasonKind};
use crate::declaration::{Directive, Prop};
use crate::nearest::nearest;
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed, problem};

pub(crate) static WHEN: Directive = Directive {
    name: "when",
    places: &[BRACES],
    args: "",
    props: &[
        Prop::new(
            "status",
            "STATUS",
            "A status, as in `404`, a class, as in `\"5xx\"`, or a range, as in `\"500-504\"`.",
        ),
        Prop::new("reason", "REASON", "The reason of an error, as the log has it; `any` is any of them."),
        Prop::new("duration", "COMPARISON", "How long the exchange took: `\">=1s\"` or `\"<1s\"`."),
        Prop::new("route", "PATTERN", "The pattern of the route, as it is written there."),
    ],
    body: None,
    repeats: true,
    summary: "Writes only exchanges of some kind to the access log.",
    details: "All properties of a line must hold, and of several lines one.",
    example: r#"
log access {
    when status="5xx"
    when reason=any duration=">=1s"
    when route="/api/*"
}
site example.com {
    route "/api/*" {
        proxy "http://127.0.0.1:3000"
    }
    route "/*" {
        respond 200 "hello\n"
    }
}
"#,
    read: |r| {
        r.some_property();
        Some(What::line(When {
            status: r.prop("status", statuses),
            reason: r.prop("reason", reason),
            duration: r.prop("duration", comparison),
            route: r.prop("route", value::pattern).map(|route| Spanned { value: route.value.text, span: route.span }),
        }))
    },
};

pub(crate) static SAMPLE: Directive = Directive {
    name: "sample",
    places: &[BRACES],
    args: "PERCENT",
    props: &[],
    body: None,
    repeats: false,
    summary: "Writes a share of the exchanges to the access log, chosen at random.",
    details: "\
From `\"0%\"` to below `\"100%\"`, with up to four decimals. Exchanges with a status from 500 on, or with a `reason`, are always written.",
    example: r#"
log access {
    sample "1%"
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(LogSample(r.arg("a PERCENT", percent)?.value))),
};

/// `when`.
#[derive(Debug)]
pub(super) struct When {
    status: Option<Spanned<(u16, u16)>>,
    reason: Option<Spanned<String>>,
    duration: Option<Spanned<Comparison>>,
    route: Option<Spanned<String>>,
}

/// `sample`, out of a million.
#[derive(Debug)]
pub(super) struct LogSample(pub(super) u32);

#[derive(Debug, Clone, Copy)]
enum Comparison {
    Minimum(Duration),
    Below(Duration),
}

fn statuses(leaf: &Leaf) -> Parsed<(u16, u16)> {
    let Scalar::Text(text) = &leaf.value else {
        return value::integer(100, 599)(leaf).map(|status| (status as u16, status as u16));
    };
    value::text(leaf)?;
    let status = |text: &str| text.parse::<u16>().ok().filter(|status| text.len() == 3 && (100..=599).contains(status));
    let class =
        text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()).filter(|class| (1..=5).contains(class));
    let range = text.split_once('-').and_then(|(first, last)| Some((status(first)?, status(last)?)));
    let found = class.map(|class| (100 * class, 100 * class + 99)).or(range.filter(|(first, last)| first <= last));
    found.or_else(|| status(text).map(|status| (status, status))).ok_or_else(|| {
        problem("bad-status", format!("`{text}` is not a status, a class or a range of statuses"))
            .help("statuses are as in 404, \"5xx\" or \"500-504\"")
    })
}

fn reason(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    let known = || reasons::all().filter(|reason| reason.kind == ReasonKind::Log).map(|reason| reason.name);
    if found == "any" || known().any(|reason| reason == found) {
        return Ok(found);
    }
    let wrong = problem("unknown-value", format!("there is no reason `{found}`"));
    Err(match nearest(&found, known().chain(["any"])) {
        Some(near) => wrong.write(near),
        None => wrong.help("docs/reasons.md lists them; `any` is any of them"),
    })
}

fn comparison(leaf: &Leaf) -> Parsed<Comparison> {
    let found = value::text(leaf)?;
    let (compare, rest): (fn(Duration) -> Comparison, &str) = match (found.strip_prefix(">="), found.strip_prefix('<'))
    {
        (Some(rest), _) => (Comparison::Minimum, rest),
        (_, Some(rest)) => (Comparison::Below, rest),
        _ => {
            let wrong = problem("bad-duration", "a duration is compared here");
            return Err(match settings::duration(&found) {
                Ok(_) => wrong.write_text(&format!(">={found}")).write_text(&format!("<{found}")),
                Err(_) => wrong.help("write it as in \">=1s\" or \"<1s\""),
            });
        }
    };
    match settings::duration(rest) {
        Ok(Duration::ZERO) => Err(problem("bad-duration", "this says nothing: no exchange takes less than no time")),
        Ok(duration) => Ok(compare(duration)),
        Err(reason) => Err(problem("bad-duration", reason)),
    }
}

/// Parses a percentage such as `"0.5%"`, as a share of a million.
fn percent(leaf: &Leaf) -> Parsed<u32> {
    const ALL: u32 = 100;
    let expected = || problem("value-type", "a share in percent is expected here, as in \"1%\" or \"0.01%\"");
    if let Scalar::Integer(number @ 0..=99, _) = &leaf.value {
        return Err(expected().write_text(&format!("{number}%")));
    }
    let found = value::text(leaf)?;
    let number = found.strip_suffix('%').ok_or_else(expected)?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 3
        || decimals.len() > 4
        || !digits(whole)
        || !digits(decimals)
        || number.ends_with('.')
    {
        return Err(expected());
    }
    match (whole.parse::<u32>(), format!("{decimals:0<4}").parse::<u32>()) {
        (Ok(whole), Ok(decimals)) if whole < ALL => Ok(10_000 * whole + decimals),
        _ => Err(problem("out-of-range", "a sample is less than 100%: without `sample`, all are written")),
    }
}

impl When {
    pub(super) fn made(&self, check: &mut Check<'_>, scope: &Scope) -> LogCondition {
        if let Some(route) = &self.route {
            let acts = scope.pattern.as_ref() == Some(&route.value);
            check.note_act(route.span, acts, || {
                let message = format!("no route with this log has the pattern `{route}`: this condition never holds");
                Diagnostic::error("no-effect", message, route.span)
                    .help("it is a pattern as the route has it, as in \"/api/*\"")
            });
        }
        let duration = self.duration.as_ref().map(|duration| duration.value);
        LogCondition {
            status: self.status.as_ref().map(|status| status.value),
            reason: self.reason.as_ref().map(|reason| reason.value.clone().into()),
            at_least: duration
                .and_then(|found| if let Comparison::Minimum(least) = found { Some(least) } else { None }),
            below: duration.and_then(|found| if let Comparison::Below(below) = found { Some(below) } else { None }),
            route: self.route.as_ref().map(|route| route.value.clone().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(text: &str) -> Leaf {
        let mut sources = crate::source::Sources::default();
        let file = sources.add("t.kdl".into(), "t.kdl".into(), format!("n \"{text}\""));
        crate::syntax::parse(&sources, file, &mut crate::report::Report::default())[0].args[0].clone()
    }

    #[test]
    fn shares_of_samples() {
        let check = |text: &str, expected: Option<u32>| assert_eq!(percent(&leaf(text)).ok(), expected, "{text}");
        check("1%", Some(10_000));
        check("0.01%", Some(100));
        check("0%", Some(0));
        check("99.9999%", Some(999_999));
        for wrong in ["100%", "1", "%", ".5%", "1.%", "0.00001%", "-1%", "1e1%", "1000%", ""] {
            check(wrong, None);
        }
    }

    #[test]
    fn ranges_of_statuses() {
        let check =
            |text: &str, expected: Option<(u16, u16)>| assert_eq!(statuses(&leaf(text)).ok(), expected, "{text}");
        check("5xx", Some((500, 599)));
        check("404", Some((404, 404)));
        check("500-504", Some((500, 504)));
        for wrong in ["6xx", "0xx", "xx", "50x", "504-500", "99", "600", "500-", "+500", ""] {
            check(wrong, None);
        }
    }
}
