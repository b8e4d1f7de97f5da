//! What clients may send: fields that only a proxy may set, other spellings of names, and `Connection` lists, in HTTP/1.1 and HTTP/2; and
//! which fields of trusted peers are used. Peers in 127.1.0.0/16 are trusted. The server's responses contain what it
//! received.
//!
//! Long but flat: one site, and one test after the other about the fields of a client.

mod balancer;

use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use kiln_tests::client::Client;
use kiln_tests::kiln::scratch;
use kiln_tests::origin::{Connection, Origin};
use kiln_tests::proxy::{PATIENCE, Proxy, build};

const SITE: &str = r#"
param listen type=addr
param origin type=addr
param auth type=addr
trusted-proxies "127.1.0.0/16"
listen (param)listen {
    http h1 h2
}
log access format="{header.X-Forwarded-For}|{client.ip}|{path}"
lint allow cache-behind-auth
upstream origins {
    server (param)origin
}
upstream authority {
    server (param)auth
}
site a.test {
    route "/says" {
        proxy origins forwarded=#true forwarded-port=#true real-ip=#true
    }
    route "/split" {
        split forwarded-port=#true real-ip=#true {
            to origins weight=1
            to authority weight=0
        }
    }
    route "/client" {
        respond 200 "{client.ip} {scheme} {header.X-Forwarded-For} {header.X-Real-IP}"
    }
    route "/matched" {
        header X-Real-IP
        respond 200 matched
    }
    route "/matched" {
        respond 200 unmatched
    }
    route "/set" {
        request-headers {
            set X-User me
            add X-Tag ours
            default X-Lang en
            remove X-Debug
            replace X-Old a b
        }
        proxy origins
    }
    route "/user" {
        auth forward "/verify" upstream=authority {
            copy-headers Remote-User Remote-Groups
        }
        proxy origins
    }
    route "/response" {
        response-headers {
            set X-Private ours
        }
        proxy origins
    }
    route "/pass" {
        request-headers {
            pass X-HTTP-Method-Override X-Original-URL
        }
        proxy origins
    }
    route "/*" {
        proxy origins
    }
}
site under.test {
    limits underscores=#true
    route "/set" {
        request-headers {
            set X-User me
            set x_mine ours
        }
        proxy origins
    }
    route "/user" {
        auth forward "/verify" upstream=authority {
            copy-headers Remote-User Remote-Groups
        }
        proxy origins
    }
    route "/block" {
        block evil {
            header X-Probe evil
        }
        proxy origins
    }
    route "/*" {
        proxy origins
    }
}
site body.test {
    route "/compress" {
        compress gzip min-size="1B"
        proxy origins
    }
    route "/replace" {
        response-body {
            replace hello bye
        }
        proxy origins
    }
    route "/part" {
        cache {
            ttl default="1h"
        }
        proxy origins
    }
    route "/page" {
        error-page 404 "sorry.html" upstream=#true
        proxy origins
    }
}
site session.test {
    auth forward "/verify" upstream=authority timeout="5s" {
        copy-response Set-Cookie X-Session
    }
    route "/kept" {
        cache {
            ttl default="1h"
            key {
                header X-Key
            }
        }
        proxy origins
    }
    route "/own" {
        response-cookies secure=#true
        proxy origins
    }
    route "/down" {
        error-page 502 "sorry.html"
        proxy "http://127.0.0.1:1"
    }
    route "/text" {
        respond 200 text
    }
    route "/*" {
        proxy origins
    }
}
"#;

/// Responds to each request with its head, body and trailers; `Connection: x-private` is among the response's fields.
fn echo(mut connection: Connection, _: usize) {
    while let Some(mut said) = connection.request() {
        if said.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            let mut body = Vec::new();
            while !(body.starts_with(b"0\r\n") || body.windows(5).any(|window| window == b"\r\n0\r\n"))
                || !body.ends_with(b"\r\n\r\n")
            {
                let more = connection.bytes();
                if more.is_empty() {
                    return;
                }
                body.extend(more);
            }
            said += &String::from_utf8_lossy(&body);
        }
        if said.contains("body.test") {
            connection.send(digested(&said));
            continue;
        }
        let cookie = if said.contains(" /kept ") { "" } else { "Set-Cookie: theirs=1\r\n" };
        let own = "Connection: x-private, X-HOP\r\nX-Private: theirs\r\nX-Hop: 1\r\nX-Session: theirs\r\n";
        connection.send(format!("HTTP/1.1 200 OK\r\n{own}{cookie}Content-Length: {}\r\n\r\n{said}", said.len()));
    }
}

/// A body with all the fields that describe one, before and after it.
fn digested(request: &str) -> String {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let status = if path == "/page" { "404 Not Found" } else { "200 OK" };
    // A body with this digest is not compressed.
    let digest = if path == "/compress" { "" } else { "Content-Digest: a\r\n" };
    let about = "Repr-Digest: b\r\nDIGEST: c\r\nContent-MD5: d\r\nETag: \"e\"\r\nContent-Type: text/html\r\n\
        Content-Disposition: attachment\r\nContent-Location: /f\r\nContent-Language: en\r\nLast-Modified: Mon, 23 Nov 2026 19:04:05 GMT\r\n\
        Accept-Ranges: bytes\r\nX-Mine: g\r\n";
    match path {
        "/part" | "/page" => format!("HTTP/1.1 {status}\r\n{digest}{about}Content-Length: 11\r\n\r\nhello hello"),
        _ => format!(
            "HTTP/1.1 {status}\r\n{digest}{about}Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello hello\r\n0\r\n\
             X-Sum: 1\r\nDigest: a\r\nRepr-Digest: b\r\ncontent-md5: c\r\nContent-Digest: d\r\n\r\n"
        ),
    }
}

/// Responds with the identity of the client, after an interim response; `Set-Cookie` contains a counter.
fn authority() -> Origin {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            if request.contains("deny") {
                connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 403 Forbidden\r\nSet-Cookie: no=1\r\nContent-Length: 2\r\n\r\nno");
                continue;
            }
            let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let said = format!(
                "Set-Cookie: session={number}\r\nSet-Cookie: other=1\r\nX-Session: {number}\r\nX-Silent: 1\r\n"
            );
            connection.send("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n");
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nConnection: X-Listed\r\nRemote-User: alice\r\n{said}Content-Length: 0\r\n\r\n"
            ));
        }
    })
}

struct Site {
    proxy: Proxy,
    _servers: [Origin; 2],
}

fn site() -> Site {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        let folder = scratch("intake");
        std::fs::write(folder.join("sorry.html"), "<p>sorry</p>").expect("written");
        std::fs::write(folder.join("site.kdl"), SITE).expect("written");
        build(&folder.join("site.kdl"))
    });
    let servers = [Origin::new(echo), authority()];
    let given = [("origin", &*servers[0].address), ("auth", &*servers[1].address)];
    Site { proxy: Proxy::start(binary, SITE, &given), _servers: servers }
}

/// An untrusted address, and a trusted one.
const STRANGER: &str = "127.0.0.1";
const TRUSTED: &str = "127.1.0.1";

/// A response: the interim ones before it, its status, fields and body.
struct Got {
    interim: bool,
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Got {
    /// The values of a field that the server received, in the head or in the trailers.
    fn server_got(&self, name: &str) -> Vec<&str> {
        let lines = self.body.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }
}

type Lines<'a> = &'a [(&'a str, &'a str)];

/// Sends a request over HTTP/1.1; with trailers, it has a body.
fn http1(site: &Site, source: &str, url: &str, fields: Lines<'_>, trailers: Lines<'_>) -> Got {
    let (host, path) = url.split_once('/').expect("a path");
    let lines =
        |fields: Lines<'_>| fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
    let (method, framing, body) = match trailers {
        [] => ("GET", "", String::new()),
        some => ("POST", "Transfer-Encoding: chunked\r\n", format!("3\r\nabc\r\n0\r\n{}\r\n", lines(some))),
    };
    let mut client = Client::from(source, site.proxy.address("listen"));
    client.send(format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\n{}{framing}\r\n{body}", lines(fields)));
    let mut head = client.head();
    let interim = head.starts_with("HTTP/1.1 1");
    while head.starts_with("HTTP/1.1 1") {
        head = client.head();
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let headers: Vec<_> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let body = String::from_utf8_lossy(&client.exactly(length.expect("a length"))).into_owned();
    Got { interim, status, headers, body }
}

/// The same over HTTP/2, which has no `Connection`.
fn http2(site: &Site, source: &str, url: &str, fields: Lines<'_>, trailers: Lines<'_>) -> Got {
    let address: std::net::SocketAddr = site.proxy.address("listen").parse().expect("an address");
    let map = |lines: Lines<'_>| {
        let mut map = HeaderMap::new();
        for (name, value) in lines.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection")) {
            let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).expect("a name");
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        map
    };
    let mut request = Request::builder()
        .method(if trailers.is_empty() { "GET" } else { "POST" })
        .uri(format!("http://{url}"))
        .body(())
        .expect("a request");
    *request.headers_mut() = map(fields);
    let trailers = map(trailers);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let asked = async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{source}:0").parse().expect("an address")).expect("bound");
        let stream = socket.connect(address).await.expect("connected");
        let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("ready");
        let (mut response, mut body) = client.send_request(request, trailers.is_empty()).expect("sent");
        if !trailers.is_empty() {
            body.send_data(Bytes::from_static(b"abc"), false).expect("sent");
            body.send_trailers(trailers).expect("sent");
        }
        let mut interim = false;
        while let Some(Ok(_)) = std::future::poll_fn(|cx| response.poll_informational(cx)).await {
            interim = true;
        }
        let (parts, mut body) = response.await.expect("a response").into_parts();
        let mut text = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.expect("data");
            let _ = body.flow_control().release_capacity(data.len());
            text.extend_from_slice(&data);
        }
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        Got {
            interim,
            status: parts.status.as_u16(),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&text).into_owned(),
        }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await.expect("in time") })
}

type Ask = fn(&Site, &str, &str, Lines<'_>, Lines<'_>) -> Got;
const BOTH: [Ask; 2] = [http1, http2];

#[test]
fn fields_of_untrusted_clients_are_ignored() {
    let claims = [
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-FORWARDED-Ssl",
        "x-forwarded-scheme",
        "X-Forwarded-User",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-Path",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Whatever",
        "X-Real-IP",
        "X-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Cluster-Client-IP",
        "Fastly-Client-IP",
        "X-Original-URL",
        "X-Original-Host",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Host",
        "X-Forwarded",
        "Forwarded",
        "Forwarded-For",
        "Proxy",
        "X-ProxyUser-Ip",
        "X_Forwarded_For",
        "X_Real_IP",
        "x.forwarded.for",
        "X-Forwarded_For",
        "Content_Length",
        "Transfer_Encoding",
        "Content_Type",
    ];
    let site = site();
    for ask in BOTH {
        let mut fields: Vec<_> = claims.iter().map(|name| (*name, "6.6.6.6")).collect();
        fields.extend([
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "6.6.6.6"),
            ("X-Mine", "1"),
            ("a.b", "2"),
        ]);
        for host in ["a.test", "under.test"] {
            let got = ask(&site, STRANGER, &format!("{host}/x"), &fields, &[]);
            assert!(!got.body.contains("6.6.6.6"), "{}", got.body);
            assert_eq!((got.server_got("x-mine"), got.server_got("a.b")), (vec!["1"], vec!["2"]));
            assert_eq!(got.server_got("x-forwarded-for"), ["127.0.0.1"]);
            assert_eq!(got.server_got("x-forwarded-proto"), ["http"]);
            assert_eq!(got.server_got("x-forwarded-host"), [host]);
        }
        // The proxy itself does not use them, either.
        assert_eq!(ask(&site, STRANGER, "a.test/client", &fields, &[]).body, "127.0.0.1 http  ");
        assert_eq!(ask(&site, STRANGER, "a.test/matched", &fields, &[]).body, "unmatched");
        assert_eq!(ask(&site, TRUSTED, "a.test/matched", &fields, &[]).body, "matched");
        site.proxy.log("|127.0.0.1|/client");
        assert!(!site.proxy.logged().iter().any(|line| line.starts_with("6.6.6.6|127.0.0.1")));
    }
}

#[test]
fn fields_that_a_route_passes_on() {
    let site = site();
    for ask in BOTH {
        let fields = [
            ("X-HTTP-Method-Override", "PUT"),
            ("x-original-url", "/a"),
            ("X-Rewrite-URL", "/b"),
            ("X_Original_URL", "/c"),
        ];
        let got = ask(&site, STRANGER, "a.test/pass", &fields, &[]);
        assert_eq!(
            (got.server_got("x-http-method-override"), got.server_got("x-original-url")),
            (vec!["PUT"], vec!["/a"])
        );
        assert!(got.server_got("x-rewrite-url").is_empty() && !got.body.contains("/c"), "{}", got.body);
        let got = ask(&site, STRANGER, "a.test/other", &fields, &[]);
        assert!(!got.body.contains("PUT") && !got.body.contains(": /a"), "{}", got.body);
        assert_eq!(ask(&site, TRUSTED, "a.test/other", &fields, &[]).server_got("x-rewrite-url"), ["/b"]);
    }
}

#[test]
fn connection_lists_and_spellings() {
    let site = site();
    for ask in BOTH {
        let lists = [
            ("Connection", "close, Remote-User"),
            ("Connection", "x-USER ,, X-Tag,\tx-lang"),
            ("CONNECTION", "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Via, Remote-Groups"),
            ("Connection", "\"X-Hop\", X_Forwarded_For, Host"),
        ];
        let aliases = [
            ("Remote-User", "evil"),
            ("Remote_User", "evil"),
            ("remote.user", "evil"),
            ("REMOTE-USER", "evil"),
            ("Remote_Groups", "evil"),
            ("X_User", "evil"),
            ("x.user", "evil"),
            ("X.Debug", "evil"),
            ("X-Debug", "evil"),
            ("X_Old", "evil"),
            ("x.old", "evil"),
            ("X_Lang", "evil"),
            ("X-User", "evil"),
        ];
        let fields: Vec<_> = lists.iter().chain(&aliases).copied().chain([("X-Hop", "1")]).collect();
        for host in ["a.test", "under.test"] {
            let got = ask(&site, STRANGER, &format!("{host}/user"), &fields, &[]);
            assert_eq!(got.server_got("remote-user"), ["alice"]);
            assert!(got.server_got("remote-groups").is_empty(), "clients can't set trusted fields");
            let names = ["remote_user", "remote.user", "remote_groups"];
            assert!(names.iter().all(|name| got.server_got(name).is_empty()), "{}", got.body);
            assert_eq!(got.server_got("via").len(), 1);
            assert_eq!(got.server_got("x-forwarded-for"), ["127.0.0.1"]);
            let got = ask(&site, STRANGER, &format!("{host}/set"), &fields, &[]);
            assert_eq!(got.server_got("x-user"), ["me"]);
            let names = ["x_user", "x.user"];
            assert!(names.iter().all(|name| got.server_got(name).is_empty()), "{}", got.body);
            // List members that are not tokens name no field.
            assert_eq!(got.server_got("x-hop"), ["1"]);
        }
        let got = ask(&site, STRANGER, "a.test/set", &fields, &[]);
        assert_eq!((got.server_got("x-tag"), got.server_got("x-lang")), (vec!["ours"], vec!["en"]));
        let names = ["x-debug", "x.debug", "x_old", "x.old", "x_lang"];
        assert!(names.iter().all(|name| got.server_got(name).is_empty()), "{}", got.body);
    }
    // An upgrade is treated the same.
    let upgrade =
        [("Connection", "Upgrade, remote-user, VIA"), ("Upgrade", "x"), ("Remote-User", "evil"), ("X-Hop", "1")];
    let got = http1(&site, STRANGER, "a.test/user", &upgrade, &[]);
    assert_eq!(
        (got.server_got("connection"), got.server_got("upgrade"), got.server_got("x-hop")),
        (vec!["upgrade"], vec!["x"], vec!["1"])
    );
    assert_eq!((got.server_got("remote-user"), got.server_got("via")), (vec!["alice"], vec!["1.1 kiln"]));
    // Fields in the list that the proxy does not set are removed.
    let got = http1(
        &site,
        STRANGER,
        "a.test/x",
        &[("Connection", "X-Hop"), ("x-hop", "1"), ("Connection", "Cookie"), ("Cookie", "a=1")],
        &[],
    );
    assert!(got.server_got("x-hop").is_empty() && got.server_got("cookie").is_empty(), "{}", got.body);
}

#[test]
fn underscores_are_configurable() {
    let site = site();
    for ask in BOTH {
        let fields = [("a_b", "1"), ("c.d", "2"), ("x-mine", "evil"), ("X_Mine", "evil"), ("x.mine", "evil")];
        let got = ask(&site, STRANGER, "a.test/x", &fields, &[]);
        assert_eq!((got.server_got("a_b").len(), got.server_got("c.d")), (0, vec!["2"]));
        let got = ask(&site, STRANGER, "under.test/set", &fields, &[]);
        assert_eq!(
            (got.server_got("a_b"), got.server_got("c.d"), got.server_got("x_mine")),
            (vec!["1"], vec!["2"], vec!["ours"])
        );
        assert!(!got.body.contains("evil"), "{}", got.body);
        let got = ask(&site, STRANGER, "under.test/block", &[("X_Probe", "evil"), ("x.probe", "evil")], &[]);
        assert!(got.status == 200 && !got.body.contains("evil"), "{}", got.body);
        assert_eq!(ask(&site, STRANGER, "under.test/block", &[("X-Probe", "evil")], &[]).status, 403);
    }
}

#[test]
fn trailers() {
    let site = site();
    for ask in BOTH {
        let trailers = [
            ("X-Sum", "1"),
            ("Remote-User", "evil"),
            ("Remote_User", "evil"),
            ("remote.groups", "evil"),
            ("X-Forwarded-For", "evil"),
            ("X_Forwarded_For", "evil"),
            ("X-Real-IP", "evil"),
            ("a_b", "evil"),
            ("Content.Length", "3"),
            ("Authorization", "evil"),
            ("Via", "evil"),
        ];
        for source in [STRANGER, TRUSTED] {
            let got = ask(&site, source, "a.test/user", &[], &trailers);
            assert_eq!((got.status, got.server_got("x-sum")), (200, vec!["1"]), "{}", got.body);
            assert!(!got.body.contains("evil") && got.server_got("content.length").is_empty(), "{}", got.body);
        }
        let got = ask(&site, STRANGER, "under.test/user", &[], &trailers);
        assert_eq!(
            (got.server_got("a_b"), got.server_got("remote_user").len(), got.server_got("remote-user")),
            (vec!["evil"], 0, vec!["alice"])
        );
        let got = ask(&site, STRANGER, "a.test/set", &[], &[("x.user", "evil"), ("X-DEBUG", "evil"), ("X-Sum", "1")]);
        assert!(!got.body.contains("evil") && got.server_got("x-sum") == ["1"], "{}", got.body);
    }
}

#[test]
fn connection_lists_of_servers() {
    let site = site();
    for ask in BOTH {
        let got = ask(&site, STRANGER, "a.test/response", &[], &[]);
        assert_eq!(got.all("x-private"), ["ours"]);
        assert!(got.all("x-hop").is_empty());
        assert!(ask(&site, STRANGER, "a.test/x", &[], &[]).all("x-private").is_empty());
    }
}

#[test]
fn trusted_peers() {
    let site = site();
    for ask in BOTH {
        let fields = [
            ("X-Forwarded-For", "6.6.6.6, 1.1.1.1,"),
            ("X-Forwarded-For", ", 127.1.0.9"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "shop.test"),
            ("Forwarded", "for=7.7.7.7"),
            ("X-Forwarded-Prefix", "/p"),
            ("Proxy", "evil"),
            ("Connection", "X-Forwarded-For, X-Forwarded-Proto"),
        ];
        assert_eq!(ask(&site, TRUSTED, "a.test/client", &fields[2..], &[]).body, "127.1.0.1 https  ");
        assert!(ask(&site, TRUSTED, "a.test/client", &fields, &[]).body.starts_with("1.1.1.1 https "));
        let got = ask(&site, TRUSTED, "a.test/says", &fields, &[]);
        let list = got.server_got("x-forwarded-for");
        assert!(
            list.len() == 1 && list[0].starts_with("6.6.6.6, 1.1.1.1,") && list[0].ends_with("127.1.0.9, 127.1.0.1"),
            "{list:?}"
        );
        assert_eq!(got.server_got("x-forwarded-proto"), ["https"]);
        assert_eq!(got.server_got("x-forwarded-host"), ["shop.test"]);
        assert_eq!(got.server_got("x-forwarded-port"), ["443"]);
        assert_eq!(got.server_got("x-forwarded-prefix"), ["/p"]);
        assert_eq!(got.server_got("x-real-ip"), ["1.1.1.1"]);
        assert_eq!(
            got.server_got("forwarded"),
            ["for=6.6.6.6, for=1.1.1.1;proto=https, for=127.1.0.9, for=127.1.0.1;host=\"a.test\";proto=http"]
        );
        assert!(got.server_got("proxy").is_empty());
        // Invalid schemes and ports are ignored.
        let wrong = [("X-Forwarded-Proto", "gopher"), ("X-Forwarded-Port", "99999999")];
        let got = ask(&site, TRUSTED, "a.test/says", &wrong, &[]);
        assert_eq!(
            (got.server_got("x-forwarded-proto"), got.server_got("x-forwarded-port")),
            (vec!["http"], vec!["80"])
        );
        // A client behind a proxy that appends to the list.
        let added = [("X-Forwarded-For", "6.6.6.6, 1.1.1.1"), ("X-Forwarded-Proto", "https, http")];
        assert!(ask(&site, TRUSTED, "a.test/client", &added, &[]).body.starts_with("1.1.1.1 http "));
        let got = ask(&site, STRANGER, "a.test/says", &fields, &[]);
        assert_eq!((got.server_got("x-real-ip"), got.server_got("x-forwarded-port")), (vec!["127.0.0.1"], vec!["80"]));
        assert_eq!(got.server_got("forwarded"), ["for=127.0.0.1;host=\"a.test\";proto=http"]);
        let got = ask(&site, STRANGER, "a.test/split", &fields, &[]);
        assert_eq!((got.server_got("x-real-ip"), got.server_got("x-forwarded-port")), (vec!["127.0.0.1"], vec!["80"]));
        assert!(got.server_got("forwarded").is_empty());
    }
}

#[test]
fn cookies_of_an_authorization_service() {
    let site = site();
    for ask in BOTH {
        let cookies = |got: &Got| got.all("set-cookie").iter().map(|cookie| (*cookie).to_owned()).collect::<Vec<_>>();
        let session = |got: &Got| got.all("x-session").first().expect("a session").to_string();
        for (path, status, own) in [("text", 200, false), ("down", 502, false), ("x", 200, true)] {
            let got = ask(&site, STRANGER, &format!("session.test/{path}"), &[], &[]);
            assert_eq!(
                (got.status, got.interim),
                (status, false),
                "interim responses of the service are not forwarded"
            );
            let mut expected = vec![format!("session={}", session(&got)), "other=1".to_owned()];
            if own {
                expected.insert(0, "theirs=1".to_owned());
            }
            assert_eq!(cookies(&got), expected, "{path}");
            assert!(
                got.all("x-silent").is_empty() && got.all("x-session").len() == 1 && got.all("x-session") != ["theirs"]
            );
        }
        // Each response has its own cookies, though the response itself is cached.
        let key = [("X-Key", if std::ptr::fn_addr_eq(ask, http1 as Ask) { "1" } else { "2" })];
        let (first, second) = (
            ask(&site, STRANGER, "session.test/kept", &key, &[]),
            ask(&site, STRANGER, "session.test/kept", &key, &[]),
        );
        assert!(second.all("cache-status")[0].starts_with("kiln; hit"), "{:?}", second.all("cache-status"));
        assert_ne!(session(&first), session(&second));
        assert!(
            cookies(&second).contains(&format!("session={}", session(&second)))
                && !cookies(&second).contains(&format!("session={}", session(&first)))
        );
        let got = ask(&site, STRANGER, "session.test/own", &[], &[]);
        assert!(cookies(&got).iter().all(|cookie| cookie.ends_with("; Secure")), "{:?}", cookies(&got));
        // A client that is refused gets the service's response, without the interim one.
        let got = ask(&site, STRANGER, "session.test/text", &[("Cookie", "deny")], &[]);
        assert_eq!((got.status, got.interim, &*got.body), (403, false, "no"));
    }
}

/// The names of the fields and trailers that describe a response's body.
fn about(names: impl Iterator<Item = String>) -> Vec<String> {
    let of_transfer = ["content-length", "content-encoding", "content-type", "content-range"];
    let is = |name: &String| {
        name.contains("digest")
            || name.starts_with("content-")
            || ["etag", "last-modified", "accept-ranges", "trailer"].contains(&name.as_str())
    };
    let mut names: Vec<_> = names.filter(|name| is(name) && !of_transfer.contains(&name.as_str())).collect();
    names.sort();
    names
}

#[test]
fn fields_about_replaced_bodies() {
    let site = site();
    let kept = ["content-disposition", "content-language", "content-location", "etag", "last-modified"];
    let with = |more: &[&'static str]| {
        let mut all: Vec<&'static str> = kept.iter().chain(more).copied().collect();
        all.sort_unstable();
        all
    };
    let cases = [
        ("compress", "Accept-Encoding", "gzip", 200, with(&["trailer"])),
        ("replace", "X-Nothing", "1", 200, with(&["trailer"])),
        // Digests of the whole representation remain valid for a part.
        ("part", "Range", "bytes=0-4", 206, with(&["accept-ranges", "digest", "repr-digest"])),
        ("page", "X-Nothing", "1", 404, Vec::new()),
    ];
    for (path, name, value, status, expected) in cases {
        let mut client = Client::from(STRANGER, site.proxy.address("listen"));
        client.send(format!("GET /{path} HTTP/1.1\r\nHost: body.test\r\n{name}: {value}\r\n\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("x-mine")), (status, Some("g")), "{path}");
        assert_eq!(about(answer.headers.iter().map(|(name, _)| name.clone())), expected, "{path}");
        assert_eq!(about(answer.trailers.iter().map(|(name, _)| name.clone())), [""; 0], "{path}");
        assert_eq!(answer.trailers.len(), usize::from(expected.contains(&"trailer")), "{path}: {:?}", answer.trailers);
        let got = http2(&site, STRANGER, &format!("body.test/{path}"), &[(name, value)], &[]);
        assert_eq!(
            (got.status, about(got.headers.into_iter().map(|(name, _)| name))),
            (status, expected.into_iter().map(str::to_owned).collect()),
            "{path}"
        );
    }
}
