//! The live views of `admin`: the status page in a real browser, its JSON and events, and the tap.

mod browser;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_tests::certificates::Authority;
use kiln_tests::client::{Answer, Client, ask, get};
use kiln_tests::kiln::{scratch, workspace};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy};
use serde_json::Value;

use self::browser::Browser;

const SITE: &str = r#"
param listen type=addr
param admin type=addr
param server type=addr
param own type=secret
param keys type=secret
admin (param)admin {
    status
    tap {
        mask "X-Session" "token"
    }
}
listen (param)listen
cache-store main memory="16MiB"
upstream app {
    server (param)server
    health-check "/health" interval="50ms" fall=1 rise=1
}
site a.test {
    route "/app/*" {
        proxy app
    }
    route "/secret" {
        response-headers {
            set X-Own-Key (param)own
        }
        proxy app
    }
    route "/keys" {
        auth api-key (param)keys header="X-Api-Key"
        respond 200 "in"
    }
    route "/limited" {
        limits body="1B"
        respond 200 "ok"
    }
    route "/aborted" {
        abort
    }
    route "/moved" {
        redirect 302 "/app/?token=t0ken&a=1"
    }
    route "/cached/*" {
        cache main
        proxy app
    }
}
"#;

/// Starts a server that is healthy as long as the flag is set.
fn origin(healthy: &Arc<AtomicBool>) -> Origin {
    let healthy = Arc::clone(healthy);
    Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let status = if healthy.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
            let store = if request.contains(" /cached") { "Cache-Control: max-age=60\r\n" } else { "" };
            connection
                .send(format!("HTTP/1.1 {status}\r\nSet-Cookie: sid=s3cret\r\n{store}Content-Length: 5\r\n\r\nhello"));
        }
    })
}

fn proxy(name: &str, origin: &Origin) -> Proxy {
    let dir = scratch(name);
    std::fs::write(dir.join("own.key"), "0wn-k3y\n").expect("written");
    std::fs::write(dir.join("keys"), "").expect("written");
    let path = |name: &str| dir.join(name).display().to_string();
    Proxy::of_text(name, SITE, &[("server", &origin.address), ("own", &path("own.key")), ("keys", &path("keys"))])
}

fn running(name: &str) -> (Proxy, Origin, Arc<AtomicBool>) {
    let healthy = Arc::new(AtomicBool::new(true));
    let origin = origin(&healthy);
    (proxy(name, &origin), origin, healthy)
}

fn operate(proxy: &Proxy, target: &str) -> Answer {
    get(proxy.address("admin"), "admin", target)
}

fn status(proxy: &Proxy) -> Value {
    serde_json::from_slice(&operate(proxy, "/status.json").body).expect("JSON")
}

/// Waits until the status has a value at a place.
fn wait_for(proxy: &Proxy, place: &str, expected: &Value) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = status(proxy);
        if status.pointer(place) == Some(expected) {
            return status;
        }
        assert!(Instant::now() < until, "{place} of {status:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_browser_shows_a_server_going_down_and_coming_back() {
    let Some(mut browser) = Browser::start("status-browser") else { return };
    let (proxy, origin, healthy) = running("status-page");
    let (admin, listen) = (proxy.address("admin"), proxy.address("listen"));
    assert_eq!(get(listen, "a.test", "/app/1").status, 200);
    browser.open(&format!("http://{admin}/status"), 1280);
    let healthy_row = format!("{} healthy", origin.address);
    browser.wait_for(&["Nothing needs attention", "Live", "running", "a.test/app/*", "main", &healthy_row]);
    healthy.store(false, Ordering::SeqCst);
    let down = format!("{} unhealthy", origin.address);
    browser.wait_for(&["app has no healthy server", &down, "is unhealthy: "]);
    assert_eq!(get(listen, "a.test", "/none").status, 404);
    browser.wait_for(&["no-route"]);
    // A screen reader announces the change.
    let told = browser.evaluate("document.getElementById('announce').textContent");
    assert_eq!(told, format!("Server {} of app is unhealthy", origin.address));
    healthy.store(true, Ordering::SeqCst);
    browser.wait_for(&["Nothing needs attention", &healthy_row, "is healthy again"]);
    // On a phone, nothing is outside the screen.
    browser.open(&format!("http://{admin}/status"), 400);
    browser.wait_for(&["Live", "a.test/app/*"]);
    assert_eq!(browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), "true");
    // The page can be used by keyboard alone.
    (0..2).for_each(|_| browser.press("Tab"));
    assert_eq!(browser.evaluate("document.activeElement.textContent"), "Pause");
    browser.press("Enter");
    browser.wait_for(&["Paused", "Resume"]);
    browser.press("Enter");
    browser.wait_for(&["Live"]);
    drop(proxy);
    browser.wait_for(&["Connection lost, retrying"]);
}

#[test]
fn the_page_loads_nothing_else() {
    let (proxy, _origin, _) = running("status-alone");
    let answer = operate(&proxy, "/status");
    let page = answer.text();
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = answer.header("content-security-policy").expect("a policy");
    let nonce = policy.split("script-src 'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    let again = operate(&proxy, "/status");
    assert_ne!(again.header("content-security-policy"), Some(policy), "two responses have the same nonce");
    // The page loads nothing from other hosts, and never writes data as markup.
    let foreign = ["src=", "url(", "@import", "http://", "https://", "innerHTML", "outerHTML", "insertAdjacent"];
    let own = page.replace("http://www.w3.org/2000/svg", "");
    for word in foreign.into_iter().chain(["document.write", "eval(", " onclick", " onload", "style=\""]) {
        assert!(!own.contains(word), "{word}");
    }
}

/// Collects the path of each member, with `[]` for elements of lists, and `*` for members of maps whose names are data.
fn members(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    const MAPS: [&str; 3] = ["sites[].routes[].requests", "servers[].responses", "servers[].failures"];
    match value {
        Value::Object(members) if MAPS.iter().any(|map| path.ends_with(map)) => {
            assert!(members.values().all(Value::is_u64), "{path}: {value}");
            found.insert(format!("{path}.*"));
        }
        Value::Object(members) => {
            let separator = if path.is_empty() { "" } else { "." };
            members.iter().for_each(|(name, value)| self::members(value, &format!("{path}{separator}{name}"), found));
        }
        Value::Array(items) if items.iter().any(|item| !item.is_number() && !item.is_string()) => {
            items.iter().for_each(|item| members(item, &format!("{path}[]"), found));
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// The documentation lists all members of the schema, and no others.
#[test]
fn the_schema_is_documented() {
    let dir = scratch("status-schema");
    let authority = Authority::new(&dir);
    authority.sign("a", "a.test", &["a.test", "www.a.test"]);
    let healthy = Arc::new(AtomicBool::new(true));
    let origin = origin(&healthy);
    let site = format!(
        "param listen type=addr\nparam admin type=addr\nparam server type=addr\nadmin (param)admin {{\n status\n metrics {{\n buckets \"1ms\" \"5s\"\n }}\n}}\n\
         cache-store main memory=\"16MiB\" {{\n disk \"{0}/cache\" size=\"64MiB\"\n}}\nupstream app {{\n server (param)server\n server \"127.0.0.1:1\" backup=#true\n}}\n\
         site a.test {{\n listen (param)listen {{\n tls\n }}\n tls {{\n certificate \"{0}/a.pem\" key=\"{0}/a.key\"\n }}\n cache main\n proxy app\n}}\n",
        dir.display()
    );
    std::fs::create_dir_all(dir.join("cache")).expect("made");
    let proxy = Proxy::of_text("status-schema", &site, &[("server", &origin.address)]);
    let listen = proxy.address("listen");
    let curl = std::process::Command::new("curl")
        .args(["-s", "--cacert", &authority.ca(), "--connect-to", &format!("a.test:443:{listen}")])
        .args(["https://a.test/cached/1", "https://a.test/cached/2"])
        .output()
        .expect("curl runs");
    assert_eq!(curl.stdout, b"hellohello");
    // One request fails: it is for another host.
    ask(listen, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let route = "/sites/0/routes/0";
    let status = wait_for(&proxy, &format!("{route}/requests/2xx"), &2.into());
    let at = |place: &str| status.pointer(place).unwrap_or_else(|| panic!("{place} of {status:#}"));
    assert_eq!(at("/version"), 1);
    assert_eq!(at("/buckets"), &serde_json::json!([0.001, 5.0]));
    let counts = at(&format!("{route}/duration/counts")).as_array().expect("a list");
    assert_eq!((counts.len(), counts.iter().filter_map(Value::as_u64).sum::<u64>()), (3, 2));
    assert_eq!(at("/certificates/0/names"), &serde_json::json!(["a.test", "www.a.test"]));
    assert!(at("/certificates/0/days-left").as_i64().is_some_and(|days| days > 0));
    assert_eq!(at("/upstreams/0/servers/0/responses/2xx"), 2);
    assert_eq!(at("/process/state"), "running");
    let metrics = operate(&proxy, "/metrics").text();
    let expires = format!(
        "\nkiln_tls_certificate_not_after_seconds{{tls=\"a.test\",name=\"a.test\"}} {}\n",
        at("/certificates/0/not-after")
    );
    assert!(metrics.contains(&expires), "{expires} {metrics}");
    for line in ["kiln_upstream_active{upstream=\"app\"} 0", "kiln_upstream_panicking{upstream=\"app\"} 0"] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line}: {metrics}");
    }

    let mut found = BTreeSet::new();
    members(&status, "", &mut found);
    let text = std::fs::read_to_string(workspace().join("docs/observability.md")).expect("a page");
    let section = text.split("### The schema of status.json").nth(1).expect("a section");
    let section = section.split("\n#").next().expect("its end");
    let documented: BTreeSet<String> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(member, _)| member.to_owned())
        .collect();
    let undocumented: Vec<_> = found.difference(&documented).collect();
    let absent: Vec<_> = documented.difference(&found).collect();
    // These members have no value in this run.
    let allowed = ["upstreams[].servers[].failures.*", "failures[].count", "failures[].reason"];
    assert!(undocumented.is_empty(), "not in docs/observability.md: {undocumented:?}");
    assert!(absent.iter().all(|member| allowed.contains(&member.as_str())), "documented, but missing: {absent:?}");
}

/// Of many routes, the busiest are listed.
#[test]
fn busiest_routes_are_listed() {
    let routes: String = (0..300).map(|number| format!(" route \"/r{number}\" {{\n respond 200\n }}\n")).collect();
    let site = format!(
        "param listen type=addr\nparam admin type=addr\nadmin (param)admin {{\n status\n}}\nlisten (param)listen\nsite a.test {{\n{routes}}}\n"
    );
    let proxy = Proxy::of_text("status-routes", &site, &[]);
    assert_eq!(get(proxy.address("listen"), "a.test", "/r299").status, 200);
    let status = wait_for(&proxy, "/sites/0/routes/199/requests/2xx", &1.into());
    assert_eq!(status.pointer("/sites/0/routes/199/pattern"), Some(&"/r299".into()));
    // Requests without a route count as one more.
    assert_eq!(status["routes-left-out"], 101);
}

/// Connections to servers are counted each second: one active, one idle.
#[test]
fn connections_to_servers() {
    let hold = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&hold);
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let until = Instant::now() + PATIENCE;
            while request.contains(" /app/slow") && held.load(Ordering::SeqCst) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = proxy("status-connections", &origin);
    let mut slow = Client::to(proxy.address("listen"));
    slow.send("GET /app/slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_for(&proxy, "/upstreams/0/servers/0/connections-active", &1.into());
    hold.store(false, Ordering::SeqCst);
    assert_eq!(slow.answer().status, 200);
    let status = wait_for(&proxy, "/upstreams/0/servers/0/connections-active", &0.into());
    assert_eq!(status.pointer("/upstreams/0/servers/0/connections-idle"), Some(&1.into()), "{status:#}");
}

/// Returns the lines of a response as JSON.
fn lines(answer: &Answer) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Opens a tap.
fn tap(proxy: &Proxy, query: &str) -> Client {
    let mut client = Client::to(proxy.address("admin"));
    client.send(format!("GET /tap?{query} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"));
    // The response begins once the tap is open.
    client.stream().peek(&mut [0]).expect("a response");
    client
}

#[test]
fn the_tap_shows_heads_without_secrets() {
    let (proxy, origin, _) = running("status-tap");
    let listen = proxy.address("listen");
    let mut tapped = tap(&proxy, "n=4&seconds=20");
    let send = |text: &str| ask(listen, &format!("{text}Host: a.test\r\nConnection: close\r\n\r\n"));
    let own = send(
        "GET /secret?Token=t0ken&a=%3Cb%3E HTTP/1.1\r\nAuthorization: Basic czNjcmV0\r\nCookie: a=s3cret\r\nX-Session: s3cret\r\n\
         X-Plain: \"\\\r\nX-Echo: pre-0wn-k3y-post\r\nReferer: http://a.test/?token=t0ken&b=2\r\n",
    );
    assert_eq!(own.header("x-own-key"), Some("0wn-k3y"));
    assert_eq!(send("GET /keys HTTP/1.1\r\nX-Api-Key: s3cret\r\n").status, 401);
    assert_eq!(send("GET /moved HTTP/1.1\r\n").header("location"), Some("/app/?token=t0ken&a=1"));
    assert_eq!(send("POST /limited HTTP/1.1\r\nContent-Length: 2\r\n").status, 413);
    proxy.notice("admin: 127.0.0.1 taps");
    let answer = tapped.answer();
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    for secret in ["t0ken", "s3cret", "czNjcmV0", "0wn-k3y"] {
        assert!(!answer.text().contains(secret), "{secret}: {}", answer.text());
    }
    let lines = lines(&answer);
    // The workers' lines may come in another order.
    let of = |route: &str| lines.iter().find(|line| line["route"] == route).unwrap_or_else(|| panic!("{lines:#?}"));
    let (first, keys, moved, limited) = (of("/secret"), of("/keys"), of("/moved"), of("/limited"));
    assert_eq!((&first["upstream"], &first["server"]), (&"app".into(), &origin.address.as_str().into()));
    assert_eq!((&first["client"], &first["attempts"]), (&"127.0.0.1".into(), &1.into()));
    let (request, response) = (&first["request"], &first["response"]);
    assert_eq!(request["query"], "Token=***&a=%3Cb%3E");
    assert_eq!((&request["method"], &request["path"]), (&"GET".into(), &"/secret".into()));
    assert_eq!((&response["status"], &response["bytes"]), (&200.into(), &5.into()));
    let field = |head: &Value, name: &str| -> Vec<String> {
        let fields = head["fields"].as_array().expect("a list").iter();
        let found = fields.filter(|field| field[0].as_str().is_some_and(|of| of.eq_ignore_ascii_case(name)));
        found.filter_map(|field| field[1].as_str()).map(str::to_owned).collect()
    };
    for name in ["authorization", "cookie", "x-session", "x-echo"] {
        assert_eq!(field(request, name), ["***"], "{name}");
    }
    assert_eq!(field(request, "x-plain"), ["\"\\"]);
    assert_eq!(field(request, "referer"), ["http://a.test/?token=***&b=2"]);
    assert_eq!((field(response, "set-cookie"), field(response, "x-own-key")), (vec!["***".into()], vec!["***".into()]));
    assert_eq!(
        (field(&keys["request"], "x-api-key"), &keys["reason"]),
        (vec!["***".into()], &"wrong-credentials".into())
    );
    assert_eq!(field(&moved["response"], "location"), ["/app/?token=***&a=1"]);
    assert_eq!((&limited["reason"], &limited["response"]["status"]), (&"body-too-large".into(), &413.into()));
    assert_eq!(lines.last(), Some(&serde_json::json!({ "end": "n", "shown": 4, "dropped": 0 })));
}

#[test]
fn the_tap_filters() {
    let (proxy, ..) = running("status-tap-filter");
    let listen = proxy.address("listen");
    let mut errors = tap(&proxy, "status=4xx&n=1");
    let mut routed = tap(&proxy, "route=/app/*&host=A.test&method=GET&status=200&n=2");
    for path in ["/app/1", "/cached/1", "/none", "/app/2", "/none"] {
        get(listen, "a.test", path);
    }
    let paths = |client: &mut Client| -> Vec<String> {
        let lines = lines(&client.answer());
        lines.iter().filter_map(|line| line["request"]["path"].as_str()).map(str::to_owned).collect()
    };
    assert_eq!(paths(&mut errors), ["/none"]);
    assert_eq!(paths(&mut routed), ["/app/1", "/app/2"]);
    // A long value is cut.
    let mut large = tap(&proxy, "n=1");
    let value = "v".repeat(5000);
    ask(listen, &format!("GET /app/1 HTTP/1.1\r\nHost: a.test\r\nX: {value}\r\nConnection: close\r\n\r\n"));
    let line = &lines(&large.answer())[0]["request"];
    assert_eq!(line["fields"][1][1], format!("{}... (3976 more bytes)", "v".repeat(1024)));
    // An exchange without a response is shown, too, and the time ends before there are ten.
    let mut gone = tap(&proxy, "status=none&seconds=2");
    let mut client = Client::to(listen);
    client.send("POST /aborted HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    assert!(client.closed());
    let lines = lines(&gone.answer());
    assert_eq!(lines.last(), Some(&serde_json::json!({ "end": "seconds", "shown": lines.len() - 1, "dropped": 0 })));
    assert_eq!(lines[0]["request"]["method"], "POST", "{lines:?}");
    assert!(lines[0]["response"].is_null(), "{lines:?}");
}

#[test]
fn the_tap_is_bounded() {
    let (proxy, ..) = running("status-tap-bounds");
    for (query, says) in [
        ("n=0", "`n` is a number from 1 to 1000"),
        ("seconds=61", "`seconds` is a number from 1 to 60"),
        ("status=abc", "`status` is as in 404, 5xx or none"),
        ("what=1", "the query may have route, host, method, status, n and seconds"),
    ] {
        let answer = operate(&proxy, &format!("/tap?{query}"));
        assert_eq!((answer.status, answer.text()), (400, format!("400 Bad Request: {says}\n")));
    }
    let first = tap(&proxy, "n=1000");
    let second = tap(&proxy, "n=1000");
    assert_eq!(operate(&proxy, "/tap").status, 503);
    // Neither client reads: lines without room are dropped, and requests do not wait.
    for number in 0..300 {
        assert_eq!(get(proxy.address("listen"), "a.test", &format!("/none/{number}")).status, 404);
    }
    drop(second);
    let until = Instant::now() + PATIENCE;
    loop {
        let mut client = Client::to(proxy.address("admin"));
        client.send("GET /tap?seconds=1 HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        if client.answer().status == 200 {
            break;
        }
        assert!(Instant::now() < until, "a closed tap keeps its place");
    }
    drop(first);
    // The site has no tap.
    let site = "param listen type=addr\nparam admin type=addr\nadmin (param)admin\nsite a.test {\n listen (param)listen\n respond 200\n}\n";
    let proxy = Proxy::of_text("status-no-tap", site, &[]);
    for (target, line) in
        [("/tap", "tap"), ("/status", "status"), ("/status.json", "status"), ("/status/events", "status")]
    {
        let answer = operate(&proxy, target);
        let says = format!("403 Forbidden: `admin` has no line `{line}` in the site\n");
        assert_eq!((answer.status, answer.text()), (403, says), "{target}");
    }
}

/// Requests the stream of events, and returns the status and the client.
fn listen_to(proxy: &Proxy) -> (u16, Client) {
    let mut client = Client::to(proxy.address("admin"));
    client.send("GET /status/events HTTP/1.1\r\nHost: admin\r\n\r\n");
    let head = client.head();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    (status, client)
}

#[test]
fn events() {
    let (proxy, ..) = running("status-events");
    let (status, mut client) = listen_to(&proxy);
    assert_eq!(status, 200);
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 {
        let mut event = String::new();
        while !event.ends_with("\n\n") {
            event += &String::from_utf8_lossy(&client.exactly(1));
        }
        let data = event.split("data: ").nth(1).unwrap_or_else(|| panic!("{event}"));
        let snapshot: Value = serde_json::from_str(data.trim_end()).expect("JSON");
        times.push(snapshot["time"].as_f64().expect("a time"));
    }
    assert!(
        times.is_sorted() && times[2] - times[0] > 1.5 && began.elapsed() > Duration::from_millis(1500),
        "{times:?}"
    );
}

/// Clients that receive events without reading them keep their places, and others still get responses.
#[test]
fn many_streams_of_events() {
    let (proxy, ..) = running("status-many");
    let all: Vec<_> = (0..100).map(|_| listen_to(&proxy)).collect();
    let served = all.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!((served, all.iter().filter(|(status, _)| *status == 503).count()), (8, 92));
    assert_eq!(operate(&proxy, "/healthz").status, 200);
    assert_eq!(operate(&proxy, "/status.json").status, 200);
    for number in 0..20 {
        assert_eq!(get(proxy.address("listen"), "a.test", &format!("/app/{number}")).status, 200);
    }
    drop(all);
    let until = Instant::now() + PATIENCE;
    while listen_to(&proxy).0 != 200 {
        assert!(Instant::now() < until, "closed streams keep their places");
        std::thread::sleep(Duration::from_millis(50));
    }
}
