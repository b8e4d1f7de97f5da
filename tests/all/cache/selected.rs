//! RFC 9111 section 4.1: which response a request selects, by what the server was sent.

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
}
";

/// Answers with what `Vary` is to say by the query, and with the whole request for a body.
fn origin() -> Origin {
    Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let target = request.split(' ').nth(1).unwrap_or_default();
            let vary = target.split_once('?').map_or(String::new(), |(_, names)| format!("Vary: {names}\r\n"));
            connection.send(format!("HTTP/1.1 200 OK\r\n{vary}Content-Length: {}\r\n\r\n{request}", request.len()));
        }
    })
}

fn asked(proxy: &Proxy, from: &str, path: &str, lines: &str) -> Answer {
    let mut client = Client::from(from, proxy.address("listen"));
    client.send(format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{lines}\r\n"));
    client.answer()
}

/// Two requests: whether the second is answered with what was kept of the first.
#[test]
fn by_what_the_server_was_sent() {
    let origin = origin();
    let proxy = Proxy::of_text("cache-selected", SITE, &[("app", &origin.address)]);
    let check = |path: &str, one: (&str, &str), other: (&str, &str), shared: bool| {
        let first = asked(&proxy, one.0, path, one.1);
        assert!(shown(&first).ends_with("stored"), "{path}: {first:?}");
        let second = asked(&proxy, other.0, path, other.1);
        assert_eq!(shown(&second).ends_with(" hit"), shared, "{path}: {one:?} {other:?}\n{second:?}");
        // Each client still gets its own.
        let again = asked(&proxy, one.0, path, one.1);
        assert!(shown(&again).ends_with(" hit") && again.body == first.body, "{path}: {again:?}");
    };
    let (here, there, trusted) = ("127.1.0.1", "127.1.0.2", "127.9.9.1");
    // What the proxy says of its clients.
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
    // What an untrusted client says there reaches nobody.
    check("/plain/e?X-Forwarded-Host", (here, "X-Forwarded-Host: a\r\n"), (here, "X-Forwarded-Host: b\r\n"), true);
    // What is not forwarded makes no difference.
    check("/plain/f?TE,Keep-Alive", (here, "TE: deflate\r\n"), (here, "Keep-Alive: 5\r\n"), true);
    check("/plain/g?X-Any", (here, "X-Any: a\r\n"), (here, "X-Any: b\r\n"), false);
    // What the site's filters make and drop.
    check("/tenant/a?X-Tenant", (here, "X-User: a\r\n"), (here, "X-User: b\r\n"), false);
    check("/tenant/b?X-Tenant", (here, "X-Tenant: a\r\n"), (here, "X-Tenant: b\r\n"), true);
    check("/tenant/c?X-Secret", (here, "X-Secret: a\r\n"), (here, "X-Secret: b\r\n"), true);
    check("/tenant/d?x-tenant,Accept", (here, "X-User: a\r\n"), (here, "X-User: a\r\nX-Tenant: z\r\n"), true);
    // The key of the site.
    check("/keyed/a", (here, ""), (there, ""), false);
    check("/keyed/b", (here, "X-User: a\r\n"), (here, "X-User: b\r\n"), false);
    check("/keyed/c", (here, "X-Other: a\r\n"), (here, "X-Other: b\r\n"), true);
}
