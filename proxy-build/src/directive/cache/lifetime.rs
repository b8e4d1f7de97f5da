//! The freshness lifetime of responses: `ttl`, `stale`, `negative`, `control-fields`.

use crate::ast::{InCache, Override, Stale, Ttl, What};
use crate::declaration::{Directive, Place, Prop};
use crate::report::Diagnostic;
use crate::syntax::{Leaf, quoted};
use crate::value;
use proxy_runtime::site::ControlField;

pub(in crate::directive) static TTL: Directive = Directive {
    name: "ttl",
    places: &[Place::Cache],
    args: "STATUS...?",
    props: &[
        Prop::new(
            "default",
            "DURATION",
            "The lifetime of responses with 200, 203, 204, 300, 301 and 308 that do not state one. No default: \
             these are not cached.",
        ),
        Prop::new(
            "min",
            "DURATION",
            "The minimum lifetime of responses that may be cached, whatever they state. Default `\"0s\"`.",
        ),
        Prop::new("max", "DURATION", "The maximum lifetime of responses, whatever they state. Default: a year."),
        Prop::new(
            "heuristic",
            "PERCENT",
            "The lifetime of responses with 200, 203, 204, 300, 301, 308, 404, 405, 410, 414 or 501, and of those \
             that are `public`, that have only a `Last-Modified`, as a share of the time since then (RFC 9111 \
             section 4.2.2). Default 0: they are not cached.",
        ),
        Prop::new(
            "refresh-ahead",
            "DURATION",
            "A hit with less than this of its lifetime left, and less than half of it, is fetched again in the \
             background, so that popular responses never become stale. Default: off.",
        ),
        Prop::new("override", "DURATION", "The lifetime of responses with one of the STATUSes, whatever they state."),
        Prop::new(
            "type",
            "TYPE",
            "With `override`: only for responses of this type, as `\"image/png\"` or `\"image/*\"`.",
        ),
    ],
    body: None,
    repeats: true,
    summary: "Sets the lifetime (TTL) of cached responses.",
    details: "\
One line has the settings for all responses. Each line with `override` replaces the lifetime of some responses: `Cache-Control`,
`CDN-Cache-Control` and `Expires` have no effect on them, `no-store` and `private` included. Without a STATUS it applies to 200, 203, 204,
300, 301 and 308. The first matching line is used. Responses that set cookies, vary by `*`, or belong to a request with `Authorization` are
still not cached; `min` and `max` apply.",
    example: r#"
site example.com {
    cache {
        ttl default="1m" min="1s" max="7d" refresh-ahead="5s"
        ttl override="7d" type="image/*"
        ttl 404 410 override="10s"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let statuses = r.rest(status);
        let ttl = Ttl {
            default: r.prop("default", value::setting(value::duration)),
            min: r.prop("min", value::setting(value::duration)),
            max: r.prop("max", value::setting(value::duration)),
            heuristic: r.prop("heuristic", value::integer(1, 100)),
            refresh_ahead: r.prop("refresh-ahead", value::setting(value::duration)),
        };
        let overriding = r.prop("override", value::setting(value::duration));
        let media_type = r.prop("type", value::media);
        let Some(overriding) = overriding else {
            let narrow = statuses.first().map(|status| status.span).or(media_type.map(|media_type| media_type.span));
            if let Some(narrow) = narrow {
                r.add(
                    Diagnostic::error("missing-property", "only `override` is for some responses alone", narrow)
                        .help("as in: ttl 404 override=\"10s\"; and `negative` is for failures that say nothing"),
                );
                return None;
            }
            return Some(What::InCache(InCache::Ttl(ttl)));
        };
        let beside = [
            ttl.default.map(|given| given.span),
            ttl.min.map(|given| given.span),
            ttl.max.map(|given| given.span),
            ttl.heuristic.map(|given| given.span),
            ttl.refresh_ahead.map(|given| given.span),
        ];
        if let Some(beside) = beside.into_iter().flatten().next() {
            r.add(
                Diagnostic::error("contradiction", "this is about all responses, and `override` about some", beside)
                    .also(overriding.span, "here")
                    .help("give `override` a line of its own"),
            );
            return None;
        }
        Some(What::InCache(InCache::Override(Override { statuses, media_type, ttl: overriding })))
    },
};

/// Parses a status. A duration alone is ambiguous.
fn status(leaf: &Leaf) -> value::Parsed<u16> {
    match value::text(leaf) {
        Ok(text) if value::duration(leaf).is_ok() => {
            let problem = value::problem("unexpected-argument", "a duration is the value of a property");
            Err(problem.write(format!("default={}", quoted(&text))))
        }
        _ => value::status(leaf),
    }
}

pub(in crate::directive) static STALE: Directive = Directive {
    name: "stale",
    places: &[Place::Cache],
    args: "",
    props: &[
        Prop::new(
            "while-revalidate",
            "DURATION",
            "How long a stale response is served while it is fetched again in the background. Default `\"0s\"`.",
        ),
        Prop::new(
            "if-error",
            "DURATION",
            "How long a stale response is served if the server can't be reached, or responds with 500, 502, 503 \
             or 504. Default `\"0s\"`.",
        ),
    ],
    body: None,
    repeats: false,
    summary: "Sets how long stale responses may be served.",
    details: "\
RFC 5861. A response's own `stale-while-revalidate` and `stale-if-error` override these values. A response with `must-revalidate`,
`proxy-revalidate` or `s-maxage` is never served stale, except as its own fields beside `s-maxage` allow. While no server of the upstream is
healthy (`health-check`, `outlier`), `if-error` applies without a request to any of them, whatever `panic-threshold` says.",
    example: r#"
site example.com {
    cache {
        stale while-revalidate="30s" if-error="1d"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::InCache(InCache::Stale(Stale {
            while_revalidate: r.prop("while-revalidate", value::setting(value::duration)),
            if_error: r.prop("if-error", value::setting(value::duration)),
        })))
    },
};

pub(in crate::directive) static NEGATIVE: Directive = Directive {
    name: "negative",
    places: &[Place::Cache],
    args: "STATUS...",
    props: &[Prop::new("ttl", "DURATION", "Their lifetime.")],
    body: None,
    repeats: true,
    summary: "Sets the lifetime of error responses with these statuses (negative caching) that do not state one.",
    details: "Statuses from 302 on, except 304; `ttl default` is for the others.",
    example: r#"
site example.com {
    cache {
        negative 404 410 ttl="10s"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::InCache(InCache::Negative {
            statuses: r.some("a STATUS", value::status),
            ttl: r.required("ttl", value::duration)?,
        }))
    },
};

pub(in crate::directive) static CONTROL_FIELDS: Directive = Directive {
    name: "control-fields",
    places: &[Place::Cache],
    args: "FIELD...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Reads a response's lifetime from these fields, before `Cache-Control`.",
    details: "\
`X-Accel-Expires`, as nginx reads it: seconds, `@` and seconds since 1970, or 0 for a response that must not be cached. `Surrogate-Control`:
`no-store`, and `max-age=N+M`, which is fresh for N seconds and may be served for M more while it is fetched again. The first field that is
present and well-formed is used, and then neither `Cache-Control` nor `Expires` has an effect. The fields are passed on; `response-headers`
can remove them.",
    example: r#"
site example.com {
    cache {
        control-fields X-Accel-Expires Surrogate-Control
    }
    response-headers {
        remove X-Accel-Expires
        remove Surrogate-Control
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::ControlFields(r.some("a FIELD", control_field)))),
};

/// In any case, like field names.
fn control_field(leaf: &Leaf) -> value::Parsed<ControlField> {
    const FIELDS: [(&str, ControlField); 2] =
        [("X-Accel-Expires", ControlField::XAccelExpires), ("Surrogate-Control", ControlField::SurrogateControl)];
    let text = value::text(leaf)?;
    let found = FIELDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text)).map(|(_, field)| *field);
    found.ok_or_else(|| {
        let problem =
            value::problem("unknown-value", format!("`{text}` is no field that says how long a response is cached"));
        problem.help(
            "it is X-Accel-Expires or Surrogate-Control; Cache-Control, CDN-Cache-Control and Expires are always read",
        )
    })
}
