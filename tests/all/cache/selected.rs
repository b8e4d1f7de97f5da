//! RFC 9111 section 4.1: which response a request selects, by the request that the server received.

use kiln_tests::client::{Answer, Client};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::Proxy;

use super::shown;

const SITE: &str = "\
param listen type=addr
param app type=addr
trusted-proxies \"127.9.9.0/24\"
upstream app {
    server (param)app
}
site site.test other.test {
    listen (param)listen
    cache {
        ttl default=\"1m\"
    }
    route \"/plain/*\" {
        proxy app forwarded=#true
    }
    route \"/tenant/*\" {
        request-headers {
            set X-Tenant \"{header.x-user}\"
            remove X-Secret
        }
        proxy app
    }
    route \"/keyed/*\" {
        cache {
            ttl default=\"1m\"
            key {
                header X-From X-Tenant
            }
        }
        request-headers {
            set X-From \"{client.ip}\"
            set X-Tenant \"{header.x-user}\"
        }
        proxy app
    }
    route \"/sent/*\" {
        cache {
            ttl default=\"1m\"
            key {
                query page sort send=keyed
            }
            bypass {
                query preview
            }
        }
        proxy app
    }
    route \"/others/*\" {
        cache {
            ttl default=\"1m\"
            key {
                query send=keyed sort=#true {
                    except \"utm_*\" fbclid
                }
            }
            bypass {
                query preview
            }
        }
        proxy app
    }
    route \"/others/all/*\" {
        cache {
            ttl default=\"1m\"
            key {
                query send=all {
                    except \"utm_*\" fbclid
                }
            }
            purge \"127.0.0.1\"
        }
        proxy app
    }
    route \"/rewritten/*\" {
        cache {
            ttl default=\"1m\"
            key {
                query off send=keyed
            }
        }
        rewrite {
            query-set source kiln
        }
        proxy app
    }
    route \"/raw/*\" {
        rewrite raw=#true
        proxy app
    }
    route \"/gone/*\" {
        rewrite {
            query-remove a b
        }
        proxy app
    }
    route \"/all/*\" {
        cache {
            ttl default=\"1m\"
            key {
                query page send=all
            }
            bypass {
                query preview \"1\"
            }
        }
        proxy app
    }
}
test \"what is sent\" {
    request GET \"http://site.test/sent/a?utm=1&sort=up&page=2\"
    expect cache-key=\"http://site.test/sent/a?page=2&sort=up\" upstream-path=\"/sent/a?page=2&sort=up\"
}
test \"what is not known by its canonical form\" {
    request GET \"http://site.test/raw/x/%61\"
    expect cache=pass upstream-path=\"/raw/x/%61\"
}
test \"what is left out\" {
    request GET \"http://site.test/others/a?utm_source=x&b=2&a=1\"
    expect cache-key=\"http://site.test/others/a?a=1&b=2\" upstream-path=\"/others/a?a=1&b=2\"
}
";

/// Responses whose `Vary` is the query, unless that has values; the body is the request.
fn origin() -> Origin {
    Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let target = request.split(' ').nth(1).unwrap_or_default();
            let query = target.split_once('?').filter(|(_, query)| !query.is_empty() && !query.contains('='));
            let vary = query.map_or(String::new(), |(_, names)| format!("Vary: {names}\r\n"));
            connection.send(format!("HTTP/1.1 200 OK\r\n{vary}Content-Length: {}\r\n\r\n{request}", request.len()));
        }
    })
}

fn asked(proxy: &Proxy, from: &str, path: &str, lines: &str) -> Answer {
    let mut client = Client::from(from, proxy.address("listen"));
    client.send(format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{lines}\r\n"));
    client.answer()
}

/// Two requests: `shared` tells whether the second is served with the response to the first.
#[test]
fn variants_by_forwarded_fields() {
    let origin = origin();
    let proxy = Proxy::of_text("cache-selected", SITE, &[("app", &origin.address)]);
    let check = |path: &str, one: (&str, &str), other: (&str, &str), shared: bool| {
        let first = asked(&proxy, one.0, path, one.1);
        assert!(shown(&first).ends_with("stored"), "{path}: {first:?}");
        let second = asked(&proxy, other.0, path, other.1);
        assert_eq!(shown(&second).ends_with(" hit"), shared, "{path}: {one:?} {other:?}\n{second:?}");
        // Each client still gets its own response.
        let again = asked(&proxy, one.0, path, one.1);
        assert!(shown(&again).ends_with(" hit") && again.body == first.body, "{path}: {again:?}");
    };
    let (here, there, trusted) = ("127.1.0.1", "127.1.0.2", "127.9.9.1");
    // The proxy's fields about its clients.
    for (number, name) in ["X-Forwarded-For", "x-forwarded-for", "Forwarded"].iter().enumerate() {
        check(&format!("/plain/{number}?{name}"), (here, ""), (there, ""), false);
    }
    let says = |lines: &'static str| (trusted, lines);
    check("/plain/a?X-Forwarded-Host", says("X-Forwarded-Host: a\r\n"), says("X-Forwarded-Host: b\r\n"), false);
    check("/plain/b?X-Forwarded-Proto", says("X-Forwarded-Proto: https\r\n"), says(""), false);
    check(
        "/plain/c?X-Forwarded-For",
        says("X-Forwarded-For: 1.1.1.1\r\n"),
        says("X-Forwarded-For: 2.2.2.2\r\n"),
        false,
    );
    check("/plain/d?Via", (here, "Via: 1.1 a\r\n"), (here, "Via: 1.1 b\r\n"), false);
    // An untrusted client's value is not forwarded.
    check("/plain/e?X-Forwarded-Host", (here, "X-Forwarded-Host: a\r\n"), (here, "X-Forwarded-Host: b\r\n"), true);
    // Fields that are not forwarded make no difference.
    check("/plain/f?TE,Keep-Alive", (here, "TE: deflate\r\n"), (here, "Keep-Alive: 5\r\n"), true);
    check("/plain/g?X-Any", (here, "X-Any: a\r\n"), (here, "X-Any: b\r\n"), false);
    // Fields that the site's filters set and remove.
    check("/tenant/a?X-Tenant", (here, "X-User: a\r\n"), (here, "X-User: b\r\n"), false);
    check("/tenant/b?X-Tenant", (here, "X-Tenant: a\r\n"), (here, "X-Tenant: b\r\n"), true);
    check("/tenant/c?X-Secret", (here, "X-Secret: a\r\n"), (here, "X-Secret: b\r\n"), true);
    check("/tenant/d?x-tenant,Accept", (here, "X-User: a\r\n"), (here, "X-User: a\r\nX-Tenant: z\r\n"), true);
    // A missing field differs from an empty one; quoted text is not a list.
    check("/plain/h?X-Any", (here, "X-Any: \r\n"), (here, ""), false);
    check("/plain/i?X-Any", (here, "X-Any: \"a , b\"\r\n"), (here, "X-Any: \"a,b\"\r\n"), false);
    check("/plain/j?X-Any", (here, "X-Any: a , b\r\n"), (here, "X-Any: a\r\nX-Any: b\r\n"), true);
    // The site's cache key.
    check("/keyed/a", (here, ""), (there, ""), false);
    check("/keyed/b", (here, "X-User: a\r\n"), (here, "X-User: b\r\n"), false);
    check("/keyed/c", (here, "X-Other: a\r\n"), (here, "X-Other: b\r\n"), true);
}

/// `send=keyed`: responses depend only on what the server receives.
#[test]
fn only_keyed_parameters_are_sent() {
    let origin = origin();
    let proxy = Proxy::of_text("cache-sent", SITE, &[("app", &origin.address)]);
    let check = |request: &str, sent: &str, says: &str| {
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("{request} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
        let answer = client.answer();
        let line = answer.text().lines().next().unwrap_or_default().to_owned();
        assert_eq!(line, format!("{sent} HTTP/1.1"), "{request}");
        assert!(answer.header("cache-status").unwrap_or_default().contains(says), "{request}\n{answer:?}");
    };
    let keyed = "GET /sent/a?page=2&sort=up";
    check("GET /sent/a?utm=1&sort=up&p%61ge=2&PAGE=3&page[]=4", keyed, "stored");
    for same in ["page=2&sort=up", "sort=up&page=2&x=;page=9", "+page=1&page=2&sort=up"] {
        check(&format!("GET /sent/a?{same}"), keyed, "hit");
    }
    check("GET /sent/a?utm=1", "GET /sent/a", "stored");
    check("GET /sent/a?", "GET /sent/a", "hit");
    check("GET /sent/a?page", "GET /sent/a?page=", "stored");
    check("GET /sent/a?page=", "GET /sent/a?page=", "hit");
    check("GET /sent/a?page=1;sort=2", "GET /sent/a?page=1;sort=2", "stored");
    check("GET /rewritten/a?x=1", "GET /rewritten/a?source=kiln", "stored");
    check("GET /rewritten/a?source=2", "GET /rewritten/a?source=kiln", "hit");
    check("GET /gone/a?a=1&b", "GET /gone/a", "stored");
    // Bypassing requests share no response, and are forwarded completely.
    check("GET /sent/a?preview=1&utm=1", "GET /sent/a?preview=1&utm=1", "fwd=bypass");
    check("POST /sent/b?utm=1", "POST /sent/b?utm=1", "fwd=method");
    // With `rewrite raw`, the server may respond to another spelling of a path with something else.
    for other in ["/raw/x/../a", "/raw/%61", "/raw/./a", "/raw/a?%62"] {
        check(&format!("GET {other}"), &format!("GET {other}"), "detail=raw");
    }
    check("GET /raw/a", "GET /raw/a", "stored");
    check("GET /raw/x/../a", "GET /raw/x/../a", "fwd=bypass; fwd-status=200; detail=raw");
    check("GET /raw/a", "GET /raw/a", "hit");
}

/// All parameters except some, in any order.
#[test]
fn all_but_some() {
    let origin = origin();
    let proxy = Proxy::of_text("cache-others", SITE, &[("app", &origin.address)]);
    let check = |request: &str, sent: &str, says: &str| {
        let answer = asked(&proxy, "127.0.0.1", request, "");
        let line = answer.text().lines().next().unwrap_or_default().to_owned();
        assert_eq!(line, format!("GET {sent} HTTP/1.1"), "{request}");
        assert!(answer.header("cache-status").unwrap_or_default().contains(says), "{request}\n{answer:?}");
    };
    check("/others/a?utm_source=x&b=2&a=1&fbclid=3", "/others/a?a=1&b=2", "stored");
    for same in ["b=2&a=1", "a=1&b=2", "a=1&utm_=&&b=2&%66bclid", "utm_campaign=%20&a=1&b=2"] {
        check(&format!("/others/a?{same}"), "/others/a?a=1&b=2", "hit");
    }
    check("/others/a?utm_id=1", "/others/a", "stored");
    check("/others/a", "/others/a", "hit");
    // The order of parameters that a server may take for one matters, and so do other names.
    check("/others/a?b=1&a=2&A=1&a[]=3", "/others/a?a=2&A=1&a%5B%5D=3&b=1", "stored");
    check("/others/a?A=1&a=2&a[]=3&b=1", "/others/a?A=1&a=2&a%5B%5D=3&b=1", "stored");
    check("/others/a?UTM_ID=1", "/others/a?UTM_ID=1", "stored");
    check("/others/a?utm_id=1;b=2&a=1", "/others/a?utm_id=1;b=2&a=1", "stored");
    check("/others/a?preview&utm_id=1", "/others/a?preview&utm_id=1", "fwd=bypass");
    // `send=all`: forwarded as received, with one response for all.
    check("/others/all/a?b=2&utm_id=1&a=1", "/others/all/a?b=2&utm_id=1&a=1", "stored");
    check("/others/all/a?b=2&a=1&utm_id=2", "/others/all/a?b=2&utm_id=1&a=1", "hit");
    check("/others/all/a?a=1&b=2", "/others/all/a?a=1&b=2", "stored");
    // A purge of a URL applies to all equivalent ones.
    let mut client = Client::to(proxy.address("listen"));
    client.send("PURGE /others/all/a?fbclid=1&b=2&a=1 HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().text(), "{\"purged\":1}\n");
    check("/others/all/a?b=2&a=1&utm_id=3", "/others/all/a?b=2&a=1&utm_id=3", "stored");
    check("/others/all/a?a=1&b=2", "/others/all/a?a=1&b=2", "hit");
}

/// A parameter that some server may take for a keyed one is keyed.
#[test]
fn alternative_spellings_are_keyed() {
    let origin = origin();
    let proxy = Proxy::of_text("cache-read", SITE, &[("app", &origin.address)]);
    let number = std::cell::Cell::new(0);
    let check = |one: &str, other: &str, shared: bool| {
        number.set(number.get() + 1);
        let path = |query: &str| format!("/all/{}?{query}", number.get());
        assert!(shown(&asked(&proxy, "127.0.0.1", &path(one), "")).ends_with("stored"), "{one}");
        let second = asked(&proxy, "127.0.0.1", &path(other), "");
        assert_eq!(shown(&second).ends_with(" hit"), shared, "{one} {other}\n{second:?}");
    };
    check("utm=1", "utm=2", true);
    check("page=1&x=2", "page=1", true);
    check("p%61ge=1", "page=1", true);
    check("page=1", "page=2", false);
    for odd in ["page[]=", "page%5B%5D=", "+page=", "%20page=", "Page=", "x=1;page="] {
        check(&format!("{odd}1"), &format!("{odd}2"), false);
        check(&format!("{odd}3&page=3"), "page=3", false);
    }
    for preview in ["preview=1", "Preview=1", "preview[]=1", "x;preview=1"] {
        let answer = asked(&proxy, "127.0.0.1", &format!("/all/preview?{preview}"), "");
        assert!(shown(&answer).contains("fwd=bypass"), "{preview}: {answer:?}");
    }
    check("preview=0", "preview=0", true);
}
