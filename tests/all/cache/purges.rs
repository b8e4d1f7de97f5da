//! Purges of more than a URL: patterns, on one or several hosts, and cache groups (RFC 9875).

use kiln_tests::client::ask;
use kiln_tests::proxy::Proxy;

use super::{MISS, check, shown, started};

/// Requests a response from another host than `site.test`, which is cached for a minute.
fn other(proxy: &Proxy) -> String {
    let text =
        "GET /only HTTP/1.1\r\nHost: only.test\r\nConnection: close\r\nX-Head: Cache-Control: max-age=60\r\n\r\n";
    shown(&ask(proxy.address("listen"), text))
}

/// Purges through `admin`.
fn operate(proxy: &Proxy, host: &str, lines: &str) -> String {
    let text = format!("PURGE / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n\r\n");
    shown(&ask(proxy.address("admin"), &text))
}

#[test]
fn patterns() {
    let (_origin, proxy) = started("cache-patterns");
    let fresh = "X-Head: Cache-Control: max-age=60|ETag: \"a\"";
    for path in ["/img/a/1.jpg", "/img/2.jpg?w=1", "/img/3.png", "/%C3%BC/4"] {
        check(&proxy, &[(&format!("GET {path}"), fresh, &format!("200 1 {MISS}"))]);
    }
    check(
        &proxy,
        &[
            ("PURGE /", "Purge-Pattern: /img/*.jpg", "200 {\"purged\":2}\n none"),
            ("GET /img/3.png", "", "200 1 hit"),
            ("GET /img/a/1.jpg", fresh, &format!("200 2 {MISS}")),
            // In any spelling of the path; several patterns; softly.
            (
                "PURGE /x",
                "Purge-Pattern: /%c3%bc/*;;Purge-Pattern: */img/3.p*g;;Purge-Mode: soft",
                "200 {\"purged\":2}\n none",
            ),
            ("GET /%C3%BC/4", fresh, "200 1 fwd=stale fwd-status=304"),
            ("GET /img/3.png", fresh, "200 1 fwd=stale fwd-status=304"),
            // A pattern with a query.
            ("GET /list?page=1", fresh, &format!("200 1 {MISS}")),
            ("GET /list?page=2", fresh, &format!("200 2 {MISS}")),
            ("PURGE /", "Purge-Pattern: /list?page=1*", "200 {\"purged\":1}\n none"),
            ("GET /list?page=2", fresh, "200 2 hit"),
            ("PURGE /", "Purge-Pattern: /list", "200 {\"purged\":1}\n none"),
            // An invalid pattern purges nothing.
            ("PURGE /", "Purge-Pattern: *.jpg", "400 400 Bad Request\n none"),
            ("PURGE /", "Purge-Pattern: http://site.test/*", "400 400 Bad Request\n none"),
            ("PURGE /", "Purge-Pattern: /../*", "400 400 Bad Request\n none"),
            ("PURGE /", "Purge-Pattern: ", "400 400 Bad Request\n none"),
            ("PURGE /", "Purge-Pattern: /x y", "400 400 Bad Request\n none"),
            ("PURGE /", &vec!["Purge-Pattern: /*"; 17].join(";;"), "400 400 Bad Request\n none"),
            ("PURGE /", "Purge-Groups: a", "400 400 Bad Request\n none"),
            ("PURGE /closed/x", "Purge-Pattern: */*", "403 403 Forbidden\n none"),
            ("GET /img/3.png", "", "200 1 hit"),
        ],
    );
    assert!(proxy.log("\"status\":400").contains("\"reason\":\"purge-malformed\""));
    // One host, and several.
    assert_eq!(other(&proxy), format!("200 1 {MISS}"));
    check(&proxy, &[("PURGE /", "Purge-Pattern: /*", "200 {\"purged\":3}\n none")]);
    assert_eq!(other(&proxy), "200 1 hit");
    check(&proxy, &[("GET /img/3.png", fresh, &format!("200 3 {MISS}"))]);
    assert_eq!(operate(&proxy, "x", "Purge-Pattern: nobody.test/*"), "200 {\"purged\":0}\n none");
    assert_eq!(operate(&proxy, "x", "Purge-Pattern: *.test/*"), "200 {\"purged\":2}\n none");
    assert_eq!(other(&proxy), format!("200 2 {MISS}"));
    check(&proxy, &[("GET /img/3.png", fresh, &format!("200 4 {MISS}"))]);
}

#[test]
fn groups() {
    let (_origin, proxy) = started("cache-groups");
    let fresh = "X-Head: Cache-Control: max-age=60";
    let grouped = |groups: &str| format!("{fresh}|Cache-Groups: {groups}");
    let changed = |groups: &str| format!("Content-Length: 0;;X-Head: Cache-Group-Invalidation: {groups}");
    let passed = |status: u16, count: u32| format!("{status} {count} fwd=method fwd-status={status} detail=method");
    check(
        &proxy,
        &[
            ("GET /a", &grouped("\"one\", \"a b\";x"), &format!("200 1 {MISS}")),
            ("GET /b", &grouped("\"two\""), &format!("200 1 {MISS}")),
            ("GET /c", &grouped("one"), &format!("200 1 {MISS}")),
            ("GET /v", &format!("{}|Vary: X-V;;X-V: 1", grouped("\"one\"")), &format!("200 1 {MISS}")),
            ("GET /plain/d", &grouped("\"one\""), &format!("200 1 {MISS}")),
            // Section 3: only in responses to unsafe requests, and with the whole string.
            ("GET /x", &format!("{fresh}|Cache-Group-Invalidation: \"one\""), &format!("200 1 {MISS}")),
            ("POST /x", &changed("\"on\", \"One\", \"b\""), &passed(200, 2)),
            ("POST /x", &changed("one"), &passed(200, 3)),
            ("GET /a", "", "200 1 hit"),
            ("GET /v", "X-V: 1", "200 1 hit"),
            // Through any route, with any status.
            ("POST /plain/x", &format!("{};;X-Status: 500", changed("\"one\"")), &passed(500, 1)),
            ("GET /a", &grouped("\"one\""), &format!("200 2 {MISS}")),
            ("GET /v", &format!("{fresh};;X-V: 1"), "200 2 fwd=vary-miss fwd-status=200 stored"),
            ("GET /plain/d", &grouped("\"one\""), &format!("200 2 {MISS}")),
            ("GET /b", "", "200 1 hit"),
            ("GET /c", "", "200 1 hit"),
            // A later response is in the group, too.
            ("GET /a", "", "200 2 hit"),
            ("DELETE /x", &changed("\"one\""), &passed(200, 4)),
            ("GET /a", &grouped("\"a b\""), &format!("200 3 {MISS}")),
            // By clients that may purge; softly.
            ("PURGE /", "Purge-Groups: \"a b\";;Purge-Mode: soft", "200 {\"purged\":1}\n none"),
            ("GET /a", &grouped("\"a b\""), "200 4 fwd=stale fwd-status=200 stored"),
            ("PURGE /", "Purge-Tags: a b one two", "200 {\"purged\":0}\n none"),
            ("PURGE /", "Purge-Groups: \"two\", \"a b\"", "200 {\"purged\":2}\n none"),
            ("GET /b", fresh, &format!("200 2 {MISS}")),
        ],
    );
    // A group of another host is another group.
    check(&proxy, &[("GET /e", &grouped("\"e\""), &format!("200 1 {MISS}"))]);
    assert_eq!(operate(&proxy, "only.test", "Purge-Groups: \"e\""), "200 {\"purged\":0}\n none");
    check(&proxy, &[("GET /e", "", "200 1 hit")]);
    assert_eq!(operate(&proxy, "site.test", "Purge-Groups: \"e\""), "200 {\"purged\":1}\n none");
    check(&proxy, &[("GET /e", fresh, &format!("200 2 {MISS}"))]);
}
