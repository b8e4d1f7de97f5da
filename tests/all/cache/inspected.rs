//! The cache endpoints of `admin`: `GET /entry` and `GET /stores`.

use std::time::{Duration, Instant};

use kiln_tests::client::{Answer, ask};
use kiln_tests::proxy::{PATIENCE, Proxy};

use super::{MISS, asked, check, started};

fn operate(proxy: &Proxy, target: &str) -> Answer {
    ask(proxy.address("admin"), &format!("GET {target} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"))
}

#[test]
fn entries() {
    let (_origin, proxy) = started("cache-inspected");
    let said = "X-Head: Cache-Control: max-age=60, stale-while-revalidate=5, stale-if-error=7|Age: 10|ETag: \"a\"\
                |Surrogate-Key: one two|Cache-Groups: \"a b\"";
    let entry = |url: &str| {
        let answer = operate(&proxy, &format!("/entry?url={url}"));
        assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
        answer.text()
    };
    let nothing = "{\"store\":\"main\",\"responses\":[],\"more\":false}\n";
    assert_eq!(entry("http://site.test/a?x=1&y=2"), nothing);
    check(&proxy, &[("GET /a?x=1&y=2", said, &format!("200 1 {MISS}"))]);
    let before = "{\"store\":\"main\",\"responses\":[{\"url\":\"http://site.test/a?x=1&y=2\",\"on\":\"memory\",\"status\":200,\"bytes\":1,\"age\":";
    let behind = ",\"stale-while-revalidate\":5,\"stale-if-error\":7,\"purged-softly\":false,\"vary\":[],\"tags\":[\"one\",\"two\"],\"more-tags\":false,\
                  \"groups\":[\"a b\"],\"fields\":{\"etag\":\"\\\"a\\\"\"}}],\"more\":false}\n";
    for url in ["http://site.test/a?x=1&y=2", "https://SITE.test:443/%61?x=1&y=2"] {
        let text = entry(url);
        let times =
            text.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind)).unwrap_or_else(|| panic!("{text}"));
        let (age, ttl) = times.split_once(",\"ttl\":").expect("both");
        let (age, ttl): (u64, u64) = (age.parse().expect("a number"), ttl.parse().expect("a number"));
        // Both are truncated to seconds.
        assert!(age >= 10 && (59..=60).contains(&(age + ttl)), "{text}");
    }
    assert_eq!(entry("http://site.test/a"), nothing);
    // By its cache key; stale; purged softly.
    check(
        &proxy,
        &[("GET /key/k?page=2&x=3", "X-Head: Cache-Control: max-age=5|Age: 9|ETag: \"a\"", &format!("200 1 {MISS}"))],
    );
    let text = entry("http://site.test/key/k?y=4&page=2");
    assert!(text.contains("\"url\":\"http://site.test/key/k?page=2\"") && text.contains("\"ttl\":-4"), "{text}");
    check(&proxy, &[("PURGE /a?x=1&y=2", "Purge-Mode: soft", "200 {\"purged\":1}\n none")]);
    let text = entry("http://site.test/a?x=1&y=2");
    assert!(text.contains("\"ttl\":0,") && text.contains("\"purged-softly\":true"), "{text}");
    // The number of listed variants is limited.
    for number in 0..70 {
        let lines = format!("X-Head: Cache-Control: max-age=60|Vary: X-V|Content-Language: l{number};;X-V: {number}");
        assert_eq!(asked(&proxy, "GET /v", &lines).status, 200);
        let text = entry("http://site.test/v");
        assert_eq!(text.matches("\"url\"").count(), 64.min(number + 1), "{text}");
        assert_eq!(text.ends_with("\"more\":true}\n"), number >= 64, "{text}");
        assert!(number > 0 || text.contains("\"vary\":[\"x-v\"]") && text.contains("\"content-language\":\"l0\""));
    }
    // An invalidated response is not listed.
    check(&proxy, &[("GET /g", "X-Head: Cache-Control: max-age=60|Cache-Groups: \"g\"", &format!("200 1 {MISS}"))]);
    assert!(entry("http://site.test/g").contains("\"groups\":[\"g\"]"));
    assert_eq!(asked(&proxy, "POST /x", "Content-Length: 0;;X-Head: Cache-Group-Invalidation: \"g\"").status, 200);
    assert_eq!(entry("http://site.test/g"), nothing);
    for (target, status) in [
        ("/entry", 400),
        ("/entry?url=", 400),
        ("/entry?url=/a", 400),
        ("/entry?url=ftp://site.test/a", 400),
        ("/entry?url=http://site.test:x/a", 400),
        ("/entry?url=http://nobody.test/a", 404),
        ("/entry?uri=http://site.test/a", 400),
    ] {
        assert_eq!(operate(&proxy, target).status, status, "{target}");
    }
}

#[test]
fn figures() {
    let (_origin, proxy) = started("cache-figures");
    let figures = |member: &str| {
        let text = operate(&proxy, "/stores").text();
        let (_, found) = text.split_once(&format!("\"{member}\":")).unwrap_or_else(|| panic!("{member}: {text}"));
        found.split([',', '}']).next().and_then(|number| number.parse::<u64>().ok()).expect("a number")
    };
    let fresh = "X-Head: Cache-Control: max-age=60|ETag: \"a\"";
    check(
        &proxy,
        &[
            ("GET /a", fresh, &format!("200 1 {MISS}")),
            ("GET /a", fresh, "200 1 hit"),
            ("GET /a", fresh, "200 1 hit"),
            ("GET /a", &format!("{fresh};;Cache-Control: no-cache"), "200 1 fwd=stale fwd-status=304"),
            ("POST /b", "Content-Length: 0", "200 1 fwd=method fwd-status=200 detail=method"),
        ],
    );
    // Counted at the end of an exchange, which a client can't see.
    let expected =
        [("hit", 2), ("revalidated", 1), ("miss", 1), ("pass", 1), ("stale", 0), ("joined", 0), ("stored", 2)];
    let until = Instant::now() + PATIENCE;
    while expected.iter().any(|(member, count)| figures(member) != *count) {
        assert!(Instant::now() < until, "{}", operate(&proxy, "/stores").text());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((figures("entries"), figures("evicted"), figures("fetching"), figures("files")), (1, 0, 0, 0));
    // More than the store has space for.
    let fill = format!("{fresh}|X-Fill: {}", "x".repeat(12_000));
    for number in 0..500 {
        assert_eq!(asked(&proxy, &format!("GET /fill/{number}"), &fill).status, 200);
    }
    let (entries, evicted) = (figures("entries"), figures("evicted"));
    assert!(evicted > 50 && entries + evicted == 501, "{entries} and {evicted}");
    assert!(figures("bytes") <= figures("capacity"));
}
