//! Which requests are looked up: those without a body, in any form; and HEAD like GET.

use std::sync::{Arc, Condvar, Mutex};

use kiln_tests::client::Client;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{Proxy, build_text};

use super::{MISS, SITE, asked, check, shown, started};

const FRESH: &str = "X-Head: Cache-Control: max-age=60";

/// A chunked body without data is no body.
#[test]
fn empty_bodies() {
    let (_origin, proxy) = started("cache-bodies");
    let sent = |method: &str, path: &str, body: &str| {
        let mut client = Client::to(proxy.address("listen"));
        let head = format!("{method} {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{FRESH}\r\n");
        client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
        client.send(body);
        shown(&client.answer_to(method))
    };
    assert_eq!(sent("GET", "/a", "0\r\n\r\n"), format!("200 1 {MISS}"));
    check(&proxy, &[("GET /a", "", "200 1 hit")]);
    assert_eq!(sent("GET", "/a", "0\r\n\r\n"), "200 1 hit");
    assert_eq!(sent("GET", "/a", "0\r\nX-Trailer: 1\r\n\r\n"), "200 1 hit");
    assert_eq!(sent("HEAD", "/a", "0\r\n\r\n"), "200 hit");
    assert_eq!(sent("GET", "/a", "1\r\nx\r\n0\r\n\r\n"), "200 2 fwd=request fwd-status=200 detail=body");
    assert_eq!(sent("GET", "/a", "x\r\n"), "400 400 Bad Request\n none");
    check(&proxy, &[("GET /a", "", "200 1 hit"), ("GET /a", "Content-Length: 0", "200 1 hit")]);
}

/// HEAD without a cached response fetches the response to GET, once for all, which is stored.
#[test]
fn heads() {
    let open = Arc::new((Mutex::new(false), Condvar::new()));
    let gate = Arc::clone(&open);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&seen);
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            lines.lock().expect("lines").push(request.lines().next().unwrap_or_default().to_owned());
            drop(gate.1.wait_while(gate.0.lock().expect("a gate"), |open| !*open).expect("a gate"));
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok");
        }
    });
    let proxy = Proxy::start(&build_text("cache-heads", SITE), SITE, &[("app", &origin.address)]);
    let mut clients: Vec<_> = (0..20)
        .map(|number| {
            let mut client = Client::to(proxy.address("listen"));
            let (method, field) = if number % 5 == 4 { ("GET", "") } else { ("HEAD", "Range: bytes=0-0\r\n") };
            client.send(format!("{method} /a HTTP/1.1\r\nHost: site.test\r\n{field}\r\n"));
            (client, method)
        })
        .collect();
    *open.0.lock().expect("a gate") = true;
    open.1.notify_all();
    for (client, method) in &mut clients {
        let answer = client.answer_to(method);
        let body = if *method == "GET" { "ok" } else { "" };
        assert_eq!((answer.status, answer.text().as_str(), answer.header("content-length")), (200, body, Some("2")));
    }
    assert_eq!(*seen.lock().expect("lines"), ["GET /a HTTP/1.1"]);
    assert_eq!(shown(&asked(&proxy, "GET /a", "")), "200 ok hit");
    assert_eq!(shown(&asked(&proxy, "HEAD /a", "")), "200 hit");
}

/// If the response is not shareable, HEAD is forwarded unchanged from then on.
#[test]
fn heads_of_unshareable_responses() {
    let (_origin, proxy) = started("cache-heads-unkept");
    let private = "X-Head: Cache-Control: private";
    check(
        &proxy,
        &[
            ("HEAD /a", private, "200 fwd=uri-miss fwd-status=200 detail=private"),
            ("HEAD /a", private, "200 fwd=uri-miss fwd-status=200 detail=head"),
            ("GET /a", FRESH, &format!("200 3 {MISS}")),
            ("HEAD /a", "", "200 hit"),
            (
                "HEAD /b",
                &format!("{FRESH};;Cache-Control: no-store"),
                "200 fwd=request fwd-status=200 detail=request-no-store",
            ),
            ("HEAD /c", "X-Status: 503", "503 fwd=uri-miss fwd-status=503 detail=no-lifetime"),
        ],
    );
}
