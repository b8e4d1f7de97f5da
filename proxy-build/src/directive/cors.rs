//! `cors`: from whose pages scripts may read answers.

use super::{Directive, POLICY, Place, Prop};
use crate::ast::{Cors, InCors, Policy, What};
use crate::value;

const IN_CORS: &[Place] = &[Place::Cors];

pub(super) static CORS: Directive = Directive {
    name: "cors",
    places: POLICY,
    args: "ORIGIN...",
    props: &[
        Prop::new("credentials", "BOOL", "Pages may send cookies and the like. Default `#false`."),
        Prop::new("max-age", "DURATION", "How long a browser remembers what it was told. Default `\"2h\"`, the most that browsers take."),
    ],
    body: Some(Place::Cors),
    repeats: false,
    summary: "Lets scripts of other origins read answers.",
    details: "\
`ORIGIN` is as browsers write it, `https://app.example.com`; `https://*.example.com` is all hosts below; `*` is anybody, which
goes with no credentials. What a browser asks before it sends a request (a \"preflight\": OPTIONS with `Origin` and
`Access-Control-Request-Method`) is answered here, with 204, by the route that would take the request it asks about, before
credentials are asked for; one that may not gets 403 and the reason `cors-refused`. Other requests go on, and their answers, errors too, say who
may read them; what a server says itself about that is replaced. A page that may not read an answer does so because its browser keeps it
from it: the request has been answered. `Vary: Origin` is added where it matters.

Fetch standard, \"HTTP-CORS protocol\".",
    example: r#"
site api.example.com {
    cors "https://app.example.com" "https://*.dev.example.com" credentials=#true {
        methods GET POST DELETE
        headers Authorization Content-Type
        expose X-Total-Count
    }
    proxy "http://127.0.0.1:3000"
}
test "the app may delete" {
    request OPTIONS "http://api.example.com/items/7" {
        header Origin "https://app.example.com"
        header Access-Control-Request-Method DELETE
    }
    expect status=204 {
        response-header Access-Control-Allow-Origin "https://app.example.com"
    }
}
"#,
    read: |r| {
        Some(What::Policy(Policy::Cors(Cors {
            origins: r.some("an ORIGIN", value::origin),
            credentials: r.prop("credentials", value::boolean),
            max_age: r.prop("max-age", value::setting(value::duration)),
            items: r.body(),
        })))
    },
};

pub(super) static CORS_METHODS: Directive = Directive {
    name: "methods",
    places: IN_CORS,
    args: "METHOD...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The methods that pages may use.",
    details: "Default: all that the route takes.",
    example: r#"
site example.com {
    cors "https://app.example.com" {
        methods GET POST
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCors(InCors::Methods(r.some("a METHOD", value::method)))),
};

pub(super) static CORS_HEADERS: Directive = Directive {
    name: "headers",
    places: IN_CORS,
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The header fields that pages may send.",
    details: "Default: all.",
    example: r#"
site example.com {
    cors "https://app.example.com" {
        headers Authorization
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCors(InCors::Headers(r.some("a NAME", value::header_name)))),
};

pub(super) static EXPOSE: Directive = Directive {
    name: "expose",
    places: IN_CORS,
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The header fields of answers that pages may read, beside the usual ones.",
    details: "Default: none.",
    example: r#"
site example.com {
    cors "https://app.example.com" {
        expose X-Total-Count
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCors(InCors::Expose(r.some("a NAME", value::header_name)))),
};
