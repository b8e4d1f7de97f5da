//! HTTP/3 over real sockets: with a client of its own on quinn, which also sends what no sane client sends, and with curl (of PyPI's
//! pycurl) and aioquic where they are installed.

mod alternative;
mod client;
mod datagrams;
mod early;
mod priorities;
mod table;
mod takeover;
mod vanished;
mod websocket;

use std::process::Command;
use std::time::{Duration, Instant};

use kiln_tests::certificates::Authority;
use kiln_tests::kiln::{scratch, stdout};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, build_text};

use self::client::{DATA, H3, H3Answer, HEADERS, answer, config, frame, get, section};

/// A proxy for `a.test`, with the files of its authority.
struct Site {
    proxy: Proxy,
    ca: String,
}

impl Site {
    /// Starts a proxy, whose listener has HTTP/3 and the name `(param)listen`; `rest` is what the site `a.test` has.
    fn new(name: &str, top: &str, rest: &str, given: &[(&str, &str)]) -> Site {
        Site::speaking(name, "h1 h2 h3", (top, rest), given)
    }

    /// The same with other words and properties of `http`.
    fn speaking(name: &str, http: &str, (top, rest): (&str, &str), given: &[(&str, &str)]) -> Site {
        let dir = scratch(name);
        let ca = Authority::new(&dir);
        ca.sign("a", "a", &["a.test", "127.0.0.1"]);
        let site = format!(
            "param listen type=addr\nlog access format=json\n{top}\nlisten (param)listen {{\n tls\n http {http}\n}}\n\
             site a.test {{\n tls {{\n certificate \"{}\" key=\"{}\"\n }}\n{rest}\n}}\n",
            ca.path("a.pem"),
            ca.path("a.key")
        );
        Site { proxy: Proxy::start(&build_text(name, &site), &site, given), ca: ca.ca() }
    }

    fn address(&self) -> String {
        self.proxy.address("listen").to_owned()
    }

    async fn client(&self) -> H3 {
        H3::to(&self.address(), "a.test", config(&self.ca, None)).await.expect("connected")
    }

    async fn bare(&self) -> H3 {
        H3::bare(&self.address(), "a.test", config(&self.ca, None)).await
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

const ECHO: &str = "route \"/one\" {\n protocol http1\n respond 200 \"one\"\n }\n\
    route \"/one\" {\n protocol http2\n respond 200 \"two\"\n }\n\
    route \"/one\" {\n protocol http3\n respond 200 \"three {protocol} {tls.version}\"\n }\n\
    route \"/*\" {\n echo\n }";

#[test]
fn requests() {
    let site = Site::new("h3-requests", "", ECHO, &[]);
    run(async {
        let client = site.client().await;
        assert_eq!(client.get("a.test", "/one").await.text(), "three HTTP/3.0 TLSv1.3");
        let fields = [&get("a.test", "/a/../b?c=d")[..], &[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]];
        let said = client.ask(&fields.concat(), b"hello").await;
        for expected in [
            "\"path\":\"/b\"",
            "\"query\":\"c=d\"",
            "\"protocol\":\"HTTP/3.0\"",
            "\"cookie\":\"a=1; b=2\"",
            "\"body\":\"hello\"",
        ] {
            assert!(said.text().contains(expected), "{expected} in {}", said.text());
        }
        assert!(said.header("date").is_some());
        assert_eq!(said.header("content-length"), Some(said.body.len().to_string().as_str()));
        assert_eq!(client.get("a.test", "/%2fx").await.status, 400);
        assert_eq!(client.get("other.test", "/").await.status, 421);
        let head = client.ask(&[&[(":method", "HEAD")], &get("a.test", "/one")[1..]].concat(), b"").await;
        assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some("22")));
        assert_eq!(client.ask(&[(":method", "CONNECT"), (":authority", "a.test:443")], b"").await.status, 405);
        let blank = [&get("a.test", "/")[..], &[("x", " y")]].concat();
        assert_eq!(client.ask(&blank, b"").await.status, 400);
    });
    site.proxy.log("\"reason\":\"unknown-host\"");
}

#[test]
fn bodies() {
    const LARGE: usize = 20 << 20;
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.head() {
            if request.starts_with("GET /large") {
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
                connection.send(vec![b'x'; LARGE]);
            } else if request.starts_with("GET /trailers") {
                connection.send(
                    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
                     Trailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
                );
            } else {
                connection.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    let to = origin.address.clone();
    let counted = Origin::new(|mut connection, _| {
        let head = connection.head().unwrap_or_default();
        assert!(head.contains("content-length"), "{head}");
        let mut received = 0;
        while received < LARGE {
            match connection.bytes() {
                bytes if bytes.is_empty() => return,
                bytes => received += bytes.len(),
            }
        }
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{received}"));
    });
    let up = counted.address.clone();
    let routes = "limits body=\"30MiB\"\n route \"/up\" {\n proxy \"http://(param)up\"\n }\n route \"/*\" {\n proxy \"http://(param)to\"\n }";
    let routes = routes.replace("(param)up", &up).replace("(param)to", &to);
    let site = Site::new("h3-bodies", "", &routes, &[]);
    run(async {
        let client = site.client().await;
        let large = client.get("a.test", "/large").await;
        assert_eq!((large.status, large.body.len()), (200, LARGE));
        assert!(large.body.iter().all(|byte| *byte == b'x'));
        let length = LARGE.to_string();
        let fields =
            [&[(":method", "POST")], &get("a.test", "/up")[1..], &[("content-length", length.as_str())]].concat();
        let uploaded = client.ask(&fields, &vec![b'y'; LARGE]).await;
        assert_eq!((uploaded.status, uploaded.text()), (200, LARGE.to_string()));
        let trailed = client.get("a.test", "/trailers").await;
        assert_eq!((trailed.status, trailed.text().as_str()), (200, "hello"));
        assert_eq!(trailed.trailers, [("x-sum".to_owned(), "7".to_owned())]);
        assert_eq!(trailed.interim, [103]);
    });
}

#[test]
fn request_trailers_are_forwarded() {
    let origin = Origin::new(|mut connection, _| {
        let _ = connection.head();
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n\r\n") {
            match connection.bytes() {
                bytes if bytes.is_empty() => return,
                bytes => body.extend(bytes),
            }
        }
        let text = String::from_utf8_lossy(&body).replace("\r\n", "|");
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
    });
    let site = Site::new("h3-trailers", "", &format!("proxy \"http://{}\"", origin.address), &[]);
    run(async {
        let client = site.client().await;
        let head = frame(HEADERS, &section(&[&[(":method", "POST")], &get("a.test", "/")[1..]].concat()));
        let message = [head, frame(DATA, b"hello"), frame(HEADERS, &section(&[("x-sum", "7")]))].concat();
        let (mut send, receive) = client.stream(&message).await;
        send.finish().expect("an end");
        let text = answer(receive).await.expect("a response").text();
        assert!(text.contains("hello") && text.ends_with("0|x-sum: 7||"), "{text}");
    });
}

#[test]
fn concurrent_requests() {
    let origin = Origin::new(|mut connection, _| {
        while connection.request().is_some() {
            std::thread::sleep(Duration::from_millis(200));
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let site = Site::new("h3-concurrent", "", &format!("proxy \"http://{}\"", origin.address), &[]);
    run(async {
        let client = std::rc::Rc::new(site.client().await);
        let began = Instant::now();
        let local = tokio::task::LocalSet::new();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let client = std::rc::Rc::clone(&client);
                local.spawn_local(async move { client.get("a.test", "/").await.text() })
            })
            .collect();
        local.await;
        for task in tasks {
            assert_eq!(task.await.expect("an end"), "ok");
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    });
}

#[test]
fn violations_end_the_connection() {
    let site = Site::new("h3-violations", "", ECHO, &[]);
    let head = || frame(HEADERS, &section(&get("a.test", "/")));
    let trailers = || frame(HEADERS, &section(&[("x", "y")]));
    run(async {
        // Streams of the client, of which those with a request come last; and the code (RFC 9114 section 8.1).
        let uni: [(&[&[u8]], u64); 12] = [
            (&[b"\x01\x00"], 0x103),
            (&[b"\x00\x04\x00", b"\x00\x04\x00"], 0x103),
            (&[b"\x00\x0d\x01\x00"], 0x10a),
            (&[b"\x00\x04\x00\x04\x00"], 0x105),
            (&[b"\x00\x04\x00\x00\x00"], 0x105),
            (&[b"\x00\x04\x02\x02\x00"], 0x109),
            (&[b"\x00\x04\x01\x06"], 0x106),
            (&[b"\x00\x04\x00\x03\x01\x00"], 0x108),
            (&[b"\x00\x04\x00\x07\x01\x00\x07\x01\x04"], 0x108),
            (&[b"\x00\x04\x50\x01"], 0x107),
            (&[b"\x02\x3f\xe1\x1f"], 0x201),
            (&[b"\x03\x01"], 0x202),
        ];
        for (streams, code) in uni {
            let client = site.bare().await;
            let mut open = Vec::new();
            for stream in streams {
                open.push(client.uni(stream).await);
            }
            assert_eq!(client.code().await, code, "{streams:x?}");
        }
        for critical in [&b"\x00\x04\x00"[..], b"\x02", b"\x03"] {
            let client = site.bare().await;
            client.uni(critical).await.expect("a stream").finish().expect("an end");
            assert_eq!(client.code().await, 0x104, "{critical:x?}");
        }
        let bi: [(Vec<u8>, u64); 7] = [
            (frame(DATA, b"x"), 0x105),
            (frame(0x04, b""), 0x105),
            ([head(), frame(0x05, b"\x00")].concat(), 0x105),
            ([head(), trailers(), trailers()].concat(), 0x105),
            (frame(0x02, b""), 0x105),
            (frame(HEADERS, b"\x00\x00\x80"), 0x200),
            (frame(HEADERS, b"\x02\x00"), 0x200),
        ];
        for (bytes, code) in bi {
            let client = site.client().await;
            let _open = client.stream(&bytes).await;
            assert_eq!(client.code().await, code, "{bytes:x?}");
        }
        // The end of a stream within a frame.
        let client = site.client().await;
        let (mut send, _receive) = client.stream(&head()[..5]).await;
        send.finish().expect("an end");
        assert_eq!(client.code().await, 0x106);
    });
    site.proxy.log("\"reason\":\"http3-protocol\"");
}

#[test]
fn malformed_requests_end_the_stream() {
    let site = Site::new("h3-malformed", "", ECHO, &[]);
    run(async {
        let client = site.client().await;
        let with = |more: &[(&'static str, &'static str)]| [&get("a.test", "/")[..], more].concat();
        for fields in [
            with(&[("X", "y")]),
            with(&[("connection", "close")]),
            with(&[("transfer-encoding", "chunked")]),
            with(&[("te", "gzip")]),
            with(&[("x", "a\r\nb")]),
            with(&[("x", "y"), (":path", "/")]),
            with(&[(":path", "/")]),
            with(&[(":protocol", "websocket")]),
            get("a.test", "/")[1..].to_vec(),
            get("a.test", "/")[..3].to_vec(),
        ] {
            assert_eq!(client.try_ask(&fields, b"").await.err(), Some(Some(0x10e)), "{fields:?}");
        }
        // No head at all.
        let (mut send, receive) = client.stream(b"").await;
        send.finish().expect("an end");
        assert_eq!(answer(receive).await.err(), Some(Some(0x10d)));
        // A length that is wrong.
        for body in [&b"abc"[..], b"abcdefghij"] {
            let fields = [&[(":method", "POST")], &get("a.test", "/")[1..], &[("content-length", "5")]].concat();
            let said = client.try_ask(&fields, body).await;
            assert_eq!(said.expect("a response").status, 400);
        }
        // The connection goes on.
        assert_eq!(client.get("a.test", "/one").await.status, 200);
    });
    site.proxy.log("\"reason\":\"bad-request\"");
    site.proxy.log("\"reason\":\"bad-framing\"");
}

#[test]
fn large_heads() {
    let site = Site::new("h3-heads", "", ECHO, &[]);
    run(async {
        let client = site.client().await;
        let many: Vec<_> = (0..101).map(|at| format!("x-{at}")).collect();
        let many: Vec<_> = get("a.test", "/").into_iter().chain(many.iter().map(|name| (name.as_str(), "y"))).collect();
        assert_eq!(client.ask(&many, b"").await.status, 431);
        for size in [17_000, 200_000] {
            let large = "y".repeat(size);
            let fields = [&get("a.test", "/")[..], &[("x", large.as_str())]].concat();
            assert_eq!(client.ask(&fields, b"").await.status, 431, "{size}");
        }
        // Small when it is encoded: 4000 fields of the static table.
        let bomb = [&section(&get("a.test", "/"))[..], &[0xc4; 4000]].concat();
        let (mut send, receive) = client.stream(&frame(HEADERS, &bomb)).await;
        send.finish().expect("an end");
        assert_eq!(answer(receive).await.expect("a response").status, 431);
        assert_eq!(client.get("a.test", "/one").await.status, 200);
    });
    site.proxy.log("\"reason\":\"headers-too-large\"");
}

#[test]
fn floods_end_the_connection() {
    let site = Site::new("h3-floods", "", ECHO, &[]);
    run(async {
        // Frames of unknown types, on the control stream and on a request stream.
        let client = site.bare().await;
        let mut control = client.uni(b"\x00\x04\x00").await.expect("a stream");
        let _ = control.write_all(&b"\x21\x00".repeat(6000)).await;
        assert_eq!(client.code().await, 0x107);
        let client = site.client().await;
        let (mut send, _receive) = client.stream(&frame(HEADERS, &section(&get("a.test", "/")))).await;
        let _ = send.write_all(&b"\x21\x00".repeat(40_000)).await;
        assert_eq!(client.code().await, 0x107);
        // Requests that are reset (CVE-2023-44487).
        let client = site.client().await;
        let head = frame(HEADERS, &section(&get("a.test", "/one")));
        while client.connection.close_reason().is_none() {
            let Ok((mut send, mut receive)) = client.connection.open_bi().await else { break };
            let _ = send.write_all(&head[..4]).await;
            let _ = (send.reset(0x10c_u32.into()), receive.stop(0x10c_u32.into()));
        }
        assert_eq!(client.code().await, 0x107);
        assert_eq!(site.client().await.get("a.test", "/one").await.status, 200);
    });
    site.proxy.log("\"reason\":\"frame-flood\"");
}

#[test]
fn server_names_and_client_certificates() {
    let dir = scratch("h3-names");
    let ca = Authority::new(&dir);
    ca.sign("a", "a", &["a.test"]);
    ca.sign("b", "b", &["b.test"]);
    ca.sign_for_client("client", "client", &["client"]);
    let site = format!(
        "param listen type=addr\nlog access format=json\nlisten (param)listen {{\n tls\n http h1 h2 h3\n}}\n\
         site a.test {{\n tls {{\n certificate \"{}\" key=\"{}\"\n }}\n respond 200 \"a\"\n}}\n\
         site b.test {{\n tls {{\n certificate \"{}\" key=\"{}\"\n client-ca \"{}\"\n }}\n respond 200 \"b {{client.cert.subject}}\"\n}}\n",
        ca.path("a.pem"),
        ca.path("a.key"),
        ca.path("b.pem"),
        ca.path("b.key"),
        ca.ca()
    );
    let proxy = Proxy::start(&build_text("h3-names", &site), &site, &[]);
    let address = proxy.address("listen").to_owned();
    run(async {
        let plain = || config(&ca.ca(), None);
        let client = H3::to(&address, "a.test", plain()).await.expect("connected");
        assert_eq!(client.get("a.test", "/").await.text(), "a");
        // The handshake was not for this site, which requires a certificate (RFC 9114 section 3.3).
        assert_eq!(client.get("b.test", "/").await.status, 421);
        let (chain, key) = (ca.path("client.pem"), ca.path("client.key"));
        let client = H3::to(&address, "b.test", config(&ca.ca(), Some((&chain, &key)))).await.expect("connected");
        assert_eq!(client.get("b.test", "/").await.text(), "b CN=client");
        // unrecognized_name (RFC 9001 section 4.8), and a missing certificate.
        let refused = H3::to(&address, "other.test", plain()).await.err().expect("an error").to_string();
        assert!(refused.contains("112") || refused.contains("unknown-server-name"), "{refused}");
        let missing = H3::to(&address, "b.test", plain()).await;
        if let Ok(client) = missing {
            client.connection.closed().await;
        }
    });
    proxy.log("\"reason\":\"unknown-server-name\"");
    proxy.log("the client sent no certificate");
    proxy.log("\"reason\":\"misdirected-request\"");
}

#[test]
fn limits_of_connections() {
    let site = Site::new("h3-limits", "limits per-client=2", ECHO, &[]);
    run(async {
        let (first, second) = (site.client().await, site.client().await);
        assert_eq!(second.get("a.test", "/one").await.status, 200);
        let third = site.bare().await;
        assert_eq!(third.code().await, 0x107);
        first.connection.close(0x100_u32.into(), b"");
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let client = site.bare().await;
            let control = client.uni(b"\x00\x04\x00").await;
            if control.is_ok() && client.try_ask(&get("a.test", "/one"), b"").await.is_ok() {
                return;
            }
        }
        panic!("no connection is admitted");
    });
    site.proxy.log("\"reason\":\"client-connection-limit\"");
}

#[test]
fn addresses_are_validated_under_load() {
    let site = Site::new("h3-retry", "limits handshakes=1", ECHO, &[]);
    run(async {
        // Half of one handshake is none: every client gets a Retry.
        assert_eq!(site.client().await.get("a.test", "/one").await.status, 200);
    });
}

#[test]
fn requests_end_before_the_process() {
    let origin = Origin::new(|mut connection, _| {
        while connection.request().is_some() {
            std::thread::sleep(Duration::from_secs(1));
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let mut site = Site::new("h3-drain", "", &format!("proxy \"http://{}\"", origin.address), &[]);
    run(async {
        let (client, idle) = (site.client().await, site.client().await);
        let mut control = client.connection.accept_uni().await.expect("a stream");
        let (mut send, receive) = client.stream(&frame(HEADERS, &section(&get("a.test", "/")))).await;
        send.finish().expect("an end");
        tokio::time::sleep(Duration::from_millis(200)).await;
        site.proxy.signal("TERM");
        // Without requests, a connection ends at once.
        assert_eq!(idle.code().await, 0x100);
        let answer: H3Answer = answer(receive).await.expect("a response");
        assert_eq!(answer.text(), "ok");
        assert_eq!(answer.header("alt-svc"), None);
        assert_eq!(client.code().await, 0x100);
        let mut sent = vec![0; 100];
        let mut all = Vec::new();
        while let Ok(Some(length)) = control.read(&mut sent).await {
            all.extend_from_slice(&sent[..length]);
        }
        // GOAWAY without a limit, and then with the last request.
        assert!(all.ends_with(b"\x07\x08\xff\xff\xff\xff\xff\xff\xff\xfc\x07\x01\x04"), "{all:x?}");
    });
    assert!(site.proxy.wait().success());
}

/// Returns the output of a Python program, or `None` if it lacks a module.
fn python(module: &str, program: &str, arguments: &[&str]) -> Option<String> {
    let has = Command::new("python3").args(["-c", &format!("import {module}")]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: python3 has no {module}");
        return None;
    }
    let output = Command::new("python3").arg("-c").arg(program).args(arguments).output().expect("python3 runs");
    Some(stdout(&output) + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn other_clients() {
    let site = Site::new("h3-others", "", ECHO, &[]);
    let address = site.address();
    let (ip, port) = address.split_once(':').expect("a port");
    let aioquic = include_str!("http3/aioquic.py");
    if let Some(said) = python("aioquic", aioquic, &[ip, port, &site.ca]) {
        assert!(said.contains("200 three HTTP/3.0 TLSv1.3") && said.contains("200 50000"), "{said}");
    }
    if let Some(said) = python("pycurl", include_str!("http3/curl.py"), &[ip, port, &site.ca]) {
        assert!(said.contains("200 three HTTP/3.0 TLSv1.3") && said.contains("200 True"), "{said}");
    }
}
