//! The directive `log`. Other files of this folder have the lines in its braces.

use proxy_runtime::site::LogLevel;

use super::{Log, WrittenFormat, WrittenLog};
use crate::ast::{self, Top, What};
use crate::declaration::{Directive, Place, Prop, ROOT_POLICY, Reading};
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

pub(super) const BRACES: Place = Place::Within("in `log`");

/// The kind of a `log`.
#[derive(Clone, Copy)]
enum LogKind {
    Access,
    Errors,
    Off,
}

pub(crate) static LOG: Directive = Directive {
    name: "log",
    places: ROOT_POLICY,
    args: "access|errors|off",
    props: &[
        Prop::new(
            "format",
            "json|combined|text|TEMPLATE",
            "One JSON object per line (default of `access`), Apache's combined format, or a line with placeholders. For `errors`: `text` \
             (default) or `json`.",
        ),
        Prop::new(
            "names",
            "own|ecs",
            "Names of the members of a JSON line: Kiln's own (default), or those of the Elastic Common Schema. For `access`.",
        ),
        Prop::new("level", "error|warn|info", "What is written to the error log: this level, and those before it. Default `info`."),
    ],
    body: Some(BRACES),
    repeats: true,
    summary: "Configures the access log, which has a line for each exchange, and the error log.",
    details: "\
Without `log access` there is no access log; a `log` in a site or route takes the place of the one around it, as a whole. Lines go to standard
output unless [`to`](#to-in-log) says otherwise. They are buffered per worker and written by a separate thread, at most
50 ms later. If an output is too slow, lines are dropped, counted and reported in the error log; logging never slows an
exchange. A format of your own may use `{time}`, `{bytes}`, `{duration}`, `{reason}`, `{protocol}`, `{server}` and
`{time.common}` besides the usual placeholders.

`log errors` stands at the top level. It is about what the proxy has to say of itself: without it, all of that goes to standard error as text.
A line of text is a time, a level and a message.

Clients cannot forge a line. In a format of your own, and in `combined`, quotes, backslashes and control characters of a value (C1 controls,
line separators and characters that reverse the direction of text included) are written as `\\xNN`, as in nginx; the literal text of the
format is unchanged. JSON is valid for any input. Header fields may have bytes that are not UTF-8: all formats write them as `\\xNN`, and
also a backslash that would read as the beginning of such an escape, so that different values are written differently. The header fields
`Authorization`, `Proxy-Authorization`, `Cookie` and `Set-Cookie` are never written.

An error response of the proxy's own has a `reason`: a word for its cause, the same
everywhere.",
    example: r#"
log access format=json {
    fields time client method host path status duration reason
    to stdout
    to file "/var/log/site/access.log" rotate="100MiB" keep=5
    when status="5xx"
    when duration=">=1s"
}
log errors level=warn format=json
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
        const KINDS: &[(&str, LogKind)] =
            &[("access", LogKind::Access), ("errors", LogKind::Errors), ("off", LogKind::Off)];
        let kind = r.arg("`access`, `errors` or `off`", value::word(KINDS))?;
        if matches!(kind.value, LogKind::Errors) {
            return errors(r, &kind);
        }
        let format = r.prop("format", log_format);
        let ecs = r.prop("names", value::word(&[("own", false), ("ecs", true)]));
        if let Some(level) = r.prop("level", value::word(LogLevel::NAMES)) {
            no_effect(r, "`level` has no effect: it is about `log errors`", &level);
        }
        let items = r.body();
        if matches!(kind.value, LogKind::Access) {
            return Some(What::policy(Log::Access(WrittenLog { format, ecs, items })));
        }
        let props = format.map(|format| format.span).or(ecs.map(|ecs| ecs.span));
        if let Some(span) = props.or_else(|| items.first().map(|item| item.span)) {
            r.add(Diagnostic::error("no-effect", "`log off` writes nothing: this has no effect", span));
        }
        Some(What::policy(Log::Off))
    },
};

fn errors(r: &mut Reading<'_, '_>, kind: &Spanned<LogKind>) -> Option<What> {
    let json = r.prop("format", value::word(&[("text", false), ("json", true)]));
    let level = r.prop("level", value::word(LogLevel::NAMES));
    if let Some(names) = r.prop("names", value::text) {
        no_effect(r, "`names` has no effect: it is about `log access`", &names);
    }
    let items = r.body();
    if r.place() != Place::Root {
        let message = "there is one error log: it is no site's own";
        r.add(Diagnostic::error("misplaced-node", message, kind.span).help("`log errors` is for the top level"));
        return None;
    }
    Some(What::Top(Top::ErrorLog(ast::ErrorLog { json, level, items })))
}

fn no_effect<T>(r: &mut Reading<'_, '_>, message: &str, of: &Spanned<T>) {
    r.add(Diagnostic::error("no-effect", message, of.span));
}

fn log_format(leaf: &Leaf) -> Parsed<WrittenFormat> {
    match &leaf.value {
        Scalar::Text(text) if text == "json" => Ok(WrittenFormat::Json),
        Scalar::Text(text) if text == "combined" => Ok(WrittenFormat::Combined),
        // Without a placeholder, this is a misspelt word, not a line that is the same for all exchanges.
        Scalar::Text(text) if !text.contains('{') => {
            Err(value::word(&[("json", ()), ("combined", ())])(leaf).unwrap_err())
        }
        _ => value::template(leaf).map(WrittenFormat::Template),
    }
}
