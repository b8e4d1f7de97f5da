//! Field values that are not UTF-8, which is legal (RFC 9110 section 5.5, `obs-text`): they are preserved byte for byte, hide nothing
//! beside them, and can't forge log lines. Over HTTP/1.1 and HTTP/2.
//!
//! One site serves all tests. Its origins respond with the head of the received request, and with the fields that the request
//! lists in `X-Head`, separated by `|`.
//!
//! Long but flat: one site, and a test for each place where its values are compared.

mod decisions;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_tests::kiln::workspace;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, build_text};

const SITE: &str = r#"
param listen type=addr
param app type=addr
param other type=addr
param jwks type=secret
lint allow fault
listen (param)listen {
    http h1 h2
}
log access format=json {
    fields path query user referer user-agent reason rule
}
upstream app {
    server (param)app
}
upstream hashed {
    server (param)app
    server (param)other
    balance hash key="{cookie.user}"
}
upstream sticky {
    server (param)app
    server (param)other
    sticky place
}
upstream second {
    server (param)other
}
cache-store main memory="4MiB"
site a.test {
    route "/bypass/*" {
        cache main {
            ttl default="1h"
            bypass {
                cookie session
                cookie mode on
                header X-Debug "1"
            }
        }
        proxy app
    }
    route "/key/*" {
        cache main {
            ttl default="1h"
            key {
                header X-Kind
                cookie theme
            }
        }
        proxy app
    }
    route "/cache/*" {
        cache main {
            purge "127.0.0.0/8"
            tags from=Surrogate-Key
        }
        proxy app
    }
    route "/matched" {
        cookie session
        respond 200 "session"
    }
    route "/matched" priority=1 {
        cookie session "1"
        respond 200 "one"
    }
    route "/matched" priority=2 {
        cookie session (regex)"^.+x$"
        respond 200 "regex"
    }
    route "/matched" priority=3 {
        header X-Kind (regex)"^a.c$"
        respond 200 "kind"
    }
    route "/matched" {
        respond 200 "nothing"
    }
    route "/blocked" {
        block injection {
            cookie session "' or "
        }
        respond 200
    }
    route "/token" {
        auth jwt (param)jwks cookie=session {
            algorithms ES256
        }
        respond 200 "{user}"
    }
    route "/limited" {
        rate-limit "1/d" burst=1 by="{header.X-Tenant}{cookie.tenant}"
        respond 200
    }
    route "/in-flight" {
        concurrency-limit 1 by="{header.X-Tenant}"
        respond 200
    }
    route "/hashed" {
        proxy hashed
    }
    route "/split" {
        split by="{header.X-Tenant}" {
            to app weight=50
            to second weight=50
        }
    }
    route "/split-cookie" {
        split sticky=side {
            to app weight=50
            to second weight=50
        }
    }
    route "/sticky" {
        proxy sticky
    }
    route "/headers" {
        request-headers {
            set X-Copy "<{header.X-In}|{cookie.b}>"
            replace X-Swap "secret" "-"
            replace X-All "^.*$" "gone"
            replace X-Groups "^([^;]*);(.*)$" "$2;$1"
        }
        response-headers {
            set X-Echo "<{header.X-In}>"
            replace X-Swap "secret" "-"
        }
        response-cookies secure=#true http-only=#true same-site=strict
        proxy app
    }
    route "/rewritten" {
        rewrite path="/to/{header.X-In}" {
            query-set c "{cookie.b}"
        }
        proxy app
    }
    route "/respond" {
        respond 200 "<{header.X-In}|{cookie.b}>"
    }
    route "/redirect" {
        redirect 307 "/to/{header.X-In}"
    }
    route "/gone" {
        redirect 307 "/{header.X-In}"
    }
    route "/zipped" {
        compress gzip min-size="1B"
        proxy app
    }
    route "/swapped" {
        response-body {
            replace GET got
            types "text/plain"
        }
        proxy app
    }
    route "/cors" {
        cors "https://app.test" "https://*.dev.test" {
            headers X-Known
        }
        respond 200
    }
    route "/cors-any" {
        cors "*"
        respond 200
    }
    route "/combined/*" {
        log access format=combined
        respond 200
    }
    route "/template/*" {
        log access format="T\t{path} \"{header.X-In}\" {cookie.b}"
        respond 200
    }
    route "/forwarded" {
        auth forward "/who" upstream=app user=Remote-User {
            send-headers X-Head
        }
        rate-limit "1/d" burst=1 by="{user}"
        respond 200 "<{user}>"
    }
    route "/long/{name}/*" {
        limits uri="200KiB" headers="300KiB"
        respond 200 "{name} {*}"
    }
    route "/long-regex/*" {
        limits uri="200KiB" headers="300KiB"
        path-regex "^/long-regex/(?<first>[^/]+)/(?<second>.+)$"
        respond 200 "{first} {second}"
    }
    route "/*" {
        proxy app
    }
}
"#;

/// A response, with its fields as received.
#[derive(Debug)]
struct Got {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Got {
    fn all(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_slice()).collect()
    }

    /// Whether it is a cached or collapsed response.
    fn is_hit(&self) -> bool {
        self.all("cache-status").iter().any(|status| contains(status, b"; hit") || contains(status, b"; collapsed"))
    }

    /// Whether the origin received this, according to the head that it returns.
    fn saw(&self, what: &[u8]) -> bool {
        contains(&self.body, what)
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// Lines of a request.
type Lines<'l> = &'l [(&'l str, &'l [u8])];

/// An origin that returns the request's head, with the fields in its `X-Head`, and a field with the server's name.
fn origin(name: &'static str) -> Origin {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    Origin::new(move |mut connection, _| {
        let mut read = Vec::new();
        loop {
            while let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = read.drain(..end + 4).collect();
                let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
                let wanted = b"x-head: ";
                for line in head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
                    if line.len() > wanted.len() && line[..wanted.len()].eq_ignore_ascii_case(wanted) {
                        for field in line[wanted.len()..].split(|&byte| byte == b'|') {
                            answer.extend_from_slice(field);
                            answer.extend_from_slice(b"\r\n");
                        }
                    }
                }
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                answer.extend_from_slice(
                    format!("X-Name: {name}\r\nX-Count: {count}\r\nContent-Length: {}\r\n\r\n", head.len()).as_bytes(),
                );
                answer.extend_from_slice(&head);
                connection.send(answer);
            }
            let more = connection.bytes();
            if more.is_empty() {
                return;
            }
            read.extend_from_slice(&more);
        }
    })
}

struct Site {
    proxy: Proxy,
    _origins: [Origin; 2],
}

fn site() -> &'static Site {
    static SITE_RUNNING: OnceLock<Site> = OnceLock::new();
    SITE_RUNNING.get_or_init(|| {
        let origins = [origin("app"), origin("other")];
        let jwks = workspace().join("tests/tokens/jwks.json").display().to_string();
        let given = [("app", origins[0].address.as_str()), ("other", &origins[1].address), ("jwks", &jwks)];
        Site { proxy: Proxy::start(&build_text("bytes", SITE), SITE, &given), _origins: origins }
    })
}

/// A path that no other test uses.
fn fresh(under: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{under}/{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Version {
    Http1,
    Http2,
}

const BOTH: [Version; 2] = [Version::Http1, Version::Http2];

fn ask(version: Version, target: &str, lines: Lines<'_>) -> Got {
    asked(version, "GET", target, lines)
}

fn asked(version: Version, method: &str, target: &str, lines: Lines<'_>) -> Got {
    let address = site().proxy.address("listen");
    match version {
        Version::Http1 => http1(address, method, target, lines),
        Version::Http2 => http2(address, method, target, lines),
    }
}

fn http1(address: &str, method: &str, target: &str, lines: Lines<'_>) -> Got {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n").into_bytes();
    for (name, value) in lines {
        request.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    request.extend_from_slice(b"\r\n");
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(&request).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let mut lines = answer[..end].split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let status = lines.next().and_then(|line| line.get(9..12)).expect("a status");
    let fields = lines.map(|line| {
        let at = line.iter().position(|&byte| byte == b':').expect("a field");
        (String::from_utf8(line[..at].to_ascii_lowercase()).expect("a name"), line[at + 1..].trim_ascii().to_vec())
    });
    Got {
        status: std::str::from_utf8(status).expect("digits").parse().expect("a number"),
        fields: fields.collect(),
        body: answer[end + 4..].to_vec(),
    }
}

fn http2(address: &str, method: &str, target: &str, lines: Lines<'_>) -> Got {
    let mut request = http::Request::builder().method(method).uri(format!("http://a.test{target}"));
    for (name, value) in lines {
        request = request.header(*name, http::HeaderValue::from_bytes(value).expect("a value"));
    }
    let request = request.body(()).expect("a request");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(async move { drop(connection.await) });
        let mut client: h2::client::SendRequest<bytes::Bytes> = client.ready().await.expect("ready");
        let (response, _) = client.send_request(request, true).expect("sent");
        let (head, mut stream) = response.await.expect("an answer").into_parts();
        let mut body = Vec::new();
        while let Some(data) = stream.data().await {
            let data = data.expect("data");
            drop(stream.flow_control().release_capacity(data.len()));
            body.extend_from_slice(&data);
        }
        let fields = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        Got { status: head.status.as_u16(), fields: fields.collect(), body }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange).await.expect("in time") })
}

/// A personal response must not be stored because the cookie that marks it is beside an odd byte.
#[test]
fn bypass_conditions() {
    let cases: [(Lines<'_>, bool); 9] = [
        (&[], true),
        (&[("cookie", b"x=\xe9")], true),
        (&[("cookie", b"session=1")], false),
        (&[("cookie", b"x=\xe9; session=1")], false),
        (&[("cookie", b"session=\xe9")], false),
        (&[("cookie", b"\xff"), ("cookie", b"session=\"\xe9\"")], false),
        (&[("cookie", b"\xe9=1; mode=on")], false),
        (&[("cookie", b"mode=on\xe9")], true),
        (&[("x-debug", b"1\xe9"), ("x-debug", b"1")], false),
    ];
    for version in BOTH {
        for (lines, stored) in cases {
            let path = fresh("/bypass");
            assert!(!ask(version, &path, lines).is_hit());
            assert_eq!(ask(version, &path, &[]).is_hit(), stored, "{version:?} {lines:?}");
            // Nor is a bypassing request served from the cache.
            ask(version, &path, &[]);
            assert_eq!(ask(version, &path, lines).is_hit(), stored, "{version:?} {lines:?}");
        }
    }
}

/// Cache keys are bytes: different values have separate responses.
#[test]
fn cache_keys() {
    let values: [Lines<'_>; 8] = [
        &[],
        &[("cookie", b"theme=\xe9")],
        &[("cookie", b"theme=\xe8")],
        &[("cookie", b"theme=\xef\xbf\xbd")],
        &[("cookie", b"x=\xe9; theme=dark")],
        &[("x-kind", b"\xe9")],
        &[("x-kind", b"\xe8")],
        &[("x-kind", b"\xc3\xa9")],
    ];
    for version in BOTH {
        let path = fresh("/key");
        let first: Vec<Got> = values.iter().map(|lines| ask(version, &path, lines)).collect();
        for (lines, first) in values.iter().zip(&first) {
            assert!(!first.is_hit(), "{version:?} {lines:?}");
            let again = ask(version, &path, lines);
            assert!(again.is_hit(), "{version:?} {lines:?}");
            assert_eq!(again.all("x-count"), first.all("x-count"), "{version:?} {lines:?}");
        }
    }
}

/// Cache directives of responses apply, whatever is beside them.
#[test]
fn responses_that_must_not_be_stored() {
    let cases: [(&[u8], bool); 16] = [
        (b"Cache-Control: max-age=60", true),
        (b"Cache-Control: max-age=60, x=\"\xe9\"", true),
        (b"Cache-Control: no-store, x=\"\xe9\"", false),
        (b"Cache-Control: max-age=60, \xe9|Cache-Control: private", false),
        (b"Cache-Control: max-age=60, \xe9, private", false),
        (b"Cache-Control: max-age=60, private=\"\xe9\"", false),
        (b"Cache-Control: x=\"\xe9, no-store, max-age=60", false),
        (b"Cache-Control: max-age=60|CDN-Cache-Control: no-store, x=\"\xe9\"", false),
        (b"Cache-Control: max-age=60|CDN-Cache-Control: private, \xe9", false),
        (b"Cache-Control: max-age=60|Vary: \xe9", false),
        (b"Cache-Control: max-age=60|Vary: X-A, x\xe9", false),
        (b"Cache-Control: max-age=60|Vary: *, \xe9", false),
        (b"Cache-Control: max-age=60|Vary: X-A", true),
        (b"Cache-Control: max-age=60|Set-Cookie: \xe9=\xe9", false),
        (b"Cache-Control: max-age=60|ETag: \"\xe9\"", true),
        (b"Cache-Control: max-age=60|Content-Type: text/plain; x=\"\xe9\"", true),
    ];
    for version in BOTH {
        for (head, stored) in cases {
            let path = fresh("/cache");
            let lines: Lines<'_> = &[("x-head", head)];
            ask(version, &path, lines);
            assert_eq!(
                ask(version, &path, lines).is_hit(),
                stored,
                "{version:?} {:?}",
                head.escape_ascii().to_string()
            );
        }
        // `no-store` of a request, and `Vary` on a field that is not UTF-8.
        let path = fresh("/cache");
        let head: Lines<'_> = &[("x-head", b"Cache-Control: max-age=60"), ("cache-control", b"no-store, \xe9")];
        ask(version, &path, head);
        assert!(!ask(version, &path, &[]).is_hit());
        let path = fresh("/cache");
        let by = |value: &[u8]| {
            let head = b"Cache-Control: max-age=60|Vary: X-A".as_slice();
            ask(version, &path, &[("x-head", head), ("x-a", value)]).is_hit()
        };
        assert_eq!([b"\xe9", b"\xe8", b"\xe9", b"\xe8"].map(|value| by(value)), [false, false, true, true]);
        // An entity tag is bytes (RFC 9110 section 8.8.3).
        let path = fresh("/cache");
        let head: (&str, &[u8]) = ("x-head", b"Cache-Control: max-age=60|ETag: \"\xe9\"");
        ask(version, &path, &[head]);
        assert_eq!(ask(version, &path, &[("if-none-match", b"\"x\", W/\"\xe9\"")]).status, 304);
        assert_eq!(ask(version, &path, &[("if-none-match", b"\"\xe8\"")]).status, 200);
        assert_eq!(ask(version, &path, &[("if-match", b"\"\xe8\""), ("range", b"bytes=0-0, \xe9")]).status, 200);
    }
}

/// Tags are bytes, and a purge applies to no other tag.
#[test]
fn purges_by_tag() {
    for version in BOTH {
        let store = |tag: &[u8]| {
            let path = fresh("/cache");
            let head = [b"Cache-Control: max-age=60|Surrogate-Key: a ".as_slice(), tag].concat();
            ask(version, &path, &[("x-head", &head)]);
            assert!(ask(version, &path, &[]).is_hit());
            path
        };
        let tag = |byte: u8| [format!("{version:?}").as_bytes(), &[byte]].concat();
        let (one, other) = (store(&tag(0xe9)), store(&tag(0xe8)));
        assert_eq!(asked(version, "PURGE", &one, &[("purge-tags", &tag(0xe9))]).body, b"{\"purged\":1}\n");
        assert!(!ask(version, &one, &[]).is_hit() && ask(version, &other, &[]).is_hit());
    }
}

#[test]
fn matched() {
    let cases: [(Lines<'_>, &str); 10] = [
        (&[], "nothing"),
        (&[("cookie", b"a=\xe9; session=1")], "one"),
        (&[("cookie", b"a=\xe9"), ("cookie", b"session=1")], "one"),
        (&[("cookie", b"session=\xe9")], "session"),
        (&[("cookie", b"session=1\xe9")], "session"),
        (&[("cookie", b"session")], "session"),
        (&[("cookie", b"session=\xe9x")], "regex"),
        (&[("cookie", b"session\xe9=1")], "nothing"),
        (&[("x-kind", b"a\xe9c")], "kind"),
        (&[("x-kind", b"\xe9"), ("x-kind", b"abc")], "kind"),
    ];
    for version in BOTH {
        for (lines, expected) in cases {
            let got = ask(version, "/matched", lines);
            assert_eq!(String::from_utf8_lossy(&got.body), expected, "{version:?} {lines:?}");
        }
    }
}

#[test]
fn access() {
    let tokens = std::fs::read_to_string(workspace().join("tests/tokens/tokens")).expect("tokens");
    let token = tokens.lines().find_map(|line| line.strip_prefix("ES256 ")).expect("a token");
    for version in BOTH {
        let status = |path: &str, cookie: &[u8]| ask(version, path, &[("cookie", cookie)]).status;
        assert_eq!(status("/blocked", b"session=a"), 200);
        assert_eq!(status("/blocked", b"x=\xe9; session=' or 1"), 403);
        assert_eq!(status("/blocked", b"session=\xe9' or \xff"), 403);
        let with = |before: &[u8]| status("/token", &[before, b"session=", token.as_bytes()].concat());
        assert_eq!(with(b""), 200);
        assert_eq!(with(b"x=\xe9; "), 200);
        // Duplicate cookies are ambiguous; an invalid token is refused.
        assert_eq!(with(b"session=\xe9; "), 401);
        assert_eq!(status("/token", b"session=\xe9"), 401);

        let name = format!("{version:?}");
        let limited = |tenant: &[u8], cookie: &[u8]| {
            let tenant = [name.as_bytes(), tenant].concat();
            ask(version, "/limited", &[("x-tenant", &tenant), ("cookie", cookie)]).status
        };
        for (tenant, cookie) in
            [(b"\xe9", b"".as_slice()), (b"\xe8", b""), (b"c", b"a=\xff; tenant=\xe9"), (b"c", b"tenant=\xe8")]
        {
            assert_eq!(limited(tenant, cookie), 200, "{tenant:?} {cookie:?}");
            assert_eq!(limited(tenant, cookie), 429, "{tenant:?} {cookie:?}");
        }
        assert_eq!(ask(version, "/in-flight", &[("x-tenant", b"\xe9")]).status, 200);
    }
}

/// Different values may be balanced differently, and equal ones always equally.
#[test]
fn balancing() {
    for version in BOTH {
        for (path, field, before) in [("/hashed", "cookie", b"x=\xff; user=".as_slice()), ("/split", "x-tenant", b"")] {
            let mut servers = std::collections::HashMap::new();
            for byte in 0xa0..=0xc8_u8 {
                let value = [before, &[byte]].concat();
                let name = |_| ask(version, path, &[(field, &value)]).all("x-name")[0].to_vec();
                let names: Vec<Vec<u8>> = (0..2).map(name).collect();
                assert_eq!(names[0], names[1], "{path} {byte:x}");
                *servers.entry(names[0].clone()).or_insert(0) += 1;
            }
            assert_eq!(servers.len(), 2, "{version:?} {path} {servers:?}");
        }
        for (path, cookie) in [("/sticky", "place"), ("/split-cookie", "side")] {
            let named = ask(version, path, &[]);
            let place = named.all("set-cookie")[0].split(|&byte| byte == b';').next().expect("a cookie").to_vec();
            for before in [b"x=\xe9; ".to_vec(), [cookie.as_bytes(), b"=\xe9; "].concat()] {
                let again = ask(version, path, &[("cookie", &[before, place.clone()].concat())]);
                assert_eq!((again.all("x-name"), again.all("set-cookie").len()), (named.all("x-name"), 0), "{path}");
            }
        }
        // A cookie that names no server is replaced by one that does.
        assert_eq!(ask(version, "/sticky", &[("cookie", b"place=\xe9")]).all("set-cookie").len(), 1);
    }
}

#[test]
fn templates() {
    for version in BOTH {
        let lines: Lines<'_> = &[("x-in", b"caf\xe9"), ("cookie", b"a=\xff; b=\xfe")];
        let got = ask(version, "/headers", lines);
        assert!(got.saw(b"\nX-Copy: <caf\xe9|\xfe>\r") || got.saw(b"\nx-copy: <caf\xe9|\xfe>\r"), "{got:?}");
        assert!(got.saw(b"a=\xff; b=\xfe\r"), "{got:?}");
        assert_eq!(got.all("x-echo"), [b"<caf\xe9>"]);
        assert_eq!(ask(version, "/respond", lines).body, b"<caf\xe9|\xfe>");
        // A URL is ASCII: bytes are percent-encoded.
        assert_eq!(ask(version, "/redirect", lines).all("location"), [b"/to/caf%E9"]);
        let sent_to = |value: &[u8]| ask(version, "/gone", &[("x-in", value)]).all("location")[0].to_vec();
        assert_eq!(sent_to(b"a b"), b"/a%20b");
        for (elsewhere, expected) in [
            (b"/evil.test".as_slice(), b"/evil.test".as_slice()),
            (b"\\evil.test", b"/%5Cevil.test"),
            (b"\xe9\t/", b"/%E9%09/"),
        ] {
            assert_eq!(sent_to(elsewhere), expected);
        }
        assert!(ask(version, "/rewritten", lines).saw(b"GET /to/caf%E9?c=%FE HTTP/1.1\r\n"));

        let swapped: Lines<'_> = &[
            ("x-swap", b"\xe9 secret \xff secret"),
            ("x-all", b"\xe9\xff"),
            ("x-groups", b"\xe9;\xff"),
            ("x-head", b"X-Swap: \xe9secret|X-Swap: secret"),
        ];
        let got = ask(version, "/headers", swapped);
        for line in [b"x-swap: \xe9 - \xff -\r".as_slice(), b"x-all: gone\r", b"x-groups: \xff;\xe9\r"] {
            assert!(contains(&got.body.to_ascii_lowercase(), line), "{version:?} {line:?} {got:?}");
        }
        assert_eq!(got.all("x-swap"), [b"\xe9-".as_slice(), b"-"]);

        let cookies: Lines<'_> =
            &[("x-head", b"Set-Cookie: a=\xe9; Path=/|Set-Cookie: b=1; x=\xff; secure|Set-Cookie: c")];
        let expected: [&[u8]; 3] = [
            b"a=\xe9; Path=/; Secure; HttpOnly; SameSite=Strict",
            b"b=1; x=\xff; Secure; HttpOnly; SameSite=Strict",
            b"c; Secure; HttpOnly; SameSite=Strict",
        ];
        assert_eq!(ask(version, "/headers", cookies).all("set-cookie"), expected);

        let typed: (&str, &[u8]) = ("x-head", b"Content-Type: text/plain; x=\"\xe9\"");
        let zipped = ask(version, "/zipped", &[typed, ("accept-encoding", b"x\xe9, gzip")]);
        assert_eq!(zipped.all("content-encoding"), [b"gzip"]);
        assert!(ask(version, "/swapped", &[typed]).saw(b"got /swapped"));
    }
}

#[test]
fn cross_origin() {
    for version in BOTH {
        let allowed = |path: &str, origin: &[u8]| {
            let got = ask(version, path, &[("origin", origin)]);
            got.all("access-control-allow-origin").first().map(|value| value.to_vec())
        };
        assert_eq!(allowed("/cors", b"https://app.test"), Some(b"https://app.test".to_vec()));
        assert_eq!(allowed("/cors", b"https://app.test\xe9"), None);
        assert_eq!(allowed("/cors", b"https://\xe9.dev.test"), None);
        assert_eq!(allowed("/cors-any", b"https://\xe9"), Some(b"*".to_vec()));
        let preflight = |asked_for: &[u8]| {
            let lines: Lines<'_> = &[
                ("origin", b"https://app.test"),
                ("access-control-request-method", b"GET"),
                ("access-control-request-headers", asked_for),
            ];
            asked(version, "OPTIONS", "/cors", lines).status
        };
        assert_eq!((preflight(b"x-known"), preflight(b"x-other")), (204, 403));
        assert_eq!((preflight(b"x-other, \xe9"), preflight(b"x-known, \xe9")), (403, 403));
    }
}

/// Invalid framing and routing fields are rejected; other fields are forwarded unchanged.
#[test]
fn framing() {
    let status = |lines: Lines<'_>| ask(Version::Http1, "/framing", lines).status;
    assert_eq!(status(&[("content-length", b"0\xe9")]), 400);
    assert_eq!(status(&[("transfer-encoding", b"chunked, \xe9")]), 400);
    assert_eq!(status(&[("expect", b"100-continue, \xe9")]), 417);
    for version in BOTH {
        assert_eq!(ask(version, "/framing", &[("range", b"bytes=0-1\xe9")]).status, 200);
        assert_eq!(
            ask(version, "/framing", &[("x-forwarded-for", b"\xe9"), ("x-forwarded-host", b"\xe9")]).status,
            200
        );
    }
    let lines: Lines<'_> = &[("connection", b"upgrade, \xe9, x-hop"), ("x-hop", b"\xff"), ("upgrade", b"new/1, x\xe9")];
    let seen = ask(Version::Http1, "/framing", lines).body.to_ascii_lowercase();
    assert!(contains(&seen, b"upgrade: new/1, x\xe9\r") && !contains(&seen, b"x-hop"), "{}", seen.escape_ascii());
    let lines: Lines<'_> = &[("connection", b"upgrade"), ("upgrade", b"\xe9, h2c")];
    let seen = ask(Version::Http1, "/framing", lines).body.to_ascii_lowercase();
    assert!(!contains(&seen, b"h2c"), "{}", seen.escape_ascii());
}

/// The user that an authorization service returns is used for limits, forwarded and logged.
#[test]
fn users() {
    for (version, mark) in [(Version::Http1, b'1'), (Version::Http2, b'2')] {
        let told = |byte: u8| {
            let head = [b"Remote-User: ".as_slice(), &[mark, byte]].concat();
            ask(version, "/forwarded", &[("x-head", &head)])
        };
        assert_eq!(told(0xe9).body, [b'<', mark, 0xe9, b'>']);
        assert_eq!((told(0xe9).status, told(0xe8).status, told(0xe8).status), (429, 200, 429));
        site().proxy.log(&format!("\"user\":\"{}\\\\xE9\"", mark as char));
    }
}

/// Captures are complete, however long the path is.
#[test]
fn long_captures() {
    let (name, rest) = ("n".repeat(70_000), "r".repeat(50_000));
    for path in ["/long", "/long-regex"] {
        let got = ask(Version::Http1, &format!("{path}/{name}/{rest}"), &[]);
        assert_eq!((got.status, got.body.len()), (200, 120_001), "{path}");
        assert!(got.body == format!("{name} {rest}").as_bytes(), "{path}");
    }
}

/// A log entry is a single line, whose parts and different values can be distinguished.
#[test]
fn logged() {
    let site = site();
    for version in BOTH {
        // The client's HTTP/2 library rejects control characters; HTTP/1.1 servers reject them.
        let cases: [(&[u8], &str, &str); 8] = [
            (b"curl/8", "curl/8", "curl/8"),
            (b"a\" 200 \"b", "a\\x22 200 \\x22b", "a\" 200 \"b"),
            (b"a\\", "a\\x5C", "a\\"),
            (b"a\xe9", "a\\xE9", "a\\xE9"),
            (b"a\\xE9", "a\\x5CxE9", "a\\x5CxE9"),
            ("a\u{85}\u{9b}b".as_bytes(), "a\\xC2\\x85\\xC2\\x9Bb", "a\u{85}\u{9b}b"),
            ("a\u{2028}b\u{202e}".as_bytes(), "a\\xE2\\x80\\xA8b\\xE2\\x80\\xAE", "a\u{2028}b\u{202e}"),
            ("a\tb é".as_bytes(), "a\\x09b é", "a\tb é"),
        ];
        for (value, in_line, in_json) in cases {
            let path = fresh("/combined");
            ask(version, &path, &[("user-agent", value), ("referer", value)]);
            let line = site.proxy.log(&path);
            assert!(line.ends_with(&format!(" \"{in_line}\" \"{in_line}\"")), "{version:?} {line}");
            let path = fresh("/template");
            ask(version, &path, &[("x-in", value), ("cookie", &[b"b=", value].concat())]);
            let line = site.proxy.log(&path);
            assert_eq!(line, format!("T\t{path} \"{in_line}\" {in_line}"), "{version:?}");
            let path = fresh("/json");
            ask(version, &path, &[("user-agent", value), ("referer", value)]);
            let line = site.proxy.log(&format!("\"{path}\""));
            assert!(!line.chars().any(char::is_control), "{line:?}");
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!((&line["user-agent"], &line["referer"]), (&in_json.into(), &in_json.into()), "{version:?}");
        }
    }
    // No entry has two lines.
    assert!(site.proxy.logged().iter().all(|line| line.starts_with(['{', 'T', '1'])));
}
