//! `filter`: calls functions of the user's own crate.

use proxy_runtime::site;

use super::{
    ExplainLine, ExplainStep, ExplainedRequest, Filters, Layer, Merge, Policy, PolicyDescription, RouteContext,
};
use crate::ast::What;
use crate::check::Check;
use crate::declaration::{Directive, POLICY, Prop};
use crate::model::Route;
use crate::model::Site;
use crate::source::Spanned;
use crate::syntax::Leaf;
use crate::value::{self, Parsed, problem};

pub(crate) static FILTER: Directive = Directive {
    name: "filter",
    places: POLICY,
    args: "FUNCTION|off",
    props: &[Prop::new("on", "request|response", "What the function gets. Default `request`.")],
    body: None,
    repeats: true,
    summary: "Calls a Rust function of your own crate.",
    details: "\
`FUNCTION` is its path, as in `crate::filters::tenant`; rustc checks that it exists and has the right type. The site has to be compiled
into a crate (`kiln new` makes one) by `site!`, because `kiln build`, `run` and `dev` can't know the function.

```rust
use proxy_runtime::filter::{FieldName, Flow, Request, Response};

pub fn tenant(request: &mut Request<'_>) -> Flow {
    let tenant = request.host().split('.').next().unwrap_or_default();
    request.set(FieldName::new(\"x-tenant\"), tenant);
    Flow::Continue // or Flow::Respond(Answer::text(StatusCode::FORBIDDEN, \"no\\n\"))
}

pub fn stamp(response: &mut Response<'_>) {
    response.set(FieldName::new(\"x-checked\"), \"yes\");
}
```

A request filter runs last in access control, after `auth` and `block`, and before caches, `rewrite` and `request-headers`: the fields that
it sets are available there as `{header.NAME}`, and in a cache's key. If it responds, the client gets that response, and the log has the
function's name in the field `rule`. A response filter runs after `response-headers`, also on cached responses, files and the proxy's own
errors. Several filters run in the order in which they are written, outer ones first; `filter off` turns off the outer ones. They run on the
event loop and must not wait or compute for long. If a filter panics, only its exchange fails: 500, `filter-panicked` in the log.

Tests of the site that reach such a route can't call the function while the site is compiled. If the result differs from their expectation
(except for the route), the test is left to the binary's `--self-test`, which calls the function, and to `proxy_runtime::self_test` in a
test of the crate.",
    example: r#"
site example.com {
    filter "crate::filters::tenant"
    route "/api/*" {
        filter "crate::filters::stamp" on=response
        proxy "http://127.0.0.1:3000"
    }
    route "/health" {
        filter off
        respond 200 "ok"
    }
}
"#,
    read: |r| {
        let function = r.arg("a FUNCTION or `off`", path)?;
        let on_response = r.prop("on", value::word(&[("request", false), ("response", true)]));
        Some(What::policy(Filter { function, on_response }))
    },
};

/// Parses the path of a function in the crate, or in a dependency.
fn path(leaf: &Leaf) -> Parsed<String> {
    /// Keywords that are not identifiers (The Rust Reference, "Keywords"); except those that may begin a path.
    const KEYWORDS: &[&str] = &[
        "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern", "false", "fn",
        "for", "gen", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "self",
        "Self", "static", "struct", "super", "trait", "true", "type", "unsafe", "use", "where", "while", "_",
    ];
    let found = value::text(leaf)?;
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
            && !KEYWORDS.contains(&name)
    };
    let fits = match found.split_once("::") {
        Some((first, rest)) => (first == "crate" || is_name(first)) && rest.split("::").all(is_name),
        None => found == "off",
    };
    if fits {
        return Ok(found);
    }
    let problem = problem("bad-function", format!("`{found}` is not the path of a function"));
    let bare = found.trim_end_matches("()").trim_start_matches("::");
    let path = bare.strip_prefix("self::").or_else(|| bare.strip_prefix("crate::")).unwrap_or(bare);
    Err(match !path.is_empty() && path.split("::").all(is_name) {
        true => problem.write_text(&format!("crate::{path}")),
        false => problem.help("it is named from the root of the crate, as in \"crate::filters::tenant\""),
    })
}

/// `filter`.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// The path of a function, or `off`.
    function: Spanned<String>,
    /// `on=response`.
    on_response: Option<Spanned<bool>>,
}

impl Policy for Filter {
    const NAME: &'static str = "filter";
    const MERGE: Merge<Self> = Merge::All;

    fn is_off(&self) -> bool {
        self.function.value == "off"
    }

    fn filter(check: &mut Check<'_>, layer: &Layer, _: &RouteContext<'_>, filters: &mut Filters) {
        for Spanned { value: filter, .. } in layer.all::<Filter>() {
            let functions = &mut filters.functions;
            match (&filter.on_response, filter.is_off()) {
                (Some(on), true) => check.error("no-effect", "`on` has no effect beside `off`", on.span),
                (None, true) => {}
                (Some(on), false) if on.value => functions.response.push(filter.function.value.clone()),
                (_, false) => functions.request.push(filter.function.value.clone()),
            }
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        let functions = &of.route.functions;
        let asked = |step, names: &[String]| match names.is_empty() {
            true => Vec::new(),
            false => of.lines(step, Self::NAME, [names.join(", ")]),
        };
        let mut lines = asked(ExplainStep::Access, &functions.request);
        lines.extend(asked(ExplainStep::Finish, &functions.response));
        lines
    }

    fn guards(route: &Route) -> Vec<String> {
        route.functions.request.iter().map(|path| format!("filter {path}")).collect()
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::default()
    }
}
