//! `error-page`: bodies for the proxy's own errors.

use super::{Directive, Prop, ROOT_POLICY};
use crate::ast::{ErrorPage, Policy, What};
use crate::report::Diagnostic;
use crate::syntax::{Leaf, Scalar};
use crate::value;

pub(super) static ERROR_PAGE: Directive = Directive {
    name: "error-page",
    places: ROOT_POLICY,
    args: "CODE... FILE",
    props: &[
        Prop::new("placeholders", "BOOL", "`{status}`, `{reason}`, `{request.id}`, `{host}` and `{time}` in the page are filled in. Default `#false`."),
        Prop::new("upstream", "BOOL", "It also takes the place of what upstreams answer with these codes. Default `#false`."),
    ],
    body: None,
    repeats: true,
    summary: "Gives the proxy's own error answers a body.",
    details: "\
`FILE` is compiled in; with `(file)PATH` or `(param)NAME` it is read at start and on SIGHUP. Its `Content-Type` goes by
its extension. A route's page goes before its site's, and that before one at the top level, which also answers where no
site is known (400, 421). Answers of upstreams are left alone, unless `upstream=#true` says otherwise: then their status and fields stay, but for
those that are about the body. Answers of `respond` are always left alone. All other braces in a page are what they are; what a
client has sent is not to be had in it, for a page is HTML.",
    example: r#"
error-page 400 421 (file)"/etc/site/error.html"

site example.com {
    error-page 502 503 504 (file)"/etc/site/sorry.html" placeholders=#true upstream=#true
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        r.in_order(|leaf| leaf.ty.is_none() && is_code(leaf), None)?;
        let placeholders = r.prop("placeholders", value::boolean);
        let upstream = r.prop("upstream", value::boolean);
        let any = upstream.as_ref().is_some_and(|upstream| upstream.value);
        let code = |leaf: &Leaf| error_status(leaf, any);
        let mut codes: Vec<_> = r.arg("a CODE", code).into_iter().collect();
        while r.peek().is_some_and(is_code) {
            codes.extend(r.opt_arg(code));
        }
        for (index, code) in codes.iter().enumerate() {
            if let Some(first) = codes[..index].iter().find(|first| first.value == code.value) {
                let message = format!("{} is there already", code.value);
                r.add(Diagnostic::error("no-effect", message, code.span).also(first.span, "the first"));
            }
        }
        let file = r.arg("a FILE", value::file_source)?;
        Some(What::Policy(Policy::ErrorPage(ErrorPage { codes, file, placeholders, upstream })))
    },
};

fn is_code(leaf: &Leaf) -> bool {
    match &leaf.value {
        Scalar::Text(text) => leaf.ty.is_none() && text.len() == 3 && text.ends_with("xx"),
        _ => true,
    }
}

/// With `any`, it may be an upstream's.
fn error_status(leaf: &Leaf, any: bool) -> value::Parsed<u16> {
    let code = value::status(leaf)?;
    if any && (400..600).contains(&code) {
        return Ok(code);
    }
    if !proxy_runtime::site::OWN_ERRORS.contains(&code) {
        let codes: Vec<_> = proxy_runtime::site::OWN_ERRORS.iter().map(u16::to_string).collect();
        return Err(value::Problem {
            code: "bad-status",
            message: format!("the proxy never answers with {code} itself"),
            help: vec![format!("it does with {}", codes.join(" ")).into()],
            part: None,
        });
    }
    Ok(code)
}
