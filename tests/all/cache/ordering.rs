//! Responses that arrive in another order than they were requested, and purges of in-flight responses.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};

use kiln_tests::client::{Answer, Client};
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::Proxy;

use super::hostile::waiting;
use super::{asked, shown};

const SITE: &str = "\
param listen type=addr
param app type=addr
param folder type=string
cache-store main memory=\"2MiB\" max-object=\"128KiB\" {
    disk (param)folder size=\"64MiB\"
}
upstream app {
    server (param)app
}
site site.test {
    listen (param)listen
    cache main lock=\"20s\" {
        purge \"127.0.0.0/8\"
        tags from=Surrogate-Key
    }
    route \"/impatient/*\" {
        cache main lock=\"50ms\"
        proxy app
    }
    route \"/cookie/*\" {
        cache main {
            key {
                cookie theme
            }
        }
        proxy app
    }
    proxy app
}
";

/// Holds the first request for each path until it is released.
#[derive(Default)]
struct Held {
    seen: Mutex<HashMap<String, (usize, bool)>>,
    changed: Condvar,
}

impl Held {
    fn until(&self, path: &str, count: usize) {
        let seen = self.seen.lock().expect("what was seen");
        let less = |seen: &mut HashMap<String, (usize, bool)>| seen.get(path).is_none_or(|(seen, _)| *seen < count);
        let (seen, timed_out) = self.changed.wait_timeout_while(seen, kiln_tests::proxy::PATIENCE, less).expect("seen");
        assert!(!timed_out.timed_out(), "{path}: {:?} of {count}", seen.get(path));
    }

    fn let_go(&self, path: &str) {
        self.seen.lock().expect("what was seen").entry(path.to_owned()).or_default().1 = true;
        self.changed.notify_all();
    }
}

/// An origin that numbers its responses by path, in the order of requests. Responses to paths with `large` are too large for memory, and
/// have no `Content-Length`, so that a client that has read one knows that it is stored.
fn origin() -> (Origin, Arc<Held>) {
    let held = Arc::new(Held::default());
    let holding = Arc::clone(&held);
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut seen = holding.seen.lock().expect("what was seen");
            let entry = seen.entry(path.clone()).or_default();
            entry.0 += 1;
            let number = entry.0;
            holding.changed.notify_all();
            if number == 1 && !path.ends_with("/free") {
                let shut = |seen: &mut HashMap<String, (usize, bool)>| !seen[&path].1;
                seen = holding.changed.wait_while(seen, shut).expect("what was seen");
            }
            drop(seen);
            let fields = "Cache-Control: max-age=60\r\nETag: \"a\"\r\nSurrogate-Key: tag";
            let body = match path.contains("large") {
                true => format!(
                    "Transfer-Encoding: chunked\r\n\r\n493E0\r\n{}\r\n0\r\n\r\n",
                    number.to_string().repeat(300_000)
                ),
                false => format!("Content-Length: 1\r\n\r\n{number}"),
            };
            connection.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}"));
        }
    });
    (origin, held)
}

fn start(name: &str, origin: &Origin) -> Proxy {
    let folder = scratch(&format!("cache-ordering-{name}"));
    Proxy::of_text(
        "cache-ordering",
        SITE,
        &[("app", &origin.address), ("folder", folder.join("store").to_str().expect("text"))],
    )
}

/// A request after a completed purge gets no response that was requested before it.
#[test]
fn purges_apply_to_fetches_in_flight() {
    let (origin, held) = origin();
    let proxy = start("purged", &origin);
    for (path, purge, lines) in [
        ("/url", "PURGE /url", ""),
        ("/soft", "PURGE /soft", "Purge-Mode: soft"),
        ("/below/x", "PURGE /below/*", ""),
        ("/tag", "PURGE /", "Purge-Tags: tag"),
        ("/all", "PURGE /", "Purge-Mode: all"),
    ] {
        let mut before = waiting(&proxy, path);
        held.until(path, 1);
        assert_eq!(asked(&proxy, purge, lines).status, 200, "{purge}");
        let mut after: Vec<Client> = (0..5).map(|_| waiting(&proxy, path)).collect();
        held.let_go(path);
        assert_eq!(before.answer().text(), "1", "{purge}: earlier requests may get the response");
        for client in &mut after {
            assert_eq!(client.answer().text(), "2", "{purge}");
        }
        assert_eq!(shown(&asked(&proxy, &format!("GET {path}"), "")), "200 2 hit", "{purge}");
    }
    // A purge of another URL causes no new fetch.
    let mut before = waiting(&proxy, "/other");
    held.until("/other", 1);
    assert_eq!(asked(&proxy, "PURGE /another", "").status, 200);
    let mut after = waiting(&proxy, "/other");
    held.let_go("/other");
    assert_eq!((before.answer().text(), after.answer().text()), ("1".to_owned(), "1".to_owned()));
}

/// A response that was requested first and arrives last does not replace a newer one, in memory or on disk.
#[test]
fn overtaken_responses() {
    let (origin, held) = origin();
    let proxy = start("overtaken", &origin);
    for path in ["/impatient/small", "/impatient/large"] {
        let mut first = waiting(&proxy, path);
        held.until(path, 1);
        let mut second = waiting(&proxy, path);
        let is = |answer: Answer, number: &str| assert_eq!(answer.text().replace(number, ""), "", "{path}");
        is(second.answer(), "2");
        let is_hit = || {
            let answer = asked(&proxy, &format!("GET {path}"), "");
            assert!(shown(&answer).ends_with(" hit"), "{path}: {:?}", answer.header("cache-status"));
            is(answer, "2");
        };
        is_hit();
        held.let_go(path);
        is(first.answer(), "1");
        is_hit();
    }
}

/// A quoted value differs from an unquoted one, as the server sees the quotes.
#[test]
fn quoted_cookies() {
    let (origin, _held) = origin();
    let proxy = start("cookies", &origin);
    for (cookie, expected) in
        [("a", "1"), ("\"a\"", "2"), ("a", "1"), ("\"a\"", "2"), ("\"a", "3"), ("", "4"), ("\"\"", "5")]
    {
        let answer = asked(&proxy, "GET /cookie/free", &format!("Cookie: theme={cookie}"));
        assert_eq!(answer.text(), expected, "{cookie}");
    }
}
