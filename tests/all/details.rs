//! Details of HTTP for proxies (RFC 9110, 9112, 9113), in HTTP/1.1 and HTTP/2, on one site: targets, versions, line ends, reason
//! phrases, upgrades, `OPTIONS`, and fields that HTTP/2 does not allow.

mod frames;

use std::path::PathBuf;
use std::sync::OnceLock;

use kiln_tests::client::{Answer, Client, ask, get};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{Proxy, build_text};

const SITE: &str = r#"
param listen type=addr
param origin type=addr default="127.0.0.1:1"
process {
    workers 1
}
log access format=json
trusted-proxies "127.0.0.2/32"
upstream one {
    server (param)origin
}
upstream two {
    server (param)origin
    http h2
}
listen (param)listen {
    http h1 h2
}
site site.test {
    timeouts response="10s"
    route "/own" {
        respond 205
    }
    route "/h2/*" {
        timeouts response="300ms"
        proxy two
    }
    route "/prompt" {
        timeouts response="2s"
        proxy one
    }
    route "/live" {
        protocol websocket
        proxy one
    }
    route "/live2" {
        protocol websocket
        proxy two
    }
    route "/*" {
        proxy one
    }
}
site few.test {
    route "/*" {
        method GET OPTIONS
        proxy one
    }
}
"#;

fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build_text("details", SITE))
}

fn proxy_to(origin: &str) -> Proxy {
    Proxy::start(binary(), SITE, &[("origin", origin)])
}

/// An origin that responds with the received request.
fn mirror() -> Origin {
    Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{request}", request.len()));
        }
    })
}

#[test]
fn targets_that_are_urls() {
    let origin = mirror();
    let proxy = proxy_to(&origin.address);
    let check = |request: &str, status: u16| {
        let answer = ask(proxy.address("listen"), request);
        assert_eq!(answer.status, status, "{request:?}");
        answer
    };
    let answer = check("GET http://site.test/a?b HTTP/1.1\r\nHost: site.test\r\n\r\n", 200);
    assert!(answer.text().starts_with("GET /a?b HTTP/1.1\r\n"), "{}", answer.text());
    // The URL determines the host (RFC 9112 section 3.2.2), but the field must be present and valid (section 3.2).
    let answer = check("GET HTTP://site.test/a HTTP/1.1\r\nHost: other.test\r\n\r\n", 200);
    assert!(answer.text().to_lowercase().contains("\r\nhost: site.test\r\n"), "{}", answer.text());
    check("GET http://site.test/a HTTP/1.1\r\nHost:\r\n\r\n", 200);
    check("GET http://site.test/a HTTP/1.0\r\n\r\n", 200);
    check("GET http://site.test/a HTTP/1.1\r\n\r\n", 400);
    check("GET http://site.test/a HTTP/1.2\r\n\r\n", 400);
    check("GET http://site.test/a HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
    check("GET http://site.test/a HTTP/1.1\r\nHost: site.test\r\nHost: site.test\r\n\r\n", 400);
    // `https` URLs need a secure connection (RFC 9110 section 7.4).
    check("GET https://site.test/a HTTP/1.1\r\nHost: site.test\r\n\r\n", 421);
    check("GET HTTPS://site.test/a HTTP/1.1\r\nHost: site.test\r\n\r\n", 421);
    for scheme in ["ftp", "ws", "wss", "httpss", "http+unix", "file", "", "h ttp"] {
        let answer = check(&format!("GET {scheme}://site.test/a HTTP/1.1\r\nHost: site.test\r\n\r\n"), 400);
        assert!(!answer.text().contains("HTTP/1.1"), "{scheme}: the request does not reach the origin");
    }
    for target in ["http:/a", "site.test", "site.test:80", "http://", "http:///a", "http://u@site.test/a", "://a"] {
        check(&format!("GET {target} HTTP/1.1\r\nHost: site.test\r\n\r\n"), 400);
    }
}

/// A proxy in front that terminates TLS may forward `https` URLs.
#[test]
fn trusted_peers_may_say_https() {
    let origin = mirror();
    let proxy = proxy_to(&origin.address);
    let from_trusted = |request: &str| -> u16 {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let local: std::net::SocketAddr = "127.0.0.2:0".parse().expect("an address");
        socket.bind(&local.into()).expect("bound");
        let there: std::net::SocketAddr = proxy.address("listen").parse().expect("an address");
        socket.connect(&there.into()).expect("connected");
        Client::on(std::net::TcpStream::from(socket)).send(request).answer().status
    };
    assert_eq!(from_trusted("GET https://site.test/a HTTP/1.1\r\nHost: site.test\r\n\r\n"), 200);
    assert_eq!(from_trusted("GET ftp://site.test/a HTTP/1.1\r\nHost: site.test\r\n\r\n"), 400);
}

#[test]
fn versions() {
    let origin = mirror();
    let proxy = proxy_to(&origin.address);
    let address = proxy.address("listen");
    // A later minor version is treated as the last known one (RFC 9110 section 2.5).
    for version in ["HTTP/1.2", "HTTP/1.9"] {
        let mut client = Client::to(address);
        for _ in 0..2 {
            client.send(format!(
                "POST /a {version}\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            ));
            let answer = client.answer();
            assert!(answer.status == 200 && answer.text().starts_with("POST /a HTTP/1.1\r\n"), "{answer:?}");
        }
    }
    for version in ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9"] {
        let mut client = Client::to(address);
        client.send(format!("GET / {version}\r\nHost: site.test\r\n\r\n"));
        assert_eq!(client.answer().status, 505, "{version}");
        assert!(client.closed());
    }
    proxy.log("\"reason\":\"unsupported-version\"");
    for version in ["HTTP/1.10", "http/1.1", "HTTP/1", "HTTP/1.", "HTTP/x.1", "HTTPS/1.1"] {
        let mut client = Client::to(address);
        client.send(format!("GET / {version}\r\nHost: site.test\r\n\r\n"));
        assert_eq!(client.answer().status, 400, "{version}");
    }
}

/// Heads of responses: versions, line ends, reason phrases.
#[test]
fn heads_of_servers() {
    let check = |head: &str, expected: &str| {
        let origin = Origin::always(head);
        let proxy = proxy_to(&origin.address);
        let mut client = Client::to(proxy.address("listen"));
        client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
        let found = client.head();
        assert_eq!(found.lines().next(), Some(expected), "{head:?}");
    };
    let ok = "HTTP/1.1 200 OK";
    let bad = "HTTP/1.1 502 Bad Gateway";
    check("HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", ok);
    check("HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", bad);
    check("HTTP/1.1 200 OK\nContent-Length: 2\nX: y\n\nok", ok);
    check("HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok", ok);
    check("HTTP/1.1 200 OK\r\nX: y\nZ: z\r\nContent-Length: 2\r\n\r\nok", ok);
    // Injected text in a field must not frame the message.
    check("HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\r\nok", bad);
    check("HTTP/1.1 200 OK\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad);
    check("HTTP/1.1 200 OK\r\nX: y\n\n<p>\r\nContent-Length: 2\r\n\r\nok", bad);
    check("HTTP/1.1 200 Fine by me\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 Fine by me");
    check("HTTP/1.1 404 NOT FOUND\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 404 NOT FOUND");
    check("HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 299 Odd");
    check("HTTP/1.1 413\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 413 Content Too Large");
    check("HTTP/1.1 422 \r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 422 Unprocessable Content");
}

/// Chunk sizes of servers may be padded, those of clients may not.
#[test]
fn chunk_size_lines() {
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.head() {
            let chunk = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').replace("%20", " ");
            let mut all = request.clone();
            while request.starts_with("POST") && !all.ends_with("0\r\n\r\n") {
                match connection.bytes() {
                    bytes if bytes.is_empty() => return,
                    bytes => all += &String::from_utf8_lossy(&bytes),
                }
            }
            connection
                .send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2{chunk}\r\nok\r\n0\r\n\r\n"));
        }
    });

    let proxy = proxy_to(&origin.address);
    for padding in ["", "%20", "%20%20;a", ";a=b", ";"] {
        assert_eq!(get(proxy.address("listen"), "site.test", &format!("/{padding}")).text(), "ok", "{padding:?}");
    }
    let check = |line: &str, status: u16| {
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n{line}\r\nok\r\n0\r\n\r\n"
        ));
        assert_eq!(client.answer().status, status, "{line:?}");
    };
    for line in ["2", "2;a", "2 ;a", "2;a=b", "2;a=\"b c\"", "2 ; a = b ; c", "02"] {
        check(line, 200);
    }
    for line in
        ["2 ", "2\t", "2;", "2; ", "2;;", "2;=b", "2;a=", "2;a b", "2;a=\"b", "2;a@b", "2,a", " 2", "2;a ", "2;a\u{1}"]
    {
        check(line, 400);
    }
}

#[test]
fn upgrades() {
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let lower = request.to_lowercase();
            let to = match request.split(' ').nth(1) {
                Some("/426") => {
                    connection.send(
                        "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: foo/2\r\nTE: trailers\r\nContent-Length: 2\r\n\r\nno",
                    );
                    continue;
                }
                Some("/other") => "foo/2",
                Some("/more") => "websocket, foo/2",
                Some("/none") => "",
                _ if !lower.contains("upgrade:") => {
                    connection.send("HTTP/1.1 200 OK\r\nTE: trailers\r\nContent-Length: 2\r\n\r\nok");
                    continue;
                }
                _ => "WebSocket",
            };
            let field = if to.is_empty() { String::new() } else { format!("Upgrade: {to}\r\n") };
            connection.send(format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n{field}\r\n"));
        }
    });
    let proxy = proxy_to(&origin.address);
    let ask = |path: &str, version: &str| -> Answer {
        ask(
            proxy.address("listen"),
            &format!("GET {path} {version}\r\nHost: site.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        )
    };
    assert_eq!(ask("/", "HTTP/1.1").status, 101);
    assert_eq!(ask("/live", "HTTP/1.1").status, 101);
    // RFC 9110 section 7.8: HTTP/1.0 has no upgrade.
    assert_eq!(ask("/", "HTTP/1.0").text(), "ok");
    assert_eq!(ask("/live", "HTTP/1.0").text(), "ok");
    // An upgrade that was not requested is invalid.
    for path in ["/other", "/more", "/none"] {
        assert_eq!(ask(path, "HTTP/1.1").status, 502, "{path}");
    }
    proxy.log("\"reason\":\"upstream-invalid\"");
    let answer = get(proxy.address("listen"), "site.test", "/426");
    let connection: Vec<_> =
        answer.headers.iter().filter(|(name, _)| name == "connection").map(|(_, value)| value.as_str()).collect();
    assert_eq!((answer.status, answer.header("upgrade"), answer.header("te")), (426, Some("foo/2"), None));
    assert!(connection.contains(&"upgrade"), "{connection:?}");
    assert_eq!(get(proxy.address("listen"), "site.test", "/").header("te"), None);
}

#[test]
fn options() {
    let origin = mirror();
    let proxy = proxy_to(&origin.address);
    let address = proxy.address("listen");
    let check = |target: &str, more: &str, status: u16, allow: Option<&str>| {
        let answer = ask(address, &format!("OPTIONS {target} HTTP/1.1\r\nHost: site.test\r\n{more}\r\n"));
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{target} {more:?}");
        answer.text()
    };
    let all = Some("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
    check("*", "", 204, all);
    check("*", "Max-Forwards: 3\r\n", 204, all);
    check("http://site.test", "", 204, all);
    check("/a", "Max-Forwards: 0\r\n", 204, all);
    let few = ask(address, "OPTIONS /a HTTP/1.1\r\nHost: few.test\r\nMax-Forwards: 0\r\n\r\n");
    assert_eq!((few.status, few.header("allow")), (204, Some("GET, HEAD, OPTIONS")));
    let forwarded = |more: &str| check("/a", more, 200, None).to_lowercase();
    assert!(forwarded("Max-Forwards: 10\r\n").contains("\r\nmax-forwards: 9\r\n"));
    assert!(forwarded("Max-Forwards: 1\r\n").contains("\r\nmax-forwards: 0\r\n"));
    assert!(forwarded("Max-Forwards: x\r\n").contains("\r\nmax-forwards: x\r\n"));
    assert!(!forwarded("").contains("max-forwards"));
    // The field only applies to these methods (RFC 9110 section 7.6.2).
    let said = ask(address, "GET /a HTTP/1.1\r\nHost: site.test\r\nMax-Forwards: 0\r\n\r\n").text();
    assert!(said.contains("Max-Forwards: 0\r\n"), "{said}");
    for max in ["", "Max-Forwards: 0\r\n", "Max-Forwards: 5\r\n"] {
        let answer = ask(address, &format!("TRACE /a HTTP/1.1\r\nHost: site.test\r\n{max}\r\n"));
        assert_eq!(answer.status, 405, "{max:?}");
    }
    // Other requests can't be about the server.
    for request in ["GET * HTTP/1.1\r\nHost: site.test\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n"] {
        assert_eq!(ask(address, request).status, 400, "{request:?}");
    }
}

#[test]
fn a_205_has_no_body() {
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let body = match request.split(' ').nth(1) {
                Some("/length") => "Content-Length: 2\r\n\r\nok",
                Some("/chunks") => "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                Some("/close") => {
                    connection.send("HTTP/1.1 205 Reset Content\r\n\r\nok");
                    return;
                }
                _ => "Content-Length: 0\r\n\r\n",
            };
            connection.send(format!("HTTP/1.1 205 Reset Content\r\n{body}"));
        }
    });
    let proxy = proxy_to(&origin.address);
    let mut client = Client::to(proxy.address("listen"));
    for path in ["/length", "/chunks", "/close", "/none", "/own", "/none"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: site.test\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.header("content-length"), answer.header("transfer-encoding")),
            (205, Some("0"), None),
            "{path}"
        );
    }
}
