//! Matchers: conditions of a route besides the path.

use super::{Directive, MATCHER, Place};
use crate::ast::{Matcher, Protocol, ValueOf, ValueTest, What};
use crate::declaration::Reading;
use crate::source::Spanned;
use crate::syntax::Leaf;
use crate::value::{self, Parsed};

pub(super) static METHOD: Directive = Directive {
    name: "method",
    places: MATCHER,
    args: "METHOD...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The request's method is one of these.",
    details: "`GET` includes `HEAD`. If only the method does not match, the response is 405 with `Allow`. CONNECT and\nTRACE are always refused.",
    example: r#"
site example.com {
    route "/items" {
        method GET POST
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| Some(What::Matcher(Matcher::Method(r.some("a METHOD", value::method)))),
};

pub(super) static HEADER: Directive = Directive {
    name: "header",
    places: MATCHER,
    args: "NAME [VALUE|(regex)RE]",
    props: &[],
    body: None,
    repeats: true,
    summary: "The request has this header field.",
    details: "With `VALUE`, one of its lines must be equal to it; with `(regex)RE`, the expression must match somewhere in one of them\n(anchor it with `^` and `$`). Expressions run in linear time, over bytes: `\\w`, `\\d`, `\\s`, `\\b` and
`(?i)` are ASCII, and `(?u)` and `\\p{...}` are refused.",
    example: r#"
site example.com {
    route "/*" {
        header X-Version "2"
        header User-Agent (regex)"(?i)curl"
        respond 200 "version 2, for curl\n"
    }
}
"#,
    read: |r| value_matcher(r, ValueOf::Header, value::header_before_value),
};

pub(super) static QUERY: Directive = Directive {
    name: "query",
    places: MATCHER,
    args: "NAME [VALUE|(regex)RE]",
    props: &[],
    body: None,
    repeats: true,
    summary: "The query has this parameter.",
    details: "Names and values are compared as they appear in the URL. With `VALUE`, one of the parameter's values must be equal to it;\nwith `(regex)RE`, the expression must match somewhere in one of them.",
    example: r#"
site example.com {
    route "/search" {
        query q
        query format (regex)"^(json|xml)$"
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| value_matcher(r, ValueOf::Query, value::query_name),
};

pub(super) static COOKIE: Directive = Directive {
    name: "cookie",
    places: MATCHER,
    args: "NAME [VALUE|(regex)RE]",
    props: &[],
    body: None,
    repeats: true,
    summary: "The request has this cookie.",
    details: "With `VALUE`, it must be equal to it; with `(regex)RE`, the expression must match somewhere in it.",
    example: r#"
site example.com {
    route "/*" {
        cookie beta "1"
        respond 200 "the new version\n"
    }
    route "/*" {
        respond 200 "the old version\n"
    }
}
"#,
    read: |r| value_matcher(r, ValueOf::Cookie, cookie_name),
};

pub(super) static CLIENT_IP: Directive = Directive {
    name: "client-ip",
    places: MATCHER,
    args: "CIDR...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The client's address is in one of these networks.",
    details: "The client is the peer, or the client that a trusted peer names (see `trusted-proxies`). An IPv4 address in IPv6 form counts\nas IPv4.",
    example: r#"
site example.com {
    route "/admin/*" {
        client-ip "10.0.0.0/8" "2001:db8::/32"
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| Some(What::Matcher(Matcher::ClientIp(r.some("a CIDR", value::network)))),
};

pub(super) static PROTOCOL: Directive = Directive {
    name: "protocol",
    places: MATCHER,
    args: "websocket|grpc|http1...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The request uses, or asks for, one of these protocols.",
    details: "`websocket`: it asks for an upgrade to WebSocket (RFC 6455). `grpc`: its content is `application/grpc`. `http1`: it arrived\nover HTTP/1.0 or HTTP/1.1, like all requests on a listener of this version.",
    example: r#"
site example.com {
    route "/live" {
        protocol websocket
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| Some(What::Matcher(Matcher::Protocol(r.some("a protocol", value::word(PROTOCOLS))))),
};

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("websocket", Protocol::WebSocket),
    ("grpc", Protocol::Grpc),
    ("http1", Protocol::Http1),
    ("http2", Protocol::Http2),
    ("http3", Protocol::Http3),
];

pub(super) static PATH_REGEX: Directive = Directive {
    name: "path-regex",
    places: MATCHER,
    args: "RE",
    props: &[],
    body: None,
    repeats: false,
    summary: "The expression matches somewhere in the path.",
    details: "Anchor it with `^` and `$`; a path begins with `/`. Named groups, as in `(?<year>[0-9]{4})`, bind placeholders, except\nwithin `not` and `any`. The expressions of all routes become one table at\nbuild, which is read once per request, in linear time; an expression that neither begins with `^` nor ends with `$` may need a table of\nits own, and a lint reports it. It is matched over bytes: `\\w`, `\\d`, `\\s`, `\\b` and `(?i)`\nare ASCII. All tables of a site may take 64 MiB.",
    example: r#"
site example.com {
    route "/archive/*" {
        path-regex "^/archive/(?<year>[0-9]{4})/?$"
        respond 200 "the year {year}\n"
    }
}
"#,
    read: |r| Some(What::Matcher(Matcher::PathRegex(r.arg("an expression", value::matching_regex)?))),
};

pub(super) static NOT: Directive = Directive {
    name: "not",
    places: MATCHER,
    args: "",
    props: &[],
    body: Some(Place::Not),
    repeats: true,
    summary: "At least one of the matchers inside does not match.",
    details: "",
    example: r#"
site example.com {
    route "/*" {
        not {
            client-ip "10.0.0.0/8"
        }
        respond 403 "not from here\n"
    }
    route "/*" {
        respond 200 "welcome\n"
    }
}
"#,
    read: |r| Some(What::Matcher(Matcher::Not(r.body()))),
};

pub(super) static ANY: Directive = Directive {
    name: "any",
    places: MATCHER,
    args: "",
    props: &[],
    body: Some(Place::Any),
    repeats: true,
    summary: "At least one of the matchers inside matches.",
    details: "Each kind of matcher may occur several times here, `path-regex` and `client-ip` included. A matcher whose requests another one matches as\nwell is an error.",
    example: r#"
site example.com {
    route "/*" {
        any {
            header X-Beta
            cookie beta "1"
            path-regex "^/beta/"
            path-regex "[.]beta[.]js$"
        }
        respond 200 "the new version\n"
    }
    route "/*" {
        respond 200 "the old version\n"
    }
}
"#,
    read: |r| Some(What::Matcher(Matcher::Any(r.body()))),
};

fn value_matcher(r: &mut Reading<'_, '_>, of: ValueOf, name: fn(&Leaf) -> Parsed<String>) -> Option<What> {
    let name: Spanned<String> = r.arg("a NAME", name)?;
    let given = r.peek().is_some();
    let test = match r.opt_arg(value::text_or_regex).map(|found| found.value) {
        Some(Ok(text)) if of == ValueOf::Query => ValueTest::Equals(value::decoded(&text)),
        Some(Ok(text)) => ValueTest::Equals(text),
        Some(Err(regex)) => ValueTest::Matches(regex),
        None if given => return None,
        None => ValueTest::Present,
    };
    Some(What::Matcher(Matcher::Value { of, name, test }))
}

pub(super) fn cookie_name(leaf: &Leaf) -> Parsed<String> {
    let name = value::text(leaf)?;
    // RFC 6265 section 4.1.1: a cookie's name is a token, like a method.
    http::Method::from_bytes(name.as_bytes()).map_err(|_| value::Problem {
        code: "bad-cookie-name",
        message: format!("`{name}` can't be the name of a cookie"),
        help: Vec::new(),
        part: None,
    })?;
    Ok(name)
}
