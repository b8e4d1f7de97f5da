//! `error-page`: bodies for the proxy's own errors.

use super::respond::file_source;
use super::{Directive, ROOT_POLICY};
use crate::ast::{ErrorPage, Policy, What};
use crate::syntax::{Leaf, Scalar};
use crate::value;

pub(super) static ERROR_PAGE: Directive = Directive {
    name: "error-page",
    places: ROOT_POLICY,
    args: "CODE... FILE",
    props: &[],
    body: None,
    repeats: true,
    summary: "Gives the proxy's own error answers a body.",
    details: "\
`FILE` is compiled in; with `(file)PATH` or `(param)NAME` it is read at start and on SIGHUP. Its `Content-Type` goes by
its extension. A route's page goes before its site's, and that before one at the top level, which also answers where no
site is known (400, 421). Answers of upstreams, and of `respond`, are left alone.",
    example: r#"
error-page 400 421 (file)"/etc/site/error.html"

site example.com {
    error-page 502 503 504 (file)"/etc/site/sorry.html"
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let mut codes: Vec<_> = r.arg("a CODE", error_status).into_iter().collect();
        while r.peek().is_some_and(is_code) {
            codes.extend(r.opt_arg(error_status));
        }
        let file = r.arg("a FILE", file_source)?;
        Some(What::Policy(Policy::ErrorPage(ErrorPage { codes, file })))
    },
};

fn is_code(leaf: &Leaf) -> bool {
    match &leaf.value {
        Scalar::Text(text) => leaf.ty.is_none() && text.len() == 3 && text.ends_with("xx"),
        _ => true,
    }
}

fn error_status(leaf: &Leaf) -> value::Parsed<u16> {
    let code = value::status(leaf)?;
    if !proxy_runtime::site::OWN_ERRORS.contains(&code) {
        let codes: Vec<_> = proxy_runtime::site::OWN_ERRORS.iter().map(u16::to_string).collect();
        return Err(value::Problem {
            code: "bad-status",
            message: format!("the proxy never answers with {code} itself"),
            help: Some(format!("it does with {}", codes.join(" "))),
            part: None,
        });
    }
    Ok(code)
}
