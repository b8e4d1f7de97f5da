//! `log`: the access log.

use proxy_runtime::site::LogField;

use super::{Directive, Place, Prop, ROOT_POLICY};
use crate::ast::{Log, LogFormat, Policy, What};
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

pub(super) static LOG: Directive = Directive {
    name: "log",
    places: ROOT_POLICY,
    args: "access|off",
    props: &[Prop::new(
        "format",
        "json|combined|TEMPLATE",
        "One JSON object a line (default), Apache's combined format, or a line with placeholders.",
    )],
    body: Some(Place::Log),
    repeats: false,
    summary: "Writes a line for each exchange to standard output, or none.",
    details: "\
Without it there is no access log. Lines are buffered per worker and written by a thread of its own, at the latest
50 ms later; a reader that is too slow loses lines, which are counted and reported on standard error, and never slows an
exchange. In a line of one's own, `{time}`, `{bytes}`, `{duration}`, `{reason}`, `{protocol}`, `{server}` and
`{time.common}` stand beside the usual placeholders.

Nobody can forge a line. In a line of one's own, and in `combined`, a value has its quotes, backslashes and controls (C1 controls, line
separators and what reverses the direction of text among them) written as `\\xNN`, as nginx does; literal text stands as it is written. JSON
is valid whatever was sent. Header fields may have bytes that are not UTF-8: in both they are `\\xNN`, and so is a backslash that would
read as the beginning of that, so that two values that differ are written differently.

An answer that the proxy gives itself because something is wrong has a `reason`: a word that names it, the same
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
            return Some(What::Policy(Policy::Log(Log::Access { format, items })));
        }
        let useless = format.map(|format| format.span).or_else(|| items.first().map(|item| item.span));
        if let Some(span) = useless {
            r.add(crate::report::Diagnostic::error("no-effect", "`log off` writes nothing: this has no effect", span));
        }
        Some(What::Policy(Policy::Log(Log::Off)))
    },
};

pub(super) static FIELDS: Directive = Directive {
    name: "fields",
    places: &[Place::Log],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Chooses the members of a JSON log line.",
    details: "\
`time` (RFC 3339), `client`, `method`, `scheme`, `host`, `path` (normal form), `query`, `protocol`, `status`, `bytes` (of the
answer's body), `duration` (seconds), `route`, `upstream`, `server`, `server-connections` (exchanges at the server when it was
asked), `attempts` (how many servers were asked), `reason`, `detail` (more about the reason, such as why a TLS handshake failed), `cache` and `cache-reason` (what the cache has done, and why; see
`cache`), `request-id`, `referer`, `user-agent`. Without `fields`: all but `scheme`, `query`, `server-connections`, `attempts`, `request-id`, `referer` and `user-agent`. What has no
value is left out.",
    example: r#"
log access format=json {
    fields time client path status
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::Fields(r.some("a NAME", value::word(LogField::NAMES)))),
};

fn log_format(leaf: &Leaf) -> Parsed<LogFormat> {
    match &leaf.value {
        Scalar::Text(text) if text == "json" => Ok(LogFormat::Json),
        Scalar::Text(text) if text == "combined" => Ok(LogFormat::Combined),
        // No placeholder in it: a misspelt word, not a line that is the same for all exchanges.
        Scalar::Text(text) if !text.contains('{') => {
            Err(value::word(&[("json", ()), ("combined", ())])(leaf).unwrap_err())
        }
        _ => value::template(leaf).map(LogFormat::Template),
    }
}
