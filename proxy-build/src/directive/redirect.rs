//! `redirect`: the client goes elsewhere.

use super::{Directive, HANDLER, Place, Prop};
use crate::ast::{Handler, Redirect, What};
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

pub(super) static REDIRECT: Directive = Directive {
    name: "redirect",
    places: HANDLER,
    args: "CODE TO",
    props: &[Prop::new("query", "drop", "The request's query is left out of the target.")],
    body: Some(Place::Redirect),
    repeats: true,
    summary: "Sends the client to another URL.",
    details: "\
`CODE` is 301, 302, 303, 307 or 308 (307 and 308 keep the method). `TO` is an absolute URL or a path, with placeholders.

The request's query goes along: `/old?a=b` is sent to `/new?a=b`. `query=drop` leaves it out. A target with a query of its own
(`/new?from=old`) is complete: what the request has is not added, as a parameter could then be replaced from outside; where it
is to be there, the target says so: `/new?from=old&{query}`. `{uri}` is path and query as one. Without a query in the request,
`?{query}` leaves no bare `?`.

A target whose host comes from the request is an open redirect for phishing: `{host}` may be part of the target's host in a
site that names its hosts; elsewhere the hosts it may lead to are listed with `allow-host`, and others are answered with
421. Other parts of the request can't be in the target's host.",
    example: r#"
site example.com {
    redirect 308 "https://www.example.com{path}"
}
site www.example.com {
    route "/old/*" {
        redirect 301 "/new/{*}"
    }
    route "/logout" {
        redirect 303 "/" query=drop
    }
    route "/moved" {
        redirect 301 "https://example.org/?from=moved&{query}"
    }
    route "/*" {
        respond 200 "hello\n"
    }
}
"#,
    read: |r| {
        r.in_order(super::is_number, Some("301"))?;
        Some(What::Handler(Handler::Redirect(Redirect {
            code: r.arg("a CODE", code)?,
            to: r.arg("a target", value::header_template)?,
            drop_query: r.prop("query", value::word(&[("drop", ())])),
            items: r.body(),
        })))
    },
};

pub(super) static ALLOW_HOST: Directive = Directive {
    name: "allow-host",
    places: &[Place::Redirect],
    args: "HOST...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The hosts that `{host}` may stand for in a redirect's target.",
    details: "A request for another host is answered with 421.",
    example: r#"
site * {
    redirect 301 "https://{host}{path}" {
        allow-host example.com example.org
    }
}
"#,
    read: |r| Some(What::AllowHost(r.some("a HOST", value::host))),
};

fn code(leaf: &Leaf) -> Parsed<u16> {
    if let Scalar::Text(word) = &leaf.value
        && let Some(code) = match word.as_str() {
            "permanent" => Some("301"),
            "temporary" | "redirect" => Some("302"),
            _ => None,
        }
    {
        return Err(value::problem("value-type", "a redirect's status is a number").write(code));
    }
    let code = value::status(leaf)?;
    if matches!(code, 301 | 302 | 303 | 307 | 308) {
        return Ok(code);
    }
    Err(value::Problem {
        code: "bad-status",
        message: format!("{code} is no redirect"),
        help: vec!["301 and 308 are permanent, 302 and 307 temporary, 303 is \"see other\"".into()],
        part: None,
    })
}
