//! `response-cookies`: the attributes of cookies that servers set.

use proxy_runtime::site::{self, CookieRule};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Merge, Policy, PolicyDescription};
use crate::ast::What;
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Prop};
use crate::model::Site;
use crate::model::list;
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};
use crate::syntax::Leaf;
use crate::value::{self, Parsed};

pub(crate) static RESPONSE_COOKIES: Directive = Directive {
    name: "response-cookies",
    places: POLICY,
    args: "[NAME...]",
    props: &[
        Prop::new(
            "secure",
            "BOOL",
            "`Secure`: browsers send the cookie only over encrypted connections. Default `#false`: as the server \
             says.",
        ),
        Prop::new(
            "http-only",
            "BOOL",
            "`HttpOnly`: scripts can't read the cookie. Default `#false`: as the server says.",
        ),
        Prop::new(
            "same-site",
            "strict|lax|none",
            "`SameSite`: whether pages of other sites send the cookie. Default: as the server says.",
        ),
        Prop::new(
            "domain",
            "HOST",
            "`Domain`: the hosts of the cookie; `\"\"` for only the host that sets it. Default: as the server \
             says.",
        ),
        Prop::new(
            "path",
            "PATH",
            "`Path`: the paths of the cookie; `\"\"` for that of the request. Default: as the server says.",
        ),
    ],
    body: None,
    repeats: true,
    summary: "Sets attributes of the cookies that servers set.",
    details: "\
It applies to the cookies with these names, or to all if there are none. The server's own attributes are replaced, and the cookie's value is
not changed. Rules of a preset, a site and a route all apply, the inner ones last. They also apply to cookies of `sticky` and `split`.",
    example: r#"
site example.com {
    response-cookies secure=#true http-only=#true same-site=lax
    response-cookies session domain="" path="/"
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::policy(ResponseCookies {
            names: r.rest(value::text),
            secure: r.prop("secure", value::boolean),
            http_only: r.prop("http-only", value::boolean),
            same_site: r.prop("same-site", value::word(&[("strict", "Strict"), ("lax", "Lax"), ("none", "None")])),
            domain: r.prop("domain", attribute),
            path: r.prop("path", attribute),
        }))
    },
};

/// Parses an attribute's value (RFC 6265 section 4.1.1).
fn attribute(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    if found.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
        return Ok(found);
    }
    Err(value::Problem {
        code: "bad-cookie",
        message: "an attribute of a cookie is ASCII, without blanks and `;`".to_owned(),
        help: Vec::new(),
        part: None,
    })
}

/// `response-cookies`.
#[derive(Debug, Clone)]
pub(crate) struct ResponseCookies {
    names: Vec<Spanned<String>>,
    secure: Option<Spanned<bool>>,
    http_only: Option<Spanned<bool>>,
    same_site: Option<Spanned<&'static str>>,
    domain: Option<Spanned<String>>,
    path: Option<Spanned<String>>,
}

impl Policy for ResponseCookies {
    const NAME: &'static str = "response-cookies";
    const MERGE: Merge<Self> = Merge::All;
    const NEEDS_UPSTREAM: bool = true;
    const NEEDS_ALL: bool = true;

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        let rules = layer.all::<ResponseCookies>().iter();
        policy.cookies = list(rules.filter_map(|rule| rule.value.rule(check, rule.span)).collect());
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        let rules = of.route.policy.cookies.len();
        of.lines(ExplainStep::Response, Self::NAME, (rules > 0).then(|| rules.to_string()))
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::values("cookies", Self::NAME)
    }
}

impl ResponseCookies {
    fn rule(&self, check: &mut Check<'_>, span: Span) -> Option<CookieRule> {
        let is = |written: &Option<Spanned<bool>>| written.as_ref().is_some_and(|value| value.value);
        let text = |written: &Option<Spanned<String>>| written.as_ref().map(|value| value.value.clone().into());
        let made = CookieRule {
            names: list(self.names.iter().map(|name| name.value.clone().into()).collect()),
            secure: is(&self.secure),
            http_only: is(&self.http_only),
            same_site: self.same_site.as_ref().map(|value| value.value.into()),
            domain: text(&self.domain),
            path: text(&self.path),
        };
        let idle = CookieRule { names: made.names.clone(), ..CookieRule::default() };
        if made == idle {
            check.error("no-effect", "this changes no cookie", span);
            return None;
        }
        if let (Some(same_site), false) = (self.same_site.as_ref().filter(|value| value.value == "None"), made.secure) {
            check.report.add(
                Diagnostic::error(
                    "contradiction",
                    "browsers refuse such cookies unless they are secure",
                    same_site.span,
                )
                .help(Help::beside(same_site.span, "secure=#true")),
            );
        }
        Some(made)
    }
}
