//! Odd, slow or hostile servers and clients: no wrong response is stored, no request waits in vain, memory stays bounded.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use kiln_tests::client::Client;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{Proxy, build_text};

use super::{SITE, asked, shown};

/// An origin that reads a request, waits for the gate to open, and responds.
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    asked: AtomicUsize,
}

impl Gate {
    fn origin(answer: &'static str) -> (Origin, Arc<Gate>) {
        let gate = Arc::new(Gate { open: Mutex::new(false), opened: Condvar::new(), asked: AtomicUsize::new(0) });
        let shared = Arc::clone(&gate);
        let origin = Origin::new(move |mut connection, _| {
            while connection.request().is_some() {
                shared.asked.fetch_add(1, Ordering::SeqCst);
                let mut open = shared.open.lock().expect("a gate");
                while !*open {
                    open = shared.opened.wait(open).expect("a gate");
                }
                drop(open);
                connection.send(answer);
            }
        });
        (origin, gate)
    }

    fn open(&self) {
        *self.open.lock().expect("a gate") = true;
        self.opened.notify_all();
    }

    /// Waits until the origin has received this many requests.
    fn until(&self, asked: usize) {
        let until = std::time::Instant::now() + kiln_tests::proxy::PATIENCE;
        while self.asked.load(Ordering::SeqCst) < asked {
            assert!(std::time::Instant::now() < until, "asked {} of {asked} times", self.asked.load(Ordering::SeqCst));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

pub(super) fn waiting(proxy: &Proxy, path: &str) -> Client {
    let mut client = Client::to(proxy.address("listen"));
    client.send(format!("GET {path} HTTP/1.1\r\nHost: site.test\r\n\r\n"));
    client
}

/// Whatever happens to the fetching request, the others get their responses.
#[test]
fn followers_do_not_depend_on_the_fetching_request() {
    // The client disconnects: the next request fetches.
    let (origin, gate) = Gate::origin("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok");
    let proxy = Proxy::start(&build_text("cache-leader", SITE), SITE, &[("app", &origin.address)]);
    let first = waiting(&proxy, "/left");
    gate.until(1);
    let mut others: Vec<_> = (0..5).map(|_| waiting(&proxy, "/left")).collect();
    first.reset();
    gate.until(2);
    gate.open();
    for other in &mut others {
        assert_eq!(other.answer().text(), "ok");
    }
    assert_eq!(gate.asked.load(Ordering::SeqCst), 2);
    // Its response is not shareable: all others are forwarded concurrently. The gate first opens for one request.
    let (origin, gate) = Gate::origin("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: private\r\n\r\nok");
    let proxy = Proxy::start(&build_text("cache-private", SITE), SITE, &[("app", &origin.address)]);
    let mut all: Vec<_> = (0..5).map(|_| waiting(&proxy, "/private")).collect();
    gate.until(1);
    gate.open();
    for client in &mut all {
        assert_eq!(client.answer().text(), "ok");
    }
    *gate.open.lock().expect("a gate") = false;
    // This is remembered: requests do not wait for each other now.
    let asked = gate.asked.load(Ordering::SeqCst);
    let mut all: Vec<_> = (0..5).map(|_| waiting(&proxy, "/private")).collect();
    gate.until(asked + 5);
    gate.open();
    for client in &mut all {
        assert_eq!(shown(&client.answer()), "200 ok fwd=uri-miss fwd-status=200 detail=private");
    }
}

/// Incomplete bodies are not stored, and never taken for complete; too large ones are passed through.
#[test]
fn odd_bodies() {
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let fresh = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n";
            match request.split(' ').nth(1).unwrap_or_default() {
                "/short" => {
                    connection.send(format!("{fresh}Content-Length: 10\r\n\r\nshort"));
                    return;
                }
                "/cut" => {
                    connection.send(format!("{fresh}Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"));
                    return;
                }
                "/long" => {
                    connection.send(format!("{fresh}Content-Length: 5\r\n\r\nlonger than that"));
                    return;
                }
                "/large" => {
                    connection.send(format!("{fresh}Transfer-Encoding: chunked\r\n\r\n"));
                    for _ in 0..30 {
                        connection.send(format!("2710\r\n{}\r\n", "x".repeat(10_000)));
                    }
                    connection.send("0\r\n\r\n");
                }
                "/announced" => {
                    connection.send(format!("{fresh}Content-Length: 300000\r\n\r\n"));
                    connection.send("x".repeat(300_000));
                }
                _ => {
                    let many: Vec<String> = (0..40).map(|number| format!("X-{number}")).collect();
                    connection.send(format!("{fresh}Vary: {}\r\nContent-Length: 2\r\n\r\nok", many.join(", ")));
                }
            }
        }
    });
    let proxy = Proxy::start(&build_text("cache-odd", SITE), SITE, &[("app", &origin.address)]);
    for path in ["/short", "/cut"] {
        for _ in 0..2 {
            // An error response, or an incomplete one.
            let mut client = waiting(&proxy, path);
            let head = client.head();
            if head.starts_with("HTTP/1.1 502 ") {
                continue;
            }
            let all = String::from_utf8(client.rest()).expect("text");
            assert!(head.contains("fwd=uri-miss") && !all.ends_with("\r\n0\r\n\r\n"), "{all}");
        }
        let line = proxy.log(&format!("\"path\":\"{path}\""));
        let both = ["\"reason\":\"upstream-truncated\"", "\"cache-reason\":\"truncated\""];
        assert!(both.iter().all(|what| line.contains(what)), "{line}");
    }
    // Bytes after the announced length are not part of the response.
    assert_eq!(asked(&proxy, "GET /long", "").text(), "longe");
    assert_eq!(shown(&asked(&proxy, "GET /long", "")), "200 longe hit");
    for _ in 0..2 {
        let large = asked(&proxy, "GET /large", "");
        assert_eq!((large.status, large.body.len()), (200, 300_000));
        assert!(large.header("cache-status").is_some_and(|status| status.contains("fwd=uri-miss")), "{large:?}");
    }
    assert!(proxy.log("/large").contains("\"cache-reason\":\"too-large\""));
    let announced = asked(&proxy, "GET /announced", "");
    assert_eq!(announced.body.len(), 300_000);
    assert!(announced.header("cache-status").is_some_and(|status| status.ends_with("detail=too-large")));
    assert_eq!(shown(&asked(&proxy, "GET /hostile", "")), "200 ok fwd=uri-miss fwd-status=200 detail=vary");
}

/// Floods of URLs and of variants: memory stays within its bound, and frequently requested responses stay.
#[test]
fn floods() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nVary: X-V\r\nContent-Length: 4000\r\n\r\n{}",
        "x".repeat(4000)
    );
    let origin = Origin::always(answer);
    let proxy = Proxy::start(&build_text("cache-floods", SITE), SITE, &[("app", &origin.address)]);
    let memory = || -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        line.and_then(|kib| kib.parse().ok()).expect("a number")
    };
    let before = memory();
    let mut client = Client::to(proxy.address("listen"));
    let mut ask = |path: &str, value: usize| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nX-V: {value}\r\n\r\n"));
        client.answer()
    };
    for number in 0..4000 {
        ask(&format!("/flood/{number}?{}", "y".repeat(100)), 0);
        ask("/variants", number);
        // Requested all the time.
        ask("/hot", 0);
    }
    assert!(shown(&ask("/hot", 0)).ends_with(" hit"));
    let grown = memory().saturating_sub(before);
    // 4 MiB of store, plus the allocator and connections: not the 40 MB that were received.
    assert!(grown < 16 << 10, "{grown} KiB");
}
