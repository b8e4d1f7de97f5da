//! `compress`: which responses are compressed, for which clients.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_tests::client::{Answer, Client, ask};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::Proxy;

const SITE: &str = "\
param listen type=addr
param one type=addr
listen (param)listen
cache-store main memory=\"8MiB\"
site * {
    compress
    route \"/off\" {
        compress off
        proxy (param)one
    }
    route \"/gzip/*\" {
        compress gzip br min-size=\"10B\" gzip-level=9 br-level=9 {
            types \"text/*\" \"*+json\" \"application/x-own\"
        }
        proxy (param)one
    }
    route \"/zstd/*\" {
        compress zstd zstd-level=1 min-size=\"0B\"
        proxy (param)one
    }
    route \"/cached/*\" {
        cache {
            ttl default=\"1m\"
        }
        proxy (param)one
    }
    route \"/respond\" {
        compress gzip min-size=\"5B\"
        respond 200 \"hello hello hello hello hello\\n\"
    }
    route \"/*\" {
        proxy (param)one
    }
}
";

/// A text that compresses well.
fn text() -> String {
    (0..2000).map(|number| format!("line {number}\n")).collect()
}

/// An origin with [`text`] as body, and the fields in the query, separated by `;`.
fn origin() -> Origin {
    let counted = AtomicUsize::new(0);
    Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let path = request.split(' ').nth(1).unwrap_or_default();
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let fields = query.replace(';', "\r\n").replace("%20", " ").replace("%22", "\"").replace('=', ": ");
            let fields = if fields.is_empty() { String::new() } else { fields + "\r\n" };
            let kind =
                if fields.to_ascii_lowercase().contains("content-type") { "" } else { "Content-Type: text/plain\r\n" };
            let text = match path {
                path if path.ends_with("short") => "short".to_owned(),
                path if path.ends_with("counted") => {
                    text() + &format!("answer {}\n", counted.fetch_add(1, Ordering::SeqCst))
                }
                _ => text(),
            };
            if path.ends_with("events") {
                connection
                    .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
                connection.send("b\r\ndata: one\n\n\r\n");
                // No more data as long as the client is connected.
                assert!(connection.request().is_none());
                return;
            }
            let status = if path.ends_with("part") { "206 Partial Content" } else { "200 OK" };
            connection.send(format!("HTTP/1.1 {status}\r\n{kind}{fields}Content-Length: {}\r\n\r\n", text.len()));
            if !request.starts_with("HEAD") {
                connection.send(&text);
            }
        }
    })
}

fn decoded(coding: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(data).read_to_end(&mut out).map(drop),
        "br" => brotli::Decompressor::new(data, 4096).read_to_end(&mut out).map(drop),
        "zstd" => zstd::stream::copy_decode(data, &mut out),
        other => panic!("{other}"),
    }
    .expect("what was encoded");
    out
}

fn get(proxy: &Proxy, path: &str, accept: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {accept}\r\nConnection: close\r\n\r\n");
    ask(proxy.address("listen"), &request)
}

#[test]
fn compressed_responses() {
    let origin = origin();
    let proxy = Proxy::of_text("compress", SITE, &[("one", &origin.address)]);
    let check = |path: &str, accept: &str, coding: Option<&str>| {
        let answer = get(&proxy, path, accept);
        assert_eq!(answer.header("content-encoding"), coding, "{path} {accept}: {:?}", answer.headers);
        match coding {
            Some(coding) => {
                assert_eq!(answer.header("vary"), Some("Accept-Encoding"), "{path}");
                assert_eq!(answer.header("content-length"), None, "{path}");
                if !path.starts_with("/respond") {
                    assert!(answer.body.len() < text().len() / 2);
                    assert!(decoded(coding, &answer.body) == text().as_bytes(), "{path} {accept}");
                }
            }
            None => assert!(answer.body.len() <= 5 || answer.body == text().as_bytes(), "{path} {accept}"),
        }
        answer
    };
    for coding in ["zstd", "br", "gzip"] {
        check("/", coding, Some(coding));
    }
    // The client's preferred coding; of equal ones, the first in the site.
    check("/", "gzip, br, zstd", Some("zstd"));
    check("/", "gzip, br;q=0.9", Some("gzip"));
    check("/gzip/x", "br, gzip, zstd", Some("gzip"));
    check("/gzip/x", "br, gzip;q=0, zstd", Some("br"));
    check("/zstd/x", "*", Some("zstd"));
    // Not accepted, or less preferred than `identity`; `Vary` tells that the response could differ.
    assert_eq!(check("/", "identity, gzip;q=0.5", None).header("vary"), Some("Accept-Encoding"));
    assert_eq!(check("/", "", None).header("vary"), Some("Accept-Encoding"));
    assert_eq!(check("/off", "gzip", None).header("vary"), None);
    // Too short, of an unsuitable type, partial, already compressed, not to be transformed.
    assert_eq!(check("/short", "gzip", None).header("content-length"), Some("5"));
    check("/gzip/short", "gzip", None);
    assert_eq!(check("/?Content-Type=image/png", "gzip", None).header("vary"), None);
    check("/?Content-Type=application/problem+json", "gzip", Some("gzip"));
    check("/gzip/?Content-Type=application/x-own", "gzip", Some("gzip"));
    check("/gzip/?Content-Type=TEXT/HTML;ETag=%22a%22", "gzip", Some("gzip"));
    assert_eq!(check("/part", "gzip", None).header("vary"), Some("Accept-Encoding"));
    assert_eq!(check("/part?Content-Type=image/png", "gzip", None).header("vary"), None);
    check("/?Cache-Control=max-age%20,%20no-transform", "gzip", None);
    check("/?Content-Digest=x", "gzip", None);
    let twice = get(&proxy, "/?Content-Encoding=gzip", "gzip");
    assert!(twice.body == text().as_bytes() && twice.header("content-encoding") == Some("gzip"));
    // A strong entity tag becomes weak; the compressed body has no ranges.
    let tagged = get(&proxy, "/?ETag=\"a\";Accept-Ranges=bytes", "gzip");
    assert_eq!((tagged.header("etag"), tagged.header("accept-ranges")), (Some("W/\"a\""), None));
    let tagged = get(&proxy, "/?ETag=W/\"a\"", "gzip");
    assert_eq!(tagged.header("etag"), Some("W/\"a\""));
    // Responses of the proxy itself.
    let own = check("/respond", "gzip", Some("gzip"));
    assert_eq!(decoded("gzip", &own.body), b"hello hello hello hello hello\n");
    // HEAD is like GET, without the body.
    let mut client = Client::to(proxy.address("listen"));
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = client.answer_to("HEAD");
    assert_eq!((head.header("content-encoding"), head.header("content-length")), (Some("gzip"), None));
    // Cached responses are uncompressed: each client gets an encoding that it accepts.
    for accept in ["gzip", "identity", "br", "zstd"] {
        let answer = check("/cached/x", accept, (accept != "identity").then_some(accept));
        assert!(answer.header("cache-status").is_some_and(|status| status.contains("hit") == (accept != "gzip")));
    }
}

/// A cached response is compressed once, and the variant stays as long as the response.
#[test]
fn variants_are_cached() {
    let origin = origin();
    let proxy = Proxy::of_text("compress-forms", SITE, &[("one", &origin.address)]);
    let check = |coding: &str, kept: bool, count: usize| {
        let answer = get(&proxy, "/cached/counted", coding);
        let length = kept.then(|| answer.body.len().to_string());
        assert_eq!(answer.header("content-length"), length.as_deref(), "{coding}");
        assert_eq!(answer.header("content-encoding"), Some(coding));
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        let expected = text() + &format!("answer {count}\n");
        assert!(decoded(coding, &answer.body) == expected.as_bytes(), "{coding}");
    };
    let whole = get(&proxy, "/cached/counted", "identity");
    assert_eq!(whole.header("content-encoding"), None);
    for coding in ["gzip", "br", "zstd"] {
        check(coding, false, 0);
        check(coding, true, 0);
    }
    // HEAD is like GET, without the body.
    let mut client = Client::to(proxy.address("listen"));
    client.send("HEAD /cached/counted HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = client.answer_to("HEAD");
    let length = get(&proxy, "/cached/counted", "gzip").body.len().to_string();
    assert_eq!((head.header("content-encoding"), head.header("content-length")), (Some("gzip"), Some(length.as_str())));
    // A range is of the server's body; `Vary` is sent nevertheless.
    let asked = |method: &str, field: &str| {
        let head = format!("{method} /cached/counted HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n{field}\r\n");
        ask(proxy.address("listen"), &format!("{head}Connection: close\r\n\r\n"))
    };
    let part = asked("GET", "Range: bytes=0-3");
    assert_eq!((part.header("vary"), part.text().as_str()), (Some("Accept-Encoding"), "line"));
    let unmodified = asked("GET", "If-None-Match: *");
    assert_eq!((unmodified.status, unmodified.header("vary")), (304, Some("Accept-Encoding")));
    // RFC 9111 section 4.4: an invalidated response is removed with its variants. The response to POST counts, too.
    assert_eq!(asked("POST", "Content-Length: 0").status, 200);
    check("gzip", false, 2);
    check("gzip", false, 2);
    check("gzip", true, 2);
}

/// A 304 has the entity tag of the response (RFC 9110 section 15.4.5): a weak one for clients that would get it
/// compressed.
#[test]
fn not_modified() {
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let has_it = request.to_ascii_lowercase().contains("if-none-match");
            let (status, body) = if has_it { ("304 Not Modified", String::new()) } else { ("200 OK", text()) };
            let fields = "Content-Type: text/plain\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\n";
            let length = if has_it { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            // A 304 need not have the fields of its response.
            let fields = if has_it { "ETag: \"a\"\r\n" } else { fields };
            connection.send(format!("HTTP/1.1 {status}\r\n{fields}{length}\r\n{body}"));
        }
    });
    let proxy = Proxy::of_text("compress-unmodified", SITE, &[("one", &origin.address)]);
    let check = |path: &str, coding: &str, tag: &str, expected: &str| {
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n"
        );
        let answer = ask(proxy.address("listen"), &text);
        assert_eq!((answer.status, answer.header("etag")), (304, Some(expected)), "{path} {coding} {tag}");
    };
    for (coding, given) in [("gzip", "W/\"a\""), ("identity", "\"a\"")] {
        let whole = get(&proxy, "/cached/x", coding);
        assert_eq!(whole.header("etag"), Some(given));
        for tag in ["\"a\"", "W/\"a\"", "*", "\"b\", W/\"a\""] {
            check("/cached/x", coding, tag, given);
        }
    }
    // The server's decision depends on the client's entity tag.
    check("/x", "gzip", "W/\"a\"", "W/\"a\"");
    check("/x", "identity", "\"a\"", "\"a\"");
    check("/off", "gzip", "W/\"a\"", "\"a\"");
}

/// Each event reaches the client before the next one is sent.
#[test]
fn events() {
    let origin = origin();
    let proxy = Proxy::of_text("compress-events", SITE, &[("one", &origin.address)]);
    for coding in ["gzip", "br", "zstd"] {
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("GET /events HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n"));
        let head = client.head();
        assert!(head.to_ascii_lowercase().contains(&format!("content-encoding: {coding}")), "{head}");
        let (mut data, mut seen) = (Vec::new(), [0; 11]);
        loop {
            data.extend_from_slice(&chunk(&mut client));
            let whole = match coding {
                "gzip" => flate2::read::GzDecoder::new(&*data).read_exact(&mut seen),
                "br" => brotli::Decompressor::new(&*data, 4096).read_exact(&mut seen),
                _ => zstd::stream::read::Decoder::new(&*data).and_then(|mut decoder| decoder.read_exact(&mut seen)),
            };
            if whole.is_ok() {
                break;
            }
        }
        assert_eq!(String::from_utf8_lossy(&seen), "data: one\n\n");
    }
}

/// The next chunk of a chunked body.
fn chunk(client: &mut Client) -> Vec<u8> {
    let mut size = Vec::new();
    while !size.ends_with(b"\r\n") {
        size.extend(client.exactly(1));
    }
    let size = usize::from_str_radix(String::from_utf8_lossy(&size).trim(), 16).expect("a size");
    let chunk = client.exactly(size);
    client.exactly(2);
    chunk
}
