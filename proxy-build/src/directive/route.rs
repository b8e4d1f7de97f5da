//! `route`: which requests of a site, what is done to them, who answers.

use super::{Directive, Place, Prop};
use crate::ast::{Route, What};
use crate::value;

pub(super) static ROUTE: Directive = Directive {
    name: "route",
    places: &[Place::Site],
    args: "PATTERN...",
    props: &[Prop::new(
        "priority",
        "N",
        "Settles a tie between routes of the same pattern; the higher number goes first. Default 0.",
    )],
    body: Some(Place::Route),
    repeats: true,
    summary: "Says who answers for some of a site's paths.",
    details: "\
`PATTERN` is `/x` (exactly this), `/u/{id}` (one segment, bound to a name), `/x/*` (`/x` and everything below it, by
whole segments) or `/*` (everything). In placeholders `{id}` is the bound segment and `{*}` what `*` stands for.

**Precedence.** Order in the file means nothing. Segment by segment, text goes before `{name}`, and that before `*`.
Among routes of one pattern, the one whose matchers include all of the other's goes first: the one, that is, whose
requests the other takes as well. A tie that some request can hit is an error that prints such a request; `priority=`
settles it. A route that no request reaches is an error, too. A route whose matchers decline leaves the request to the
next less specific one.

No route: 404. A path that only lacks the method: 405, with `Allow`.

Paths are matched in normal form (RFC 3986 section 6.2.2): unreserved characters decoded, dot segments removed,
doubled slashes merged. `%2F`, `%5C`, control bytes, a backslash and a `..` above the root are refused with 400. What is
matched is what is forwarded.",
    example: r#"
site example.com {
    route "/users/{id}" {
        respond 200 "user {id}\n"
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
        Some(What::Route(Route {
            patterns: r.some("a PATTERN", value::pattern),
            priority: r.prop("priority", value::integer(0, 1_000_000)).map(|priority| priority.map(|n| n as i64)),
            items: r.body(),
        }))
    },
};
