//! Settings that override responses and requests: lifetimes, fields for caches alone, cookies, refreshing.

use std::time::Instant;

use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy};

use super::{MISS, asked, check, origin, shown};

const SITE: &str = "\
param listen type=addr
param app type=addr
upstream app {
    server (param)app
}
cache-store main memory=\"4MiB\"
site site.test {
    listen (param)listen
    cache main
    proxy app
    route \"/override/*\" {
        cache main {
            ttl max=\"1d\"
            ttl override=\"1h\" type=\"image/*\"
            ttl 404 500 override=\"1m\"
        }
        proxy app
    }
    route \"/fields/*\" {
        cache main {
            control-fields X-Accel-Expires Surrogate-Control
        }
        proxy app
    }
    route \"/set-cookie/*\" {
        cache main store-set-cookie=strip
        proxy app
    }
    route \"/cookies/*\" {
        cache main strip-cookies=#true {
            ttl default=\"1m\"
            key {
                cookie theme
            }
            bypass {
                cookie session
            }
        }
        proxy app
    }
    route \"/ignore/*\" {
        cache main {
            ignore request-cache-control
        }
        proxy app
    }
    route \"/refresh/*\" {
        cache main {
            refresh {
                header X-Refresh now
                query fresh
            }
            key {
                query off
            }
        }
        proxy app
    }
    route \"/languages/*\" {
        cache main {
            ttl default=\"1m\"
            languages en de
            bypass {
                cookie session
            }
        }
        proxy app
    }
    route \"/languages/keyed/*\" {
        cache main {
            ttl default=\"1m\"
            languages en de
            key {
                header Accept-Language
            }
        }
        proxy app
    }
    route \"/devices/*\" {
        cache main {
            ttl default=\"1m\"
            vary X-Device Accept
            key {
                device header=X-Device default=desktop {
                    group tablet \"iPad\"
                    group mobile \"iPhone\" \"Android*Mobile\" mobile-hint=#true
                }
            }
            bypass {
                cookie session
            }
        }
        proxy app
    }
    route \"/ahead/*\" {
        cache main {
            ttl refresh-ahead=\"30s\"
        }
        proxy app
    }
}
test \"a group of devices\" {
    request GET \"http://site.test/devices/a\" {
        header User-Agent \"An IPHONE\"
    }
    expect cache-key=\"http://site.test/devices/a device mobile\" {
        upstream-header X-Device mobile
    }
}
";

fn started(name: &str) -> (Origin, Proxy) {
    let origin = origin();
    let proxy = Proxy::of_text(name, SITE, &[("app", &origin.address)]);
    (origin, proxy)
}

#[test]
fn lifetimes_that_override() {
    let (_origin, proxy) = started("cache-override");
    let kept = |path: &str, status: u16, lines: &str| {
        let request = format!("GET {path}");
        let miss = format!("{status} 1 fwd=uri-miss fwd-status={status} stored");
        check(&proxy, &[(&request, lines, &miss), (&request, lines, &format!("{status} 1 hit"))]);
    };
    kept("/override/a", 200, "X-Head: Content-Type: image/png|Cache-Control: no-store");
    kept("/override/b", 200, "X-Head: Content-Type: IMAGE/svg+xml; charset=utf-8|Cache-Control: private, max-age=0");
    kept("/override/c", 200, "X-Head: Content-Type: image/png|Expires: 0");
    kept("/override/d", 404, "X-Status: 404;;X-Head: Cache-Control: no-cache");
    kept("/override/e", 500, "X-Status: 500");
    let left = asked(&proxy, "GET /override/d", "").header("cache-status").expect("a field").to_owned();
    assert!(["kiln; hit; ttl=60", "kiln; hit; ttl=59"].contains(&left.as_str()), "{left}");
    let unkept = |path: &str, lines: &str, why: &str| {
        let request = format!("GET {path}");
        let first = asked(&proxy, &request, lines);
        assert!(shown(&first).ends_with(&format!("detail={why}")), "{first:?}");
        assert_eq!(asked(&proxy, &request, lines).text(), "2", "{path}");
    };
    // Other types and statuses, and unshareable responses.
    unkept("/override/f", "X-Head: Content-Type: text/html|Cache-Control: no-store", "no-store");
    unkept("/override/g", "X-Status: 503;;X-Head: Content-Type: image/png", "no-lifetime");
    unkept("/override/h", "X-Head: Content-Type: image/png|Set-Cookie: a=b", "set-cookie");
    unkept("/override/i", "X-Head: Content-Type: image/png|Vary: *", "vary");
    unkept("/override/j", "X-Head: Content-Type: image/png;;Authorization: Basic eDp5", "authorization");
}

#[test]
fn fields_for_caches_alone() {
    let (_origin, proxy) = started("cache-fields");
    let kept = |path: &str, lines: &str| {
        let request = format!("GET {path}");
        check(&proxy, &[(&request, lines, &format!("200 1 {MISS}")), (&request, "", "200 1 hit")]);
    };
    kept("/fields/a", "X-Head: X-Accel-Expires: 60|Cache-Control: no-store");
    kept("/fields/b", "X-Head: Surrogate-Control: max-age=60|Cache-Control: private");
    kept("/fields/c", "X-Head: X-Accel-Expires: never|Cache-Control: max-age=60");
    let never = "X-Head: X-Accel-Expires: 0|Cache-Control: max-age=60";
    assert_eq!(shown(&asked(&proxy, "GET /fields/d", never)), "200 1 fwd=uri-miss fwd-status=200 detail=no-store");
    // Without `control-fields` they have no meaning.
    let plain = asked(&proxy, "GET /d", never);
    assert_eq!(shown(&plain), format!("200 1 {MISS}"));
    assert_eq!(plain.header("x-accel-expires"), Some("0"));
}

#[test]
fn cookies_of_responses() {
    let (_origin, proxy) = started("cache-set-cookie");
    let lines = "X-Head: Cache-Control: max-age=60|Set-Cookie: id=1|Set-Cookie: b=2";
    for expected in [format!("200 1 {MISS}"), "200 1 hit".to_owned()] {
        let answer = asked(&proxy, "GET /set-cookie/a", lines);
        assert_eq!((shown(&answer), answer.header("set-cookie")), (expected, None));
    }
    // A response that is not stored keeps them.
    let failed = asked(&proxy, "GET /set-cookie/b", "X-Head: Cache-Control: no-store|Set-Cookie: id=1");
    assert_eq!(failed.header("set-cookie"), Some("id=1"));
}

/// The server receives only the cookies of the key, except when the cache is bypassed.
#[test]
fn cookies_of_requests() {
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let sent = super::value_of(&request, "cookie").unwrap_or("none").to_owned();
            let vary = if request.contains("/vary") { "Vary: Cookie\r\n" } else { "" };
            connection.send(format!("HTTP/1.1 200 OK\r\n{vary}Content-Length: {}\r\n\r\n{sent}", sent.len()));
        }
    });
    let proxy = Proxy::of_text("cache-cookies", SITE, &[("app", &origin.address)]);
    let check = |path: &str, lines: &str, expected: &str| {
        assert_eq!(shown(&asked(&proxy, &format!("GET /cookies/{path}"), lines)), expected, "{path} {lines}");
    };
    check("a", "Cookie: id=1; _ga=x", &format!("200 none {MISS}"));
    check("a", "Cookie: id=2", "200 none hit");
    let several = format!("200 theme=dark; theme = odd {MISS}");
    check("b", "Cookie: id=1;theme=dark ; x=\"theme=light\";;Cookie: theme = odd", &several);
    check("b", "Cookie: theme=dark; theme = odd; id=2", "200 theme=dark; theme = odd hit");
    // `Vary: Cookie` refers to the cookies that the server received.
    check("vary", "Cookie: id=1", &format!("200 none {MISS}"));
    check("vary", "Cookie: id=2", "200 none hit");
    check("c", "Cookie: session=1; id=1", "200 session=1; id=1 fwd=bypass fwd-status=200 detail=bypass");
    // A request with `no-cache` is subject to the same rule, as its response may be stored.
    check("d", "Cookie: id=1;;Cache-Control: no-cache", &format!("200 none {MISS}"));
}

/// The server receives one language, which limits the number of variants.
#[test]
fn languages() {
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let sent = super::value_of(&request, "accept-language").unwrap_or("none").to_owned();
            let vary = if request.contains("/keyed/") { "" } else { "Vary: Accept-Language\r\n" };
            connection.send(format!("HTTP/1.1 200 OK\r\n{vary}Content-Length: {}\r\n\r\n{sent}", sent.len()));
        }
    });
    let proxy = Proxy::of_text("cache-languages", SITE, &[("app", &origin.address)]);
    for path in ["/languages/a", "/languages/keyed/a"] {
        let check = |lines: &str, expected: &str| {
            assert_eq!(shown(&asked(&proxy, &format!("GET {path}"), lines)), expected, "{path} {lines}");
        };
        check("Accept-Language: de-CH, fr;q=0.9", &format!("200 de {MISS}"));
        check("Accept-Language: en;q=0.1, de;q=0.2", "200 de hit");
        check("Accept-Language: fr", "200 en fwd=vary-miss fwd-status=200 stored");
        check("", "200 en hit");
    }
    let passed = asked(&proxy, "GET /languages/a", "Accept-Language: fr;;Cookie: session=1");
    assert_eq!(shown(&passed), "200 fr fwd=bypass fwd-status=200 detail=bypass");
}

/// The server receives the device group, which limits the number of variants, even if `Vary` lists the fields that it
/// is derived from.
#[test]
fn devices() {
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let sent = |name| super::value_of(&request, name).unwrap_or("none").to_owned();
            let body = format!("{} {}", sent("x-device"), sent("user-agent"));
            let vary = request.split([' ', '?']).nth(2).filter(|vary| !vary.starts_with("HTTP"));
            let vary = vary.map_or(String::new(), |vary| format!("Vary: {vary}\r\n"));
            connection.send(format!("HTTP/1.1 200 OK\r\n{vary}Content-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let proxy = Proxy::of_text("cache-devices", SITE, &[("app", &origin.address)]);
    let check = |path: &str, lines: &str, expected: &str, vary: Option<&str>| {
        let answer = asked(&proxy, &format!("GET /devices/{path}"), lines);
        assert_eq!(shown(&answer), expected, "{path} {lines}");
        let listed: Vec<_> =
            answer.headers.iter().filter(|(name, _)| name == "vary").map(|(_, value)| value.as_str()).collect();
        assert_eq!(listed.join(", "), vary.unwrap_or_default(), "{path} {lines}");
    };
    for (path, vary) in [
        ("a", None),
        ("a?User-Agent", Some("User-Agent")),
        ("a?user-agent,Sec-CH-UA-Mobile", Some("user-agent,Sec-CH-UA-Mobile")),
        ("a?x-device", Some("x-device, User-Agent, Sec-CH-UA-Mobile")),
    ] {
        check(path, "User-Agent: iPhone 1", &format!("200 mobile iPhone 1 {MISS}"), vary);
        check(path, "User-Agent: android 9 mobile", "200 mobile iPhone 1 hit", vary);
        check(path, "Sec-CH-UA-Mobile: ?1", "200 mobile iPhone 1 hit", vary);
        let other = |sent: &str| format!("200 {sent} fwd=vary-miss fwd-status=200 stored");
        check(path, "User-Agent: iPad;;Sec-CH-UA-Mobile: ?1", &other("tablet iPad"), vary);
        check(path, "", &other("desktop none"), vary);
        // Clients can't set the group.
        check(path, "X-Device: mobile;;X_Device: mobile", "200 desktop none hit", vary);
        check(path, "User-Agent: other", "200 desktop none hit", vary);
    }
    // Other fields still distinguish variants within a group.
    check("b?Accept", "Accept: a;;User-Agent: iPad", &format!("200 tablet iPad {MISS}"), Some("Accept"));
    let miss = "200 tablet iPad 2 fwd=vary-miss fwd-status=200 stored";
    check("b?Accept", "Accept: b;;User-Agent: iPad 2", miss, Some("Accept"));
    // The same for responses that are not stored, and for bypassing requests.
    let vary = Some("X-Device, User-Agent, Sec-CH-UA-Mobile");
    let passed = "200 mobile iPhone fwd=bypass fwd-status=200 detail=bypass";
    check("c?X-Device", "User-Agent: iPhone;;Cookie: session=1;;X-Device: tablet", passed, vary);
    let unkept = "200 desktop none fwd=uri-miss fwd-status=200 detail=vary";
    check("c?X-Device,X-Other", "", unkept, Some("X-Device,X-Other, User-Agent, Sec-CH-UA-Mobile"));
}

#[test]
fn cache_directives_of_requests_are_ignored() {
    let (_origin, proxy) = started("cache-ignore");
    let lines = "X-Head: Cache-Control: max-age=60|ETag: \"a\"";
    check(
        &proxy,
        &[
            ("GET /ignore/a", &format!("{lines};;Cache-Control: no-store"), &format!("200 1 {MISS}")),
            ("GET /ignore/a", &format!("{lines};;Cache-Control: no-cache"), "200 1 hit"),
            ("GET /ignore/a", &format!("{lines};;Pragma: no-cache"), "200 1 hit"),
            ("GET /ignore/a", &format!("{lines};;Cache-Control: max-age=0, min-fresh=1000"), "200 1 hit"),
            ("GET /ignore/b", &format!("{lines};;Cache-Control: only-if-cached"), &format!("200 1 {MISS}")),
        ],
    );
    let old = "X-Head: Cache-Control: max-age=60|Age: 100|ETag: \"a\"";
    check(
        &proxy,
        &[
            ("GET /ignore/c", old, &format!("200 1 {MISS}")),
            ("GET /ignore/c", &format!("{old};;Cache-Control: max-stale"), "200 1 fwd=stale fwd-status=304"),
        ],
    );
}

#[test]
fn requests_that_refresh() {
    let (_origin, proxy) = started("cache-refresh");
    let lines = "X-Head: Cache-Control: max-age=60|ETag: \"a\"";
    check(
        &proxy,
        &[
            ("GET /refresh/a", lines, &format!("200 1 {MISS}")),
            ("GET /refresh/a", &format!("{lines};;X-Refresh: later"), "200 1 hit"),
            // Unconditional, as the cached response may be wrong.
            ("GET /refresh/a", &format!("{lines};;X-Refresh: now"), &format!("200 2 {MISS}")),
            ("GET /refresh/a", lines, "200 2 hit"),
            ("GET /refresh/a?fresh", lines, &format!("200 3 {MISS}")),
            ("GET /refresh/a", lines, "200 3 hit"),
        ],
    );
}

#[test]
fn refreshed_before_it_is_stale() {
    let (_origin, proxy) = started("cache-ahead");
    let lines = "X-Head: Cache-Control: max-age=60|Age: 40";
    check(&proxy, &[("GET /ahead/a", lines, &format!("200 1 {MISS}"))]);
    check(&proxy, &[("GET /ahead/a", "X-Head: Cache-Control: max-age=60", "200 1 hit")]);
    let until = Instant::now() + PATIENCE;
    while shown(&asked(&proxy, "GET /ahead/a", "")) != "200 2 hit" {
        assert!(Instant::now() < until, "it is never fetched again");
    }
    // Not refreshed with more time left.
    for _ in 0..3 {
        assert_eq!(shown(&asked(&proxy, "GET /ahead/a", "")), "200 2 hit");
    }
}
