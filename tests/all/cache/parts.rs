//! Ranges of cached responses (RFC 9110 section 14), and removal from the cache.

use super::*;

/// RFC 9110 section 14: ranges of cached responses.
#[test]
fn parts() {
    let text: String = (0..5000).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    let whole = text.clone();
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            assert!(!request.to_ascii_lowercase().contains("\r\nrange:") || request.contains("/far"), "{request}");
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nCache-Control: max-age=60\r\nETag: \"a\"\r\nContent-Type: text/x\r\n\r\n{whole}"
            ));
        }
    });
    let proxy = Proxy::start(&build_text("cache-parts", SITE), SITE, &[("app", &origin.address)]);
    let part = |lines: &str| asked(&proxy, "GET /parts", lines);
    for round in ["fwd", "hit"] {
        let answer = part("Range: bytes=10-19");
        assert_eq!((answer.status, answer.text().as_str()), (206, &text[10..20]), "{round}");
        assert_eq!(answer.header("content-range"), Some("bytes 10-19/5000"));
        assert!(answer.header("cache-status").is_some_and(|status| status.contains(round)), "{answer:?}");
    }
    let check = |lines: &str, status: u16, range: Option<&str>, body: &str| {
        let answer = part(lines);
        assert_eq!((answer.status, answer.header("content-range")), (status, range), "{lines}");
        assert_eq!(answer.text(), body, "{lines}");
    };
    check("Range: bytes=-10", 206, Some("bytes 4990-4999/5000"), &text[4990..]);
    check("Range: bytes=4990-", 206, Some("bytes 4990-4999/5000"), &text[4990..]);
    check("Range: bytes=5000-", 416, Some("bytes */5000"), "");
    check("Range: bytes=9-5", 200, None, &text);
    check("Range: bytes=0-0;;If-Range: \"a\"", 206, Some("bytes 0-0/5000"), "a");
    check("Range: bytes=0-0;;If-Range: \"b\"", 200, None, &text);
    let several = part("Range: bytes=0-1,5-6");
    let boundary = several.header("content-type").and_then(|kind| kind.split_once("boundary=")).expect("a boundary").1;
    let expected = format!(
        "\r\n--{boundary}\r\nContent-Type: text/x\r\nContent-Range: bytes 0-1/5000\r\n\r\nab\
         \r\n--{boundary}\r\nContent-Type: text/x\r\nContent-Range: bytes 5-6/5000\r\n\r\nfg\r\n--{boundary}--\r\n"
    );
    assert_eq!((several.status, several.text()), (206, expected));
    // A range far into an uncached response is forwarded. The server ignores it, and the response is shorter.
    let far = asked(&proxy, "GET /far", "Range: bytes=9000000-");
    assert_eq!(
        (shown(&far).as_str(), far.header("content-range")),
        ("416 fwd=partial fwd-status=200 stored", Some("bytes */5000"))
    );
}

/// RFC 9111 section 3.3: the response to a range that begins far in is stored for ranges within it.
#[test]
fn far_parts() {
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let range = value_of(&request, "range").and_then(|range| range.strip_prefix("bytes=")).unwrap_or("0-9");
            let (first, last) = range.split_once('-').expect("a range");
            let (first, last): (u64, u64) = (first.parse().expect("a number"), last.parse().unwrap_or(8_999_999));
            let tag = value_of(&request, "x-tag").unwrap_or("\"a\"");
            let from = if request.contains("/lies") { first + 1 } else { first };
            let body: String = (first..=last).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
            connection.send(format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{last}/9000000\r\n\
                 Cache-Control: max-age=60\r\nETag: {tag}\r\n\r\n{body}",
                body.len()
            ));
        }
    });
    let proxy = Proxy::start(&build_text("cache-far", SITE), SITE, &[("app", &origin.address)]);
    let check = |path: &str, lines: &str, expected: &str| {
        let answer = asked(&proxy, &format!("GET {path}"), lines);
        assert_eq!(shown(&answer), expected, "{path} {lines}\n{answer:?}");
        if answer.status == 206 {
            assert!(answer.header("content-range").is_some_and(|range| range.ends_with("/9000000")), "{answer:?}");
        }
    };
    let stored = "fwd=partial fwd-status=206 stored";
    check("/video", "Range: bytes=2600000-2600003", &format!("206 abcd {stored}"));
    check("/video", "Range: bytes=2600000-2600003", "206 abcd hit");
    check("/video", "Range: bytes=2600001-2600002", "206 bc hit");
    check("/video", "Range: bytes=2600000-2600003;;If-Range: \"a\"", "206 abcd hit");
    check(
        "/video",
        "Range: bytes=2600000-2600003;;If-Range: \"b\"",
        "206 abcd fwd=partial fwd-status=206 detail=range",
    );
    check("/video", "Range: bytes=2600000-2600003;;If-None-Match: \"a\"", "304 hit");
    check("/video", "Range: bytes=2600000-2600004", "206 abcde fwd=partial");
    check("/video", "Range: bytes=8999998-", &format!("206 uv {stored}"));
    check("/video", "Range: bytes=8999998-", "206 uv hit");
    check("/video", "Range: bytes=2600000-2600003;;Cache-Control: no-cache", &format!("206 abcd {stored}"));
    check(
        "/video",
        "Range: bytes=5200000-5200003;;If-None-Match: \"b\"",
        "206 abcd fwd=partial fwd-status=206 detail=range",
    );
    // Its length is wrong: passed on, but not stored.
    for _ in 0..2 {
        check("/lies", "Range: bytes=2600000-2600003", "206 abcd fwd=partial fwd-status=206 detail=status");
    }
    assert_eq!(asked(&proxy, "PURGE /video", "").status, 200);
    check("/video", "Range: bytes=2600000-2600003", &format!("206 abcd {stored}"));
}

/// Section 4.4, and PURGE.
#[test]
fn removed() {
    let (_origin, proxy) = started("cache-removed");
    let fresh = "X-Head: Cache-Control: max-age=60";
    check(
        &proxy,
        &[
            ("GET /item", fresh, &format!("200 1 {MISS}")),
            ("POST /item", "X-Status: 500;;Content-Length: 0", "500 2 fwd=method fwd-status=500 detail=method"),
            ("GET /item", fresh, "200 1 hit"),
            ("POST /item", "Content-Length: 0", "200 3 fwd=method fwd-status=200 detail=method"),
            ("GET /item", fresh, &format!("200 4 {MISS}")),
            // The response names another URL that has changed, on the same host.
            ("PUT /x", "Content-Length: 0;;X-Head: Location: /item", "200 1 fwd=method fwd-status=200 detail=method"),
            ("GET /item", fresh, &format!("200 5 {MISS}")),
            (
                "PUT /x",
                "Content-Length: 0;;X-Head: Content-Location: http://site.test/item#a",
                "200 2 fwd=method fwd-status=200 detail=method",
            ),
            ("GET /item", fresh, &format!("200 6 {MISS}")),
            (
                "PUT /x",
                "Content-Length: 0;;X-Head: Location: http://other.test/item",
                "200 3 fwd=method fwd-status=200 detail=method",
            ),
            ("GET /item", fresh, "200 6 hit"),
            // A route without a cache.
            ("GET /plain/p", fresh, &format!("200 1 {MISS}")),
            ("POST /plain/p", "Content-Length: 0", "200 2 fwd=method fwd-status=200 detail=method"),
            ("GET /plain/p", fresh, &format!("200 3 {MISS}")),
            // Other methods are forwarded.
            ("QUERY /item", "Content-Length: 0", "200 7 fwd=method fwd-status=200 detail=method"),
            ("OPTIONS /item", "", "200 8 fwd=method fwd-status=200 detail=method"),
        ],
    );
    let tagged = |tags: &str| format!("{fresh}|ETag: \"a\"|Surrogate-Key: {tags}");
    check(
        &proxy,
        &[
            ("GET /item?v", &format!("{fresh}|Vary: X-V;;X-V: 1"), &format!("200 9 {MISS}")),
            ("GET /item?v", &format!("{fresh}|Vary: X-V;;X-V: 2"), "200 10 fwd=vary-miss fwd-status=200 stored"),
            ("PURGE /item?v", "", "200 {\"purged\":1}\n none"),
            ("GET /item?v", &format!("{fresh};;X-V: 1"), &format!("200 11 {MISS}")),
            ("PURGE /nothing", "", "200 {\"purged\":0}\n none"),
            ("GET /dir/a", &tagged("one two"), &format!("200 1 {MISS}")),
            ("GET /dir/b", &tagged("two"), &format!("200 1 {MISS}")),
            ("GET /directory", &tagged("three"), &format!("200 1 {MISS}")),
            ("PURGE /", "Purge-Tags: one", "200 {\"purged\":1}\n none"),
            ("GET /dir/a", &tagged("one two"), &format!("200 2 {MISS}")),
            ("GET /dir/b", "", "200 1 hit"),
            ("PURGE /", "Purge-Tags: two;;Purge-Mode: soft", "200 {\"purged\":2}\n none"),
            ("GET /dir/b", &tagged("two"), "200 1 fwd=stale fwd-status=304"),
            ("PURGE /dir/*", "", "200 {\"purged\":2}\n none"),
            ("GET /dir/b", fresh, &format!("200 3 {MISS}")),
            ("GET /directory", "", "200 1 hit"),
            ("PURGE /", "Purge-Mode: all", "200 {\"purged\":5}\n none"),
            ("GET /directory", fresh, &format!("200 2 {MISS}")),
            ("PURGE /closed/x", "", "403 403 Forbidden\n none"),
        ],
    );
    assert!(proxy.log("/closed/x").contains("\"reason\":\"purge-refused\""));
    // A route for GET alone, and everything through `admin`.
    let only = |method: &str| {
        let text = format!("{method} /only HTTP/1.1\r\nHost: only.test\r\nConnection: close\r\n{fresh}\r\n\r\n");
        shown(&ask(proxy.address("listen"), &text))
    };
    assert_eq!(only("GET"), format!("200 1 {MISS}"));
    assert_eq!(only("PURGE"), "200 {\"purged\":1}\n none");
    assert_eq!(only("DELETE"), "405 405 Method Not Allowed\n none");
    assert_eq!(only("GET"), format!("200 2 {MISS}"));
    check(&proxy, &[("GET /closed/x", &tagged("four"), &format!("200 1 {MISS}"))]);
    let operate = |request: &str, lines: &str| {
        let (host, lines) = lines.split_once(";;").unwrap_or((lines, ""));
        let text = format!("{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n\r\n");
        ask(proxy.address("admin"), &text.replace("\r\n\r\n\r\n", "\r\n\r\n"))
    };
    let state = operate("GET /stores", "x").text();
    assert!(state.starts_with("[{\"name\":\"main\",\"entries\":") && state.contains("\"capacity\":4194304"), "{state}");
    for (lines, purged) in [("site.test", 1), ("site.test", 0), ("site.test;;Purge-Tags: four", 0)] {
        assert_eq!(operate("PURGE /closed/x", lines).text(), format!("{{\"purged\":{purged}}}\n"), "{lines}");
    }
    assert_eq!(operate("PURGE /closed/x", "other.test").status, 421);
    assert_eq!(operate("PURGE /closed/x", "localhost").status, 404);
    assert_eq!(operate("GET /closed/x", "site.test").status, 404);
    check(&proxy, &[("GET /four", &tagged("four"), &format!("200 1 {MISS}"))]);
    assert_eq!(operate("PURGE /", "localhost;;Purge-Tags: four").text(), "{\"purged\":1}\n");
}
