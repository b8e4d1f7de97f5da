//! `route`: a pattern with matchers, policies and a handler.

use super::{Directive, Place, Prop};
use proxy_runtime::router::route::LONGEST_ANY_CASE;

use crate::ast::{Pattern, Route, Segment, What};
use crate::report::Diagnostic;
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Advice, Parsed};

pub(super) static ROUTE: Directive = Directive {
    name: "route",
    places: &[Place::Site],
    args: "PATTERN...",
    props: &[
        Prop::new(
            "priority",
            "N",
            "Decides a tie between routes of the same pattern; the higher number goes first. Default 0.",
        ),
        Prop::new(
            "ignore-case",
            "BOOL",
            "The text of the patterns matches in upper and lower case (ASCII). Default `#false`.",
        ),
    ],
    body: Some(Place::Route),
    repeats: true,
    summary: "Selects requests of a site by path and matchers, and their handler.",
    details: "\
`PATTERN` is `/x` (exactly this), `/u/{id}` (one segment, bound to a name), `/x/*` (`/x` and everything below it, by
whole segments) or `/*` (everything). In placeholders `{id}` is the bound segment and `{*}` the part of the path that `*` matches.

With `ignore-case=#true` the letters `a` to `z` in a pattern match in either case: `/Admin/*` matches `/ADMIN/x`. Segment by segment,
text that matches exactly goes before text that matches in any case, so that `/About` with `ignore-case` can redirect to
`/about`. Bound segments, forwarded paths, cache keys and file names keep their case; `strip-prefix` in such a route ignores it.
In `path-regex`, use `(?i)`.

**Precedence.** The order in the file means nothing. Segment by segment, text goes before `{name}`, and `{name}` before `*`.
Among routes of one pattern, the route whose matchers include all of the other's goes first, that is, the other route
matches all of its requests as well. If two routes tie for some request, that is an error, and the message shows such a request; `priority=`
decides. A route that no request reaches is an error, too. If the matchers of a route do not match, the request goes to the
next less specific route.

Without a matching route, the response is 404. If only the method does not match, it is 405, with `Allow`.

Paths are matched in normal form (RFC 3986 section 6.2.2): unreserved characters decoded, dot segments removed,
doubled slashes merged. `%2F`, `%5C`, control bytes, a backslash and a `..` above the root are refused with 400. The path
is forwarded in the form in which it was matched.",
    example: r#"
site example.com {
    route "/users/{id}" {
        respond 200 "user {id}\n"
    }
    route "/Download/*" ignore-case=#true {
        respond 200 "{*}\n"
    }
    route "/static/*" "/favicon.ico" {
        respond 200 "a file\n"
    }
    route "/*" {
        method GET
        respond 200 "everything else\n"
    }
}
"#,
    read: |r| {
        let mut patterns = r.some("a PATTERN", pattern);
        if let Some(ignore_case) = r.prop("ignore-case", value::boolean).filter(|ignore_case| ignore_case.value) {
            patterns = patterns.into_iter().map(|pattern| pattern.map(Pattern::in_any_case)).collect();
            if !patterns.is_empty() && !patterns.iter().any(|pattern| pattern.value.ignores_case()) {
                let message = "`ignore-case` has no effect: there are no letters in these patterns";
                r.add(Diagnostic::error("no-effect", message, ignore_case.span));
            }
        }
        for pattern in &patterns {
            let long = |segment: &Segment| matches!(segment, Segment::AnyCase(text) if text.len() > LONGEST_ANY_CASE);
            if pattern.value.segments.iter().any(long) {
                let message = format!("with `ignore-case` a segment has at most {LONGEST_ANY_CASE} bytes");
                r.add(Diagnostic::error("bad-pattern", message, pattern.span));
            }
        }
        Some(What::Route(Route {
            patterns,
            priority: r.prop("priority", value::integer(0, 1_000_000)).map(|priority| priority.map(|n| n as i64)),
            items: r.body(),
        }))
    },
};

/// Parses a pattern; rejects handlers and policies, which belong into the braces.
fn pattern(leaf: &Leaf) -> Parsed<Pattern> {
    let inside = |word: &String| super::find(word, Place::Route).is_some();
    match &leaf.value {
        Scalar::Text(word) if leaf.ty.is_none() && inside(word) => {
            Err(value::problem("bad-pattern", format!("write `{word}` in the braces of a route")).help(Advice::Inside))
        }
        Scalar::Text(word) if proxy_runtime::site::Methods::NAMES.contains(&word.as_str()) => {
            let matcher = format!("method {word}");
            Err(value::problem("bad-pattern", "a method is no pattern: it is matched in the braces of a route")
                .help(Advice::WriteInside("\"/*\"".to_owned(), matcher)))
        }
        _ => value::pattern(leaf),
    }
}
