//! `rewrite`: changes path and query for the upstream.

use proxy_runtime::site;

use super::{ExplainStep, ExplainedRequest, Filters, Layer, Policy, PolicyDescription, RouteContext, words};
use crate::ast::{self, Item, Part, Pattern, Segment, What};
use crate::check::Check;
use crate::check::effects::Paths;
use crate::check::scope::{Phase, Scope};
use crate::declaration::{Directive, POLICY, Place, Prop};
use crate::model::Site;
use crate::model::{self, PathStep, RequestFilter};
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};
use crate::syntax::quoted;
use crate::value;

const BRACES: Place = Place::Within("in `rewrite`");

pub(crate) static REWRITE: Directive = Directive {
    name: "rewrite",
    places: POLICY,
    args: "",
    props: &[
        Prop::new("strip-prefix", "PREFIX", "Removes a prefix, by whole segments; a path without it is unchanged."),
        Prop::new("regex", "RE", "Replaces every match of this expression in the path by `replace`."),
        Prop::new("replace", "TEXT", "The replacement for `regex`; `$1` and `${name}` are its groups."),
        Prop::new("path", "TEMPLATE", "The whole new path, with placeholders."),
        Prop::new("add-prefix", "PREFIX", "Adds a prefix to the path."),
        Prop::new(
            "raw",
            "BOOL",
            "Path and query are forwarded as the client sent them, byte for byte. Default `#false`: in canonical \
             form.",
        ),
    ],
    body: Some(BRACES),
    repeats: false,
    summary: "Changes path and query of requests to the upstream.",
    details: "\
The changes are made in the order of the table. The result is brought to normal form again; a path that would leave the root
gets a 400. Routing comes before: `rewrite` changes the request to the upstream, not the choice of the route.

Without `rewrite` the upstream gets path and query in canonical form, the form that the router, the cache key and rules
use. Origins that sign or compare the request target as the client sent it (S3 and other signed URLs, Matrix federation)
need `raw=#true`; the router still uses the canonical form. `raw` can't be combined with other changes. A request whose target is not
in canonical form bypasses the cache then: the server may respond to it with something else.",
    example: r#"
site example.com {
    route "/api/*" {
        rewrite strip-prefix="/api" add-prefix="/v2" {
            query-set source "proxy"
            query-remove utm_source utm_medium
        }
        proxy "http://127.0.0.1:3000"
    }
    route "/blog/*" {
        rewrite regex="^/blog/([0-9]+)/" replace="/posts/$1/"
        proxy "http://127.0.0.1:3000"
    }
    route "/u/{id}" {
        rewrite path="/users/{id}/profile"
        proxy "http://127.0.0.1:3000"
    }
    route "/_matrix/*" {
        rewrite raw=#true
        proxy "http://127.0.0.1:8008"
    }
}
"#,
    read: |r| {
        Some(What::policy(Rewrite {
            strip_prefix: r.prop("strip-prefix", value::prefix),
            regex: r.prop("regex", value::regex),
            replace: r.prop("replace", value::text),
            path: r.prop("path", value::template),
            add_prefix: r.prop("add-prefix", value::prefix),
            raw: r.prop("raw", value::boolean),
            items: r.body(),
        }))
    },
};

pub(crate) static QUERY_SET: Directive = Directive {
    name: "query-set",
    places: &[BRACES],
    args: "NAME VALUE",
    props: &[],
    body: None,
    repeats: true,
    summary: "Sets a query parameter to this value.",
    details: "`VALUE` may have placeholders; characters that a URL does not allow are encoded. An existing parameter of this name is replaced, in any\nspelling (`p%61ge` is `page`).",
    example: r#"
site example.com {
    route "/tag/{name}" {
        rewrite path="/search" {
            query-set tag "{name}"
        }
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| Some(What::line(QueryLine::Set(r.arg("a NAME", value::query_name)?, r.arg("a VALUE", value::template)?))),
};

pub(crate) static QUERY_REMOVE: Directive = Directive {
    name: "query-remove",
    places: &[BRACES],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: true,
    summary: "Removes query parameters.",
    details: "Any spelling in the request matches: `p%61ge` is `page`.",
    example: r#"
site example.com {
    rewrite {
        query-remove utm_source utm_medium utm_campaign
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(QueryLine::Remove(r.some("a NAME", value::query_name)))),
};

/// `rewrite`.
#[derive(Debug, Clone)]
pub(crate) struct Rewrite {
    /// `strip-prefix=`.
    strip_prefix: Option<Spanned<String>>,
    /// `add-prefix=`.
    add_prefix: Option<Spanned<String>>,
    /// `path=`.
    path: Option<Spanned<ast::Template>>,
    /// `regex=`.
    regex: Option<Spanned<String>>,
    /// `replace=`.
    replace: Option<Spanned<String>>,
    /// `raw=`.
    raw: Option<Spanned<bool>>,
    /// `query-set` and `query-remove` lines.
    items: Vec<Item>,
}

/// A line for the query.
#[derive(Debug)]
enum QueryLine {
    Set(Spanned<String>, Spanned<ast::Template>),
    Remove(Vec<Spanned<String>>),
}

impl Policy for Rewrite {
    const NAME: &'static str = "rewrite";
    const NEEDS_UPSTREAM: bool = true;

    fn filter(check: &mut Check<'_>, layer: &Layer, route: &RouteContext<'_>, filters: &mut Filters) {
        let Some(rewrite) = layer.one::<Rewrite>().filter(|_| route.forwards()) else { return };
        rewrite.value.note_paths(check, route.pattern);
        filters.request.push(RequestFilter::Rewrite(rewrite.value.made(check, rewrite.span, route.scope)));
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<words::ExplainLine> {
        let rewrites = of.route.request.iter().filter(|filter| matches!(filter, RequestFilter::Rewrite(_)));
        let path = of.outcome.upstream_path.as_deref().unwrap_or("refused");
        of.lines(ExplainStep::Change, Self::NAME, rewrites.map(|_| path))
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::default()
    }
}

impl Rewrite {
    /// Records the paths that a route's `rewrite` affects.
    fn note_paths(&self, check: &mut Check<'_>, pattern: &Spanned<Pattern>) {
        if let Some(prefix) = &self.strip_prefix {
            let segments = prefix.value[1..].split('/').map(|segment| Segment::Literal(segment.to_owned()));
            let below =
                Pattern { text: format!("{}/*", prefix.value), segments: segments.chain([Segment::Rest]).collect() };
            let below = if pattern.value.ignores_case() { below.in_any_case() } else { below };
            check.note_paths(pattern.span, prefix.span, Paths::Below(below), || {
                let message = format!("`strip-prefix` has no effect: no path that gets here begins with `{prefix}`");
                let literal = literal_start(&pattern.value);
                let help = (!literal.is_empty()).then(|| Help::write(prefix.span, quoted(&literal)));
                Diagnostic::error("no-effect", message, prefix.span)
                    .also(pattern.span, "paths that get here")
                    .maybe_help(help)
            });
        } else if let (Some(regex), Some(_)) = (&self.regex, &self.replace) {
            check.note_paths(pattern.span, regex.span, Paths::Matching(regex.value.clone()), || {
                let message = "`regex` has no effect: it matches no path that gets here";
                Diagnostic::error("no-effect", message, regex.span)
                    .also(pattern.span, "paths that get here")
                    .help("it is matched against the whole path, from its first `/` on")
            });
        }
    }

    /// Returns the checked changes of path and query.
    fn made(&self, check: &mut Check<'_>, span: Span, scope: &Scope) -> model::Rewrite {
        let mut path = Vec::new();
        let strip = if scope.any_case { PathStep::StripPrefixAnyCase } else { PathStep::StripPrefix };
        path.extend(self.strip_prefix.as_ref().map(|prefix| strip(prefix.value.clone())));
        match (&self.regex, &self.replace) {
            (Some(regex), Some(replace)) => {
                check.never_matches_path(regex);
                check.replacement(regex, replace);
                path.push(PathStep::Replace(regex.value.clone(), replace.value.clone()));
            }
            (Some(alone), None) => check.error("missing-property", "`regex` needs `replace=` beside it", alone.span),
            (None, Some(alone)) => check.error("missing-property", "`replace` needs `regex=` beside it", alone.span),
            (None, None) => {}
        }
        if let Some(new) = &self.path {
            if !matches!(new.value.parts.first(), Some(Part::Text(text)) if text.starts_with('/'))
                && !starts_with_path(&new.value)
            {
                check.report.add(Diagnostic::error("bad-path", "a path begins with `/`", new.span));
            }
            let asks = |part: &&Part| match part {
                Part::Text(text) => text.contains('?'),
                Part::Placeholder(name) => name.value == "uri",
                _ => false,
            };
            if new.value.parts.iter().any(|part| asks(&part)) {
                let message = "a path has no query: its `?` would be sent as `%3F`";
                let found = Diagnostic::error("bad-path", message, new.span);
                check.report.add(found.help("the request's query is kept; `query-set` and `query-remove` change it"));
            }
            let others =
                [self.strip_prefix.as_ref().map(|other| other.span), self.regex.as_ref().map(|other| other.span)];
            for other in others.into_iter().flatten() {
                check.report.add(
                    Diagnostic::error("no-effect", "this has no effect: `path` replaces all of it", other)
                        .also(new.span, "here"),
                );
            }
            path.extend(check.template(&new.value, scope, Phase::Request).map(PathStep::Path));
        }
        path.extend(self.add_prefix.as_ref().map(|prefix| PathStep::AddPrefix(prefix.value.clone())));
        let (mut query_set, mut query_remove) = (Vec::new(), Vec::new());
        for line in self.items.iter().filter_map(Item::line::<QueryLine>) {
            match line {
                QueryLine::Set(name, value) => {
                    let value = check.template(&value.value, scope, Phase::Request);
                    query_set.extend(value.map(|value| (name.value.clone(), value)));
                }
                QueryLine::Remove(names) => query_remove.extend(names.iter().map(|name| name.value.clone())),
            }
        }
        let raw = self.raw.as_ref().filter(|raw| raw.value);
        if let Some(raw) = raw
            && (!path.is_empty() || !self.items.is_empty())
        {
            let message = "`raw` forwards path and query as they arrived, and the other settings change them";
            check.report.add(Diagnostic::error("no-effect", message, raw.span).help("leave one of the two out"));
        }
        // An error may be the reason why it changes nothing.
        if path.is_empty() && self.items.is_empty() && raw.is_none() && !check.report.has_errors() {
            check.error("no-effect", "this `rewrite` changes nothing", span);
        }
        model::Rewrite { path, query_remove, query_set, raw: raw.is_some() }
    }
}

/// Returns whether a path begins with `{path}`, and therefore with `/`.
fn starts_with_path(template: &ast::Template) -> bool {
    matches!(template.parts.first(), Some(Part::Placeholder(name)) if name.value == "path")
}

/// Returns the literal segments at the beginning of a pattern, as a path.
fn literal_start(pattern: &Pattern) -> String {
    let literal = |segment: &Segment| match segment {
        Segment::Literal(text) | Segment::AnyCase(text) if !text.is_empty() => Some(format!("/{text}")),
        _ => None,
    };
    pattern.segments.iter().map_while(literal).collect()
}
