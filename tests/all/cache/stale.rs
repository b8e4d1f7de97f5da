//! RFC 9111 sections 4.2 and 4.3.4: stale responses that are served, those that never are, and revalidation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use kiln_tests::origin::Origin;
use kiln_tests::proxy::Proxy;

use super::{MISS, asked, check, shown, started};

/// Sections 4.2.4, 5.2.2.2, 5.2.2.4, 5.2.2.8 and 5.2.2.10: prohibitions of a response apply, whatever the site allows.
#[test]
fn no_cache_on_errors() {
    let (_origin, proxy) = started("cache-stale-errors");
    let fails = |path: &str, head: &str| {
        let request = format!("GET /ttl/{path}");
        let stored = format!("X-Head: {head}|Age: 999|ETag: \"a\"");
        check(
            &proxy,
            &[
                (&request, &stored, &format!("200 1 {MISS}")),
                (&request, "X-Status: 503", "503 2 fwd=stale fwd-status=503 detail=no-lifetime"),
                (
                    &request,
                    "X-Status: 500;;Cache-Control: max-stale",
                    "500 3 fwd=stale fwd-status=500 detail=no-lifetime",
                ),
                (&request, "X-Status: reset", "502 502 Bad Gateway\n none"),
                // It is still stored, and was never used without revalidation.
                (&request, &stored, "200 1 fwd=stale fwd-status=304"),
            ],
        );
    };
    fails("no-cache", "Cache-Control: no-cache");
    fails("no-cache-fresh", "Cache-Control: no-cache, max-age=5000");
    fails("no-cache-listed", "Cache-Control: no-cache=\"x-a\", no-cache, max-age=5");
    fails("no-cache-said", "Cache-Control: max-age=5, stale-if-error=5000, stale-while-revalidate=5000, no-cache");
    fails("no-cache-targeted", "CDN-Cache-Control: no-cache|Cache-Control: max-age=5000");
    fails("must-revalidate", "Cache-Control: max-age=5, must-revalidate, stale-if-error=5000");
    fails("proxy-revalidate", "Cache-Control: max-age=5, proxy-revalidate");
    fails("s-maxage", "Cache-Control: s-maxage=5");
    // A directive that lists fields allows the rest to be used.
    for (path, head) in [("plain", "max-age=5"), ("fields", "max-age=5, no-cache=\"x-a\"")] {
        let request = format!("GET /ttl/{path}");
        check(
            &proxy,
            &[
                (&request, &format!("X-Head: Cache-Control: {head}|Age: 100"), &format!("200 1 {MISS}")),
                (&request, "X-Status: 503", "200 1 hit detail=if-error"),
                (&request, "X-Status: reset", "200 1 hit detail=if-error"),
            ],
        );
    }
    // A response that can be neither used nor revalidated is not stored.
    let useless = "X-Head: Cache-Control: no-cache, max-age=60";
    check(&proxy, &[("GET /ttl/useless", useless, "200 1 fwd=uri-miss fwd-status=200 detail=no-lifetime")]);
}

/// A 304 without `Date` counts as made when it was received (RFC 9110 section 6.6.1), which determines the age of the
/// updated response.
#[test]
fn freshened_without_a_date() {
    let (_origin, proxy) = started("cache-stale-dates");
    let dated = "Date: Sun, 06 Nov 1994 08:49:37 GMT|";
    let lines = |before: &str, after: &str| format!("X-Head: {before}Cache-Control: max-age=60|ETag: \"a\"{after}");
    let (stored, asks) = (format!("200 1 {MISS}"), "200 1 fwd=stale fwd-status=304");
    check(
        &proxy,
        &[
            ("GET /get", &lines(dated, ""), &stored),
            ("GET /get", &lines("", ""), asks),
            ("GET /get", "", "200 1 hit"),
            // By the 304's own fields, if it has any.
            ("GET /date", &lines(dated, ""), &stored),
            ("GET /date", &lines(dated, ""), asks),
            ("GET /date", &lines("", "|Age: 70"), asks),
            ("GET /date", &lines("", "|Age: 7"), asks),
            ("GET /date", "", "200 1 hit"),
            ("GET /head", &lines(dated, ""), &stored),
            ("HEAD /head", &lines("", ""), "200 fwd=stale fwd-status=200 detail=head"),
            ("GET /head", "", "200 1 hit"),
            // An expiry in the past stays there.
            ("GET /expires", &format!("X-Head: {dated}Expires: Sun, 06 Nov 1994 08:59:37 GMT|ETag: \"a\""), &stored),
            ("GET /expires", "X-Head: ETag: \"a\"", asks),
            ("GET /expires", "X-Head: ETag: \"a\"", asks),
        ],
    );
    let hit = asked(&proxy, "GET /get", "");
    let date = hit.header("date").expect("a date");
    assert!(!date.contains("1994") && date.ends_with("GMT"), "{hit:?}");
    assert!(hit.header("age").is_some_and(|age| age.parse::<u64>().expect("a number") < 60), "{hit:?}");
}

/// Sections 4.1 and 4.3.4: a 304 that names more request fields than the response was stored under, or a strong tag for a weak one; and HEAD,
/// which gets the stale response like GET.
#[test]
fn changed_by_validation() {
    let (_origin, proxy) = started("cache-stale-changed");
    let old = |rest: &str| format!("X-Head: Cache-Control: max-age=60, stale-if-error=600|ETag: \"a\"|{rest}");
    let (stored, asks) = (format!("200 1 {MISS}"), "200 1 fwd=stale fwd-status=304");
    check(
        &proxy,
        &[
            ("GET /varies", &old("Age: 100|Vary: X-A"), &stored),
            ("GET /varies", &old("Age: 100|Vary: x-a"), asks),
            ("GET /varies", &old("Vary: X-B, X-A"), "200 1 fwd=stale fwd-status=304 detail=no-longer-kept"),
            ("GET /varies", &old("Vary: X-B, X-A"), "200 4 fwd=vary-miss fwd-status=200 stored"),
            ("GET /head-varies", &old("Age: 100"), &stored),
            ("HEAD /head-varies", &old("Vary: X-A"), "200 fwd=stale fwd-status=200 detail=head"),
            ("GET /head-varies", &old(""), &format!("200 3 {MISS}")),
            ("HEAD /fails", "X-Status: 503", "503 fwd=uri-miss fwd-status=503 detail=no-lifetime"),
            ("GET /fails", &old("Age: 100"), "200 2 fwd=uri-miss fwd-status=200 stored"),
            ("HEAD /fails", "X-Status: 503", "200 hit detail=if-error"),
            ("HEAD /fails", "X-Status: reset", "200 hit detail=if-error"),
            ("HEAD /fails", "X-Status: 404", "404 fwd=stale fwd-status=404 detail=head"),
        ],
    );
    let weak = |tag: &str| format!("X-Head: Cache-Control: max-age=60|X-Was: W/\"a\"|ETag: {tag}\"a\"");
    check(
        &proxy,
        &[
            ("GET /weak", &format!("{}|Age: 100", weak("W/")), &stored),
            ("GET /weak", &weak(""), asks),
            ("GET /weak", "", "200 1 hit"),
        ],
    );
    assert_eq!(asked(&proxy, "GET /weak", "").header("etag"), Some("W/\"a\""));
}

/// RFC 9211 section 2.5: a response that was purged softly has no time left.
#[test]
fn time_left() {
    let (_origin, proxy) = started("cache-stale-ttl");
    let check = |request: &str, lines: &str, expected: &str, left: Option<std::ops::RangeInclusive<i64>>| {
        let answer = asked(&proxy, request, lines);
        assert_eq!(shown(&answer), expected, "{request} {lines}");
        let said = answer.header("cache-status").and_then(|said| said.split_once("ttl=")?.1.split(';').next());
        let said = said.map(|ttl| ttl.parse::<i64>().expect("a number"));
        assert_eq!(said.is_some(), left.is_some(), "{answer:?}");
        assert!(said.zip(left).is_none_or(|(said, left)| left.contains(&said)), "{answer:?}");
    };
    let lines = "X-Head: Cache-Control: max-age=60, stale-if-error=60|ETag: \"a\"";
    let purged = "200 {\"purged\":1}\n none";
    check("GET /a", lines, &format!("200 1 {MISS}"), Some(50..=60));
    check("GET /a", "", "200 1 hit", Some(50..=60));
    check("PURGE /a", "Purge-Mode: soft", purged, None);
    check("GET /a", "X-Status: 503", "200 1 hit detail=if-error", Some(0..=0));
    check("GET /a", lines, "200 1 fwd=stale fwd-status=304", Some(50..=60));
    check("GET /a", "", "200 1 hit", Some(50..=60));
    // A response that is stale already shows its own staleness.
    let old = format!("{lines}|Age: 100");
    check("GET /old", &old, &format!("200 1 {MISS}"), Some(-50..=-40));
    check("PURGE /old", "Purge-Mode: soft", purged, None);
    check("GET /old", "X-Status: 503", "200 1 hit detail=if-error", Some(-50..=-40));
}

/// Section 4.2: dates in all three formats, in any case, for the freshness lifetime.
#[test]
fn dates_in_any_form() {
    let (_origin, proxy) = started("cache-stale-forms");
    let date = "Date: Sun, 06 Nov 2033 08:49:37 GMT";
    for (number, (expires, kept)) in [
        ("Sun, 06 Nov 2033 08:59:37 GMT", true),
        ("Sunday, 06-Nov-33 08:59:37 GMT", true),
        ("Sun Nov  6 08:59:37 2033", true),
        ("sun, 06 nOV 2033 08:59:37 gmt", true),
        ("SUNDAY, 06-nov-33 08:59:37 Gmt", true),
        ("SUN NOV  6 08:59:37 2033", true),
        ("Sun, 06 Nov 2033 08:59:37 AEST", false),
        ("Sun, 06-Nov-2033 08:59:37 GMT", false),
        ("Sun, 6 Nov 2033 08:59:37 GMT", false),
    ]
    .into_iter()
    .enumerate()
    {
        let request = format!("GET /{number}");
        asked(&proxy, &request, &format!("X-Head: {date}|Expires: {expires}"));
        assert_eq!(shown(&asked(&proxy, &request, "")) == "200 1 hit", kept, "{expires}");
    }
}

/// RFC 9213 section 2.1: values of a wrong type are ignored.
#[test]
fn targeted_values() {
    let (_origin, proxy) = started("cache-stale-targeted");
    for (number, (said, kept)) in [
        ("max-age=60", true),
        ("max-age=60;x=1", true),
        ("max-age=\"60\"", false),
        ("max-age=60.0", false),
        ("max-age", false),
        ("max-age=:NjA=:", false),
        ("max-age=60, no-store=?0", true),
        ("max-age=60, no-store=1", false),
    ]
    .into_iter()
    .enumerate()
    {
        let request = format!("GET /{number}");
        asked(&proxy, &request, &format!("X-Head: CDN-Cache-Control: {said}|Expires: Sun, 06 Nov 2033 08:59:37 GMT"));
        assert_eq!(shown(&asked(&proxy, &request, "")) == "200 1 hit", kept, "{said}");
    }
}

/// `stale if-error`: if no server is healthy, stale responses are served at once, without a request to a server.
#[test]
fn while_no_server_is_healthy() {
    const SITE: &str = "\
param listen type=addr
param app type=addr
upstream app {
    server (param)app
    health-check \"/health\" interval=\"30ms\" rise=1 fall=1
}
site site.test {
    listen (param)listen
    cache {
        stale if-error=\"1h\"
    }
    proxy app
}
";
    let (failing, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (state, counted) = (Arc::clone(&failing), Arc::clone(&count));
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let is_ill = state.load(Ordering::SeqCst);
            if request.starts_with("GET /health") {
                let status = if is_ill { "503 Service Unavailable" } else { "200 OK" };
                connection.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
                continue;
            }
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            if is_ill {
                // Requests wait until their time-out.
                connection.bytes();
                return;
            }
            let head = "Cache-Control: max-age=60\r\nAge: 100\r\nContent-Length: 1";
            connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{number}"));
        }
    });
    let proxy = Proxy::of_text("cache-no-server", SITE, &[("app", &origin.address)]);
    let ask = |path: &str| shown(&asked(&proxy, &format!("GET {path}"), ""));
    assert_eq!(ask("/a"), format!("200 1 {MISS}"));
    assert_eq!(ask("/a"), "200 2 fwd=stale fwd-status=200 stored");
    failing.store(true, Ordering::SeqCst);
    proxy.notice("is unhealthy: it answers 503");
    for _ in 0..3 {
        assert_eq!(ask("/a"), "200 2 hit detail=if-error");
    }
    assert_eq!(count.load(Ordering::SeqCst), 2);
    failing.store(false, Ordering::SeqCst);
    proxy.notice("is healthy again");
    assert_eq!(ask("/a"), "200 3 fwd=stale fwd-status=200 stored");
}
