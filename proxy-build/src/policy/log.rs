//! `log`: the access log.

use proxy_runtime::context::template::{Piece, Template};
use proxy_runtime::site::{self, LogField};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Policy, PolicyDescription};
use crate::ast::{self, Item, What};
use crate::check::Check;
use crate::check::scope::{Phase, Scope};
use crate::declaration::{Directive, Place, Prop, ROOT_POLICY};
use crate::model::Site;
use crate::model::list;
use crate::source::Spanned;
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

const BRACES: Place = Place::Within("in `log`");

pub(crate) static LOG: Directive = Directive {
    name: "log",
    places: ROOT_POLICY,
    args: "access|off",
    props: &[Prop::new(
        "format",
        "json|combined|TEMPLATE",
        "One JSON object per line (default), Apache's combined format, or a line with placeholders.",
    )],
    body: Some(BRACES),
    repeats: false,
    summary: "Configures the access log, which has a line for each exchange on standard output.",
    details: "\
Without it there is no access log. Lines are buffered per worker and written by a separate thread, at most
50 ms later. If the reader is too slow, lines are dropped, counted and reported on standard error; logging never slows an
exchange. A format of your own may use `{time}`, `{bytes}`, `{duration}`, `{reason}`, `{protocol}`, `{server}` and
`{time.common}` besides the usual placeholders.

Clients cannot forge a line. In a format of your own, and in `combined`, quotes, backslashes and control characters of a value (C1 controls,
line separators and characters that reverse the direction of text included) are written as `\\xNN`, as in nginx; the literal text of the
format is unchanged. JSON is valid for any input. Header fields may have bytes that are not UTF-8: all formats write them as `\\xNN`, and
also a backslash that would read as the beginning of such an escape, so that different values are written differently.

An error response of the proxy's own has a `reason`: a word for its cause, the same
everywhere.",
    example: r#"
log access format=json {
    fields time client method host path status duration reason
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
site quiet.example.com {
    log off
    proxy "http://127.0.0.1:3000"
}
site plain.example.com {
    log access format="{time} {client.ip} {method} {path} {status} {duration}s"
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let off = r.arg("`access` or `off`", value::word(&[("access", false), ("off", true)]))?;
        let format = r.prop("format", log_format);
        let items = r.body();
        if !off.value {
            return Some(What::policy(Log::Access { format, items }));
        }
        let useless = format.map(|format| format.span).or_else(|| items.first().map(|item| item.span));
        if let Some(span) = useless {
            r.add(crate::report::Diagnostic::error("no-effect", "`log off` writes nothing: this has no effect", span));
        }
        Some(What::policy(Log::Off))
    },
};

pub(crate) static FIELDS: Directive = Directive {
    name: "fields",
    places: &[BRACES],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Chooses the members of a JSON log line.",
    details: "\
`time` (RFC 3339), `client`, `method`, `scheme`, `host`, `path` (normal form), `query`, `protocol`, `status`, `bytes` (of the response's
body), `duration` (seconds), `route`, `upstream`, `server`, `server-connections` (exchanges at the server when the request was sent),
`attempts` (the number of servers that were tried), `reason`, `detail` (more about the reason, such as why a TLS handshake failed), `cache`
and `cache-reason` (what the cache did, and why; see `cache`), `request-id`, `referer`, `user-agent`. Without `fields`: all but `scheme`,
`query`, `server-connections`, `attempts`, `request-id`, `referer` and `user-agent`. Members without a value are left out.",
    example: r#"
log access format=json {
    fields time client path status
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(LogMembers(r.some("a NAME", value::word(LogField::NAMES))))),
};

fn log_format(leaf: &Leaf) -> Parsed<LogFormat> {
    match &leaf.value {
        Scalar::Text(text) if text == "json" => Ok(LogFormat::Json),
        Scalar::Text(text) if text == "combined" => Ok(LogFormat::Combined),
        // Without a placeholder: a misspelt word, not a line that is equal for all exchanges.
        Scalar::Text(text) if !text.contains('{') => {
            Err(value::word(&[("json", ()), ("combined", ())])(leaf).unwrap_err())
        }
        _ => value::template(leaf).map(LogFormat::Template),
    }
}

/// `log`.
#[derive(Debug, Clone)]
pub(crate) enum Log {
    /// `log off`.
    Off,
    /// `log access`.
    Access {
        /// `format=`.
        format: Option<Spanned<LogFormat>>,
        /// `fields` lines.
        items: Vec<Item>,
    },
}

/// `log access format=`.
#[derive(Debug, Clone)]
pub(crate) enum LogFormat {
    /// `json`.
    Json,
    /// `combined`.
    Combined,
    /// A custom line.
    Template(ast::Template),
}

/// The members of a JSON line.
#[derive(Debug)]
struct LogMembers(Vec<Spanned<LogField>>);

// There is no `is_off`: `log off` only states the default.
impl Policy for Log {
    const NAME: &'static str = "log";

    fn check(check: &mut Check<'_>, layer: &Layer, scope: &Scope, policy: &mut site::Policy) {
        policy.log = layer.one::<Log>().map_or(site::Log::Off, |log| log.value.made(check, scope));
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        match &of.route.policy.log {
            site::Log::Off => vec![ExplainLine::new(ExplainStep::Finish, Self::NAME, "off")],
            site::Log::Json(_) => of.lines(ExplainStep::Finish, Self::NAME, ["json"]),
            site::Log::Template(_) => of.lines(ExplainStep::Finish, Self::NAME, ["template"]),
        }
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::values("log", Self::NAME)
    }
}

impl Log {
    fn made(&self, check: &mut Check<'_>, scope: &Scope) -> site::Log {
        let Log::Access { format, items } = self else { return site::Log::Off };
        let format_value = format.as_ref().map(|format| &format.value);
        if let (Some(item), Some(LogFormat::Combined | LogFormat::Template(_))) = (items.first(), format_value) {
            check.error("no-effect", "`fields` has no effect: it chooses the members of format=json", item.span);
        }
        match format_value {
            None | Some(LogFormat::Json) => {
                let chosen = items.iter().find_map(Item::line::<LogMembers>);
                let chosen = chosen.map(|members| members.0.iter().map(|field| field.value).collect());
                let fields = chosen.unwrap_or_else(|| DEFAULT_FIELDS.to_vec());
                site::Log::Json(list(fields))
            }
            Some(LogFormat::Combined) => site::Log::Template(Template { pieces: list(combined()) }),
            Some(LogFormat::Template(template)) => match check.template(template, scope, Phase::Log) {
                Some(template) => site::Log::Template(template),
                None => site::Log::Off,
            },
        }
    }
}

const DEFAULT_FIELDS: &[LogField] = &[
    LogField::Time,
    LogField::Client,
    LogField::Method,
    LogField::Host,
    LogField::Path,
    LogField::Protocol,
    LogField::Status,
    LogField::Bytes,
    LogField::Duration,
    LogField::Route,
    LogField::Upstream,
    LogField::Server,
    LogField::Reason,
    LogField::Detail,
    LogField::Rule,
    LogField::Cache,
    LogField::CacheReason,
];

/// Apache's combined log format.
fn combined() -> Vec<Piece> {
    let text = |text: &'static str| Piece::Text(text.into());
    vec![
        Piece::ClientIp,
        text(" - "),
        Piece::User,
        text(" ["),
        Piece::TimeCommon,
        text("] \""),
        Piece::Method,
        text(" "),
        Piece::PathAndQuery,
        text(" "),
        Piece::Protocol,
        text("\" "),
        Piece::Status,
        text(" "),
        Piece::Bytes,
        text(" \""),
        Piece::Header("referer".into()),
        text("\" \""),
        Piece::Header("user-agent".into()),
        text("\""),
    ]
}
