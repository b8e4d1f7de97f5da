//! `warm`: requests after start.

use std::sync::{Arc, Mutex};

use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{Proxy, build_text};

use super::{asked, shown};

const SITE: &str = "\
param listen type=addr
param app type=addr
param list type=file
param folder type=string
upstream app {
    server (param)app
}
cache-store main memory=\"4MiB\" {
    disk (param)folder size=\"16MiB\"
    warm \"http://site.test/a?b=1\" \"http://site.test/a\" (param)list rate=\"1000/s\" concurrency=2
}
site site.test {
    listen (param)listen
    cache main {
        ttl default=\"1h\"
        key {
            query send=keyed sort=#true {
                except \"utm_*\"
            }
        }
    }
    proxy app
    route \"/closed\" {
        deny \"127.0.0.1\"
        proxy app
    }
}
";

/// Warmed responses are cached as if clients had requested them; failures are logged; nothing is fetched again after a restart.
#[test]
fn responses_are_fetched_after_start() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let fields =
                if target.contains("private") { "Cache-Control: private\r\n" } else { "Vary: Accept-Encoding\r\n" };
            let status = if target.contains("failing") { "503 X" } else { "200 OK" };
            connection.send(format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{target}", target.len()));
            kept.lock().expect("targets").push(target);
        }
    });
    let folder = scratch("cache-warm");
    let list = folder.join("list.txt");
    let urls = "# pages\nhttp://site.test/b?y=1&x=2&utm_id=3\n\nhttp://site.test/private\nhttp://site.test/failing\nhttp://site.test/closed\nhttp://other.test/\nno URL\n";
    std::fs::write(&list, urls).expect("written");
    let given = [
        ("app", origin.address.as_str()),
        ("list", list.to_str().expect("a path")),
        ("folder", folder.to_str().expect("a path")),
    ];
    let binary = build_text("cache-warm", SITE);
    let mut proxy = Proxy::start(&binary, SITE, &given);
    proxy.notice("cache: 3 of 8 URLs of `warm` are cached in main");
    for reason in [
        "`http://site.test/private` of `warm` is not cached: the response is 200 OK (private)",
        "`http://site.test/failing` of `warm` is not cached: the response is 503",
        "`http://site.test/closed` of `warm` is not cached: the response is 403 Forbidden (address-denied)",
        "`http://other.test/` of `warm` is not cached: no site has this host",
        "`no URL` of `warm` is not cached: it is no URL",
    ] {
        proxy.notice(reason);
    }
    let browser = "Accept-Encoding: gzip, deflate";
    for path in ["/a?b=1", "/a", "/b?x=2&y=1&utm_source=5"] {
        let answer = asked(&proxy, &format!("GET {path}"), browser);
        assert!(shown(&answer).ends_with(" hit"), "{path}: {answer:?}");
    }
    let fetched = |wanted: &str| seen.lock().expect("targets").iter().filter(|target| *target == wanted).count();
    assert_eq!([fetched("/a"), fetched("/a?b=1"), fetched("/b?x=2&y=1"), fetched("/closed")], [1, 1, 1, 0]);
    proxy.signal("TERM");
    proxy.wait();
    let again = Proxy::start(&binary, SITE, &given);
    again.notice("cache: 3 of 8 URLs of `warm` are cached in main");
    assert_eq!([fetched("/a"), fetched("/a?b=1"), fetched("/b?x=2&y=1"), fetched("/private")], [1, 1, 1, 2]);
}
