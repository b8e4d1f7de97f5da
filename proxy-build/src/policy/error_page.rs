//! `error-page`: the body of the proxy's own error responses.

use proxy_runtime::protocol::media;
use proxy_runtime::site::{self, Bytes};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Merge, Policy, PolicyDescription, RouteHandler};
use crate::ast::{FileSource, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, Prop, ROOT_POLICY};
use crate::model::Site;
use crate::model::list;
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};
use crate::syntax::{Leaf, Scalar};
use crate::value::{self};

pub(crate) static ERROR_PAGE: Directive = Directive {
    name: "error-page",
    places: ROOT_POLICY,
    args: "CODE... FILE",
    props: &[
        Prop::new(
            "placeholders",
            "BOOL",
            "The page may have the placeholders `{status}`, `{reason}`, `{request.id}`, `{host}` and `{time}`. \
             Default `#false`.",
        ),
        Prop::new(
            "upstream",
            "BOOL",
            "The page also replaces error responses of upstreams with these codes. Default `#false`.",
        ),
    ],
    body: None,
    repeats: true,
    summary: "Sets a custom error page.",
    details: "\
`FILE` is compiled in; with `(file)PATH` or `(param)NAME` it is read at start and on SIGHUP. Its `Content-Type` follows from its extension.
A route's page overrides its site's, and a site's overrides one at the top level, which is also used before a site is known (400, 421).
Responses of upstreams are not changed, unless `upstream=#true` is set: then their status and fields stay, except for fields that describe
the body. Responses of `respond` are never changed. All other braces in a page are literal text; there are no placeholders for data that a
client has sent, because a page is HTML.",
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
                let message = format!("{} is listed already", code.value);
                r.add(Diagnostic::error("no-effect", message, code.span).also(first.span, "the first"));
            }
        }
        let file = r.arg("a FILE", value::file_source)?;
        Some(What::policy(ErrorPage { codes, file, placeholders, upstream }))
    },
};

fn is_code(leaf: &Leaf) -> bool {
    match &leaf.value {
        Scalar::Text(text) => leaf.ty.is_none() && text.len() == 3 && text.ends_with("xx"),
        _ => true,
    }
}

/// Parses a status; with `any`, also one that only an upstream sends.
fn error_status(leaf: &Leaf, any: bool) -> value::Parsed<u16> {
    let code = value::status(leaf)?;
    if any && (400..600).contains(&code) {
        return Ok(code);
    }
    if !proxy_runtime::site::OWN_ERRORS.contains(&code) {
        let codes: Vec<_> = proxy_runtime::site::OWN_ERRORS.iter().map(u16::to_string).collect();
        return Err(value::Problem {
            code: "bad-status",
            message: format!("the proxy never responds with {code} itself"),
            help: vec![format!("its own errors are {}", codes.join(" ")).into()],
            part: None,
        });
    }
    Ok(code)
}

/// `error-page`.
#[derive(Debug, Clone)]
pub(crate) struct ErrorPage {
    /// The statuses.
    codes: Vec<Spanned<u16>>,
    /// The page.
    file: Spanned<FileSource>,
    /// `placeholders=`.
    placeholders: Option<Spanned<bool>>,
    /// `upstream=`.
    upstream: Option<Spanned<bool>>,
}

impl Policy for ErrorPage {
    const NAME: &'static str = "error-page";
    // The first page with a status is used.
    const MERGE: Merge<Self> = Merge::InnerFirst;

    fn idle(&self, _: Span, answer: &RouteHandler<'_>) -> Vec<Diagnostic> {
        let written = self.upstream.iter().filter(|_| answer.handler.forwarding().is_none());
        written.map(|written| answer.idle("`upstream`", "this route forwards nothing", written.span)).collect()
    }

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        let pages = layer.all::<ErrorPage>().iter();
        policy.error_pages = list(pages.filter_map(|page| page.value.made(check)).collect());
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        of.lines(ExplainStep::Finish, Self::NAME, of.route.policy.error_pages.first().map(|_| ""))
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::values("error_pages", Self::NAME)
    }
}

impl ErrorPage {
    fn made(&self, check: &mut Check<'_>) -> Option<site::ErrorPage> {
        let (body, name) = check.bytes(&self.file)?;
        let is = |written: &Option<Spanned<bool>>| written.as_ref().is_some_and(|value| value.value);
        let placeholders = is(&self.placeholders);
        if let (Bytes::Fixed(bytes), Some(written), true, false) =
            (&body, &self.placeholders, placeholders, check.sources.compares())
            && !site::ErrorPage::PLACEHOLDERS.iter().any(|known| String::from_utf8_lossy(bytes).contains(known))
        {
            check.report.add(
                Diagnostic::error("no-effect", "this page has no placeholders", written.span)
                    .help(format!("these do: {}", site::ErrorPage::PLACEHOLDERS.join(" "))),
            );
        }
        Some(site::ErrorPage {
            placeholders,
            upstream: is(&self.upstream),
            codes: list(self.codes.iter().map(|code| code.value).collect()),
            body,
            content_type: media::of(&name).into(),
        })
    }
}
