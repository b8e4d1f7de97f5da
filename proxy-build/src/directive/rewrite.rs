//! `rewrite`: another path and query for the upstream.

use super::{Directive, POLICY, Place, Prop};
use crate::ast::{Policy, Rewrite, What};
use crate::value;

pub(super) static REWRITE: Directive = Directive {
    name: "rewrite",
    places: POLICY,
    args: "",
    props: &[
        Prop::new("strip-prefix", "PREFIX", "Removes a prefix, by whole segments; a path without it stays."),
        Prop::new("regex", "RE", "Every match of this expression in the path is replaced by `replace`."),
        Prop::new("replace", "TEXT", "What matches of `regex` become; `$1` and `${name}` stand for groups."),
        Prop::new("path", "TEMPLATE", "The whole new path, with placeholders."),
        Prop::new("add-prefix", "PREFIX", "Puts a prefix before the path."),
        Prop::new("raw", "BOOL", "Path and query are forwarded as the client sent them, byte for byte. Default `#false`: in canonical form."),
    ],
    body: Some(Place::Rewrite),
    repeats: false,
    summary: "Changes path and query on their way to the upstream.",
    details: "\
Steps happen in the order of the table. What comes out is brought to normal form again; a path that would leave the root
is answered with 400. Routing is over by then: `rewrite` changes what the upstream sees, not who answers.

Without `rewrite` the upstream gets path and query in canonical form: what the router has matched, the cache is keyed by and rules
were applied to. Origins that sign or compare the request target as the client sent it (S3 and other signed URLs, Matrix federation)
need `raw=#true`; the router still decides by the canonical form. `raw` goes with no other change.",
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
        Some(What::Policy(Policy::Rewrite(Rewrite {
            strip_prefix: r.prop("strip-prefix", value::prefix),
            regex: r.prop("regex", value::regex),
            replace: r.prop("replace", value::text),
            path: r.prop("path", value::template),
            add_prefix: r.prop("add-prefix", value::prefix),
            raw: r.prop("raw", value::boolean),
            items: r.body(),
        })))
    },
};

pub(super) static QUERY_SET: Directive = Directive {
    name: "query-set",
    places: &[Place::Rewrite],
    args: "NAME VALUE",
    props: &[],
    body: None,
    repeats: true,
    summary: "Gives a query parameter this value and no other.",
    details: "`VALUE` may have placeholders; what a URL does not allow is encoded. A parameter of this name is replaced however the request\nspells it (`p%61ge` is `page`).",
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
    read: |r| Some(What::QuerySet(r.arg("a NAME", value::query_name)?, r.arg("a VALUE", value::template)?)),
};

pub(super) static QUERY_REMOVE: Directive = Directive {
    name: "query-remove",
    places: &[Place::Rewrite],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: true,
    summary: "Removes query parameters.",
    details: "However the request spells them: `p%61ge` is `page`.",
    example: r#"
site example.com {
    rewrite {
        query-remove utm_source utm_medium utm_campaign
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::QueryRemove(r.some("a NAME", value::query_name))),
};
