//! Tracing: which traces are continued and started, what is sent to servers, and which spans a collector gets. The collector is the test's own;
//! OpenTelemetry's own protobufs read its requests once more.
//!
//! Long but flat: one collector, and one test after the other about what it gets.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kiln_tests::certificates::Authority;
use kiln_tests::client::{Answer, Client, ask};
use kiln_tests::kiln::scratch;
use kiln_tests::origin::{Connection, Origin};
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};
use serde_json::Value;

const SITE: &str = r#"
param listen type=addr
param admin type=addr
param server type=addr
param nobody type=addr
param collector type=string
param token type=secret
process {
    workers 1
    drain timeout="2s"
}
admin (param)admin {
    metrics
}
log access {
    fields method path status trace-id
}
trusted-proxies "127.0.0.2/32"
TRACE
listen (param)listen {
    http h1 h2
}
upstream app {
    server (param)server
}
upstream two {
    server (param)nobody
    server (param)server
    balance first
}
upstream checker {
    server (param)server
}
site a.test {
    response-headers {
        set X-Trace-Id "{trace.id}"
    }
    route "/app/*" {
        proxy app
    }
    route "/two/*" {
        proxy two
    }
    route "/retried/*" {
        retry 2 {
            on 502
        }
        proxy app
    }
    route "/cached/*" {
        cache
        proxy app
    }
    route "/guarded/*" {
        auth forward "/check" upstream=checker
        proxy app
    }
    route "/gone/*" {
        proxy "http://127.0.0.1:1"
    }
    route "/here" {
        respond 200 "here"
    }
}
"#;

/// Exports all traces, and continues those of one peer.
const ALL: &str = "\
trace otlp (param)collector sample=parent else=\"100%\" trust=proxies {
    service \"shop\"
    header Authorization (param)token
    propagate w3c
}";

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A collector, with the requests that it has received.
struct Collector {
    origin: Origin,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// Starts a collector that accepts everything.
    fn new() -> Collector {
        Collector::answering(|connection, _| connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
    }

    /// Starts a collector that answers each request by a function, which gets the request's number.
    fn answering(answer: impl Fn(&mut Connection, usize) + Send + Sync + 'static) -> Collector {
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&requests);
        let origin = Origin::new(move |mut connection, _| {
            while let Some(request) = connection.request() {
                let number = {
                    let mut kept = kept.lock().expect("requests");
                    kept.push(request);
                    kept.len() - 1
                };
                answer(&mut connection, number);
            }
        });
        Collector { origin, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("requests").clone()
    }

    /// Returns the spans of all requests so far.
    fn spans(&self) -> Vec<Span> {
        let body = |request: &String| request.split_once("\r\n\r\n").expect("a body").1.to_owned();
        let all = |request: &String| {
            let value: Value = serde_json::from_str(&body(request)).expect("JSON");
            let resource = &value["resourceSpans"][0];
            resource["scopeSpans"][0]["spans"].as_array().expect("spans").iter().map(Span::of).collect::<Vec<_>>()
        };
        self.requests().iter().flat_map(all).collect()
    }

    /// Waits until there are this many spans, and checks that there are no more.
    fn wait(&self, count: usize) -> Vec<Span> {
        let until = Instant::now() + PATIENCE;
        while self.spans().len() < count {
            assert!(Instant::now() < until, "{} of {count} spans: {:#?}", self.spans().len(), self.spans());
            std::thread::sleep(Duration::from_millis(10));
        }
        let found = self.spans();
        assert_eq!(found.len(), count, "{found:#?}");
        found
    }
}

/// A span, as the collector has received it.
#[derive(Debug, Clone)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    failed: bool,
    took: Duration,
    attributes: BTreeMap<String, String>,
}

const SERVER: u64 = 2;
const CLIENT: u64 = 3;

impl Span {
    fn of(value: &Value) -> Span {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let nanos = |name: &str| text(name).parse::<u64>().expect("nanoseconds");
        let attribute = |one: &Value| {
            let (key, value) = (one["key"].as_str().expect("a key"), &one["value"]);
            let value = value["stringValue"].as_str().or_else(|| value["intValue"].as_str()).expect("a value");
            (key.to_owned(), value.to_owned())
        };
        Span {
            trace: text("traceId"),
            id: text("spanId"),
            parent: text("parentSpanId"),
            name: text("name"),
            kind: value["kind"].as_u64().expect("a kind"),
            failed: value["status"]["code"] == 2,
            took: Duration::from_nanos(nanos("endTimeUnixNano") - nanos("startTimeUnixNano")),
            attributes: value["attributes"].as_array().expect("attributes").iter().map(attribute).collect(),
        }
    }

    fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", |value| value)
    }
}

/// The requests that servers have received.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<String>>>);

impl Received {
    fn field(&self, path: &str, name: &str) -> Vec<String> {
        let requests = self.0.lock().expect("requests");
        let of = |request: &&String| request.split(' ').nth(1) == Some(path);
        let field = |line: &str| line.to_ascii_lowercase().strip_prefix(&format!("{name}: ")).map(str::to_owned);
        requests.iter().filter(of).flat_map(|request| request.lines().filter_map(field)).collect()
    }
}

/// Starts a server. `/retried/` fails once, `/cached/` can be cached, `/fails` is a 500, `/breaks` ends too early.
fn server() -> (Origin, Received) {
    let received = Received::default();
    let kept = received.clone();
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let path = request.split(' ').nth(1).expect("a target").to_owned();
            let before = {
                let mut kept = kept.0.lock().expect("requests");
                kept.push(request);
                kept.iter().filter(|request| request.split(' ').nth(1) == Some(&path)).count() - 1
            };
            let (status, field) = match path.as_str() {
                path if path.starts_with("/retried/") && before == 0 => ("502 Bad Gateway", ""),
                path if path.starts_with("/cached/") => ("200 OK", "Cache-Control: max-age=60\r\n"),
                path if path.ends_with("/fails") => ("500 Internal Server Error", ""),
                path if path.ends_with("/slow") => {
                    std::thread::sleep(Duration::from_millis(60));
                    ("200 OK", "")
                }
                _ => ("200 OK", ""),
            };
            let length = if path.ends_with("/breaks") { 500 } else { 5 };
            connection.send(format!("HTTP/1.1 {status}\r\n{field}Content-Length: {length}\r\n\r\nhello"));
            if length > 5 {
                return;
            }
        }
    });
    (origin, received)
}

struct Test {
    proxy: Proxy,
    received: Received,
    _server: Origin,
}

impl Test {
    fn new(name: &str, trace: &str, collector: &str) -> Test {
        let ((server, received), dir) = (server(), scratch(name));
        let token = dir.join("token");
        std::fs::write(&token, "Bearer hush\n").expect("written");
        let nobody = address();
        let url = format!("http://{collector}/v1/traces");
        let given = [
            ("server", server.address.as_str()),
            ("nobody", &nobody),
            ("collector", &url),
            ("token", token.to_str().expect("a path")),
        ];
        let site = SITE.replace("TRACE", trace);
        // The proxy rejects flags of parameters that the site does not declare.
        let given: Vec<_> = given.into_iter().filter(|(name, _)| site.contains(&format!("(param){name}"))).collect();
        let site: String = site.lines().filter(|line| declared(line, &given)).map(|line| format!("{line}\n")).collect();
        std::fs::write(dir.join("site.kdl"), &site).expect("written");
        Test { proxy: Proxy::of(&dir.join("site.kdl"), &given), received, _server: server }
    }

    /// Sends a request from a trusted peer, or from another one.
    fn get(&self, trusted: bool, path: &str, fields: &str) -> Answer {
        let from = if trusted { "127.0.0.2" } else { "127.0.0.3" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n");
        Client::from(from, self.proxy.address("listen")).send(request).answer()
    }

    fn metrics(&self, accept: &str) -> String {
        ask(
            self.proxy.address("admin"),
            &format!("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"),
        )
        .text()
    }

    /// Waits until a metric has at least this value.
    fn counted(&self, name: &str, least: u64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = self.metrics("text/plain");
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            if value.is_some_and(|value| value >= least) {
                return;
            }
            assert!(Instant::now() < until, "{name}: {value:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Returns whether a line declares no parameter, or one that is given.
fn declared(line: &str, given: &[(&str, &str)]) -> bool {
    let name = line.strip_prefix("param ").and_then(|rest| rest.split(' ').next());
    name.is_none_or(|name| ["listen", "admin"].contains(&name) || given.iter().any(|(known, _)| *known == name))
}

fn of<'s>(spans: &'s [Span], trace: &str) -> Vec<&'s Span> {
    spans.iter().filter(|span| span.trace == trace).collect()
}

#[test]
fn traces_are_continued_and_started() {
    let collector = Collector::new();
    let test = Test::new("tracing-continued", ALL, &collector.origin.address);
    let fields = format!("traceparent: {PARENT}\r\ntracestate: a=1\r\ntracestate: b=2\r\nUser-Agent: me\r\n");
    let answer = test.get(true, "/app/1?secret=x", &fields);
    assert_eq!(answer.header("x-trace-id"), Some(TRACE));
    let untrusted = test.get(false, "/app/2", &fields);
    let invalid = test.get(true, "/app/3", &fields.replace("00-4b", "ff-4b"));
    let mut begun: Vec<_> = [&untrusted, &invalid].map(|answer| answer.header("x-trace-id").expect("an id")).into();
    begun.sort_unstable();
    assert!(begun[0] != begun[1] && begun.iter().all(|id| *id != TRACE && id.len() == 32), "{begun:?}");
    let spans = collector.wait(6);
    let continued = of(&spans, TRACE);
    let [server, attempt] = continued[..] else { panic!("{continued:#?}") };
    assert_eq!((server.kind, server.name.as_str(), server.parent.as_str()), (SERVER, "GET /app/*", "00f067aa0ba902b7"));
    assert_eq!((attempt.kind, attempt.name.as_str(), &attempt.parent), (CLIENT, "GET", &server.id));
    let expected = [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("url.path", "/app/1"),
        ("http.route", "/app/*"),
        ("http.response.status_code", "200"),
        ("server.address", "a.test"),
        ("client.address", "127.0.0.2"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "me"),
        ("kiln.upstream", "app"),
        ("http.response.body.size", "5"),
        ("error.type", ""),
    ];
    for (name, value) in expected {
        assert_eq!(server.get(name), value, "{name}");
    }
    assert_eq!(attempt.get("http.response.status_code"), "200");
    assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");
    // The server receives the attempt's span, and `tracestate` unchanged.
    assert_eq!(test.received.field("/app/1?secret=x", "traceparent"), [format!("00-{TRACE}-{}-01", attempt.id)]);
    assert_eq!(test.received.field("/app/1?secret=x", "tracestate"), ["a=1,b=2"]);
    for path in ["/app/2", "/app/3"] {
        assert_eq!(test.received.field(path, "tracestate"), [""; 0]);
        let told = test.received.field(path, "traceparent");
        let id = &told[0][3..35];
        let own = of(&spans, id);
        assert_eq!((own.len(), own[0].parent.as_str()), (2, ""), "{own:#?}");
        assert_eq!(told, [format!("00-{id}-{}-03", own[1].id)]);
    }
    test.proxy.log(&format!("\"path\":\"/app/1\",\"status\":200,\"trace-id\":\"{TRACE}\""));
    // The request to the collector is as the site says, and the secret is nowhere else.
    let request = collector.requests().remove(0);
    assert!(request.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{request}");
    for field in ["authorization: Bearer hush", "content-type: application/json"] {
        assert!(request.lines().any(|line| line.eq_ignore_ascii_case(field)), "{field}: {request}");
    }
    assert!(request.contains("{\"key\":\"service.name\",\"value\":{\"stringValue\":\"shop\"}}"), "{request}");
    assert!(!test.proxy.noticed().iter().any(|line| line.contains("hush")), "{:?}", test.proxy.noticed());
    test.counted("kiln_trace_spans_exported_total", 6);
    // In OpenMetrics, each bucket has a trace as exemplar.
    let text = test.metrics("application/openmetrics-text");
    let of_app =
        |line: &&str| line.starts_with("kiln_request_duration_seconds_bucket{site=\"a.test\",route=\"/app/*\"");
    let exemplar =
        text.lines().filter(of_app).find_map(|line| line.split_once(" # {trace_id=\"")).expect("an exemplar");
    assert!(spans.iter().any(|span| span.trace == exemplar.1[..32]), "{exemplar:?}");
    assert!(!test.metrics("text/plain").contains("trace_id"), "Prometheus' own format has exemplars");
}

#[test]
fn attempts_phases_and_failures() {
    let collector = Collector::new();
    let test = Test::new("tracing-attempts", ALL, &collector.origin.address);
    let trace = |answer: Answer| answer.header("x-trace-id").expect("an id").to_owned();
    let check = |count: usize, so_far: usize, trace: &str| {
        let spans = collector.wait(so_far);
        let found: Vec<Span> = of(&spans, trace).into_iter().cloned().collect();
        assert_eq!(found.len(), count, "{found:#?}");
        let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| &span.id).collect();
        assert_eq!(ids.len(), spans.len(), "two spans have the same ID");
        found
    };
    // A response is retried, and a server is unreachable.
    let found = check(3, 3, &trace(test.get(false, "/retried/1", "")));
    let statuses: Vec<_> = found[1..].iter().map(|span| span.get("http.response.status_code")).collect();
    assert_eq!(statuses, ["502", "200"]);
    assert_eq!((found[1].failed, found[2].failed, found[0].failed), (true, false, false));
    assert_eq!((found[1].get("http.request.resend_count"), found[2].get("http.request.resend_count")), ("", "1"));
    let told: Vec<_> =
        test.received.field("/retried/1", "traceparent").iter().map(|told| told[36..52].to_owned()).collect();
    assert_eq!(told, [found[1].id.clone(), found[2].id.clone()]);
    let found = check(3, 6, &trace(test.get(false, "/two/1", "")));
    assert_eq!((found[1].get("error.type"), found[2].get("error.type")), ("connect-failed", ""));
    assert!(found[1..].iter().all(|span| span.parent == found[0].id && span.kind == CLIENT), "{found:#?}");
    // The cache requests the response once.
    let found = check(3, 9, &trace(test.get(false, "/cached/1", "")));
    let [server, cache, attempt] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((cache.name.as_str(), &cache.parent, &attempt.parent), ("cache", &server.id, &cache.id));
    assert_eq!((server.get("kiln.cache.result"), cache.get("kiln.cache.result")), ("miss", "miss"));
    let found = check(2, 11, &trace(test.get(false, "/cached/1", "")));
    assert_eq!((found[0].get("kiln.cache.result"), found[1].name.as_str()), ("hit", "cache"));
    // The authorization service gets a request of its own.
    let found = check(4, 15, &trace(test.get(false, "/guarded/slow", "")));
    let by_name =
        |upstream: &str| found.iter().find(|span| span.kind == CLIENT && span.get("kiln.upstream") == upstream);
    let auth = found.iter().find(|span| span.name == "auth").expect("a span");
    let (asked, attempt) = (by_name("checker").expect("a span"), by_name("app").expect("a span"));
    assert_eq!(asked.parent, auth.id);
    assert_eq!(attempt.parent, auth.parent);
    assert!(attempt.took >= Duration::from_millis(50) && auth.took < attempt.took, "{found:#?}");
    assert_eq!(test.received.field("/check", "traceparent")[0][36..52], asked.id);
    // A failure of the proxy, and one of a server.
    let found = check(2, 17, &trace(test.get(false, "/gone/1", "")));
    assert_eq!((found[0].get("error.type"), found[0].failed), ("connect-failed", true));
    let found = check(2, 19, &trace(test.get(false, "/app/fails", "")));
    assert_eq!((found[0].get("error.type"), found[0].failed), ("500", true));
    // A request without a route is no failure of the proxy.
    let answer = test.get(false, "/none", "");
    assert_eq!(answer.status, 404);
    let spans = collector.wait(20);
    let last = spans.last().expect("a span");
    assert_eq!((last.name.as_str(), last.get("error.type"), last.failed), ("GET", "no-route", false));
    opentelemetry_reads(&collector.requests());
}

/// Checks that OpenTelemetry's own protobufs, in Python, read the same spans.
fn opentelemetry_reads(requests: &[String]) {
    const READ: &str = include_str!("tracing.py");
    let there = Command::new("python3").args(["-c", "import opentelemetry.proto, google.protobuf"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: Python's opentelemetry-proto is not installed, so nobody but these tests reads the spans");
        return;
    }
    let bodies: Vec<&str> = requests.iter().map(|request| request.split_once("\r\n\r\n").expect("a body").1).collect();
    let mut python = Command::new("python3")
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    python.stdin.take().expect("piped").write_all(bodies.join("\n").as_bytes()).expect("written");
    let output = python.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("SPAN_KIND_SERVER GET /retried/*") && said.contains("SPAN_KIND_CLIENT GET\n"), "{said}");
    assert!(said.contains("service.name=shop"), "{said}");
}

#[test]
fn only_failures_are_exported() {
    let collector = Collector::new();
    let trace = "trace otlp (param)collector sample=\"0%\" trust=any";
    let test = Test::new("tracing-failures", trace, &collector.origin.address);
    let parent = format!("traceparent: {PARENT}\r\n");
    for path in ["/app/1", "/here", "/none", "/retried/1", "/cached/1", "/guarded/1"] {
        test.get(false, path, &parent);
    }
    // The decision is sent to servers, and holds for requests that do not fail.
    let told = test.received.field("/app/1", "traceparent");
    assert!(told[0].starts_with(&format!("00-{TRACE}-")) && told[0].ends_with("-00"), "{told:?}");
    assert_eq!(test.get(false, "/app/fails", &parent).status, 500);
    let spans = collector.wait(2);
    assert_eq!((spans[0].name.as_str(), spans[0].parent.as_str()), ("GET /app/*", "00f067aa0ba902b7"));
    assert_eq!((spans[1].kind, spans[1].get("http.response.status_code")), (CLIENT, "500"));
    // The response breaks off after the client has received its beginning.
    let address = test.proxy.address("listen").to_owned();
    let mut client = Client::to(&address);
    client.send("GET /app/breaks HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.rest();
    let spans = collector.wait(4);
    assert_eq!(spans[2].get("error.type"), "upstream-truncated", "{spans:#?}");
}

#[test]
fn a_share_is_sampled() {
    let collector = Collector::new();
    let trace = "trace otlp (param)collector sample=\"20%\"";
    let test = Test::new("tracing-shares", trace, &collector.origin.address);
    let mut client = Client::to(test.proxy.address("listen"));
    let mut sampled = 0;
    for _ in 0..500 {
        client.send("GET /app/1 HTTP/1.1\r\nHost: a.test\r\n\r\n").answer();
    }
    let told = test.received.field("/app/1", "traceparent");
    sampled += told.iter().filter(|told| told.ends_with("-03")).count();
    assert!(told.len() == 500 && (50..150).contains(&sampled), "{sampled} of {}", told.len());
    collector.wait(2 * sampled);
}

#[test]
fn b3_fields() {
    let collector = Collector::new();
    let trace = "trace otlp (param)collector sample=parent else=\"0%\" trust=any {\n    propagate b3 b3-multi w3c\n}";
    let test = Test::new("tracing-b3", trace, &collector.origin.address);
    let b3 = format!("b3: {TRACE}-00f067aa0ba902b7-1\r\n");
    assert_eq!(test.get(false, "/app/1", &b3).header("x-trace-id"), Some(TRACE));
    let spans = collector.wait(2);
    let attempt = &spans[1].id;
    for (field, expected) in [
        ("b3", format!("{TRACE}-{attempt}-1")),
        ("x-b3-traceid", TRACE.to_owned()),
        ("x-b3-spanid", attempt.clone()),
        ("x-b3-parentspanid", spans[0].id.clone()),
        ("x-b3-sampled", "1".to_owned()),
        ("traceparent", format!("00-{TRACE}-{attempt}-01")),
    ] {
        assert_eq!(test.received.field("/app/1", field), [expected], "{field}");
    }
    let several = format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: 00f067aa0ba902b7\r\nX-B3-Sampled: 0\r\n");
    assert_eq!(test.get(false, "/app/2", &several).header("x-trace-id"), Some(TRACE));
    assert_eq!(test.received.field("/app/2", "x-b3-sampled"), ["0"]);
    test.get(false, "/app/3", "b3: 1\r\n");
    assert_eq!(collector.wait(4)[2].parent, "");
}

#[test]
fn http2_requests_are_traced() {
    let collector = Collector::new();
    let test = Test::new("tracing-http2", ALL, &collector.origin.address);
    let address = test.proxy.address("listen").to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(&address).await.expect("connected");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let sent: Vec<_> = (0..2)
            .map(|number| {
                let url = format!("http://a.test/app/{number}");
                let request = http::Request::get(url).header("traceparent", PARENT).body(()).expect("a request");
                client.send_request(request, true).expect("sent").0
            })
            .collect();
        let mut ids = Vec::new();
        for response in sent {
            let response = response.await.expect("a response");
            ids.push(response.headers()["x-trace-id"].to_str().expect("text").to_owned());
        }
        // The peer is not trusted, so that each request has a trace of its own.
        assert!(ids[0] != ids[1] && !ids.contains(&TRACE.to_owned()), "{ids:?}");
    });
    let spans = collector.wait(4);
    let versions: Vec<_> =
        spans.iter().filter(|span| span.kind == SERVER).map(|span| span.get("network.protocol.version")).collect();
    assert_eq!(versions, ["2", "2"]);
}

#[test]
fn without_trace_nothing_changes() {
    const SITE: &str = "param listen type=addr\nparam server type=addr\nlisten (param)listen\n\
         upstream app {\n server (param)server\n}\nsite a.test {\n proxy app\n}\n";
    let (server, received) = server();
    let proxy = Proxy::of_text("tracing-none", SITE, &[("server", &server.address)]);
    let fields = format!("traceparent: {PARENT}\r\ntraceparent: x\r\ntracestate: ?\r\nb3: 1\r\n");
    ask(proxy.address("listen"), &format!("GET /a HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n"));
    for (name, expected) in [("traceparent", &[PARENT, "x"][..]), ("tracestate", &["?"]), ("b3", &["1"])] {
        assert_eq!(received.field("/a", name), expected, "{name}");
    }
}

/// Checks that a proxy with this collector serves, and returns how long it takes to end.
fn serves_on(name: &str, collector: &str) -> (Test, Duration) {
    let mut test = Test::new(name, ALL, collector);
    let mut client = Client::to(test.proxy.address("listen"));
    for _ in 0..100 {
        let answer = client.send("GET /app/1 HTTP/1.1\r\nHost: a.test\r\n\r\n").answer();
        assert_eq!(answer.status, 200);
    }
    drop(client);
    std::thread::sleep(Duration::from_millis(1500));
    test.proxy.signal("TERM");
    let began = Instant::now();
    assert!(test.proxy.wait().success());
    (test, began.elapsed())
}

#[test]
fn failing_collectors_do_not_delay_requests() {
    let check = |name: &str, collector: &str, notice: &str| {
        let (test, took) = serves_on(&format!("tracing-{name}"), collector);
        assert!(took < Duration::from_secs(4), "{name}: {took:?}");
        test.proxy.notice(notice);
    };
    check("down", &address(), "spans were lost on their way to the collector");
    let silent = Collector::answering(|_, _| std::thread::sleep(PATIENCE));
    check("silent", &silent.origin.address, "the process ends");
    let garbage = Origin::always("what?\r\n\r\n");
    check("garbage", &garbage.address, "spans were lost on their way to the collector");
    let refuses = Origin::always("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    check("refuses", &refuses.address, "it answers 401");
}

#[test]
fn a_collector_with_tls() {
    let dir = scratch("tracing-tls");
    let ca = Authority::new(&dir);
    ca.sign("collector", "collector", &["localhost"]);
    let collector = Collector::new();
    let front = format!(
        "param listen type=addr\nparam server type=addr\nlisten (param)listen {{\n tls\n}}\nupstream app {{\n server (param)server\n}}\n\
         site localhost {{\n tls {{\n certificate \"{}\" key=\"{}\"\n }}\n proxy app\n}}\n",
        ca.path("collector.pem"),
        ca.path("collector.key"),
    );
    let front_address = format!("127.0.0.1:{}", 20000 + std::process::id() % 10000);
    let given = [("server", collector.origin.address.as_str()), ("listen", &front_address)];
    let _front = Proxy::of_text("tracing-front", &front, &given);
    let site = format!(
        "param listen type=addr\nlisten (param)listen\ntrace otlp \"https://localhost:{}/v1/traces\"\n\
         site a.test {{\n respond 200\n}}\n",
        front_address.rsplit(':').next().expect("a port"),
    );
    let binary = build_text("tracing-tls", &site);
    let run = |roots: &str| {
        let listen = address();
        let mut command = Command::new(&binary);
        command.arg(format!("--listen={listen}")).env("SSL_CERT_FILE", roots);
        let proxy = Proxy::spawn(command, [("listen".to_owned(), listen.clone())].into());
        assert_eq!(ask(&listen, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").status, 200);
        proxy
    };
    let _trusting = run(&ca.ca());
    collector.wait(1);
    // The certificate is signed by an authority that the proxy does not trust.
    let other = Authority::new(&scratch("tracing-tls-other"));
    run(&other.ca()).notice("invalid peer certificate");
    collector.wait(1);
}

#[test]
fn waiting_spans_are_exported_at_the_end() {
    let collector = Collector::new();
    let mut test = Test::new("tracing-end", ALL, &collector.origin.address);
    test.get(false, "/app/1", "");
    test.proxy.signal("TERM");
    assert!(test.proxy.wait().success());
    assert_eq!(collector.spans().len(), 2);
}

#[test]
fn batches_are_retried_and_rejected_in_part() {
    const ANSWERS: [&str; 3] = [
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 66\r\n\r\n\
         {\"partialSuccess\":{\"rejectedSpans\":\"1\",\"errorMessage\":\"too\\nold\"}}",
    ];
    let collector = Collector::answering(|connection, number| connection.send(ANSWERS[number.min(ANSWERS.len() - 1)]));
    let test = Test::new("tracing-again", ALL, &collector.origin.address);
    test.get(false, "/app/1", "");
    test.counted("kiln_trace_spans_dropped_total", 1);
    test.counted("kiln_trace_spans_exported_total", 1);
    let requests = collector.requests();
    assert!(requests.len() == 3 && requests.iter().all(|request| *request == requests[0]), "{requests:#?}");
    test.proxy.notice("it answers 503");
    test.proxy.notice("1 spans were lost on their way to the collector");
    test.proxy.notice("it has rejected some: too\\x0Aold");
}
