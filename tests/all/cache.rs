//! The cache over real sockets, section by section of RFC 9111: storing, reuse, validation, sharing, removal.
//!
//! The request determines the origin's response: `X-Status`, and `X-Head` with header fields separated by `|`. Bodies
//! count the requests for a path, so a cached response has an old number. No test waits for time to pass: a response with
//! `Age` has that age.

mod controls;
mod hostile;
mod inspected;
mod ordering;
mod partial;
mod parts;
mod purges;
mod requests;
mod search;
mod selected;
mod slices;
mod stale;
mod waiting;
mod warm;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};

use kiln_tests::client::{Answer, Client, ask};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{Proxy, build_text};

const SITE: &str = "\
param listen type=addr
param app type=addr
param admin type=addr
admin (param)admin {
 status
 purge
}
log access format=json {
    fields method path status cache cache-reason reason
}
upstream app {
    server (param)app
}
cache-store main memory=\"4MiB\" max-object=\"64KiB\"
site site.test {
    listen (param)listen
    cache main lock=\"20s\" {
        purge \"127.0.0.0/8\"
        tags from=Surrogate-Key
    }
    proxy app
    route \"/ttl/*\" {
        cache main {
            ttl default=\"1m\" min=\"10s\" max=\"2m\" heuristic=10
            negative 404 410 ttl=\"30s\"
            stale while-revalidate=\"30s\" if-error=\"1h\"
        }
        proxy app
    }
    route \"/key/*\" {
        cache main {
            key {
                query page sort send=all
                header X-Kind
                cookie theme
            }
            vary Accept-Language
            methods GET
            bypass {
                cookie session
                query preview \"1\"
                header X-Debug
            }
        }
        proxy app
    }
    route \"/no-query/*\" {
        cache main {
            key {
                query off send=all
            }
        }
        proxy app
    }
    route \"/chosen\" {
        header X-Beta \"1\"
        request-headers {
            set X-Route beta
        }
        proxy app
    }
    route \"/chosen\" {
        proxy app
    }
    route \"/closed/*\" {
        cache main {
            purge \"10.0.0.0/8\"
        }
        proxy app
    }
    route \"/plain/*\" {
        method POST
        proxy app
    }
}
site only.test {
    listen (param)listen
    cache main {
        purge \"127.0.0.1\"
    }
    route \"/only\" {
        method GET
        proxy app
    }
}
test \"what is looked up\" {
    request GET \"http://site.test/key/a?x=1&sort=up&page=2\" {
        header X-Kind b
        cookie theme dark
    }
    expect cache=lookup cache-key=\"http://site.test/key/a?page=2&sort=up x-kind:b theme=dark\"
}
test \"what passes\" {
    request HEAD \"http://site.test/key/a\"
    expect cache=pass
}
test \"what has no cache\" {
    request POST \"http://site.test/closed/a\"
    expect cache=pass
}
";

fn value_of<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The origin that is described at the top of this file.
fn origin() -> Origin {
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let target = request.split(' ').nth(1).unwrap_or_default();
            let path = target.split('?').next().unwrap_or_default().to_owned();
            let number = {
                let mut seen = seen.lock().expect("counts");
                let count = seen.entry(path).or_default();
                *count += 1;
                *count
            };
            let status = value_of(&request, "x-status").unwrap_or("200");
            if status == "reset" {
                return;
            }
            let head = value_of(&request, "x-head").unwrap_or_default();
            let fields: String =
                head.split('|').filter(|field| !field.is_empty()).map(|field| format!("{field}\r\n")).collect();
            let asked = value_of(&request, "if-none-match").or(value_of(&request, "if-modified-since"));
            let unchanged = value_of(&request, "x-changed").is_none();
            if let Some(asked) = asked.filter(|asked| unchanged && head.contains(*asked)) {
                connection.send(format!("HTTP/1.1 304 Not Modified\r\nX-Asked: {asked}\r\n{fields}\r\n"));
                continue;
            }
            let body = format!("{number}");
            let length = body.len();
            let body = if request.starts_with("HEAD") || status == "204" { "" } else { &body };
            let length = if status == "204" { String::new() } else { format!("Content-Length: {length}\r\n") };
            connection.send(format!("HTTP/1.1 {status} X\r\n{length}{fields}\r\n{body}"));
        }
    })
}

fn started(name: &str) -> (Origin, Proxy) {
    let origin = origin();
    let proxy = Proxy::start(&build_text(name, SITE), SITE, &[("app", &origin.address)]);
    (origin, proxy)
}

/// Sends a request, with header lines separated by `;;`.
fn asked(proxy: &Proxy, request: &str, lines: &str) -> Answer {
    let (method, target) = request.split_once(' ').expect("a method and a target");
    let lines: String = lines.split(";;").filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect();
    let text = format!("{method} {target} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{lines}\r\n");
    let mut client = Client::to(proxy.address("listen"));
    client.send(text);
    client.answer_to(method)
}

/// Status, body, and `Cache-Status` without the remaining time.
fn shown(answer: &Answer) -> String {
    let status = answer.header("cache-status").unwrap_or("none");
    let words: Vec<_> =
        status.split("; ").filter(|word| *word != "kiln" && !word.starts_with("ttl=")).map(str::to_owned).collect();
    format!("{} {} {}", answer.status, answer.text(), words.join(" ")).replace("  ", " ")
}

/// Requests, one after another: the request, its lines, and the result.
fn check(proxy: &Proxy, steps: &[(&str, &str, &str)]) {
    for (index, (request, lines, expected)) in steps.iter().enumerate() {
        let answer = asked(proxy, request, lines);
        assert_eq!(shown(&answer), *expected, "step {index}: {request} {lines}\n{answer:?}");
    }
}

const MISS: &str = "fwd=uri-miss fwd-status=200 stored";

/// RFC 9111 section 3: storing.
#[test]
fn storing() {
    let (_origin, proxy) = started("cache-kept");
    let kept = |path: &str, lines: &str| {
        let request = format!("GET {path}");
        check(&proxy, &[(&request, lines, &format!("200 1 {MISS}")), (&request, lines, "200 1 hit")]);
    };
    kept("/max-age", "X-Head: Cache-Control: max-age=60");
    kept("/s-maxage", "X-Head: Cache-Control: max-age=0, s-maxage=60");
    kept("/targeted", "X-Head: Cache-Control: no-store|CDN-Cache-Control: max-age=60");
    kept("/expires", "X-Head: Date: Sun, 06 Nov 2033 08:49:37 GMT|Expires: Sun, 06 Nov 2033 08:59:37 GMT");
    kept("/public", "X-Head: Cache-Control: public, max-age=60;;Authorization: Basic eDp5");
    kept("/must-understand", "X-Head: Cache-Control: must-understand, no-store, max-age=60");
    kept("/ttl/default", "");
    kept("/ttl/min", "X-Head: Cache-Control: max-age=0");
    kept("/ttl/heuristic", "X-Head: Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT");
    let unkept = |path: &str, lines: &str, why: &str| {
        let request = format!("GET {path}");
        let first = format!("200 1 fwd=uri-miss fwd-status=200 detail={why}");
        let second = asked(&proxy, &request, lines);
        assert_eq!(shown(&second), first, "{request} {lines}");
        assert_eq!(asked(&proxy, &request, lines).text(), "2", "{request} {lines}");
        let line = proxy.log(&format!("\"path\":\"{path}\",\"status\":200,\"cache\":\"miss\""));
        assert!(line.contains(&format!("\"cache-reason\":\"{why}\"")), "{line}");
    };
    unkept("/no-store", "X-Head: Cache-Control: no-store, max-age=60", "no-store");
    unkept("/private", "X-Head: Cache-Control: private, max-age=60", "private");
    unkept("/nothing", "", "no-lifetime");
    unkept("/zero", "X-Head: Cache-Control: max-age=0", "no-lifetime");
    unkept("/odd", "X-Head: Cache-Control: max-age=soon", "no-lifetime");
    unkept("/past", "X-Head: Expires: 0", "no-lifetime");
    unkept("/cookie", "X-Head: Cache-Control: max-age=60|Set-Cookie: a=b", "set-cookie");
    unkept("/authorized", "X-Head: Cache-Control: max-age=60;;Authorization: Basic eDp5", "authorization");
    unkept("/vary", "X-Head: Cache-Control: max-age=60|Vary: *", "vary");
    unkept("/key/vary", "X-Head: Cache-Control: max-age=60|Vary: Cookie", "vary");
    // A private response is not used for other requests.
    let private = "X-Head: Cache-Control: max-age=60";
    check(
        &proxy,
        &[
            ("GET /shared", private, &format!("200 1 {MISS}")),
            ("GET /shared", "Authorization: Basic eDp5", "200 2 fwd=request fwd-status=200 detail=authorization"),
            ("GET /shared", "", "200 1 hit"),
            // `no-store` of a request.
            (
                "GET /wish",
                &format!("{private};;Cache-Control: no-store"),
                "200 1 fwd=request fwd-status=200 detail=request-no-store",
            ),
            ("GET /wish", private, &format!("200 2 {MISS}")),
        ],
    );
    // Statuses.
    check(
        &proxy,
        &[
            ("GET /ttl/404", "X-Status: 404", "404 1 fwd=uri-miss fwd-status=404 stored"),
            ("GET /ttl/404", "", "404 1 hit"),
            ("GET /ttl/500", "X-Status: 500", "500 1 fwd=uri-miss fwd-status=500 detail=no-lifetime"),
            ("GET /500", "X-Status: 500;;X-Head: Cache-Control: max-age=9", "500 1 fwd=uri-miss fwd-status=500 stored"),
            ("GET /500", "", "500 1 hit"),
            ("GET /204", "X-Status: 204;;X-Head: Cache-Control: max-age=9", "204 fwd=uri-miss fwd-status=204 stored"),
            ("GET /204", "", "204 hit"),
            (
                "GET /206",
                "X-Status: 206;;X-Head: Cache-Control: max-age=9",
                "206 1 fwd=uri-miss fwd-status=206 detail=status",
            ),
        ],
    );
    // A 416 to the client's own range is none to the whole, which is fetched for each client as it sets a cookie.
    let (fresh, cookie) = ("X-Head: Cache-Control: max-age=60", "X-Head: Cache-Control: max-age=60|Set-Cookie: a=b");
    check(
        &proxy,
        &[
            ("GET /416", &format!("X-Status: 416;;{fresh}"), "416 1 fwd=uri-miss fwd-status=416 stored"),
            ("GET /range", cookie, "200 1 fwd=uri-miss fwd-status=200 detail=set-cookie"),
            (
                "GET /range",
                &format!("X-Status: 416;;{fresh};;Range: bytes=900000-"),
                "416 2 fwd=uri-miss fwd-status=416 detail=status",
            ),
            ("GET /range", fresh, &format!("200 3 {MISS}")),
        ],
    );
    // Fields that `no-cache` and `private` list are not stored; hop-by-hop fields never are.
    let named = "X-Head: Cache-Control: max-age=60, no-cache=\"set-cookie\"|Set-Cookie: a=b|X-Kept: yes";
    check(&proxy, &[("GET /named", named, &format!("200 1 {MISS}"))]);
    let again = asked(&proxy, "GET /named", "");
    assert_eq!((again.header("set-cookie"), again.header("x-kept")), (None, Some("yes")));
    assert!(again.header("date").is_some() && again.header("age") == Some("0"), "{again:?}");
}

/// Sections 4.2, 5.2.1 and RFC 5861: freshness, age, stale responses, and directives of requests.
#[test]
fn fresh_and_stale() {
    let (_origin, proxy) = started("cache-fresh");
    let old = "X-Head: Cache-Control: max-age=60|Age: 100|ETag: \"a\"";
    check(
        &proxy,
        &[
            // Stale on arrival: each use is revalidated.
            ("GET /old", old, &format!("200 1 {MISS}")),
            ("GET /old", old, "200 1 fwd=stale fwd-status=304"),
            ("GET /old", &format!("{old};;Cache-Control: max-stale"), "200 1 hit detail=max-stale"),
            ("GET /old", &format!("{old};;Cache-Control: max-stale=100"), "200 1 hit detail=max-stale"),
            ("GET /old", &format!("{old};;Cache-Control: max-stale=10"), "200 1 fwd=stale fwd-status=304"),
            ("GET /old", &format!("{old};;X-Changed: yes"), "200 4 fwd=stale fwd-status=200 stored"),
            ("GET /old", "Cache-Control: only-if-cached", "504 504 Gateway Timeout\n none"),
        ],
    );
    assert!(proxy.log("only-if-cached").contains("\"reason\":\"not-cached\""));
    let young = "X-Head: Cache-Control: max-age=60|Age: 20|ETag: \"a\"";
    check(
        &proxy,
        &[
            ("GET /young", young, &format!("200 1 {MISS}")),
            ("GET /young", "Cache-Control: only-if-cached", "200 1 hit"),
            ("GET /young", "Cache-Control: max-age=30", "200 1 hit"),
            ("GET /young", &format!("{young};;Cache-Control: max-age=10"), "200 1 fwd=stale fwd-status=304"),
            ("GET /young", "Cache-Control: min-fresh=10", "200 1 hit"),
            ("GET /young", &format!("{young};;Cache-Control: min-fresh=50"), "200 1 fwd=stale fwd-status=304"),
            ("GET /young", &format!("{young};;Cache-Control: no-cache"), "200 1 fwd=stale fwd-status=304"),
            ("GET /young", &format!("{young};;Pragma: no-cache"), "200 1 fwd=stale fwd-status=304"),
            ("GET /young", "", "200 1 hit"),
        ],
    );
    let aged = asked(&proxy, "GET /young", "");
    assert!(aged.header("age").is_some_and(|age| ["20", "21", "22"].contains(&age)), "{aged:?}");
    assert!(aged.header("cache-status").is_some_and(|status| status.starts_with("kiln; hit; ttl=")), "{aged:?}");
    // `no-cache`: stored, and revalidated each time.
    let asking = "X-Head: Cache-Control: no-cache|ETag: \"a\"";
    check(
        &proxy,
        &[("GET /asking", asking, &format!("200 1 {MISS}")), ("GET /asking", asking, "200 1 fwd=stale fwd-status=304")],
    );
    // Stale while it is revalidated, then fresh.
    let stale = "X-Head: Cache-Control: max-age=10, stale-while-revalidate=60|Age: 20";
    check(&proxy, &[("GET /swr", stale, &format!("200 1 {MISS}"))]);
    check(&proxy, &[("GET /swr", "X-Head: Cache-Control: max-age=60", "200 1 hit detail=while-revalidate")]);
    let until = std::time::Instant::now() + kiln_tests::proxy::PATIENCE;
    while shown(&asked(&proxy, "GET /swr", stale)) != "200 2 hit" {
        assert!(std::time::Instant::now() < until, "the entry is never fetched again");
    }
    // HEAD on a stale response causes a fetch with GET.
    check(
        &proxy,
        &[
            ("GET /swr-head", stale, &format!("200 1 {MISS}")),
            ("HEAD /swr-head", stale, "200 hit detail=while-revalidate"),
        ],
    );
    let until = std::time::Instant::now() + kiln_tests::proxy::PATIENCE;
    while asked(&proxy, "GET /swr-head", "Cache-Control: max-stale").text() != "2" {
        assert!(std::time::Instant::now() < until, "it is never fetched again");
    }
    // Stale if the server fails; unless the response forbids it.
    let failing = "X-Head: Cache-Control: max-age=10, stale-if-error=60|Age: 20";
    let strict = "X-Head: Cache-Control: max-age=10, must-revalidate, stale-if-error=60|Age: 20|ETag: \"a\"";
    check(
        &proxy,
        &[
            ("GET /sie", failing, &format!("200 1 {MISS}")),
            ("GET /sie", "X-Status: 503", "200 1 hit detail=if-error"),
            ("GET /sie", "X-Status: 404", "404 3 fwd=stale fwd-status=404 detail=no-lifetime"),
            ("GET /gone", failing, &format!("200 1 {MISS}")),
            ("GET /gone", "X-Status: reset", "200 1 hit detail=if-error"),
            ("GET /strict", strict, &format!("200 1 {MISS}")),
            ("GET /strict", "X-Status: 503", "503 2 fwd=stale fwd-status=503 detail=no-lifetime"),
            ("GET /strict", "X-Status: reset", "502 502 Bad Gateway\n none"),
        ],
    );
}

/// Section 4.3: validation.
#[test]
fn validation() {
    let (_origin, proxy) = started("cache-asked");
    let old = "X-Head: Cache-Control: max-age=60|Age: 100|ETag: \"a\"|X-Part: one";
    check(&proxy, &[("GET /tag", old, &format!("200 1 {MISS}"))]);
    // A 304 updates fields (section 3.2), and makes the response fresh.
    let renewed = asked(&proxy, "GET /tag", "X-Head: Cache-Control: max-age=90|ETag: \"a\"|X-Part: two");
    assert_eq!(shown(&renewed), "200 1 fwd=stale fwd-status=304");
    assert_eq!((renewed.header("x-part"), renewed.header("x-asked")), (Some("two"), Some("\"a\"")));
    let hit = asked(&proxy, "GET /tag", "");
    assert_eq!((shown(&hit).as_str(), hit.header("x-part")), ("200 1 hit", Some("two")));
    // By date, without an entity tag.
    let dated = "X-Head: Cache-Control: max-age=60|Age: 100|Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
    check(
        &proxy,
        &[("GET /date", dated, &format!("200 1 {MISS}")), ("GET /date", dated, "200 1 fwd=stale fwd-status=304")],
    );
    // Clients' own conditions are evaluated by the proxy.
    check(
        &proxy,
        &[
            ("GET /tag", "If-None-Match: \"a\"", "304 hit"),
            ("GET /tag", "If-None-Match: W/\"a\", \"b\"", "304 hit"),
            ("GET /tag", "If-None-Match: \"b\"", "200 1 hit"),
            (
                "GET /cond",
                "X-Head: Cache-Control: max-age=60|ETag: \"c\";;If-None-Match: \"c\"",
                "304 fwd=uri-miss fwd-status=200 stored",
            ),
        ],
    );
    // The response to a 304 does not wait for the body: an earlier request may be collapsed.
    let next = shown(&asked(&proxy, "GET /cond", ""));
    assert!(["200 1 hit", "200 1 fwd=uri-miss stored collapsed"].contains(&next.as_str()), "{next}");
    check(
        &proxy,
        &[
            ("GET /cond", "", "200 1 hit"),
            ("GET /cond", "If-Match: \"c\"", "200 2 fwd=request fwd-status=200 detail=condition"),
            (
                "GET /cond",
                "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
                "200 3 fwd=request fwd-status=200 detail=condition",
            ),
        ],
    );
    let unmodified = asked(&proxy, "GET /tag", "If-None-Match: \"a\"");
    assert!(unmodified.header("etag").is_some() && unmodified.header("x-part").is_none(), "{unmodified:?}");
    // A 304 with another entity tag is not used.
    check(
        &proxy,
        &[
            (
                "GET /other",
                "X-Head: Cache-Control: max-age=60|Age: 100|ETag: \"a\"|X-Not: \"b\"",
                &format!("200 1 {MISS}"),
            ),
            (
                "GET /other",
                "X-Head: ETag: \"b\"|X-Was: \"a\"|Cache-Control: max-age=60",
                "200 3 fwd=stale fwd-status=200 stored",
            ),
            ("GET /other", "", "200 3 hit"),
        ],
    );
    // HEAD (section 4.3.5): served from the cache; a response to it validates the cached response.
    check(
        &proxy,
        &[
            ("GET /head", old, &format!("200 1 {MISS}")),
            ("HEAD /head", old, "200 fwd=stale fwd-status=200 detail=head"),
            ("HEAD /head", "X-Head: Cache-Control: max-age=90|ETag: \"a\"", "200 fwd=stale fwd-status=200 detail=head"),
            ("GET /head", "", "200 1 hit"),
            ("HEAD /head", "", "200 hit"),
            ("GET /head2", old, &format!("200 1 {MISS}")),
            (
                "HEAD /head2",
                "X-Head: Cache-Control: max-age=90|ETag: \"b\"",
                "200 fwd=stale fwd-status=200 detail=head",
            ),
            ("GET /head2", old, &format!("200 3 {MISS}")),
        ],
    );
    assert_eq!(asked(&proxy, "HEAD /head", "").header("content-length"), Some("1"));
}

/// Sections 2 and 4.1: cache keys and variants.
#[test]
fn keys_and_variants() {
    let (_origin, proxy) = started("cache-vary");
    let by_language = "X-Head: Cache-Control: max-age=60|Vary: Accept-Language, accept-encoding";
    let en = format!("{by_language};;Accept-Language: en;;Accept-Encoding: gzip, br");
    let de = format!("{by_language};;Accept-Language: de");
    check(
        &proxy,
        &[
            ("GET /vary", &en, &format!("200 1 {MISS}")),
            ("GET /vary", "Accept-Language: EN;;Accept-Encoding: br;q=0.3,gzip", "200 1 hit"),
            ("GET /vary", &de, "200 2 fwd=vary-miss fwd-status=200 stored"),
            ("GET /vary", "Accept-Language: de", "200 2 hit"),
            ("GET /vary", &en, "200 1 hit"),
            // A response without `Vary` is one variant.
            ("GET /vary", "X-Head: Cache-Control: max-age=60", "200 3 fwd=vary-miss fwd-status=200 stored"),
            ("GET /vary", "Accept-Language: de", "200 2 hit"),
        ],
    );
    let fresh = "X-Head: Cache-Control: max-age=60";
    check(
        &proxy,
        &[
            ("GET /q?a=1&b=2", fresh, &format!("200 1 {MISS}")),
            ("GET /q?b=2&a=1", fresh, &format!("200 2 {MISS}")),
            ("GET /q?a=1&b=2", fresh, "200 1 hit"),
            ("GET /no-query/q?a=1", fresh, &format!("200 1 {MISS}")),
            ("GET /no-query/q", fresh, "200 1 hit"),
            ("GET /key/q?sort=up&page=2&utm=x", fresh, &format!("200 1 {MISS}")),
            ("GET /key/q?page=2&sort=up", fresh, "200 1 hit"),
            ("GET /key/q?page=3&sort=up", fresh, &format!("200 2 {MISS}")),
            ("GET /key/q?page=2&sort=up", &format!("{fresh};;X-Kind: b"), "200 3 fwd=vary-miss fwd-status=200 stored"),
            (
                "GET /key/q?page=2&sort=up",
                &format!("{fresh};;Cookie: theme=dark; x=y"),
                "200 4 fwd=vary-miss fwd-status=200 stored",
            ),
            ("GET /key/q?page=2&sort=up", "Cookie: z=1; theme=dark", "200 4 hit"),
            ("GET /key/q?page=2&sort=up", "", "200 1 hit"),
            ("HEAD /key/q?page=2&sort=up", "", "200 fwd=method fwd-status=200 detail=method"),
        ],
    );
    check(
        &proxy,
        &[
            ("GET /key/by", fresh, &format!("200 1 {MISS}")),
            ("GET /key/by", "Cookie: session=1", "200 2 fwd=bypass fwd-status=200 detail=bypass"),
            ("GET /key/by?preview=1", "", "200 3 fwd=bypass fwd-status=200 detail=bypass"),
            ("GET /key/by", "X-Debug: 1", "200 4 fwd=bypass fwd-status=200 detail=bypass"),
            ("GET /key/by?preview=0", "", "200 1 hit"),
        ],
    );
    // Routes with matchers beside the URL.
    check(
        &proxy,
        &[
            ("GET /chosen", fresh, &format!("200 1 {MISS}")),
            ("GET /chosen", &format!("{fresh};;X-Beta: 1"), "200 2 fwd=uri-miss fwd-status=200 stored"),
            ("GET /chosen", "X-Beta: 1", "200 2 hit"),
        ],
    );
}

/// A thousand requests for one slow response: the server receives one, and all clients get it as it arrives.
#[test]
fn one_fetch_for_many() {
    const MANY: usize = 1000;
    let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new((Mutex::new(false), Condvar::new())));
    let origin = {
        let (asked, gate) = (Arc::clone(&asked), Arc::clone(&gate));
        Origin::new(move |mut connection, _| {
            while connection.request().is_some() {
                asked.fetch_add(1, Ordering::SeqCst);
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nCache-Control: max-age=60\r\n\r\nfirst");
                let mut open = gate.0.lock().expect("a gate");
                while !*open {
                    open = gate.1.wait(open).expect("a gate");
                }
                connection.send("later");
            }
        })
    };
    let proxy = Proxy::start(&build_text("cache-many", SITE), SITE, &[("app", &origin.address)]);
    let barrier = Arc::new(Barrier::new(MANY + 1));
    let clients: Vec<_> = (0..MANY)
        .map(|_| {
            let (address, barrier) = (proxy.address("listen").to_owned(), Arc::clone(&barrier));
            std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
                let mut client = Client::to(&address);
                client.send("GET /slow HTTP/1.1\r\nHost: site.test\r\n\r\n");
                let head = client.head();
                // All have the head, and none the rest.
                barrier.wait();
                (head, String::from_utf8(client.exactly(10)).expect("text"))
            })
        })
        .collect();
    barrier.wait();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    *gate.0.lock().expect("a gate") = true;
    gate.1.notify_all();
    let mut joined = 0;
    for client in clients {
        let (head, body) = client.expect("a thread").join().expect("an answer");
        assert_eq!(body, "firstlater", "{head}");
        joined += usize::from(head.contains("; collapsed"));
    }
    assert_eq!((joined, asked.load(Ordering::SeqCst)), (MANY - 1, 1));
    let again = ask(proxy.address("listen"), "GET /slow HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n");
    assert_eq!(shown(&again), "200 firstlater hit");
}
