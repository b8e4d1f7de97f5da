//! `cors`: the origins whose scripts may read responses.

use std::time::Duration;

use proxy_runtime::site::{self, Origin, ParamKind, Setting};

use super::headers::changed_in_responses;
use super::{ExplainStep, ExplainedRequest, Filters, Layer, Policy, PolicyDescription, RouteContext, words};
use crate::ast::{self, Item, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Place, Prop};
use crate::model::Route;
use crate::model::Site;
use crate::model::list;
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::value;
use crate::wording;

const BRACES: Place = Place::Within("in `cors`");

pub(crate) static CORS: Directive = Directive {
    name: "cors",
    places: POLICY,
    args: "ORIGIN...",
    props: &[
        Prop::new("credentials", "BOOL", "Pages may send credentials, such as cookies. Default `#false`."),
        Prop::new(
            "max-age",
            "DURATION",
            "How long a browser caches the result of a preflight request. Default `\"2h\"`, the maximum in \
             browsers.",
        ),
    ],
    body: Some(BRACES),
    repeats: false,
    summary: "Lets scripts of other origins read responses (CORS).",
    details: "\
`ORIGIN` has the form that browsers send, `https://app.example.com`; `https://*.example.com` matches all hosts below; `*` matches any
origin, and does not allow credentials. The proxy responds to a browser's preflight request (OPTIONS with `Origin` and
`Access-Control-Request-Method`) with 204, in the route that would match the actual request, before it asks for credentials; a preflight
that is not allowed gets 403 and the reason `cors-refused`. Other requests are handled, and their responses, errors included, say which
origin may read them; the server's own CORS fields are replaced. The browser enforces this: a request from another page is handled, but the
page cannot read the response. `Vary: Origin` is added where it matters.

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
        Some(What::policy(Cors {
            origins: r.some("an ORIGIN", value::origin),
            credentials: r.prop("credentials", value::boolean),
            max_age: r.prop("max-age", value::setting(value::duration)),
            items: r.body(),
        }))
    },
};

pub(crate) static CORS_METHODS: Directive = Directive {
    name: "methods",
    places: &[BRACES],
    args: "METHOD...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the methods that pages may use.",
    details: "Default: all methods of the route.",
    example: r#"
site example.com {
    cors "https://app.example.com" {
        methods GET POST
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(CorsLine::Methods(r.some("a METHOD", value::method)))),
};

pub(crate) static CORS_HEADERS: Directive = Directive {
    name: "headers",
    places: &[BRACES],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the header fields that pages may send.",
    details: "Default: all.",
    example: r#"
site example.com {
    cors "https://app.example.com" {
        headers Authorization
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(CorsLine::Headers(r.some("a NAME", value::header_name)))),
};

pub(crate) static EXPOSE: Directive = Directive {
    name: "expose",
    places: &[BRACES],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the response fields that pages may read, besides the usual ones.",
    details: "Default: none.",
    example: r#"
site example.com {
    cors "https://app.example.com" {
        expose X-Total-Count
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(CorsLine::Expose(r.some("a NAME", value::header_name)))),
};

/// `cors`.
#[derive(Debug, Clone)]
pub(crate) struct Cors {
    origins: Vec<Spanned<Origin>>,
    credentials: Option<Spanned<bool>>,
    max_age: Option<Spanned<ast::Setting<Duration>>>,
    items: Vec<Item>,
}

/// A line in `cors`.
#[derive(Debug)]
enum CorsLine {
    Methods(Vec<Spanned<String>>),
    Headers(Vec<Spanned<String>>),
    Expose(Vec<Spanned<String>>),
}

impl Policy for Cors {
    const NAME: &'static str = "cors";

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        if let Some(made) = layer.one::<Cors>().and_then(|cors| cors.value.made(check)) {
            policy.access.get_or_insert_default().cors = Some(made);
        }
    }

    /// Rejects CORS fields that are also set by hand, because browsers reject duplicates.
    fn filter(check: &mut Check<'_>, layer: &Layer, _: &RouteContext<'_>, _: &mut Filters) {
        let Some(cors) = layer.one::<Cors>() else { return };
        for field in changed_in_responses(layer).filter(|field| field.value.starts_with("access-control-")) {
            let message = format!("`cors` sets `{field}` here: this line contradicts it");
            let found = Diagnostic::error("contradiction", message, field.span).also(cors.span, "it is set here");
            check.report.add(found.help("leave one of the two out; `cors` responds to preflights, too"));
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<words::ExplainLine> {
        of.lines(ExplainStep::Access, Self::NAME, said(&of.route.policy))
    }

    fn guards(route: &Route) -> Vec<String> {
        let any = route.policy.access.as_ref().is_some_and(|access| access.cors.is_some());
        any.then(|| Self::NAME.to_owned()).into_iter().collect()
    }

    fn diff(_: &Site, policy: &site::Policy) -> PolicyDescription {
        PolicyDescription::lines("access", Self::NAME, said(policy))
    }
}

/// Returns the description of the policy.
fn said(policy: &site::Policy) -> Vec<String> {
    let origin = |origin: &Origin| match origin {
        Origin::Any => "*".to_owned(),
        Origin::Exact(origin) => origin.to_string(),
        Origin::Below(scheme, rest) => format!("{scheme}*{rest}"),
    };
    let cors = policy.access.iter().filter_map(|access| access.cors.as_ref());
    cors.map(|cors| wording::list(&cors.origins.iter().map(origin).collect::<Vec<_>>())).collect()
}

impl Cors {
    fn made(&self, check: &mut Check<'_>) -> Option<site::Cors> {
        let any = self.origins.iter().find(|origin| origin.value == Origin::Any);
        if let (Some(any), Some(other)) = (any, self.origins.iter().find(|origin| origin.value != Origin::Any)) {
            check.report.add(
                Diagnostic::error("no-effect", "this changes nothing: `*` allows any origin", other.span)
                    .also(any.span, "here"),
            );
        }
        if let (Some(any), Some(credentials)) = (any, self.credentials.as_ref().filter(|credentials| credentials.value))
        {
            check.report.add(
                Diagnostic::error(
                    "contradiction",
                    "browsers send no credentials if any origin may read the response",
                    credentials.span,
                )
                .also(any.span, "this allows any origin")
                .help("name the origins to allow"),
            );
        }
        let (mut methods, mut headers, mut expose) = (Vec::new(), Vec::new(), Vec::new());
        let texts = |names: &[Spanned<String>]| names.iter().map(|name| name.value.clone().into()).collect::<Vec<_>>();
        for item in &self.items {
            match item.line::<CorsLine>()? {
                CorsLine::Methods(names) => methods.extend(texts(names)),
                CorsLine::Headers(names) => headers.extend(texts(names)),
                CorsLine::Expose(names) => expose.extend(names.iter().map(|name| name.value.as_str())),
            }
        }
        let max_age = Setting::Fixed(Duration::from_secs(2 * 3600));
        Some(site::Cors {
            origins: list(self.origins.iter().map(|origin| origin.value.clone()).collect()),
            methods: list(methods),
            headers: list(headers),
            expose: expose.join(", ").into(),
            credentials: self.credentials.as_ref().is_some_and(|credentials| credentials.value),
            max_age: check.or(self.max_age.as_ref(), ParamKind::Duration, max_age),
        })
    }
}
