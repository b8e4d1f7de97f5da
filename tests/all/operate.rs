//! The operators' interface at `admin`: health, metrics for Prometheus, and access restrictions.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::client::{Answer, Client, ask, get};
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, address};

const SITE: &str = r#"
param listen type=addr
param admin type=addr
param server type=addr
param nobody type=addr
admin (param)admin {
    metrics {
        buckets "1ms" "100ms" "5s"
    }
    purge
    ready app
}
listen (param)listen
cache-store main memory="16MiB"
upstream app {
    server (param)server
    health-check "/health" interval="50ms" fall=1 rise=1
}
upstream gone {
    server (param)nobody
    server (param)server
    balance first
}
site a.test {
    route "/app/*" {
        proxy app
    }
    route "/gone/*" {
        proxy gone
    }
    route "/cached/*" {
        cache main
        proxy app
    }
    route "/limited" {
        limits body="1B"
        respond 200 "ok"
    }
    route "/same" {
        method POST
        respond 201
    }
    route "/same" {
        respond 200
    }
}
"#;

fn operate(proxy: &Proxy, request: &str) -> Answer {
    ask(proxy.address("admin"), &format!("{request} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"))
}

/// Starts an origin that controls its own health checks.
fn origin() -> Origin {
    Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let said = if request.contains("/cached") { "Cache-Control: max-age=60\r\n" } else { "" };
            connection.send(format!("HTTP/1.1 200 OK\r\n{said}Content-Length: 5\r\n\r\nhello"));
        }
    })
}

fn proxy(name: &str, site: &str, given: &[(&str, &str)]) -> Proxy {
    let dir = scratch(name);
    std::fs::write(dir.join("site.kdl"), site).expect("written");
    Proxy::of(&dir.join("site.kdl"), given)
}

/// Returns the samples by name and labels.
fn samples(proxy: &Proxy) -> BTreeMap<String, f64> {
    let text = operate(proxy, "GET /metrics").text();
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

/// Waits until metrics have these values: exchanges are counted shortly after clients have the response.
fn check(proxy: &Proxy, expected: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = samples(proxy);
        let wrong: Vec<_> = expected.iter().filter(|(name, value)| found.get(*name) != Some(value)).collect();
        if wrong.is_empty() {
            return found;
        }
        assert!(Instant::now() < until, "{wrong:?} of {found:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn counters_match_traffic() {
    let (origin, nobody) = (origin(), address());
    let proxy = proxy("operate-counted", SITE, &[("server", &origin.address), ("nobody", &nobody)]);
    let listen = proxy.address("listen");
    for (path, status) in [
        ("/app/1", 200),
        ("/app/2", 200),
        ("/gone/1", 200),
        ("/cached/1", 200),
        ("/cached/1", 200),
        ("/same", 200),
        ("/x", 404),
    ] {
        assert_eq!(get(listen, "a.test", path).status, status, "{path}");
    }
    let post = |path: &str| {
        ask(
            listen,
            &format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"),
        )
    };
    assert_eq!(post("/same").status, 201);
    assert_eq!(post("/limited").status, 413);
    assert_eq!(get(listen, "b.test", "/").status, 421);
    let app = "site=\"a.test\",route=\"/app/*\"";
    let found = check(
        &proxy,
        &[
            (&format!("kiln_requests_total{{{app},code=\"2xx\"}}"), 2.0),
            (&format!("kiln_response_body_bytes_total{{{app}}}"), 10.0),
            (&format!("kiln_request_duration_seconds_bucket{{{app},le=\"5\"}}"), 2.0),
            (&format!("kiln_request_duration_seconds_bucket{{{app},le=\"+Inf\"}}"), 2.0),
            (&format!("kiln_request_first_byte_seconds_count{{{app}}}"), 2.0),
            ("kiln_requests_total{site=\"a.test\",route=\"/cached/*\",code=\"2xx\"}", 2.0),
            ("kiln_requests_total{site=\"a.test\",route=\"/limited\",code=\"4xx\"}", 1.0),
            // Two routes share a series; and requests match no route.
            ("kiln_requests_total{site=\"a.test\",route=\"/same\",code=\"2xx\"}", 2.0),
            ("kiln_requests_total{site=\"\",route=\"\",code=\"4xx\"}", 2.0),
            ("kiln_failures_total{reason=\"body-too-large\"}", 1.0),
            ("kiln_failures_total{reason=\"no-route\"}", 1.0),
            ("kiln_failures_total{reason=\"unknown-host\"}", 1.0),
            (
                &format!(
                    "kiln_upstream_responses_total{{upstream=\"app\",server=\"{}\",code=\"2xx\"}}",
                    origin.address
                ),
                3.0,
            ),
            (
                &format!("kiln_upstream_failures_total{{upstream=\"gone\",server=\"{nobody}\",kind=\"unreachable\"}}"),
                1.0,
            ),
            ("kiln_upstream_retries_total{upstream=\"gone\"}", 1.0),
            ("kiln_upstream_retries_total{upstream=\"app\"}", 0.0),
            ("kiln_upstream_response_seconds_count{upstream=\"app\"}", 3.0),
            (&format!("kiln_server_healthy{{upstream=\"app\",server=\"{}\"}}", origin.address), 1.0),
            (&format!("kiln_server_active{{upstream=\"app\",server=\"{}\"}}", origin.address), 0.0),
            ("kiln_cache_requests_total{store=\"main\",result=\"hit\"}", 1.0),
            ("kiln_cache_requests_total{store=\"main\",result=\"miss\"}", 1.0),
            ("kiln_cache_stored_total{store=\"main\"}", 1.0),
        ],
    );
    let sum = &format!("kiln_request_duration_seconds_sum{{{app}}}");
    assert!(found[sum] > 0.0 && found[sum] < 10.0, "{found:#?}");
    let accepted: f64 = found
        .iter()
        .filter(|(name, _)| name.starts_with("kiln_connections_accepted_total"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(accepted, 10.0);
    for name in
        ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"]
    {
        assert!(found[name] > 0.0, "{name}: {found:#?}");
    }
    // Statuses that did not occur have no series.
    assert!(!found.keys().any(|name| name.contains("5xx")), "{found:#?}");
}

#[test]
fn prometheus_accepts_the_metrics() {
    let (origin, nobody) = (origin(), address());
    let proxy = proxy("operate-prometheus", SITE, &[("server", &origin.address), ("nobody", &nobody)]);
    for path in ["/app/1", "/gone/1", "/cached/1"] {
        assert_eq!(get(proxy.address("listen"), "a.test", path).status, 200, "{path}");
    }
    check(&proxy, &[("kiln_requests_total{site=\"a.test\",route=\"/cached/*\",code=\"2xx\"}", 1.0)]);
    let answer = operate(&proxy, "GET /metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!(
            "SKIPPED: promtool is not installed (Debian: prometheus), so nobody but these tests reads the metrics"
        );
        return;
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    promtool.stdin.take().expect("its input").write_all(&answer.body).expect("taken");
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");

    // A Prometheus server scrapes the metrics, in its preferred format.
    let dir = scratch("operate-prometheus-server");
    let config = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: kiln\n    static_configs:\n      - targets: [\"{}\"]\n",
        proxy.address("admin")
    );
    std::fs::write(dir.join("prometheus.yml"), config).expect("written");
    let web = address();
    let mut server = Command::new("prometheus")
        .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address={web}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus runs");
    let query = "/api/v1/query?query=kiln_requests_total%7Broute%3D%22%2Fcached%2F%2A%22%7D";
    let until = Instant::now() + 3 * PATIENCE;
    let found = loop {
        let found =
            std::net::TcpStream::connect(&web).map(|_| get(&web, "prometheus", query).text()).unwrap_or_default();
        if found.contains("\"route\":\"/cached/*\"") || Instant::now() > until {
            break found;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    server.kill().expect("ended");
    server.wait().expect("ended");
    assert!(found.contains("\"code\":\"2xx\"") && found.contains(",\"1\"]"), "{found}");
}

#[test]
fn openmetrics() {
    let (origin, nobody) = (origin(), address());
    let proxy = proxy("operate-openmetrics", SITE, &[("server", &origin.address), ("nobody", &nobody)]);
    let accept = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text; version=1.0.0\r\nConnection: close\r\n\r\n";
    let answer = ask(proxy.address("admin"), accept);
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = answer.text();
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE kiln_upstream_retries counter\n"), "{text}");
    assert!(text.contains("\nkiln_upstream_retries_total{upstream=\"app\"} 0\n"), "{text}");
}

#[test]
fn health() {
    let (origin, nobody) = (origin(), address());
    // The server of `app` is not up yet.
    let late = address();
    let mut proxy = proxy("operate-health", SITE, &[("server", &late), ("nobody", &nobody)]);
    let ready = |proxy: &Proxy, status: u16| {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = operate(proxy, "GET /readyz");
            if answer.status == status {
                return answer.text();
            }
            assert!(Instant::now() < until, "{answer:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    assert_eq!(ready(&proxy, 503), "503 Service Unavailable: upstream `app` has no healthy server\n");
    assert_eq!(operate(&proxy, "GET /healthz").text(), "alive\n");
    let there = Origin::on(&late, |mut connection, _| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    assert_eq!(ready(&proxy, 200), "ready\n");
    drop((there, origin));
    // While a request delays the end of the drain, operators still get responses.
    let mut client = Client::to(proxy.address("listen"));
    client.send("POST /limited HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\n");
    let busy = |found: &BTreeMap<String, f64>| {
        found.iter().filter(|(name, _)| name.starts_with("kiln_worker_tasks")).map(|(_, count)| count).sum::<f64>()
    };
    let until = Instant::now() + PATIENCE;
    while busy(&samples(&proxy)) < 1.0 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(10));
    }
    proxy.signal("TERM");
    assert_eq!(ready(&proxy, 503), "503 Service Unavailable: the process is stopping\n");
    assert_eq!(operate(&proxy, "GET /healthz").status, 200);
    client.send("x");
    assert_eq!(client.answer().status, 200);
    assert!(proxy.wait().success());
}

#[test]
fn admin_access_is_restricted() {
    let site = "param listen type=addr\nparam admin type=addr\nadmin (param)admin {\n metrics\n allow \"127.0.0.1\" \"127.0.1.0/24\"\n}\n\
        cache-store main\nsite a.test {\n listen (param)listen\n cache main\n proxy \"http://127.0.0.1:1\"\n}\n";
    let proxy = proxy("operate-less", site, &[]);
    for (request, status, says) in [
        ("GET /stores", 403, "`admin` has no line `status` in the site"),
        ("GET /entry?url=http://a.test/", 403, "`admin` has no line `status` in the site"),
        ("PURGE /", 403, "`admin` has no line `purge` in the site"),
        ("GET /metrix", 404, "there is no `/metrix` here; there are /healthz, /readyz, /metrics"),
        ("POST /metrics", 405, "this is asked for with GET"),
        ("HEAD /healthz", 200, ""),
        ("GET /", 200, "GET /metrics"),
    ] {
        let mut client = Client::to(proxy.address("admin"));
        client.send(format!("{request} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let answer = client.answer_to(request.split(' ').next().expect("a method"));
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert!(answer.text().contains(says), "{request}: {answer:?}");
    }
    proxy.notice("admin: a request was refused that needs `purge` in `admin`");
    // The client's address is not allowed.
    let mut stranger = Client::from("127.0.2.1", proxy.address("admin"));
    stranger.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(stranger.closed());
    proxy.notice("admin: a connection from 127.0.2.1 was refused");
    // Not even many of them take the places of others.
    let strangers: Vec<_> = (0..64).map(|_| Client::from("127.0.2.1", proxy.address("admin"))).collect();
    let mut friend = Client::from("127.0.1.7", proxy.address("admin"));
    assert_eq!(friend.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").answer().status, 200);
    drop(strangers);
}

#[test]
fn cross_origin_requests_are_refused() {
    let (origin, nobody) = (origin(), address());
    let proxy = proxy("operate-browsers", SITE, &[("server", &origin.address), ("nobody", &nobody)]);
    let purge = |fields: &str| {
        let text = format!("PURGE /cached/1 HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n");
        let answer = ask(proxy.address("admin"), &text);
        (answer.status, answer.text())
    };
    assert_eq!(purge(""), (200, "{\"purged\":0}\n".to_owned()));
    assert_eq!(purge("Origin: http://a.test\r\n").0, 403);
    for path in ["/tap?n=1&for=1s", "/status/events"] {
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(ask(proxy.address("admin"), &text).status, 403, "{path}");
    }
}

#[test]
fn at_a_unix_socket() {
    let dir = scratch("operate-unix");
    let path = dir.join("admin.sock");
    let site = format!(
        "param listen type=addr\nadmin \"unix:{}\" mode=\"0600\" owner=\":{}\" {{\n metrics\n}}\nlisten (param)listen\nsite * {{\n respond 200\n}}\n",
        path.display(),
        own_group()
    );
    let proxy = proxy("operate-unix", &site, &[]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("a socket").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let output = Command::new("curl")
        .args(["-s", "--unix-socket", path.to_str().expect("text"), "http://admin/metrics"])
        .output()
        .expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("\nkiln_connections 0\n"), "{text} {:?}", proxy.noticed());
}

/// Returns the group ID of this process.
fn own_group() -> u32 {
    std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(scratch("operate-group")).expect("a folder"))
}

/// Garbage, floods, and clients that neither send nor read do not keep others from their responses.
#[test]
fn hostile_clients() {
    let (origin, nobody) = (origin(), address());
    let proxy = proxy("operate-hostile", SITE, &[("server", &origin.address), ("nobody", &nobody)]);
    let admin = proxy.address("admin");
    for garbage in
        [&b"\x16\x03\x01\x00\x05hello"[..], b"GET\r\n\r\n", b"\0\0\0\0", b"GET / HTTP/9.9\r\n\r\n", &[b'a'; 100_000]]
    {
        let mut client = Client::to(admin);
        client.try_send(garbage);
        // The proxy responds with an error or not at all; in any case, it closes the connection.
        client.rest();
    }
    let large = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(64 << 10));
    let mut client = Client::to(admin);
    client.try_send(large);
    assert_ne!(client.try_answer_to("GET").map(|answer| answer.status), Some(200));
    // More silent connections than are served at once: sites are served all the same, and `admin` once the connections
    // are closed.
    let silent: Vec<_> = (0..100).map(|_| Client::to(admin)).collect();
    for number in 0..20 {
        assert_eq!(get(proxy.address("listen"), "a.test", &format!("/app/{number}")).status, 200);
    }
    drop(silent);
    assert_eq!(operate(&proxy, "GET /healthz").status, 200);
}
