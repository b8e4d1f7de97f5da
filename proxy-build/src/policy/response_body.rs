//! `response-body`: replaces strings in response bodies.

use proxy_runtime::site::{self, Text};

use super::media_types::{self, IN_RESPONSE_BODY};
use super::{
    ExplainLine, ExplainStep, ExplainedRequest, Filters, Layer, Policy, PolicyDescription, RouteContext, RouteHandler,
};
use crate::ast::{Item, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY};
use crate::model::Site;
use crate::model::{HeaderOp, list};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};
use crate::syntax::Leaf;
use crate::value::{self, Parsed};

pub(crate) static RESPONSE_BODY: Directive = Directive {
    name: "response-body",
    places: POLICY,
    args: "[off]",
    props: &[],
    body: Some(IN_RESPONSE_BODY),
    repeats: false,
    summary: "Replaces strings in response bodies.",
    details: "\
Bodies are changed as they stream through: responses are not buffered, and a string is found even if it arrives in two pieces. Of strings
that match at one place, the longest is replaced; replacements are not searched again. Matching is case-sensitive.

The proxy asks servers for complete, uncompressed responses (`Accept-Encoding` and `Range` are not passed on); `compress` compresses them
for the client. Responses that are compressed nevertheless, partial responses (206), and responses with `no-transform` are passed on
unchanged. `Content-Length` and digests are removed, `ETag` becomes a weak one. A client that asks for a range of a cached response or of a
file gets the whole response, as the positions after the replacement are not known.",
    example: r#"
site www.example.com {
    response-body {
        replace "http://app.internal:3000" "https://www.example.com"
        replace "<!-- version -->" ""
        types "text/html" "text/css"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let off = r.opt_arg(value::word(&[("off", ())]));
        Some(What::policy(ResponseBody { off: off.is_some(), items: r.body() }))
    },
};

pub(crate) static REPLACE: Directive = Directive {
    name: "replace",
    places: &[IN_RESPONSE_BODY],
    args: "TEXT WITH",
    props: &[],
    body: None,
    repeats: true,
    summary: "Replaces a string by another.",
    details: "A string has 1 to 1024 bytes; its replacement may be empty, and has at most 4096.",
    example: r#"
site www.example.com {
    response-body {
        replace "http://app.internal:3000" "https://www.example.com"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::line(Replacement(
            r.arg("a TEXT", |leaf| text(leaf, 1, 1024))?,
            r.arg("the replacement", |leaf| text(leaf, 0, 4096))?,
        )))
    },
};

fn text(leaf: &Leaf, shortest: usize, longest: usize) -> Parsed<String> {
    let found = value::text(leaf)?;
    if (shortest..=longest).contains(&found.len()) {
        return Ok(found);
    }
    Err(value::Problem {
        code: "bad-pattern",
        message: format!("this has {shortest} to {longest} bytes"),
        help: Vec::new(),
        part: None,
    })
}

/// The largest total size of the strings, in bytes.
const MOST: usize = 256 << 10;

/// `response-body`.
#[derive(Debug, Clone)]
pub(crate) struct ResponseBody {
    /// `off`: removes one of an outer scope.
    off: bool,
    /// Its lines.
    items: Vec<Item>,
}

/// A string and its replacement.
#[derive(Debug)]
struct Replacement(Spanned<String>, Spanned<String>);

impl Policy for ResponseBody {
    const NAME: &'static str = "response-body";

    fn is_off(&self) -> bool {
        self.off
    }

    fn idle(&self, at: Span, answer: &RouteHandler<'_>) -> Vec<Diagnostic> {
        answer.has_no_body("response-body", at)
    }

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        policy.replace = layer.one::<ResponseBody>().and_then(|rule| rule.value.made(check, rule.span));
    }

    fn filter(_: &mut Check<'_>, layer: &Layer, route: &RouteContext<'_>, filters: &mut Filters) {
        if route.forwards() && layer.one::<ResponseBody>().is_some_and(|rule| !rule.value.off) {
            // Strings are replaced in complete, uncompressed bodies.
            let unwanted = ["accept-encoding", "range", "if-range"];
            filters.request_headers(unwanted.map(|name| HeaderOp::Remove(name.to_owned())));
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        let replace = of.route.policy.replace.iter();
        of.lines(ExplainStep::Response, Self::NAME, replace.map(|replace| format!("{} texts", replace.texts.len())))
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::values("replace", Self::NAME)
    }
}

impl ResponseBody {
    fn made(&self, check: &mut Check<'_>, span: Span) -> Option<site::ResponseBody> {
        if self.off {
            for item in &self.items {
                check.error("no-effect", "this has no effect beside `off`", item.span);
            }
            return None;
        }
        let mut texts: Vec<(Text, Text)> = Vec::new();
        for item in &self.items {
            match item.line::<Replacement>() {
                Some(Replacement(text, with)) => {
                    if texts.iter().any(|(known, _)| *known == text.value) {
                        check.error("no-effect", format!("`{}` is replaced already", text.value), text.span);
                    }
                    texts.push((text.value.clone().into(), with.value.clone().into()));
                }
                None if matches!(item.what, What::Unread) => return None,
                None => {}
            }
        }
        if texts.is_empty() {
            check.report.add(Diagnostic::error("no-effect", "this replaces nothing", span).help(
                "name a string and its replacement, as in: response-body { replace \"http://app\" \"https://www\"; }",
            ));
            return None;
        }
        if texts.iter().map(|(text, _)| text.len()).sum::<usize>() > MOST {
            check.error("too-many-patterns", format!("more than {} KiB of strings", MOST >> 10), span);
        }
        let id = check.replacements.iter().position(|known| *known == texts).unwrap_or_else(|| {
            check.replacements.push(texts.clone());
            check.replacements.len() - 1
        });
        let types = media_types::among(&self.items).unwrap_or_else(|| vec!["text/html".into()]);
        Some(site::ResponseBody { id: id as u32, texts: list(texts), types: list(types) })
    }
}
