//! `response-cookies`: the attributes of cookies that servers set.

use super::{Directive, POLICY, Prop};
use crate::ast::{Policy, ResponseCookies, What};
use crate::syntax::Leaf;
use crate::value::{self, Parsed};

pub(super) static RESPONSE_COOKIES: Directive = Directive {
    name: "response-cookies",
    places: POLICY,
    args: "[NAME...]",
    props: &[
        Prop::new("secure", "BOOL", "They are sent over encrypted connections alone. Default `#false`: as the server says."),
        Prop::new("http-only", "BOOL", "Scripts don't see them. Default `#false`: as the server says."),
        Prop::new("same-site", "strict|lax|none", "Whether they are sent along from pages of other sites. Default: as the server says."),
        Prop::new("domain", "HOST", "For which hosts they are; `\"\"` for the one that sets them alone. Default: as the server says."),
        Prop::new("path", "PATH", "For which paths they are; `\"\"` for that of the request. Default: as the server says."),
    ],
    body: None,
    repeats: true,
    summary: "Sets attributes of the cookies that servers set.",
    details: "\
Of the cookies with these names; of all, where there are none. What a server says itself is replaced, the cookie's value is not touched. Rules
of a preset, a site and a route follow each other, the inner ones last. Cookies of `sticky` and `split` are cookies, too.",
    example: r#"
site example.com {
    response-cookies secure=#true http-only=#true same-site=lax
    response-cookies session domain="" path="/"
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::Policy(Policy::ResponseCookies(ResponseCookies {
            names: r.rest(value::text),
            secure: r.prop("secure", value::boolean),
            http_only: r.prop("http-only", value::boolean),
            same_site: r.prop("same-site", value::word(&[("strict", "Strict"), ("lax", "Lax"), ("none", "None")])),
            domain: r.prop("domain", attribute),
            path: r.prop("path", attribute),
        })))
    },
};

/// What may stand in an attribute (RFC 6265 section 4.1.1).
fn attribute(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    if found.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
        return Ok(found);
    }
    Err(value::Problem {
        code: "bad-cookie",
        message: "an attribute of a cookie has neither blanks nor `;`, and nothing but ASCII".to_owned(),
        help: Vec::new(),
        part: None,
    })
}
