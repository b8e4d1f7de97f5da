//! `redirect`: redirects the client. [`target`] checks its target.

mod target;

use proxy_runtime::site;

use super::{CheckedHandler, HandlerContext, Leads, WrittenHandler};
use crate::ast::{HostPattern, Item, Template, What};
use crate::check::Check;
use crate::check::scope::Phase;
use crate::declaration::{Directive, HANDLER, Place, Prop};
use crate::model::{Site, list};
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

const BRACES: Place = Place::Within("in `redirect`");

pub(super) static REDIRECT: Directive = Directive {
    name: "redirect",
    places: HANDLER,
    args: "CODE TO",
    props: &[Prop::new("query", "drop", "Leaves the request's query out of the target.")],
    body: Some(BRACES),
    repeats: true,
    summary: "Sends the client to another URL.",
    details: "\
`CODE` is 301, 302, 303, 307 or 308 (307 and 308 keep the method). `TO` is an absolute URL or a path, with placeholders.

The request's query is kept: `/old?a=b` is sent to `/new?a=b`. `query=drop` leaves it out. A target with a query of its own
(`/new?from=old`) is complete: the request's query is not added, because clients could then override a parameter; to
add it, write it in the target: `/new?from=old&{query}`. `{uri}` is path and query together. Without a query in the request,
`?{query}` leaves no bare `?`.

A target whose host comes from the request is an open redirect, which phishing uses: `{host}` may be part of the target's host in a
site that names its hosts; in other sites, list the permitted hosts with `allow-host`; requests for others get a
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
        Some(super::written(Redirect {
            code: r.arg("a CODE", code)?,
            to: r.arg("a target", value::header_template)?,
            drop_query: r.prop("query", value::word(&[("drop", ())])),
            items: r.body(),
        }))
    },
};

pub(super) static ALLOW_HOST: Directive = Directive {
    name: "allow-host",
    places: &[BRACES],
    args: "HOST...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Lists the permitted values of `{host}` in a redirect's target.",
    details: "A request for another host gets a 421.",
    example: r#"
site * {
    redirect 301 "https://{host}{path}" {
        allow-host example.com example.org
    }
}
"#,
    read: |r| Some(What::line(AllowHost(r.some("a HOST", value::host)))),
};

/// `redirect`.
#[derive(Debug)]
struct Redirect {
    code: Spanned<u16>,
    to: Spanned<Template>,
    /// `query=drop`.
    drop_query: Option<Spanned<()>>,
    /// `allow-host` lines.
    items: Vec<Item>,
}

/// `allow-host`.
#[derive(Debug)]
struct AllowHost(Vec<Spanned<HostPattern>>);

impl WrittenHandler for Redirect {
    fn has_body(&self) -> bool {
        false
    }

    fn check(&self, check: &mut Check<'_>, around: &HandlerContext<'_>) -> Option<site::Handler> {
        let to = check.template(&self.to.value, around.scope, Phase::Request)?;
        check.groups_of_nginx(&self.to.value);
        let mut allowed = Vec::new();
        let mut listed = None;
        for item in &self.items {
            let Some(AllowHost(names)) = item.line() else { continue };
            listed = Some(item.span);
            for name in names {
                match &name.value {
                    HostPattern::Exact(host) => allowed.push(host.clone().into()),
                    _ => check.error("bad-host", "hosts are listed one by one here", name.span),
                }
            }
        }
        target::check(check, &self.to, &to, around.hosts, listed);
        let own_query = target::has_query(&to);
        if let (Some(written), true) = (&self.drop_query, own_query) {
            let message = "`query=drop` has no effect: this target has the request's query only if it is written";
            check.report.add(
                Diagnostic::error("no-effect", message, written.span)
                    .also(self.to.span, "it has a query of its own")
                    .help("leave `query=drop` out, or write a target without a query"),
            );
        }
        let keep_query = self.drop_query.is_none() && !own_query;
        let made = site::Redirect { code: self.code.value, to, keep_query, allow_hosts: list(allowed) };
        Some(site::Handler::Redirect(made))
    }
}

impl CheckedHandler for site::Redirect {
    fn short(&self, _: &Site) -> String {
        format!("redirect {} {}", self.code, self.to.literal().unwrap_or_default()).trim_end().to_owned()
    }

    fn explain(&self, _: &Site) -> Option<String> {
        let query = if self.keep_query { "keeps the query" } else { "the query of the target" };
        Some(format!("{}, {query}", self.code))
    }

    fn leads(&self) -> Leads<'_> {
        // RFC 9110 sections 15.4.2 to 15.4.4: clients usually change the method to GET.
        Leads::Elsewhere { by_get: matches!(self.code, 301..=303) }
    }
}

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
