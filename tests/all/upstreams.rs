//! Upstreams over real sockets, where a sequence of single requests is not enough: choice of servers, connection
//! pools, queues, and the requests that servers receive.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, LazyLock, Mutex};
use std::time::{Duration, Instant};

use kiln_tests::client::{Answer, Client, ask, get};
use kiln_tests::dns::{NameServer, Record};
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A proxy for a site whose servers are parameters.
fn proxy(name: &str, text: &str, servers: &[(&str, &Origin)]) -> Proxy {
    let text = format!("param listen type=addr\n{text}");
    let mut all = text.clone();
    for (name, _) in servers {
        all = format!("param {name} type=addr\n{all}");
    }
    let given: Vec<(&str, &str)> = servers.iter().map(|(name, origin)| (*name, origin.address.as_str())).collect();
    Proxy::start(&build_text(name, &all), &all, &given)
}

/// A server that responds with its name and keeps connections open.
fn named(name: &'static str) -> Origin {
    Origin::always(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
}

fn three() -> [Origin; 3] {
    [named("one"), named("two"), named("three")]
}

const THREE: &str = "server (param)one\n server (param)two\n server (param)three";

fn with_cookie(proxy: &Proxy, cookie: &str) -> Answer {
    let request = format!("GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n");
    ask(proxy.address("listen"), &request)
}

#[test]
fn a_key_has_its_server() {
    for policy in ["hash", "maglev"] {
        let [one, two, three] = three();
        let site = format!(
            "upstream app {{\n {THREE}\n balance {policy} key=\"{{cookie.user}}\"\n}}\n\
             site site.test {{\n listen (param)listen\n proxy app\n}}\n"
        );
        let proxy = proxy(&format!("keys-{policy}"), &site, &[("one", &one), ("two", &two), ("three", &three)]);
        let mut seen: HashMap<String, usize> = HashMap::new();
        for user in 0..60 {
            let first = with_cookie(&proxy, &format!("user={user}")).text();
            for _ in 0..2 {
                assert_eq!(with_cookie(&proxy, &format!("user={user}")).text(), first, "{policy}");
            }
            *seen.entry(first).or_default() += 1;
        }
        assert_eq!(seen.len(), 3, "{policy}: {seen:?}");
    }
}

#[test]
fn a_cookie_keeps_its_server() {
    let [one, two, three] = three();
    let site = format!(
        "upstream app {{\n {THREE}\n sticky place max-age=\"1h\" secure=#true\n}}\n\
         site site.test {{\n listen (param)listen\n proxy app\n}}\n"
    );
    let proxy = proxy("sticky", &site, &[("one", &one), ("two", &two), ("three", &three)]);
    let mut places = HashMap::new();
    for _ in 0..3 {
        let first = get(proxy.address("listen"), "site.test", "/");
        let cookie = first.header("set-cookie").expect("a cookie").to_owned();
        assert!(cookie.ends_with("; Path=/; Max-Age=3600; SameSite=Lax; Secure; HttpOnly"), "{cookie}");
        let value = cookie.split(';').next().expect("a value").to_owned();
        for _ in 0..4 {
            let again = with_cookie(&proxy, &format!("a=b; {value}"));
            assert_eq!(again.text(), first.text());
            assert_eq!(again.header("set-cookie"), None);
        }
        places.insert(first.text(), value);
    }
    // Round robin for requests without a valid cookie.
    assert_eq!(places.len(), 3, "{places:?}");
    let strange = with_cookie(&proxy, "place=0000000000000000");
    assert!(strange.header("set-cookie").is_some());
}

/// A server with a limit of one exchange: the second waits for the first, the queue has no space for the third.
#[test]
fn queues_have_limits() {
    static BUSY: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            if request.starts_with("GET /slow") {
                BUSY.wait();
                BUSY.wait();
            }
            connection.send(OK);
        }
    });
    let site = "upstream app {\n server (param)one max-connections=1\n circuit-breaker max-pending=1 pending-timeout=\"20s\"\n}\n\
        upstream hurried {\n server (param)one\n circuit-breaker max-connections=1 pending-timeout=\"20ms\"\n}\n\
        site site.test {\n listen (param)listen\n log access format=json\n route \"/hurried/*\" {\n rewrite strip-prefix=\"/hurried\"\n proxy hurried\n }\n route \"/*\" {\n proxy app\n }\n}\n";
    let proxy = proxy("waits", site, &[("one", &origin)]);
    let listen = proxy.address("listen").to_owned();
    let start = |path: &'static str| {
        let listen = listen.clone();
        std::thread::spawn(move || get(&listen, "site.test", path))
    };
    let slow = start("/slow");
    BUSY.wait();
    // One of these waits; the queue has no space for the other.
    let others = [start("/second"), start("/third")];
    proxy.log("upstream-overloaded");
    BUSY.wait();
    assert_eq!(slow.join().expect("an answer").status, 200);
    let mut statuses = others.map(|other| other.join().expect("an answer").status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    // The same with a limit of the whole upstream, and a short time-out.
    let slow = start("/hurried/slow");
    BUSY.wait();
    assert_eq!(get(&listen, "site.test", "/hurried/other").status, 503);
    proxy.log("pending-timeout");
    BUSY.wait();
    assert_eq!(slow.join().expect("an answer").status, 200);
    assert_eq!(get(&listen, "site.test", "/hurried/other").status, 200);
}

#[test]
fn connection_pools() {
    let site = |pool: &str| {
        format!(
            "process {{\n workers 1\n}}\nupstream app {{\n server (param)one\n pool {pool}\n}}\n\
             site site.test {{\n listen (param)listen\n proxy app\n}}\n"
        )
    };
    for (name, pool, connections) in [
        ("pool-kept", "idle-timeout=\"1h\"", 1),
        ("pool-none", "max-idle=0", 3),
        ("pool-young", "max-age=\"1ms\"", 3),
        ("pool-fresh", "idle-timeout=\"1ms\"", 3),
    ] {
        let origin = Origin::always(OK);
        let proxy = proxy(name, &site(pool), &[("one", &origin)]);
        for _ in 0..3 {
            assert_eq!(get(proxy.address("listen"), "site.test", "/").status, 200);
            // By now, the connection is older than a millisecond.
            std::thread::sleep(Duration::from_millis(3));
        }
        assert_eq!(origin.connections(), connections, "{pool}");
    }
}

/// As many connections are kept as there were requests at once.
#[test]
fn connections_of_a_crowd() {
    const CROWD: usize = 200;
    let all = Barrier::new(CROWD);
    let origin = Origin::new(move |mut connection, _| {
        while connection.request().is_some() {
            all.wait();
            connection.send(OK);
        }
    });
    let site = "process {\n workers 1\n}\nsite site.test {\n listen (param)listen\n proxy (param)one\n}\n";
    let proxy = proxy("pool-crowd", site, &[("one", &origin)]);
    let mut clients: Vec<Client> = (0..CROWD).map(|_| Client::to(proxy.address("listen"))).collect();
    for _ in 0..2 {
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
        }
        assert!(clients.iter_mut().all(|client| client.answer().status == 200));
    }
    assert_eq!(origin.connections(), CROWD);
}

#[test]
fn proxy_protocol_to_servers() {
    for (version, expected) in
        [("v1", &b"PROXY TCP4 127.0.0.1 "[..]), ("v2", &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01"[..])]
    {
        let origin = Origin::new(move |mut connection, _| {
            let mut all = connection.bytes();
            while !all.windows(4).any(|window| window == b"Host" || window == b"host") {
                all.extend(connection.bytes());
            }
            let right = all.starts_with(expected) && all.windows(14).any(|window| window == b"GET / HTTP/1.1");
            connection.send(if right { OK } else { "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" });
            connection.bytes();
        });
        let site = format!(
            "upstream app {{\n server (param)one\n proxy-protocol {version}\n}}\n\
             site site.test {{\n listen (param)listen\n proxy app\n}}\n"
        );
        let proxy = proxy(&format!("announced-{version}"), &site, &[("one", &origin)]);
        for _ in 0..2 {
            assert_eq!(get(proxy.address("listen"), "site.test", "/").status, 200, "{version}");
        }
        // Connections of different clients are not shared.
        assert_eq!(origin.connections(), 2);
    }
}

/// A server that becomes healthy again gets few requests at first.
#[test]
fn servers_warm_up() {
    let failing = Arc::new(AtomicUsize::new(1));
    let said = Arc::clone(&failing);
    let one = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let bad = request.starts_with("GET /health") && said.load(Ordering::SeqCst) == 1;
            connection.send(if bad {
                "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
            });
        }
    });
    let two = named("two");
    let site = "upstream app {\n server (param)one\n server (param)two\n slow-start \"10h\"\n health-check \"/health\" interval=\"30ms\" timeout=\"30ms\" rise=1 fall=1\n}\n\
        site site.test {\n listen (param)listen\n proxy app\n}\n";
    let proxy = proxy("warm", site, &[("one", &one), ("two", &two)]);
    proxy.notice("is unhealthy: it answers 503");
    let counted = || (0..300).filter(|_| get(proxy.address("listen"), "site.test", "/").text() == "one").count();
    assert_eq!(counted(), 0);
    failing.store(0, Ordering::SeqCst);
    proxy.notice("is healthy again");
    // A tenth of half of the requests would be 15, a half 150.
    let share = counted();
    assert!(share < 75, "{share}");
}

/// A second server gets the request while the first is slow; the first response is used.
#[test]
fn hedging() {
    let slow = Origin::new(|mut connection, _| {
        connection.request();
        // Waits until the proxy abandons the request.
        connection.bytes();
    });
    let quick = named("quick");
    let site = "upstream app {\n server (param)one\n server (param)two\n balance first\n}\n\
        site site.test {\n listen (param)listen\n log access format=json {\n fields status attempts server\n }\n retry 1 hedge=\"20ms\"\n proxy app\n}\n";
    let proxy = proxy("hedge", site, &[("one", &slow), ("two", &quick)]);
    for _ in 0..3 {
        assert_eq!(get(proxy.address("listen"), "site.test", "/").text(), "quick");
    }
    let line = proxy.log("\"attempts\":2");
    assert!(line.contains(&quick.address), "{line}");
    slow.has_connections(3);
}

/// When every server fails, the number of retries is limited: to three at once, or to the budget's share.
#[test]
fn retries_are_limited() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let failing = Arc::new(move |mut connection: kiln_tests::origin::Connection| {
        while connection.request().is_some() {
            count.fetch_add(1, Ordering::SeqCst);
            // Long enough for all requests to be in progress together.
            std::thread::sleep(Duration::from_millis(300));
            connection.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let origins = [(); 2].map(|()| {
        let failing = Arc::clone(&failing);
        Origin::new(move |connection, _| failing(connection))
    });
    let site = "process {\n workers 1\n}\nupstream app {\n server (param)one\n server (param)two\n}\n\
        site site.test {\n listen (param)listen\n retry 3 budget=10 {\n on 503\n }\n proxy app\n}\n";
    let proxy = proxy("storm", site, &[("one", &origins[0]), ("two", &origins[1])]);
    let listen = proxy.address("listen").to_owned();
    const CLIENTS: usize = 60;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let listen = listen.clone();
            std::thread::spawn(move || get(&listen, "site.test", "/").status)
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().expect("an answer"), 503);
    }
    // Six at once (a tenth of sixty), each up to three times.
    let extra = asked.load(Ordering::SeqCst) - CLIENTS;
    assert!((1..=30).contains(&extra), "{extra} retries of {CLIENTS} requests");
}

/// Atomically replaces a file.
fn replace(path: &std::path::Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(new, path).expect("renamed");
}

#[test]
fn servers_in_a_file() {
    let (one, two) = (named("one"), named("two"));
    let path = scratch("discover-file").join("servers");
    let _ = std::fs::remove_file(&path);
    let site = format!(
        r#"
upstream app {{
    discover file "{}" refresh="20ms" max=2
    sticky place
}}
site site.test {{
    listen (param)listen
    proxy app
}}
"#,
        path.display()
    );
    let proxy = proxy("discover-file", &site, &[]);
    let get = || get(proxy.address("listen"), "site.test", "/");
    proxy.notice("its servers can't be discovered, there are none:");
    assert_eq!(get().status, 503);
    replace(&path, &format!("# the first\n{} weight=2\n", one.address));
    proxy.notice(&format!("1 servers: +{}", one.address));
    let first = get();
    assert_eq!(first.text(), "one");
    let cookie = first.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie").to_owned();
    replace(&path, &format!("{}\n{} backup\n", one.address, two.address));
    proxy.notice(&format!("2 servers: +{}", two.address));
    assert_eq!(with_cookie(&proxy, &cookie).header("set-cookie"), None);
    assert_eq!((get().text(), get().text()), ("one".to_owned(), "one".to_owned()));
    // An invalid file changes nothing.
    for ((wrong, said), recovered) in [
        ("nonsense", "the last ones stay in use: "),
        ("# nobody\n", "the result is empty"),
        ("10.0.0.1:1\n10.0.0.2:1\n10.0.0.3:1\n", "3 servers are more than `max`, 2"),
    ]
    .into_iter()
    .zip(2..)
    {
        replace(&path, wrong);
        proxy.notice(said);
        assert_eq!(get().text(), "one");
        replace(&path, &format!("{}\n{} backup\n# after {wrong:?}\n", one.address, two.address));
        proxy.notices("are discovered again", recovered);
    }
    // At start, and once for each invalid file: repeated failures are not reported again.
    let noticed = proxy.noticed();
    assert_eq!(noticed.iter().filter(|line| line.contains("are discovered again")).count(), 4, "{noticed:?}");
    replace(&path, &two.address);
    proxy.notice(&format!("1 servers: -{}", one.address));
    let moved = with_cookie(&proxy, &cookie);
    assert_eq!(moved.text(), "two");
    assert!(moved.header("set-cookie").is_some());
}

/// Servers are added and removed under load, and no request fails.
#[test]
fn changes_drop_nothing() {
    let origins = [named("one"), named("two"), named("three")];
    let path = scratch("discover-load").join("servers");
    replace(&path, &origins[0].address);
    let site = format!(
        r#"
log access
upstream app {{
    discover file "{}" refresh="10ms"
}}
site site.test {{
    listen (param)listen
    proxy app
}}
"#,
        path.display()
    );
    let proxy = proxy("discover-load", &site, &[]);
    proxy.notice("1 servers: +");
    let over = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (listen, over) = (proxy.address("listen").to_owned(), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut count = 0;
                while over.load(Ordering::SeqCst) == 0 {
                    assert_eq!(get(&listen, "site.test", "/").status, 200);
                    count += 1;
                }
                count
            })
        })
        .collect();
    for round in 0..20 {
        let now: Vec<&str> = (0..3).filter(|at| (round + at) % 3 != 0).map(|at| origins[at].address.as_str()).collect();
        replace(&path, &format!("{}\n# {round}", now.join("\n")));
        std::thread::sleep(Duration::from_millis(30));
    }
    over.store(1, Ordering::SeqCst);
    for client in clients {
        assert!(client.join().expect("no request fails") > 0);
    }
}

#[test]
fn servers_by_dns() {
    let (one, two) = (address(), address());
    let serve = |address: &str, name: &'static str| {
        Origin::on(address, move |mut connection, _| {
            while connection.request().is_some() {
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()));
            }
        })
    };
    let _origins = [serve(&one, "one"), serve(&two, "two")];
    let ip = |address: &str| address.split(':').next().expect("an address").parse().expect("an address");
    let names = NameServer::new();
    let site = format!(
        r#"
upstream app {{
    discover dns "app.test:7000" {{
        resolvers "{0}"
    }}
}}
upstream service {{
    discover srv "_http._tcp.app.test" refresh="100ms" {{
        resolvers "{0}"
    }}
}}
site site.test {{
    listen (param)listen
    route "/service" {{
        proxy service
    }}
    route "/*" {{
        proxy app
    }}
}}
"#,
        names.address
    );
    let proxy = proxy("discover-dns", &site, &[]);
    let get = |path: &str| get(proxy.address("listen"), "site.test", path);
    // The name does not exist: the proxy runs regardless.
    proxy.notice("upstream `app`: its servers can't be discovered, there are none: `app.test`");
    assert_eq!(get("/").status, 503);
    names.set("app.test", vec![Record::A(ip(&one))]);
    proxy.notice(&format!("upstream `app`: 1 servers: +{one}"));
    assert_eq!(get("/").text(), "one");
    // Within the TTL of one second.
    names.set("app.test", vec![Record::A(ip(&two))]);
    proxy.notice(&format!("upstream `app`: 1 servers: +{two} -{one}"));
    assert_eq!(get("/").text(), "two");
    // Servers whose records are removed from DNS are kept.
    names.set("app.test", Vec::new());
    proxy.notice("upstream `app`: its servers can't be discovered, the last ones stay in use");
    assert_eq!(get("/").text(), "two");
    names.set("one.test", vec![Record::A(ip(&one))]);
    names.set("two.test", vec![Record::A(ip(&two))]);
    let servers = |first: &str, second: &str| {
        vec![
            Record::Srv(1, 10, 7000, first.to_owned()),
            Record::Srv(2, 10, 7000, second.to_owned()),
            Record::Srv(1, 5, 7000, "gone.test".to_owned()),
        ]
    };
    // One of the targets does not resolve: the other one is used.
    names.set("_http._tcp.app.test", servers("one.test", "two.test"));
    proxy.notice("upstream `service`: 2 servers:");
    assert_eq!((get("/service").text(), get("/service").text()), ("one".to_owned(), "one".to_owned()));
}

/// If an idle connection turns out to be closed after the body was sent, the whole body is sent on a new one.
#[test]
fn buffered_bodies_are_sent_again() {
    let origin = Origin::new(|mut connection, number| {
        let mut served = 0;
        while let Some(request) = connection.request() {
            served += 1;
            if number == 0 && served == 2 {
                return;
            }
            let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let site = r#"
process {
    workers 1
}
upstream app {
    server (param)one
}
site site.test {
    listen (param)listen
    retry 1
    proxy app
}
"#;
    let proxy = proxy("whole", site, &[("one", &origin)]);
    for body in ["first", "second", "third"] {
        let request = format!(
            "PUT / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(ask(proxy.address("listen"), &request).text(), body);
    }
    assert_eq!(origin.connections(), 2);
}

/// Health checks and mirrored requests send the PROXY protocol header, too.
#[test]
fn proxy_protocol_of_checks_and_mirrors() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let origin = Origin::new(move |mut connection, _| {
        let Some(head) = connection.head() else { return };
        kept.lock().expect("heads").push(head);
        connection.send(OK);
    });
    let app = named("app");
    let site = r#"
upstream app {
    server (param)one
}
upstream copy {
    server (param)two
    proxy-protocol v1
    health-check "/health" interval="50ms"
}
site site.test {
    listen (param)listen
    mirror copy
    proxy app
}
"#;
    let proxy = proxy("announced-beside", site, &[("one", &app), ("two", &origin)]);
    assert_eq!(get(proxy.address("listen"), "site.test", "/copied").text(), "app");
    for (first, second) in [("PROXY UNKNOWN\r\n", "GET /health"), ("PROXY TCP4 127.0.0.1 ", "GET /copied")] {
        let until = Instant::now() + PATIENCE;
        let here = || seen.lock().expect("heads").iter().any(|head| head.starts_with(first) && head.contains(second));
        while !here() {
            assert!(Instant::now() < until, "{first:?} {second:?} in {:?}", seen.lock());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
