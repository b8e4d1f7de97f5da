//! `test`: requests and the expected results, checked at every build.

use proxy_runtime::site::Side;

use super::{Directive, Place, Prop};
use crate::ast::{Expect, ExpectField, Protocol, Request, Test, Top, What};
use crate::declaration::Reading;
use crate::handler;
use crate::syntax::{Leaf, Scalar};
use crate::value;

const EXAMPLE: &str = r#"
site shop.example.com {
    route "/api/*" {
        rewrite strip-prefix="/api"
        proxy "http://127.0.0.1:3000"
    }
    route "/admin/*" {
        client-ip "10.0.0.0/8"
        proxy "http://127.0.0.1:3001"
    }
    route "/*" {
        redirect 302 "/api/home"
    }
}
test "the prefix is stripped" {
    request GET "http://shop.example.com/api/items?page=2" {
        header Cookie "sid=a1"
        from "203.0.113.9"
    }
    expect route="/api/*" handler=proxy upstream="127.0.0.1:3000" upstream-path="/items?page=2"
}
test "no admin from outside" {
    request GET "http://shop.example.com/admin/"
    expect status=302 location="/api/home"
}
"#;

const FIELDS: &str = r#"
site example.com {
    limits body="1KiB"
    response-headers {
        set X-Frame-Options "DENY"
    }
    request-headers {
        set X-Session "{cookie.sid}"
        remove X-Debug
    }
    route "/live" {
        protocol websocket
        proxy "http://127.0.0.1:3001"
    }
    route "/*" {
        proxy "http://127.0.0.1:3000"
    }
}
test "what the upstream sees" {
    request GET "http://example.com/" {
        cookie sid "a1"
        header X-Debug "yes"
    }
    expect {
        upstream-header X-Session "a1"
        upstream-header X-Debug missing=#true
        response-header X-Frame-Options
    }
}
test "large bodies" {
    request POST "http://example.com/" {
        body "2KiB"
    }
    expect status=413
}
test "live" {
    request GET "http://example.com/live" {
        protocol websocket
    }
    expect upstream="127.0.0.1:3001"
}
"#;

pub(super) static TEST: Directive = Directive {
    name: "test",
    places: &[Place::Root],
    args: "NAME",
    props: &[],
    body: Some(Place::Test),
    repeats: true,
    summary: "Tests how the site handles a request.",
    details: "\
Tests run at every build, against the tables that are compiled in; a failing test stops the build with a message at its line. The binary
runs them again with `--self-test`. Nothing is sent over the network: parameters have their defaults, and upstreams get no requests.",
    example: EXAMPLE,
    read: |r| Some(What::Top(Top::Test(Test { name: r.arg("a NAME", value::text)?, items: r.body() }))),
};

pub(super) static REQUEST: Directive = Directive {
    name: "request",
    places: &[Place::Test],
    args: "METHOD URL",
    props: &[],
    body: Some(Place::Request),
    repeats: false,
    summary: "Sets the request of a test.",
    details: "The URL is absolute. The request arrives at the listener with the URL's port, or else at the first listener that serves the host.",
    example: EXAMPLE,
    read: |r| {
        let method = |leaf: &Leaf| matches!(&leaf.value, Scalar::Text(text) if !text.contains(['/', ':', '.']));
        r.in_order(method, Some("GET"))?;
        Some(What::Request(Request {
            method: r.arg("a METHOD", value::text)?,
            url: r.arg("a URL", value::text)?,
            items: r.body(),
        }))
    },
};

pub(super) static REQUEST_HEADER: Directive = Directive {
    name: "header",
    places: &[Place::Request],
    args: "NAME VALUE",
    props: &[],
    body: None,
    repeats: true,
    summary: "Adds a header field to a test's request.",
    details: "",
    example: EXAMPLE,
    read: |r| Some(What::RequestField(r.arg("a NAME", value::header_name)?, r.arg("a VALUE", value::header_value)?)),
};

pub(super) static REQUEST_COOKIE: Directive = Directive {
    name: "cookie",
    places: &[Place::Request],
    args: "NAME VALUE",
    props: &[],
    body: None,
    repeats: true,
    summary: "Adds a cookie to a test's request.",
    details: "",
    example: FIELDS,
    read: |r| {
        Some(What::RequestCookie(
            r.arg("a NAME", super::matchers::cookie_name)?,
            r.arg("a VALUE", value::header_value)?,
        ))
    },
};

pub(super) static BODY: Directive = Directive {
    name: "body",
    places: &[Place::Request],
    args: "SIZE",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the body size of a test's request. Default: no body.",
    details: "",
    example: FIELDS,
    read: |r| Some(What::RequestBody(r.arg("a SIZE", value::size)?)),
};

pub(super) static REQUEST_PROTOCOL: Directive = Directive {
    name: "protocol",
    places: &[Place::Request],
    args: "websocket|grpc|http1|http2|http3",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the protocol that a test's request uses, or asks for. Default `http1`.",
    details: "`websocket` and `grpc` set the corresponding header fields.",
    example: FIELDS,
    read: |r| {
        let words = value::word(&[
            ("websocket", Protocol::WebSocket),
            ("grpc", Protocol::Grpc),
            ("http1", Protocol::Http1),
            ("http2", Protocol::Http2),
            ("http3", Protocol::Http3),
        ]);
        Some(What::RequestProtocol(r.arg("a protocol", words)?))
    },
};

pub(super) static FROM: Directive = Directive {
    name: "from",
    places: &[Place::Request],
    args: "IP",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the client's address in a test. Default 192.0.2.1.",
    details: "",
    example: EXAMPLE,
    read: |r| Some(What::From(r.arg("an IP", value::ip)?)),
};

pub(super) static EXPECT: Directive = Directive {
    name: "expect",
    places: &[Place::Test],
    args: "",
    props: &[
        Prop::new(
            "status",
            "CODE",
            "The status of a response of the proxy's own: of `respond`, `redirect` or an error.",
        ),
        Prop::new("route", "PATTERN", "The pattern of the matching route."),
        Prop::new(
            "handler",
            "NAME",
            "The name of the handler that answers, as in `handler=proxy`. Of `files` it is not known whether there is one; what `else` would forward is known.",
        ),
        Prop::new("upstream", "NAME", "The upstream; an inline upstream has the name of its first server."),
        Prop::new("upstream-path", "TEXT", "Path and query of the request to the upstream."),
        Prop::new(
            "cache",
            "lookup|pass|off",
            "Whether the request is looked up in a cache, bypasses it, or there is no cache.",
        ),
        Prop::new(
            "cache-key",
            "TEXT",
            "The key of the cached response: the URL as in the key, then fields and cookies of the key, as in \
             `\"http://example.com/x?page=2 accept-language:en theme=dark\"`.",
        ),
        Prop::new("location", "TEXT", "The target of the redirect."),
    ],
    body: Some(Place::Expect),
    repeats: false,
    summary: "Sets the expected result of a test.",
    details: "All given expectations must hold. Header fields have separate lines.",
    example: EXAMPLE,
    read: |r| {
        Some(What::Expect(Expect {
            status: r.prop("status", value::status),
            route: r.prop("route", value::text),
            handler: r.prop("handler", value::one_of(&handler::NAMES)),
            upstream: r.prop("upstream", value::text),
            upstream_path: r.prop("upstream-path", value::text),
            cache: r.prop("cache", value::word(&[("lookup", "lookup"), ("pass", "pass"), ("off", "off")])),
            cache_key: r.prop("cache-key", value::text),
            location: r.prop("location", value::text),
            items: r.body(),
        }))
    },
};

const FIELD_PROPS: &[Prop] =
    &[Prop::new("missing", "BOOL", "The field must be absent (or not have this value). Default `#false`.")];

pub(super) static UPSTREAM_HEADER: Directive = Directive {
    name: "upstream-header",
    places: &[Place::Expect],
    args: "NAME VALUE?",
    props: FIELD_PROPS,
    body: None,
    repeats: true,
    summary: "Expects a header field in the request to the upstream, with any value if none is given.",
    details: "The test sees the fields after the route's `request-headers`. Fields that forwarding adds (`Via`, `X-Forwarded-*`) are not simulated.",
    example: FIELDS,
    read: |r| expect_field(r, Side::Upstream),
};

pub(super) static RESPONSE_HEADER: Directive = Directive {
    name: "response-header",
    places: &[Place::Expect],
    args: "NAME VALUE?",
    props: FIELD_PROPS,
    body: None,
    repeats: true,
    summary: "Expects a header field in the response, with any value if none is given.",
    details: "For a proxied response, the test applies `response-headers` to a response without any fields.",
    example: FIELDS,
    read: |r| expect_field(r, Side::Response),
};

fn expect_field(r: &mut Reading<'_, '_>, side: Side) -> Option<What> {
    let missing = r.prop("missing", value::boolean);
    let name = r.arg("a NAME", value::header_name)?;
    Some(What::ExpectField(ExpectField { side, name, value: r.opt_arg(value::header_value), missing }))
}
