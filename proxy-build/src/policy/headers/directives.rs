//! The directives `request-headers` and `response-headers`, and their lines.

use super::{HeaderChange, HeaderLine, RequestHeaders, ResponseHeaders};
use crate::ast::{Template, What};
use crate::declaration::{Directive, POLICY, Place, Reading};
use crate::source::Spanned;
use crate::value;

pub(crate) static REQUEST_HEADERS: Directive = Directive {
    name: "request-headers",
    places: POLICY,
    args: "",
    props: &[],
    body: Some(Place::Headers),
    repeats: false,
    summary: "Changes header fields of requests to the upstream.",
    details: "\
Lines act in the order in which they are written. Lists are merged: the lines of presets and the site come first, then those of the
route. Fields that belong to the connection or to the framing of the message
(`Connection`, `Content-Length`, `Transfer-Encoding`, ...) can't be set; `Host` is set with `proxy host=`.

A client cannot override or remove a field that a line here sets: fields that its `Connection` names are dropped first (RFC 9110 section
7.6.1), and so are other spellings of the names here (`X_User` and `X.User` for `X-User`; see `underscores` of [`limits`](#limits)). For
fields that only proxies have a reason to send, see [`pass`](#pass).",
    example: r#"
site example.com {
    request-headers {
        set X-Request-Id "{request.id}"
        default Accept-Language "en"
        remove Cookie
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::policy(RequestHeaders(r.body()))),
};

pub(crate) static RESPONSE_HEADERS: Directive = Directive {
    name: "response-headers",
    places: POLICY,
    args: "",
    props: &[],
    body: Some(Place::Headers),
    repeats: false,
    summary: "Changes header fields of responses to the client.",
    details: "They apply to every response of the route, the proxy's own errors included. Lines act in the order in which they are written, and\nlists are merged as those of `request-headers`.",
    example: r#"
site example.com {
    response-headers {
        set X-Frame-Options DENY
        add Vary Accept-Language
        remove Server
        replace Location "^http://internal\\." "https://"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::policy(ResponseHeaders(r.body()))),
};

const EXAMPLE: &str = r#"
site example.com {
    request-headers {
        set X-Client "{client.ip}"
        add X-Trace "{request.id}"
        default Accept "*/*"
        remove X-Debug X-Internal
        replace Referer "\\?.*$" ""
    }
    proxy "http://127.0.0.1:3000"
}
"#;

pub(crate) static SET: Directive = Directive {
    name: "set",
    places: &[Place::Headers],
    args: "NAME VALUE",
    props: &[],
    body: None,
    repeats: true,
    summary: "Sets a field to this value, replacing others.",
    details: "`VALUE` may have placeholders.",
    example: EXAMPLE,
    read: |r| with_value(r, HeaderChange::Set),
};

pub(crate) static ADD: Directive = Directive {
    name: "add",
    places: &[Place::Headers],
    args: "NAME VALUE",
    props: &[],
    body: None,
    repeats: true,
    summary: "Adds a line to a field, keeping existing ones.",
    details: "",
    example: EXAMPLE,
    read: |r| with_value(r, HeaderChange::Add),
};

pub(crate) static DEFAULT: Directive = Directive {
    name: "default",
    places: &[Place::Headers],
    args: "NAME VALUE",
    props: &[],
    body: None,
    repeats: true,
    summary: "Sets a field to this value if it has none.",
    details: "",
    example: EXAMPLE,
    read: |r| with_value(r, HeaderChange::Default),
};

pub(crate) static REMOVE: Directive = Directive {
    name: "remove",
    places: &[Place::Headers],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: true,
    summary: "Removes fields.",
    details: "",
    example: EXAMPLE,
    read: |r| Some(What::line(HeaderLine::Remove(r.some("a NAME", value::header_name)))),
};

pub(crate) static PASS: Directive = Directive {
    name: "pass",
    places: &[Place::Headers],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: true,
    summary: "`request-headers`: lets clients send fields that only proxies have a reason to send.",
    details: "\
Many servers trust fields that state the client's address, its protocol or the original URL, and only a proxy should set them. From peers
that are not in `trusted-proxies` they are dropped before the request is processed (matchers, templates, cache keys and logs included):
`Forwarded`, `X-Forwarded-*`, `X-Original-*`, `X-Forwarded`, `Forwarded-For`, `X-Real-IP`, `X-Client-IP`, `True-Client-IP`,
`CF-Connecting-IP`, `X-Cluster-Client-IP`, `Fastly-Client-IP`, `X-Remote-IP`, `X-ProxyUser-Ip` and similar names, `X-Scheme`, `X-Host`,
`X-Rewrite-URL`, `X-HTTP-Method-Override`, `X-HTTP-Method`, `X-Method-Override`. `Proxy` is dropped from all peers. `pass` lets any client
send a field to the route's server. It does not allow `Forwarded` and `X-Forwarded-For`, `-Host` and `-Proto`, which the proxy sets itself,
nor the `header` of `trusted-proxies`. Matchers see a field that any route of the site passes.",
    example: r#"
site example.com {
    route "/api/*" {
        request-headers {
            pass X-HTTP-Method-Override
        }
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| Some(What::line(HeaderLine::Pass(r.some("a NAME", value::header_name)))),
};

pub(crate) static REPLACE: Directive = Directive {
    name: "replace",
    places: &[Place::Headers],
    args: "NAME RE REPLACEMENT",
    props: &[],
    body: None,
    repeats: true,
    summary: "Replaces the matches of an expression in a field's values.",
    details: "\
`$1` and `${name}` stand for groups. The expression is matched over bytes, with ASCII classes, as values need not be UTF-8; `.` is any
byte but a line end.",
    example: EXAMPLE,
    read: |r| {
        let name = r.arg("a NAME", value::header_name)?;
        let (regex, replacement) =
            (r.arg("an expression", value::regex)?, r.arg("a REPLACEMENT", value::header_value)?);
        Some(What::line(HeaderLine::Change(name, HeaderChange::Replace(regex, replacement))))
    },
};

fn with_value(r: &mut Reading<'_, '_>, kind: fn(Spanned<Template>) -> HeaderChange) -> Option<What> {
    let name = r.arg("a NAME", value::header_before_value)?;
    let value = r.arg("a VALUE", value::header_template)?;
    Some(What::line(HeaderLine::Change(name, kind(value))))
}
