//! The pages of proofs: what makes a site wrong, whatever is said.

use super::Code;

/// All of them.
pub(super) static PROOFS: &[Code] = &[
    Code {
        name: "ambiguous-routes",
        level: None,
        what: "Some request reaches two routes, and neither goes before the other.",
        why: "\
Order in the file means nothing, so it can't be what decides. The message has a request that both would take. Say which is
meant with `priority=1` on one of them, or add a matcher so that they no longer meet.",
        wrong: r#"
site example.com {
    route "/*" {
        path-regex "^/blog/"
        proxy "http://10.0.0.2:80"
    }
    route "/*" {
        path-regex "[.]png$"
        proxy "http://10.0.0.3:80"
    }
}"#,
        right: r#"
site example.com {
    route "/*" {
        path-regex "^/blog/"
        proxy "http://10.0.0.2:80"
    }
    route "/*" priority=1 {
        path-regex "[.]png$"
        proxy "http://10.0.0.3:80"
    }
}"#,
    },
    Code {
        name: "duplicate-route",
        level: None,
        what: "Two routes take the very same requests.",
        why: "One of them would be without effect, and a reader could not tell which. Remove one, or tell them apart.",
        wrong: r#"
site example.com {
    route "/a" {
        respond 200
    }
    route "/a" {
        respond 404
    }
}"#,
        right: r#"
site example.com {
    route "/a" {
        method GET
        respond 200
    }
    route "/a" {
        respond 404
    }
}"#,
    },
    Code {
        name: "unreachable-route",
        level: None,
        what: "All requests of a route go to routes before it.",
        why: "\
It is proved, over paths, expressions, methods, fields and networks: no request at all reaches the route. Most often a
more specific pattern covers more than was thought (`/{x}/*` is every path but `/`), or a `priority` is on the wrong one.",
        wrong: r#"
site example.com {
    route "/" {
        respond 200
    }
    route "/{section}/*" {
        proxy "http://10.0.0.2:80"
    }
    route "/*" {
        respond 404
    }
}"#,
        right: r#"
site example.com {
    route "/" {
        respond 200
    }
    route "/{section}/*" {
        method GET
        proxy "http://10.0.0.2:80"
    }
    route "/*" {
        respond 404
    }
}"#,
    },
    Code {
        name: "contradiction",
        level: None,
        what: "What a route asks for can't all be true of one request.",
        why: "Two values of a field that comes once, a network and its own exclusion, two expressions that share no path.",
        wrong: r#"
site example.com {
    route "/a" {
        path-regex "^/b"
        respond 200
    }
}"#,
        right: r#"
site example.com {
    route "/a" {
        respond 200
    }
}"#,
    },
    Code {
        name: "regex-never-matches",
        level: None,
        what: "An expression can't match any path.",
        why: "Paths begin with `/` and have no blanks in them. `^api/` is written by people who know other proxies.",
        wrong: r#"
site example.com {
    route "/*" {
        path-regex "^api/"
        respond 200
    }
}"#,
        right: r#"
site example.com {
    route "/*" {
        path-regex "^/api/"
        respond 200
    }
}"#,
    },
    Code {
        name: "redirect-loop",
        level: None,
        what: "A redirect leads back to itself.",
        why: "\
Followed with a request that reaches the route, through all of the site's own redirects, it comes back: clients give up
after some twenty rounds. Exclude the target from the route, or mend the target.",
        wrong: r#"
site example.com {
    route "/a/*" {
        redirect 302 "/b/{*}"
    }
    route "/b/*" {
        redirect 302 "/a/{*}"
    }
}"#,
        right: r#"
site example.com {
    route "/a/*" {
        redirect 302 "/b/{*}"
    }
    route "/b/*" {
        proxy "http://10.0.0.2:80"
    }
}"#,
    },
    Code {
        name: "proxy-loop",
        level: None,
        what: "A route forwards to a listener of this very site, which gives the request to the route again.",
        why: "Every request would go round until a limit is hit. Most often the port is the proxy's own, not the server's.",
        wrong: r#"
listen ":8080"
site example.com {
    proxy "http://127.0.0.1:8080"
}"#,
        right: r#"
listen ":8080"
site example.com {
    proxy "http://127.0.0.1:3000"
}"#,
    },
    Code {
        name: "open-redirect",
        level: None,
        what: "Where a redirect leads to is the client's word.",
        why: "\
A link to your site that ends up anywhere is what phishing is made of. Write the host out; or let `{host}` stand for hosts
that are listed.",
        wrong: r#"
site * {
    redirect 301 "https://{host}{path}"
}"#,
        right: r#"
site * {
    redirect 301 "https://{host}{path}" {
        allow-host example.com
    }
}"#,
    },
    Code {
        name: "contradicting-timeouts",
        level: None,
        what: "A time-out is longer than the one around it, so that it can never run out.",
        why: "`total` is all of an exchange: connecting and waiting for an answer are parts of it.",
        wrong: r#"
site example.com {
    timeouts connect="10s" total="5s"
    proxy "http://10.0.0.2:80"
}"#,
        right: r#"
site example.com {
    timeouts connect="1s" total="5s"
    proxy "http://10.0.0.2:80"
}"#,
    },
    Code {
        name: "test-failed",
        level: None,
        what: "A test of the site does not come out as it expects.",
        why: "The request was rehearsed on the tables that would be compiled in. `kiln explain FILE METHOD URL` tells who answers and why.",
        wrong: r#"
site example.com {
    respond 404
}
test "there" {
    request GET "http://example.com/"
    expect status=200
}"#,
        right: r#"
site example.com {
    respond 200
}
test "there" {
    request GET "http://example.com/"
    expect status=200
}"#,
    },
];
