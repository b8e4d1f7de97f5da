//! The canonical form of paths: however a client spells a path, the router, guards, files, the cache and purges treat it as the same
//! one, and servers receive it in one form. For every byte, in every encoding, in HTTP/1.1 and HTTP/2.

use std::sync::OnceLock;

use bytes::Bytes;
use kiln_tests::client::{Client, ask, get};
use kiln_tests::kiln::{kiln, scratch, stderr};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{Proxy, build_text};

/// A name that a file may have, and all of its spellings in a path.
struct Name {
    text: String,
    /// Its form in a pattern, if it has one.
    pattern: Option<String>,
    spellings: Vec<String>,
}

/// A name for every byte that may occur in one, and some multi-byte characters.
fn names() -> Vec<Name> {
    let ascii = (0x20..0x7F_u8).filter(|byte| !matches!(byte, b'/' | b'\\')).map(char::from);
    let chars = ascii.chain([
        '\u{80}',
        '\u{9f}',
        '\u{e9}',
        '\u{fc}',
        '\u{7ff}',
        '\u{65e5}',
        '\u{2028}',
        '\u{feff}',
        '\u{1f600}',
    ]);
    chars
        .map(|char| {
            let mut buffer = [0; 4];
            let bytes = char.encode_utf8(&mut buffer).bytes();
            let upper: String = bytes.clone().map(|byte| format!("%{byte:02X}")).collect();
            let lower: String = bytes.map(|byte| format!("%{byte:02x}")).collect();
            let spell = |text: &str| format!("x{text}y");
            let raw = char.to_string();
            let mut spellings = vec![spell(&upper), spell(&lower), format!("%78{upper}%79")];
            spellings.extend((!matches!(char, ' ' | '#' | '?' | '%')).then(|| spell(&raw)));
            let pattern = match char {
                '*' => None,
                '{' | '}' | '?' | '#' | '%' => Some(spell(&upper)),
                // KDL treats these as line ends, or rejects them.
                '\u{80}' | '\u{9f}' | '\u{2028}' | '\u{feff}' => Some(spell(&upper)),
                _ => Some(spell(&raw)),
            };
            Name { text: spell(&raw), pattern, spellings }
        })
        .collect()
}

fn site() -> &'static str {
    static SITE: OnceLock<String> = OnceLock::new();
    SITE.get_or_init(|| {
        let guards: String = names()
            .iter()
            .filter_map(|name| name.pattern.as_ref())
            .map(|pattern| {
                let pattern = pattern.replace('"', "\\\"");
                format!("route \"/{pattern}/*\" {{\n deny \"0.0.0.0/0\" \"::/0\"\n files (param)root\n }}\n")
            })
            .collect();
        format!(
            "param listen type=addr\nparam origin type=addr\nparam root type=string\nlisten (param)listen {{\n http h1 h2\n}}\n\
            log off\ncache-store main memory=\"16MiB\"\nupstream origin {{\n server (param)origin\n}}\n\
            site guarded.test {{\n {guards} route \"/*\" {{\n files (param)root\n }}\n}}\n\
            site open.test {{\n files (param)root\n}}\n\
            site proxied.test {{\n route \"/signed/*\" {{\n rewrite raw=#true\n proxy origin\n }}\n\
            route \"/api/*\" {{\n rewrite strip-prefix=\"/api\"\n proxy origin\n }}\n\
            route \"/*\" {{\n proxy origin\n }}\n}}\n\
            site cached.test {{\n cache main {{\n ttl default=\"1h\"\n bypass {{\n query preview \"a:b\"\n }}\n purge \"127.0.0.0/8\"\n }}\n\
            proxy origin\n}}\n\
            site slashes.test {{\n limits encoded-slash=#true\n route \"/admin/*\" {{\n deny \"0.0.0.0/0\" \"::/0\"\n proxy origin\n }}\n\
            route \"/*\" {{\n proxy origin\n }}\n}}\n\
            site servlets.test {{\n limits path-parameters=refuse\n proxy origin\n}}\n\
            site matched.test {{\n route \"/*\" priority=1 {{\n path-regex \"^/x@y/|^/%7C/\"\n respond 200 matched\n }}\n\
            route \"/*\" {{\n query \"pa%20ge\" \"a|b\"\n respond 200 parameter\n }}\n route \"/*\" {{\n respond 200 other\n }}\n}}\n\
            site blocked.test {{\n block probes {{\n path \"/@secret\"\n }}\n respond 200 through\n}}\n"
        )
    })
}

/// An origin that responds with the request's target and the number of requests.
fn origin() -> Origin {
    Origin::new(|mut connection, number| {
        let mut asked = 0;
        while let Some(request) = connection.request() {
            let host = request.lines().find_map(|line| line.strip_prefix("host: ").or(line.strip_prefix("Host: ")));
            let target = request.split(' ').nth(1).unwrap_or_default();
            let body = format!("{target} for {} ({number}.{asked})", host.unwrap_or_default());
            asked += 1;
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

struct Running {
    proxy: Proxy,
    _origin: Origin,
}

impl Running {
    fn new() -> Running {
        static BINARY: OnceLock<std::path::PathBuf> = OnceLock::new();
        let binary = BINARY.get_or_init(|| build_text("canonical", site()));
        static ROOT: OnceLock<String> = OnceLock::new();
        let root = ROOT.get_or_init(|| {
            let root = scratch("canonical-root");
            for name in names() {
                std::fs::create_dir_all(root.join(&name.text)).expect("made");
                std::fs::write(root.join(&name.text).join("f.txt"), &name.text).expect("written");
            }
            root.to_str().expect("text").to_owned()
        });
        let origin = origin();
        let proxy = Proxy::start(binary, site(), &[("origin", &origin.address), ("root", root)]);
        Running { proxy, _origin: origin }
    }

    fn address(&self) -> &str {
        self.proxy.address("listen")
    }

    /// The target that a server received, without the count.
    fn forwarded(&self, host: &str, target: &str) -> String {
        let answer = get(self.address(), host, target);
        match answer.status {
            200 => answer.text().split(" for ").next().unwrap_or_default().to_owned(),
            status => status.to_string(),
        }
    }
}

#[test]
fn every_spelling_is_guarded_and_opened() {
    let running = Running::new();
    let mut client = Client::to(running.address());
    let mut status = |host: &str, path: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.answer();
        (answer.status, answer.text())
    };
    for name in names() {
        for spelling in &name.spellings {
            let path = format!("/{spelling}/f.txt");
            assert_eq!(status("open.test", &path), (200, name.text.clone()), "{path}");
            if name.pattern.is_some() {
                assert_eq!(status("guarded.test", &path).0, 403, "{path} passes the guard");
            }
            for around in ["/./", "//", "/a/../", "/%2e/", "/a/%2E%2e/"] {
                let path = format!("{around}{spelling}/f.txt");
                let expected = if name.pattern.is_some() { 403 } else { 200 };
                assert_eq!(status("guarded.test", &path).0, expected, "{path}");
            }
        }
    }
}

#[test]
fn every_spelling_is_forwarded_and_cached_as_one() {
    let running = Running::new();
    for name in names() {
        let first = &name.spellings[0];
        let canonical = running.forwarded("proxied.test", &format!("/{first}/?{first}"));
        let stripped = running.forwarded("proxied.test", &format!("/api/{first}/?{first}"));
        assert_eq!(canonical, stripped);
        let (path, _) = canonical.split_once('?').expect("a query");
        assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>[\\]^`{|}".contains(&byte)), "{path}");
        let cached = |path: &str| get(running.address(), "cached.test", path);
        let purge = |path: &str| {
            ask(running.address(), &format!("PURGE {path} HTTP/1.1\r\nHost: cached.test\r\nConnection: close\r\n\r\n"))
                .text()
        };
        let stored = cached(&format!("/{first}/z")).text();
        for spelling in &name.spellings {
            assert_eq!(running.forwarded("proxied.test", &format!("/{spelling}/")), path, "{spelling}");
            let answer = cached(&format!("/{spelling}/z"));
            assert!(
                answer.header("cache-status").is_some_and(|status| status.contains("hit")),
                "{spelling}: {answer:?}"
            );
            assert_eq!(answer.text(), stored, "{spelling}");
            // As received, if the site says so.
            let signed = format!("/signed/%2e/{spelling}?{spelling}");
            let raw = running.forwarded("proxied.test", &signed);
            assert!(raw == signed || spelling.contains(['?', '#']), "{raw} instead of {signed}");
        }
        for spelling in &name.spellings {
            assert_eq!(purge(&format!("/{spelling}/z")), "{\"purged\":1}\n", "{spelling}");
            assert_ne!(cached(&format!("/{first}/z")).text(), stored, "{spelling}");
        }
        assert_eq!(purge(&format!("/{}/*", name.spellings[1])), "{\"purged\":1}\n");
    }
}

#[test]
fn the_same_in_http2() {
    let running = Running::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(running.address()).await.expect("connected");
        let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut asked = 0;
        for name in names() {
            for spelling in &name.spellings {
                for (host, expected) in
                    [("open.test", 200), ("guarded.test", if name.pattern.is_some() { 403 } else { 200 })]
                {
                    let uri = Bytes::from(format!("http://{host}/{spelling}/f.txt"));
                    // Targets that the client's library rejects can't be tested.
                    let Ok(uri) = http::Uri::from_maybe_shared(uri) else { continue };
                    let request = http::Request::get(uri).body(()).expect("a request");
                    let mut ready = client.clone().ready().await.expect("ready");
                    let (response, _) = ready.send_request(request, true).expect("sent");
                    let status = response.await.expect("a response").status();
                    assert_eq!(status, expected, "{spelling} on {host}");
                    asked += 1;
                }
            }
        }
        assert!(asked > 500, "{asked}");
    });
}

#[test]
fn disguised_dot_segments_cross_no_guard() {
    let running = Running::new();
    for path in [
        "/public/..%2Fadmin/x",
        "/public/..%2fadmin/x",
        "/public/%2e%2e%2fadmin/x",
        "/public/.%2e%2fadmin/x",
        "/public/..%5Cadmin/x",
        "/public/a%2F..%2F..%2Fadmin/x",
        "/public/..;/admin/x",
        "/public/..;a=b/admin/x",
        "/public/..%3B/admin/x",
        "/public/%2e%2e;/admin/x",
        "/public/.;/../admin/x",
        "/public/..;%2Fadmin/x",
        "/..%2f..%2f",
    ] {
        for host in ["slashes.test", "proxied.test"] {
            assert_eq!(running.forwarded(host, path), "400", "{path} on {host}");
        }
    }
    for path in ["/admin/x", "/public/../admin/x", "/%61dmin/x", "//admin//x", "/./admin/x", "/public/%2e%2E/admin/"] {
        assert_eq!(running.forwarded("slashes.test", path), "403", "{path}");
    }
    assert_eq!(running.forwarded("slashes.test", "/a%2fb/..c%2F"), "/a%2Fb/..c%2F");
    for (path, expected) in [("/a;b/c", "400"), ("/a/c;", "400"), ("/a%3bb", "400"), ("/a/b?c;d", "/a/b?c;d")] {
        assert_eq!(running.forwarded("servlets.test", path), expected, "{path}");
    }
    assert_eq!(running.forwarded("proxied.test", "/a%3Bb;c"), "/a;b;c");
}

#[test]
fn matchers_and_blocks_see_the_canonical_form() {
    let running = Running::new();
    let said = |host: &str, path: &str| get(running.address(), host, path).text();
    for path in ["/x@y/", "/x%40y/", "/|/", "/%7c/", "/%7C/"] {
        assert_eq!(said("matched.test", path), "matched", "{path}");
    }
    for path in ["/?pa+ge=a|b", "/?p%61%20ge=a%7cb", "/?x=1&pa%20ge=%61%7C%62"] {
        assert_eq!(said("matched.test", path), "parameter", "{path}");
    }
    assert_eq!(said("matched.test", "/?pa%2Bge=a|b"), "other");
    for path in ["/a/@secret", "/a/%40secret", "/a/%40%73ecret", "/a/./@SECRET"] {
        assert_eq!(get(running.address(), "blocked.test", path).status, 403, "{path}");
    }
    // A response to a request with `preview` is not shared.
    for query in ["preview=a:b", "preview=a%3Ab", "pre%76iew=%61%3ab", "x&preview=a:b"] {
        let answer = get(running.address(), "cached.test", &format!("/p?{query}"));
        assert_eq!(answer.header("cache-status").map(|status| status.contains("fwd=bypass")), Some(true), "{query}");
    }
}

#[test]
fn queries_are_forwarded_in_one_form() {
    let running = Running::new();
    let check = |query: &str, expected: &str| {
        assert_eq!(running.forwarded("proxied.test", &format!("/?{query}")), expected, "{query}");
    };
    check("a=b&c", "/?a=b&c");
    check("", "/?");
    check("q=<`>\"ü", "/?q=%3C%60%3E%22%C3%BC");
    check("p%61ge=%7e%2f%3d", "/?page=~%2F%3D");
    check("a[]=1&b={}|^\\", "/?a%5B%5D=1&b=%7B%7D%7C%5E%5C");
    check("q=100%&r=%zz", "/?q=100%&r=%zz");
    for query in ["a#b", "a\u{1}b", "a\u{7f}b"] {
        let request = format!("GET /?{query} HTTP/1.1\r\nHost: proxied.test\r\nConnection: close\r\n\r\n");
        assert_eq!(ask(running.address(), &request).status, 400, "{query:?}");
    }
    // A target that is not UTF-8 is rejected.
    let mut client = Client::to(running.address());
    client.send(b"GET /\xff HTTP/1.1\r\nHost: proxied.test\r\n\r\n");
    assert_eq!(client.answer().status, 400);
}

#[test]
fn hosts_are_forwarded_and_cached_in_one_form() {
    let running = Running::new();
    let said = |host: &str| get(running.address(), host, "/host").text();
    for (host, expected) in [
        ("proxied.test", "proxied.test"),
        ("Proxied.TEST.", "proxied.test"),
        ("proxied.test:80", "proxied.test"),
        ("proxied.test:0080", "proxied.test"),
        ("proxied.test:", "proxied.test"),
        ("proxied.test:1337", "proxied.test:1337"),
        ("PROXIED.test:8080", "proxied.test:8080"),
    ] {
        let text = said(host);
        assert!(text.starts_with(&format!("/host for {expected} (")), "{host}: {text}");
    }
    // A request with a port has a separate cached response.
    assert_eq!(said("cached.test"), said("CACHED.test.:80"));
    let other = said("cached.test:1337");
    assert!(other.starts_with("/host for cached.test:1337 ("), "{other}");
    assert_eq!(said("cached.test:1337"), other);
    assert_ne!(said("cached.test"), other);
    // A purge applies to the URLs of all listeners, and to the named port.
    let port = running.address().rsplit(':').next().expect("a port").to_owned();
    let named = format!("cached.test:{port}");
    let before = (said("cached.test"), said(&named), said("cached.test:1337"));
    let purge = format!("PURGE /host HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n");
    assert_eq!(ask(running.address(), &purge).text(), "{\"purged\":2}\n");
    let after = (said("cached.test"), said(&named), said("cached.test:1337"));
    assert!(after.0 != before.0 && after.1 != before.1 && after.2 == before.2, "{before:?} {after:?}");
}

/// The compiler rejects patterns and expressions that no canonical path matches.
#[test]
fn patterns_that_never_match_are_rejected() {
    let check = |route: &str, expected: &str| {
        let file = scratch("canonical-wrong").join("site.kdl");
        std::fs::write(&file, format!("site a.test {{\n route {route}\n route \"/*\" {{\n respond 404\n }}\n}}\n"))
            .expect("written");
        let output = kiln(&["check", file.to_str().expect("a path")]);
        assert!(stderr(&output).contains(expected), "{route}: {}", stderr(&output));
    };
    check("\"/%40admin/*\" {\n respond 200\n }", "the normal form of `%40admin` is `@admin`");
    check("\"/a%c3%bc\" {\n respond 200\n }", "the normal form of `a%c3%bc` is `a%C3%BC`");
    check("\"/..;/x\" {\n respond 200\n }", "such requests are refused with 400");
    check("\"/*\" {\n path-regex \"^/a@b/|%40\"\n respond 200\n }", "ok: 1 site");
    check("\"/*\" {\n path-regex \"%40\"\n respond 200\n }", "no request can reach this route");
    check("\"/*\" {\n path-regex \"[|]\"\n respond 200\n }", "this expression can't match any path");
    check("\"/*\" {\n path-regex \"^/café\"\n respond 200\n }", "paths are in canonical form: write `é` as %C3%A9");
    check("\"/a;b/*\" {\n respond 200\n }", "ok: 1 site");
    check(
        "\"/a\" {\n rewrite raw=#true add-prefix=\"/x\"\n proxy \"http://127.0.0.1:9\"\n }",
        "`raw` forwards path and query as they arrived",
    );
    check("\"/a\" {\n rewrite raw=#false\n proxy \"http://127.0.0.1:9\"\n }", "changes nothing");
}
