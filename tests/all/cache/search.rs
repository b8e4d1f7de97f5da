//! `No-Vary-Search`: a response is used for all requests that differ only in irrelevant parts of the query.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_tests::origin::Origin;
use kiln_tests::proxy::Proxy;

use super::{MISS, asked, check, origin, shown};

const SITE: &str = "\
param listen type=addr
param app type=addr
lint allow cache-key
upstream app {
    server (param)app
}
site site.test {
    listen (param)listen
    cache {
        purge \"127.0.0.1\"
        stale if-error=\"1h\"
    }
    proxy app
    route \"/ignored/*\" {
        cache {
            ignore no-vary-search
        }
        proxy app
    }
    route \"/keyed/*\" {
        cache {
            key {
                query a b send=all
            }
        }
        proxy app
    }
    route \"/put/*\" {
        cache
        request-headers {
            set X-A \"{query.a}\"
        }
        proxy app
    }
}
";

fn started(name: &str) -> (Origin, Proxy) {
    let origin = origin();
    let proxy = Proxy::of_text(name, SITE, &[("app", &origin.address)]);
    (origin, proxy)
}

/// The lines for a response with this rule.
fn says(rule: &str) -> String {
    format!("X-Head: Cache-Control: max-age=60|ETag: \"a\"|No-Vary-Search: {rule}")
}

#[test]
fn equivalent_urls() {
    let (_origin, proxy) = started("cache-search");
    let stored = |number: u8| format!("200 {number} {MISS}");
    let (utm, only, order) = (says("params=(\"utm\")"), says("except=(\"id\")"), says("key-order"));
    check(
        &proxy,
        &[
            ("GET /a?utm=1&id=1", &utm, &stored(1)),
            ("GET /a?utm=1&id=1", "", "200 1 hit"),
            ("GET /a?id=1&utm=2", "", "200 1 hit"),
            ("GET /a?id=%31", "", "200 1 hit"),
            ("HEAD /a?id=1&utm", "", "200 hit"),
            ("GET /a?id=2&utm=1", &utm, &stored(2)),
            ("GET /a?id=2", "", "200 2 hit"),
            ("GET /a?id=1", "", "200 1 hit"),
            ("GET /a", &utm, &stored(3)),
            ("GET /a?utm=3", "", "200 3 hit"),
            ("GET /b?utm=3", &only, &stored(1)),
            ("GET /b", "", "200 1 hit"),
            ("GET /b?id=1&x=2", &only, &stored(2)),
            ("GET /b?y&id=1", "", "200 2 hit"),
            ("GET /c?a=1&b=2", &order, &stored(1)),
            ("GET /c?b=2&a=1", "", "200 1 hit"),
            ("GET /c?b=2", &order, &stored(2)),
            // An invalid rule is ignored, and so is one if the site has a `query` of its own.
            ("GET /d?a", &says("params"), &stored(1)),
            ("GET /d?b", &says("params"), &stored(2)),
            ("GET /d?a", "", "200 1 hit"),
            ("GET /ignored/a?utm=1", &utm, &stored(1)),
            ("GET /ignored/a?utm=2", &utm, &stored(2)),
            ("GET /keyed/a?b=1&utm=1", &says("params=(\"b\")"), &stored(1)),
            ("GET /keyed/a?b=2&utm=1", &utm, &stored(2)),
            ("GET /put/a?a=1", &says("params=(\"a\")"), &stored(1)),
            ("GET /put/a?a=2", &utm, &stored(2)),
        ],
    );
}

/// The last rule applies; a response without a rule is for its URL alone.
#[test]
fn rules_that_change() {
    let (_origin, proxy) = started("cache-search-changes");
    let stored = |number: u8| format!("200 {number} {MISS}");
    let (utm, other) = (says("params=(\"utm\")"), says("params=(\"other\")"));
    let plain = "X-Head: Cache-Control: max-age=60";
    let old = "X-Head: Cache-Control: max-age=60|Age: 100|ETag: \"a\"|No-Vary-Search: params=(\"utm\")";
    check(
        &proxy,
        &[
            ("GET /a?utm=1", &utm, &stored(1)),
            ("GET /a?x&other=1", &other, &stored(2)),
            ("GET /a?x&other=2", "", "200 2 hit"),
            ("GET /a?utm=1", &other, &stored(3)),
            ("GET /a?utm=2", &other, &stored(4)),
            // Without a rule.
            ("GET /b?utm=1", &utm, &stored(1)),
            ("GET /b?x=1&utm=1", plain, &stored(2)),
            ("GET /b?x=1&utm=1", "", "200 2 hit"),
            ("GET /b?x=1&utm=2", plain, &stored(3)),
            ("GET /b?utm=3", "", "200 1 hit"),
            // A stale response is revalidated, whichever URL is requested.
            ("GET /c?utm=1", old, &stored(1)),
            ("GET /c?utm=2", &utm, "200 1 fwd=stale fwd-status=304"),
            ("GET /c?utm=3", "", "200 1 hit"),
            ("GET /d?utm=1", old, &stored(1)),
            ("GET /d?utm=2", "X-Status: 503", "200 1 hit detail=if-error"),
            ("GET /d?utm=2", &format!("{plain};;X-Changed: 1"), "200 3 fwd=stale fwd-status=200 stored"),
            ("GET /d?utm=2", "", "200 3 hit"),
            ("GET /d?utm=1", plain, &stored(4)),
            // A 304 with another rule.
            ("GET /e?utm=1", old, &stored(1)),
            ("GET /e?utm=2", &other, "200 1 fwd=stale fwd-status=304 detail=no-longer-kept"),
            ("GET /e?utm=2", plain, &stored(3)),
        ],
    );
}

/// Purges and unsafe requests apply to all equivalent URLs.
#[test]
fn purges_of_equivalent_urls() {
    let (_origin, proxy) = started("cache-search-purged");
    let utm = says("params=(\"utm\")");
    for (number, (request, lines)) in [
        ("PURGE /a?utm=1", ""),
        ("PURGE /a?utm=9", ""),
        ("PURGE /a", ""),
        ("PURGE /a", "Purge-Mode: soft"),
        ("PURGE /*", ""),
        ("PURGE /", "Purge-Mode: all"),
        ("POST /a?utm=5", "Content-Length: 0"),
        ("DELETE /a", ""),
    ]
    .iter()
    .enumerate()
    {
        let fetched = asked(&proxy, "GET /a?utm=1", &utm);
        assert!(shown(&fetched).ends_with("stored"), "{number}: {fetched:?}");
        assert_eq!(shown(&asked(&proxy, "GET /a?utm=2", "")), format!("200 {} hit", fetched.text()), "{number}");
        let purged = asked(&proxy, request, lines);
        if request.starts_with("PURGE /a") {
            assert_eq!(purged.text(), "{\"purged\":1}\n", "{request} {lines}");
        }
    }
}

/// Concurrent requests share a fetch once their equivalence is known; and variants.
#[test]
fn concurrent_requests() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            counted.fetch_add(1, Ordering::SeqCst);
            let kind = super::value_of(&request, "x-kind").unwrap_or("none").to_owned();
            let head = "Cache-Control: max-age=60\r\nVary: X-Kind\r\nNo-Vary-Search: params=(\"utm\")";
            connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {}\r\n\r\n{kind}", kind.len()));
        }
    });
    let proxy = Proxy::of_text("cache-search-together", SITE, &[("app", &origin.address)]);
    assert_eq!(shown(&asked(&proxy, "GET /a?utm=0", "")), format!("200 none {MISS}"));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let proxy = &proxy;
            scope.spawn(move || {
                let answer = asked(proxy, &format!("GET /a?id=1&utm={number}"), "X-Kind: b");
                assert_eq!((answer.status, answer.text()), (200, "b".to_owned()));
            });
        }
    });
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert_eq!(shown(&asked(&proxy, "GET /a?utm=7&id=1", "X-Kind: b")), "200 b hit");
    assert_eq!(shown(&asked(&proxy, "GET /a?utm=7&id=1", "X-Kind: c")), "200 c fwd=vary-miss fwd-status=200 stored");
    assert_eq!(shown(&asked(&proxy, "GET /a?id=1&utm=8", "X-Kind: c")), "200 c hit");
}
