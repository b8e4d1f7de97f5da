//! Servers that operators drain, enable and weigh at `admin`, and `POST /drain`, which ends the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln_tests::client::{Answer, Client, ask, get};
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy};

const SITE: &str = r#"
param listen type=addr
param admin type=addr
param a type=addr
param b type=addr
param c type=addr
process {
    workers 2
}
admin (param)admin {
    metrics
    servers
    ready app
}
listen (param)listen
upstream app {
    server (param)a
    server (param)b
    server (param)c backup=#true
    outlier
}
upstream stuck {
    server (param)a
    server (param)b
    sticky lb
}
upstream keyed {
    server (param)a
    server (param)b
    balance maglev key="{path}"
}
upstream one {
    server "unix:/nowhere/one.sock"
}
upstream found {
    discover file "FOUND"
}
site a.test {
    route "/ready" {
        health app
    }
    route "/app/*" {
        proxy app
    }
    route "/stuck/*" {
        proxy stuck
    }
    route "/keyed/*" {
        proxy keyed
    }
    route "/one/*" {
        proxy one
    }
    route "/found/*" {
        proxy found
    }
}
"#;

/// Starts a server that responds with its name, and holds requests for `/hold` until it is released.
fn named(name: &'static str, hold: &Arc<AtomicBool>) -> Origin {
    let hold = Arc::clone(hold);
    Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            while request.contains("/hold") && hold.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}"));
        }
    })
}

struct Operated {
    proxy: Proxy,
    servers: [Origin; 3],
    hold: Arc<AtomicBool>,
    found: std::path::PathBuf,
}

fn operated(name: &str) -> Operated {
    let dir = scratch(&format!("operated-{name}"));
    let hold = Arc::new(AtomicBool::new(true));
    let servers = ["a", "b", "c"].map(|name| named(name, &hold));
    let found = dir.join("found");
    std::fs::write(&found, format!("{}\n{} weight=3\n", servers[0].address, servers[1].address)).expect("written");
    let site = SITE.replace("FOUND", found.to_str().expect("text"));
    std::fs::write(dir.join("site.kdl"), site).expect("written");
    let given = [("a", servers[0].address.as_str()), ("b", &servers[1].address), ("c", &servers[2].address)];
    let proxy = Proxy::of(&dir.join("site.kdl"), &given);
    Operated { proxy, servers, hold, found }
}

impl Operated {
    fn post(&self, path: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        ask(self.proxy.address("admin"), &request)
    }

    /// Changes a server, which must exist.
    fn set(&self, upstream: &str, server: usize, change: &str) {
        let answer = self.post(&format!("/servers/{upstream}/{}", self.servers[server].address), change);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Returns the servers of an upstream as `admin` lists them.
    fn listed(&self, upstream: &str) -> Vec<serde_json::Value> {
        let text = get(self.proxy.address("admin"), "localhost", "/servers").text();
        let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        all.into_iter().filter(|server| server["upstream"] == upstream).collect()
    }

    /// Returns how many of the requests each server gets, each on its own connection, so that both workers have some.
    fn shares(&self, upstream: &str, count: usize) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for number in 0..count {
            let answer = get(self.proxy.address("listen"), "a.test", &format!("/{upstream}/{number}"));
            let by = if answer.status == 200 { answer.text() } else { answer.status.to_string() };
            *shares.entry(by).or_default() += 1;
        }
        shares
    }

    #[track_caller]
    fn check(&self, upstream: &str, count: usize, expected: &[(&str, usize)]) {
        let expected = expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(self.shares(upstream, count), expected);
    }
}

#[test]
fn drained_and_enabled() {
    let at = operated("drained");
    at.check("app", 40, &[("a", 20), ("b", 20)]);
    at.set("app", 0, "state=drain");
    at.check("app", 40, &[("b", 40)]);
    let listed = at.listed("app");
    assert_eq!(listed[0]["state"], "drained");
    assert_eq!(listed[0]["server"], at.servers[0].address.as_str());
    assert_eq!(listed[0]["addresses"][0], at.servers[0].address.as_str());
    assert_eq!((&listed[0]["health"], &listed[1]["state"]), (&"healthy".into(), &"enabled".into()));
    assert_eq!((&listed[2]["backup"], &listed[2]["discovered"]), (&true.into(), &false.into()));
    // Only this upstream's server is drained: another upstream with the same server has its own state.
    assert_eq!(at.listed("stuck")[0]["state"], "enabled");
    at.proxy.notice(&format!("admin: server {} of upstream `app` was drained by 127.0.0.1", at.servers[0].address));
    // The backup steps in; after it is drained, too, no server is left.
    at.set("app", 1, "state=drain");
    at.check("app", 20, &[("c", 20)]);
    assert_eq!(get(at.proxy.address("admin"), "localhost", "/readyz").status, 200);
    let health = || {
        let answer = get(at.proxy.address("listen"), "a.test", "/ready");
        (answer.status, answer.text())
    };
    assert_eq!(health(), (200, "ready\n".to_owned()));
    at.set("app", 2, "state=drain");
    at.check("app", 20, &[("503", 20)]);
    assert_eq!(health(), (503, "unhealthy\n".to_owned()));
    let ready = get(at.proxy.address("admin"), "localhost", "/readyz");
    assert_eq!((ready.status, ready.text().contains("`app` has no healthy server")), (503, true));
    let metrics = get(at.proxy.address("admin"), "localhost", "/metrics").text();
    assert!(metrics.contains("kiln_failures_total{reason=\"no-healthy-upstream\"} 20\n"), "{metrics}");
    let drained = format!("kiln_server_drained{{upstream=\"app\",server=\"{}\"}} 1\n", at.servers[0].address);
    assert!(metrics.contains(&drained), "{metrics}");
    for server in 0..3 {
        at.set("app", server, "state=enabled");
    }
    at.check("app", 40, &[("a", 20), ("b", 20)]);
}

#[test]
fn exchanges_of_a_drained_server_continue() {
    let at = operated("exchanges");
    at.set("app", 1, "state=drain");
    let mut client = Client::to(at.proxy.address("listen"));
    client.send("GET /app/hold HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let until = Instant::now() + PATIENCE;
    while at.listed("app")[0]["active"] != 1 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    at.set("app", 0, "state=drain");
    assert_eq!(at.listed("app")[0]["state"], "draining");
    at.hold.store(false, Ordering::SeqCst);
    assert_eq!(client.answer().text(), "a");
    // The client's next request goes to another server.
    assert_eq!(client.send("GET /app/x HTTP/1.1\r\nHost: a.test\r\n\r\n").answer().text(), "c");
    let until = Instant::now() + PATIENCE;
    while at.listed("app")[0]["state"] != "drained" {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn clients_of_a_drained_server_move() {
    let at = operated("sticky");
    let listen = at.proxy.address("listen");
    let first = get(listen, "a.test", "/stuck/1");
    let cookie = first.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
    let ask_again = || {
        ask(listen, &format!("GET /stuck/2 HTTP/1.1\r\nHost: a.test\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"))
            .text()
    };
    let (its, other) = if first.text() == "a" { (0, "b") } else { (1, "a") };
    assert!((0..6).all(|_| ask_again() == first.text()));
    at.set("stuck", its, "state=drain");
    assert!((0..6).all(|_| ask_again() == other));
    at.set("stuck", its, "state=enabled");
    assert!((0..6).all(|_| ask_again() == first.text()));
    // Clients are also chosen by a key, and by other weights.
    let keyed = at.shares("keyed", 60);
    assert_eq!(keyed.len(), 2, "{keyed:?}");
    at.set("keyed", 0, "state=drain");
    at.check("keyed", 60, &[("b", 60)]);
    at.set("keyed", 0, "state=enabled");
    assert_eq!(at.shares("keyed", 60), keyed, "a key is not back at its server");
    at.set("keyed", 0, "weight=9");
    assert!(at.shares("keyed", 60)["a"] > 45);
}

#[test]
fn weights() {
    let at = operated("weights");
    at.set("app", 0, "weight=3");
    at.check("app", 40, &[("a", 30), ("b", 10)]);
    assert_eq!(at.listed("app")[0]["weight"], 3);
    at.set("app", 0, "weight=0");
    at.check("app", 40, &[("b", 40)]);
    at.set("app", 0, "weight=1&state=enabled");
    at.check("app", 40, &[("a", 20), ("b", 20)]);
    at.proxy.notice("was enabled and given the weight 1 by 127.0.0.1");
    // Parameters can be in the query, too.
    let answer = at.post(&format!("/servers/app/{}?weight=7", at.servers[1].address), "");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer.text()).expect("JSON")[0]["weight"], 7);
}

#[test]
fn changes_of_discovered_servers() {
    let at = operated("discovered");
    let until = Instant::now() + PATIENCE;
    while at.listed("found").len() < 2 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    at.check("found", 40, &[("a", 10), ("b", 30)]);
    assert_eq!(at.listed("found")[0]["discovered"], true);
    at.set("found", 0, "state=drain");
    at.set("found", 1, "weight=5");
    at.check("found", 10, &[("b", 10)]);
    // An operator's changes hold as long as discovery lists the server.
    let [a, b, c] = [0, 1, 2].map(|server| at.servers[server].address.as_str());
    let discover = |text: &str, notice: &str| {
        std::fs::write(at.found.with_extension("new"), text).expect("written");
        std::fs::rename(at.found.with_extension("new"), &at.found).expect("renamed");
        at.proxy.notice(notice);
    };
    discover(&format!("{a}\n{b} weight=2\n{c}\n"), &format!("3 servers: +{c}"));
    at.check("found", 12, &[("b", 10), ("c", 2)]);
    discover(&format!("{c}\n"), "1 servers: -");
    // They are listed in the order of their addresses.
    let (first, second) = (a.min(b), a.max(b));
    discover(&format!("{a}\n{b} weight=2\n{c}\n"), &format!("3 servers: +{first} +{second}"));
    at.check("found", 40, &[("a", 10), ("b", 20), ("c", 10)]);
}

/// Changes that leave servers fail no request, however many are made while both workers are busy.
#[test]
fn changes_under_load() {
    let at = operated("load");
    let (over, failed, served) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let mut client = Client::to(at.proxy.address("listen"));
                    for number in 0..50 {
                        let path = ["app", "keyed", "found"][number % 3];
                        client.send(format!("GET /{path}/{number} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
                        let good = client.answer().status == 200;
                        if good { &served } else { &failed }.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        let operators: Vec<_> = (0..4)
            .map(|server| {
                let at = &at;
                scope.spawn(move || {
                    for round in 0..50 {
                        // Two of the operators change the same server.
                        let (upstream, server) = (["app", "keyed", "found"][round % 3], server / 2);
                        at.set(upstream, server, &format!("weight={}", 1 + round % 7));
                        if server == 0 {
                            at.set(upstream, 0, "state=drain");
                            at.set(upstream, 0, "state=enabled");
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = operators.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok));
    });
    assert_eq!(failed.load(Ordering::SeqCst), 0);
    assert!(served.load(Ordering::SeqCst) > 500);
    // The last change holds.
    at.set("app", 0, "weight=1");
    at.set("app", 1, "weight=1");
    at.check("app", 40, &[("a", 20), ("b", 20)]);
}

#[test]
fn changes_that_are_refused() {
    let at = operated("wrong");
    let a = at.servers[0].address.as_str();
    let check = |path: &str, body: &str, status: u16, says: &str| {
        let answer = at.post(path, body);
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
        assert!(answer.text().contains(says), "{path} {body}: {answer:?}");
    };
    check("/servers/ap/x", "state=drain", 404, "there is no upstream `ap`; there are `app`, ");
    check(
        "/servers/app/127.0.0.1:1",
        "state=drain",
        404,
        "upstream `app` has no server `127.0.0.1:1`; there are `127.0.0.1:",
    );
    check("/servers/app", "state=drain", 404, "has no server ``");
    check("/servers/", "state=drain", 404, "there is no upstream ``");
    check(&format!("/servers/app/{a}"), "", 400, "write state=drain, state=enabled or weight=N");
    check(&format!("/servers/app/{a}"), "state=off", 400, "`state` is drain or enabled");
    check(&format!("/servers/app/{a}"), "weight=1001", 400, "`weight` is 0 to 1000");
    check(&format!("/servers/app/{a}"), "weight=1&weight=2", 400, "`weight` is there twice");
    check(&format!("/servers/app/{a}?weight=1"), "weight=2", 400, "`weight` is there twice");
    check(&format!("/servers/app/{a}"), "color=red", 400, "the parameters are");
    check(&format!("/servers/app/{a}"), &"x".repeat(5000), 413, "the body is larger than 4 KiB");
    check(&format!("/servers/app/{a}\u{e9}%FF"), "state=drain", 404, "has no server");
    check("/drain", "", 403, "`admin` has no line `drain` in the site");
    at.proxy.notice("admin: a request was refused that needs `drain` in `admin`");
    // The name of the server contains a slash, encoded or not.
    check("/servers/one/unix:/nowhere/one.sock", "state=drain", 200, "\"state\":\"drained\"");
    check("/servers/one/unix:%2Fnowhere%2Fone.sock", "state=enabled", 200, "\"state\":\"enabled\"");
    let admin = at.proxy.address("admin");
    let answer = get(admin, "localhost", &format!("/servers/app/{a}"));
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    // From a page in a browser; bytes that are not text; a body that does not arrive; and one with malformed chunks.
    let raw = |head: &str, body: &[u8]| {
        let mut client = Client::to(admin);
        client.send(format!("POST /servers/app/{a} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n"));
        client.try_send(body);
        client.answer().status
    };
    assert_eq!(raw("Origin: http://localhost\r\nContent-Length: 11\r\n", b"state=drain"), 403);
    assert_eq!(raw("Content-Length: 2\r\n", b"\xff\xfe"), 400);
    assert_eq!(raw("Content-Length: 100\r\n", b"state=drain"), 408);
    assert_eq!(raw("Transfer-Encoding: chunked\r\n", b"zz\r\n"), 400);
    assert!(at.listed("app").iter().all(|server| server["state"] == "enabled" && server["weight"] == 1));
    at.check("app", 10, &[("a", 5), ("b", 5)]);
}

#[test]
fn the_process_drains_and_ends() {
    let site = "param listen type=addr\nparam admin type=addr\nadmin (param)admin {\n drain\n}\nlisten (param)listen\n\
        site a.test {\n route \"/slow\" {\n  limits body=\"1B\"\n  respond 200 \"done\"\n }\n route \"/ready\" {\n  health\n }\n}\n";
    let mut proxy = Proxy::of_text("operated-drain", site, &[]);
    let servers = get(proxy.address("admin"), "localhost", "/servers");
    assert_eq!((servers.status, servers.text().contains("no line `servers`")), (403, true));
    let post = |proxy: &Proxy, fields: &str| {
        let request = format!("POST /drain HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: 0\r\n\r\n");
        ask(proxy.address("admin"), &request)
    };
    assert_eq!(post(&proxy, "Origin: http://x\r\n").status, 403);
    let mut client = Client::to(proxy.address("listen"));
    client.send("POST /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\n");
    let mut probe = Client::to(proxy.address("listen"));
    let ready = "GET /ready HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(probe.send(ready).answer().text(), "ready\n");
    let (begun, rest) = ready.split_at(20);
    probe.send(begun);
    std::thread::sleep(Duration::from_millis(200));
    // A second request does not cut the drain short, as a second signal does.
    for _ in 0..2 {
        let answer = post(&proxy, "");
        assert_eq!((answer.status, answer.text().as_str()), (202, "the drain begins\n"));
    }
    proxy.notice("admin: 127.0.0.1 ends the process");
    proxy.notice("stopping: draining for up to");
    assert_eq!(get(proxy.address("admin"), "localhost", "/readyz").status, 503);
    let answer = probe.send(rest).answer();
    assert_eq!((answer.status, answer.text().as_str()), (503, "draining\n"));
    client.send("x");
    assert_eq!(client.answer().text(), "done");
    assert!(proxy.wait().success());
}
