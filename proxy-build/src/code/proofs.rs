//! The pages of proofs: errors that the compiler finds by reasoning about all requests.

use super::Code;

/// All proofs.
pub(super) static PROOFS: &[Code] = &[
    Code {
        name: "ambiguous-routes",
        level: None,
        what: "Two routes match the same request, and neither goes before the other.",
        why: "\
The order in the file means nothing, so it can't decide. The message has a request that both routes match. Choose one
with `priority=1`, or add a matcher so that they no longer overlap.",
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
        what: "Two routes match exactly the same requests.",
        why: "One of them would have no effect, and a reader could not tell which. Remove one, or add a matcher.",
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
        what: "Other routes match all requests of a route first.",
        why: "\
The compiler has proved, over paths, expressions, methods, fields and networks, that no request reaches the route. Usually a
more specific pattern covers more than intended (`/{x}/*` is every path except `/`), or a `priority` is on the wrong route.",
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
        what: "No request can satisfy all matchers of a route.",
        why: "Examples are two values of a field that occurs once, a network and its own exclusion, and two expressions without a common path.",
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
        why: "Paths begin with `/` and have no blanks in them. `^api/` is a habit from other proxies.",
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
A request that reaches the route comes back to it through the site's own redirects: clients give up
after some twenty rounds. Exclude the target from the route, or correct the target.",
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
        what: "A route forwards to a listener of the same site, which routes the request to the same route again.",
        why: "Every request would loop until a limit is reached. Usually the port is the proxy's own, not the server's.",
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
        what: "The client chooses the target host of a redirect (an open redirect).",
        why: "\
Phishing uses links to a trusted site that lead elsewhere. Write the host in the target; or list the
permitted values of `{host}`.",
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
        why: "`total` is the time of the whole exchange, including connecting and waiting for a response.",
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
        what: "A test of the site fails.",
        why: "The request was simulated on the tables that would be compiled in. `kiln explain FILE METHOD URL` shows the route and the reasons.",
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
