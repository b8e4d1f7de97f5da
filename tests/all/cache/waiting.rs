//! Requests for in-flight responses: which ones wait, which are forwarded, and how many reach a slow or failing server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use kiln_tests::client::Client;
use kiln_tests::origin::{Connection, Origin};
use kiln_tests::proxy::Proxy;

use super::hostile::waiting;
use super::{MISS, asked, check, shown, started};

const SITE: &str = "\
param listen type=addr
param app type=addr
log access format=json {
    fields method path status cache cache-reason reason
}
upstream app {
    server (param)app
}
site site.test {
    listen (param)listen
    cache lock=\"20s\"
    route \"/impatient/*\" {
        cache lock=\"200ms\"
        proxy app
    }
    route \"/stale/*\" {
        cache lock=\"20s\" {
            stale if-error=\"1h\"
        }
        proxy app
    }
    proxy app
}
";

/// A storable response is stored, whatever came before.
#[test]
fn hit_for_miss() {
    let (_origin, proxy) = started("cache-hit-for-miss");
    let fresh = "X-Head: Cache-Control: max-age=60";
    let miss = |status: u16, why: &str| format!("{status} 1 fwd=uri-miss fwd-status={status} detail={why}");
    for (path, lines, first) in [
        ("/a", "X-Head: Cache-Control: max-age=60|Set-Cookie: a=b", miss(200, "set-cookie")),
        ("/b", "X-Status: 404", miss(404, "no-lifetime")),
        ("/c", "X-Status: 503", miss(503, "no-lifetime")),
        ("/d", "X-Head: Cache-Control: private", miss(200, "private")),
        ("/e", "X-Head: Cache-Control: max-age=60|Vary: *", miss(200, "vary")),
    ] {
        let request = format!("GET {path}");
        let stored = MISS.replace("stored", "").trim().to_owned();
        check(
            &proxy,
            &[
                (&request, lines, &first),
                (&request, fresh, &format!("200 2 {stored} stored")),
                (&request, "", "200 2 hit"),
            ],
        );
    }
    // A client can still revalidate its own private response.
    let own = "X-Head: Cache-Control: private|ETag: \"a\"";
    check(
        &proxy,
        &[
            ("GET /own", own, &miss(200, "private")),
            ("GET /own", &format!("{own};;If-None-Match: \"a\""), "304 fwd=uri-miss fwd-status=304 detail=status"),
            ("GET /own", fresh, "200 3 fwd=uri-miss fwd-status=200 stored"),
        ],
    );
}

/// An origin that counts requests by path, and responds with `answer`, given the path and the number of previous requests.
fn counting(answer: impl Fn(&mut Connection, &str, usize) -> bool + Send + Sync + 'static) -> (Origin, Counts) {
    let counts = Counts::default();
    let seen = counts.clone();
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let before = seen.next(&path);
            if !answer(&mut connection, &path, before) {
                return;
            }
        }
    });
    (origin, counts)
}

#[derive(Clone, Default)]
struct Counts(Arc<Mutex<HashMap<String, usize>>>);

impl Counts {
    fn next(&self, path: &str) -> usize {
        let mut counts = self.0.lock().expect("counts");
        let count = counts.entry(path.to_owned()).or_default();
        *count += 1;
        *count - 1
    }

    fn of(&self, path: &str) -> usize {
        self.0.lock().expect("counts").get(path).copied().unwrap_or(0)
    }

    fn until(&self, path: &str, count: usize) {
        let until = std::time::Instant::now() + kiln_tests::proxy::PATIENCE;
        while self.of(path) < count {
            assert!(std::time::Instant::now() < until, "{path}: {} of {count}", self.of(path));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// A gate that is closed until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn pass(&self) {
        let open = self.0.lock().expect("a gate");
        drop(self.1.wait_while(open, |open| !*open).expect("a gate"));
    }

    fn open(&self) {
        *self.0.lock().expect("a gate") = true;
        self.1.notify_all();
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok";

/// Two hundred requests wait for a failing server: they try one after another, and soon all fail; the server receives few
/// requests.
#[test]
fn failing_servers() {
    const MANY: usize = 200;
    let gate = Arc::new(Gate::default());
    let shut = Arc::clone(&gate);
    let (origin, counts) = counting(move |connection, path, before| {
        if before == 0 {
            shut.pass();
        }
        match path {
            "/500" => connection.send("HTTP/1.1 500 No\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n"),
            "/reset" => {}
            "/recovers" if before > 0 => connection.send(OK),
            _ => connection.send("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"),
        }
        // A new connection each time, because requests on reused ones are retried.
        false
    });
    let proxy = Proxy::of_text("cache-failing", SITE, &[("app", &origin.address)]);
    for (path, status, waits_for) in
        [("/503", 503, 503), ("/500", 500, 503), ("/reset", 502, 503), ("/recovers", 503, 200)]
    {
        let mut clients = vec![waiting(&proxy, path)];
        counts.until(path, 1);
        clients.extend((1..MANY).map(|_| waiting(&proxy, path)));
        gate.open();
        let began = std::time::Instant::now();
        let mut statuses: Vec<u16> = clients.iter_mut().map(|client| client.answer().status).collect();
        assert!(began.elapsed() < kiln_tests::proxy::PATIENCE, "the requests were not answered in time");
        let leader = statuses.remove(0);
        assert_eq!(leader, status, "{path}");
        let strange: Vec<_> = statuses.iter().filter(|found| ![status, waits_for].contains(found)).collect();
        assert!(strange.is_empty(), "{path}: {strange:?}");
        let asked = counts.of(path);
        assert!((2..=5).contains(&asked), "{path} reached the server {asked} times");
        *gate.0.lock().expect("a gate") = false;
    }
    assert_eq!(counts.of("/recovers"), 2, "one fetch serves all requests");
    proxy.log("\"reason\":\"upstream-failing\"");
}

/// Stale responses do not cause many requests to a failing server, either.
#[test]
fn failing_servers_with_stale_responses() {
    let gate = Arc::new(Gate::default());
    let shut = Arc::clone(&gate);
    let (origin, counts) = counting(move |connection, _, before| {
        if before == 0 {
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=1\r\nAge: 9\r\nETag: \"a\"\r\n\r\nok",
            );
            return true;
        }
        shut.pass();
        connection.send("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno");
        true
    });
    let proxy = Proxy::of_text("cache-failing-stale", SITE, &[("app", &origin.address)]);
    assert_eq!(asked(&proxy, "GET /stale/a", "").text(), "ok");
    let mut clients = vec![waiting(&proxy, "/stale/a")];
    counts.until("/stale/a", 2);
    clients.extend((0..100).map(|_| waiting(&proxy, "/stale/a")));
    gate.open();
    for client in &mut clients {
        assert_eq!((client.answer().status, counts.of("/stale/a") <= 6), (200, true));
    }
}

/// A fetch that takes longer than `lock` is overtaken by one of the waiting requests, not by all; the others get the first
/// response.
#[test]
fn slow_servers() {
    const MANY: usize = 100;
    let gate = Arc::new(Gate::default());
    let shut = Arc::clone(&gate);
    let (origin, counts) = counting(move |connection, path, before| {
        if before == 0 || path == "/impatient/never" {
            shut.pass();
        }
        connection.send(OK);
        true
    });
    let proxy = Proxy::of_text("cache-slow", SITE, &[("app", &origin.address)]);
    let mut first = waiting(&proxy, "/impatient/once");
    counts.until("/impatient/once", 1);
    let mut others: Vec<_> = (0..MANY).map(|_| waiting(&proxy, "/impatient/once")).collect();
    for other in &mut others {
        assert_eq!(other.answer().text(), "ok");
    }
    assert!(counts.of("/impatient/once") <= 4, "{} requests for one response", counts.of("/impatient/once"));
    // If all fetches are slow, one more starts each time.
    let mut never: Vec<_> = (0..MANY).map(|_| waiting(&proxy, "/impatient/never")).collect();
    counts.until("/impatient/never", 3);
    assert!(counts.of("/impatient/never") <= 10, "{} requests at once", counts.of("/impatient/never"));
    gate.open();
    assert_eq!(first.answer().text(), "ok");
    for client in &mut never {
        assert_eq!(client.answer().text(), "ok");
    }
}

/// A request that arrives after the head of a `no-cache` response does not join it.
#[test]
fn no_cache_in_flight() {
    let (gate, asked) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
    let (shut, count) = (Arc::clone(&gate), Arc::clone(&asked));
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let control = if request.contains(" /fresh") { "max-age=60" } else { "no-cache" };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nCache-Control: {control}\r\nETag: \"{number}\"\r\n\r\n"
            );
            connection.send(format!("{head}{number}"));
            shut.pass();
            connection.send("123456789");
        }
    });
    let proxy = Proxy::of_text("cache-on-its-way", SITE, &[("app", &origin.address)]);
    let begin = |path: &str| {
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("GET {path} HTTP/1.1\r\nHost: site.test\r\n\r\n"));
        let head = client.head();
        (head, client)
    };
    let (_, mut first) = begin("/asked");
    let (head, mut second) = begin("/asked");
    assert!(head.contains("fwd=uri-miss; fwd-status=200"), "{head}");
    let (_, mut third) = begin("/fresh");
    let (head, mut fourth) = begin("/fresh");
    assert!(head.contains("collapsed"), "{head}");
    gate.open();
    let mut body = |client: &mut Client| String::from_utf8(client.exactly(10)).expect("text");
    assert_eq!(
        [&mut first, &mut second, &mut third, &mut fourth].map(&mut body),
        ["1123456789", "2123456789", "3123456789", "3123456789"]
    );
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

/// While a response is marked as unshareable, a shareable one is joined as soon as its head has arrived.
#[test]
fn shareable_responses_are_joined_after_unshareable_ones() {
    let gate = Arc::new(Gate::default());
    let shut = Arc::clone(&gate);
    let (origin, counts) = counting(move |connection, _, before| {
        if before == 0 {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: private\r\n\r\nok");
            return true;
        }
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nCache-Control: max-age=60\r\n\r\nfirst");
        shut.pass();
        connection.send("later");
        true
    });
    let proxy = Proxy::of_text("cache-joined", SITE, &[("app", &origin.address)]);
    assert_eq!(shown(&asked(&proxy, "GET /a", "")), "200 ok fwd=uri-miss fwd-status=200 detail=private");
    let mut clients = Vec::new();
    for word in ["stored", "collapsed", "collapsed"] {
        let mut client = waiting(&proxy, "/a");
        let head = client.head();
        assert!(head.contains(word), "{head}");
        clients.push(client);
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.exactly(10), b"firstlater");
    }
    assert_eq!(counts.of("/a"), 2);
}
