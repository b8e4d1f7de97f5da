//! `slice`: ranges of large responses, fetched and stored in parts of one size (RFC 9110 section 14; RFC 9111 sections 3.3 and 3.4).

use super::partial::{FAILURE, FETCHED, Letters, letters};
use super::*;

const SITE: &str = "\
param listen type=addr
param app type=addr
log access format=json {
    fields path cache cache-reason reason
}
upstream app {
    server (param)app
}
cache-store main memory=\"8MiB\" max-object=\"64KiB\"
site site.test {
    listen (param)listen
    cache main lock=\"20s\" {
        slice \"64KiB\"
        purge \"127.0.0.0/8\"
    }
    proxy app
    route \"/stale/*\" {
        cache main {
            slice \"64KiB\"
            stale if-error=\"1h\"
        }
        proxy app
    }
}
";

/// The ranges that the origin receives for 300,000 bytes.
const ALL: &[&str] = &[
    "bytes=0-65535",
    "bytes=65536-131071 \"v0\"",
    "bytes=131072-196607 \"v0\"",
    "bytes=196608-262143 \"v0\"",
    "bytes=262144-327679 \"v0\"",
];

fn started(length: usize) -> (Letters, Proxy) {
    let letters = Letters::new(length);
    let proxy = Proxy::start(&build_text("cache-slices", SITE), SITE, &[("app", &letters.origin.address)]);
    (letters, proxy)
}

/// Responses that exceed the store's limit are stored slice by slice, and any range is served from these.
#[test]
fn slices_are_fetched_once_and_assembled() {
    let (origin, proxy) = started(300_000);
    origin.check(
        &proxy,
        &[
            ("/a", "", (200, "0..300000", 0), FETCHED, ALL),
            ("/a", "", (200, "0..300000", 0), "hit", &[]),
            ("/a", "Range: bytes=100000-199999", (206, "100000..200000/300000", 0), "hit", &[]),
            ("/a", "Range: bytes=-10", (206, "299990..300000/300000", 0), "hit", &[]),
            ("/a", "Range: bytes=299990-400000", (206, "299990..300000/300000", 0), "hit", &[]),
            ("/a", "Range: bytes=300000-", (416, "0..0/300000", 0), "hit", &[]),
            ("/a", "Range: bytes=1-2;;If-Range: \"v0\"", (206, "1..3/300000", 0), "hit", &[]),
            ("/a", "Range: bytes=1-2;;If-Range: \"v1\"", (200, "0..300000", 0), "hit", &[]),
            ("/a", "Range: bytes=1-2;;If-None-Match: \"v0\"", (304, "", 0), "hit", &[]),
            ("/a", "Range: bytes=1-2,70000-70001", (200, "0..300000", 0), "hit", &[]),
            ("/a", "Range: bytes=x", (200, "0..300000", 0), "hit", &[]),
            ("HEAD /a", "", (200, "", 0), "hit", &[]),
            ("/a", "Cache-Control: only-if-cached", (200, "0..300000", 0), "hit", &[]),
            // Beyond the end, the server decides.
            (
                "/a",
                "Range: bytes=400000-",
                (416, "0..0/300000", 0),
                "fwd=partial fwd-status=416 detail=status",
                &["bytes=393216-458751"],
            ),
            // Only the requested slices, each once.
            ("/b", "Range: bytes=70000-70009", (206, "70000..70010/300000", 0), FETCHED, &["bytes=65536-131071"]),
            ("/b", "Range: bytes=65536-65537", (206, "65536..65538/300000", 0), "hit", &[]),
            ("/b", "Range: bytes=0-70000", (206, "0..70001/300000", 0), FETCHED, &["bytes=0-65535"]),
            (
                "/b",
                "Range: bytes=-1",
                (206, "299999..300000/300000", 0),
                "fwd=partial",
                &["bytes=262144-327679 \"v0\""],
            ),
            ("/b", "", (200, "0..300000", 0), "fwd=partial", &ALL[2..4]),
            ("HEAD /c", "", (200, "", 0), FETCHED, &["bytes=0-65535"]),
            ("/c", "Range: bytes=0-9;;Cache-Control: only-if-cached", (206, "0..10/300000", 0), "hit", &[]),
            ("/d", "Range: bytes=-5", (206, "299995..300000/300000", 0), FETCHED, &[ALL[0], ALL[4]]),
            // Variants.
            ("/vary/a", "X-V: 1;;Range: bytes=0-9", (206, "0..10/300000", 0), FETCHED, &["bytes=0-65535"]),
            ("/vary/a", "X-V: 2;;Range: bytes=0-9", (206, "0..10/300000", 0), FETCHED, &["bytes=0-65535"]),
            ("/vary/a", "X-V: 1;;Range: bytes=5-6", (206, "5..7/300000", 0), "hit", &[]),
            // `No-Vary-Search`.
            ("/search/a?x=1", "", (200, "0..300000", 0), FETCHED, ALL),
            ("/search/a?x=2", "Range: bytes=100000-199999", (206, "100000..200000/300000", 0), "hit", &[]),
            ("/search/a?x=3", "", (200, "0..300000", 0), "hit", &[]),
            // Slices that may be of two versions are not combined.
            ("/weak/a", "Range: bytes=0-9", (206, "0..10/300000", 0), FETCHED, &["bytes=0-65535"]),
            ("/weak/a", "Range: bytes=5-6", (206, "5..7/300000", 0), "hit", &[]),
            (
                "/weak/a",
                "Range: bytes=0-70000",
                (206, "0..70001/300000", 0),
                "fwd=partial fwd-status=206 detail=range",
                &["bytes=0-70000"],
            ),
            ("/weak/a", "", (200, "0..300000", 0), "fwd=vary-miss fwd-status=200 detail=too-large", &["GET"]),
            // An unshareable response is passed through, and not requested in slices again.
            (
                "/private/a",
                "",
                (200, "0..300000", 0),
                "fwd=partial fwd-status=200 detail=private",
                &["bytes=0-65535", "GET"],
            ),
            (
                "/private/a",
                "Range: bytes=70000-70001",
                (206, "70000..70002/300000", 0),
                "fwd=uri-miss fwd-status=206 detail=status",
                &["bytes=70000-70001"],
            ),
            // A server that ignores ranges, with a response that is too large to be stored as a whole.
            (
                "/ignores/a",
                "",
                (200, "0..300000", 0),
                "fwd=partial fwd-status=200 detail=too-large",
                &["bytes=0-65535"],
            ),
        ],
    );
    assert_eq!(asked(&proxy, "GET /c", "Cache-Control: only-if-cached").status, 504);
    for (request, lines) in [("PURGE /a", ""), ("POST /a", "Content-Length: 0"), ("PURGE /", "Purge-Mode: all")] {
        origin.check(&proxy, &[("/a", "Range: bytes=0-9", (206, "0..10/300000", 0), "hit", &[])]);
        assert_eq!(asked(&proxy, request, lines).status, 200);
        origin.seen.lock().expect("a list").clear();
        origin.check(
            &proxy,
            &[("/a", "Range: bytes=70000-70001", (206, "70000..70002/300000", 0), FETCHED, &["bytes=65536-131071"])],
        );
        origin.check(&proxy, &[("/a", "Range: bytes=0-9", (206, "0..10/300000", 0), FETCHED, &["bytes=0-65535"])]);
    }
}

/// Responses that fit into one slice, are empty, or are always sent completely.
#[test]
fn small_responses() {
    let (origin, proxy) = started(1000);
    origin.check(
        &proxy,
        &[
            ("/a", "", (200, "0..1000", 0), FETCHED, &["bytes=0-65535"]),
            ("/a", "Range: bytes=5-9", (206, "5..10/1000", 0), "hit", &[]),
            ("/weak/a", "", (200, "0..1000", 0), FETCHED, &["bytes=0-65535"]),
            ("/weak/a", "Range: bytes=-9", (206, "991..1000/1000", 0), "hit", &[]),
            (
                "/ignores/a",
                "Range: bytes=5-9",
                (206, "5..10/1000", 0),
                "fwd=partial fwd-status=200 stored",
                &["bytes=0-65535"],
            ),
            ("/ignores/a", "", (200, "0..1000", 0), "hit", &[]),
        ],
    );
    let (origin, proxy) = started(0);
    let asked_for: &[&str] = &["bytes=0-65535", "GET"];
    origin.check(&proxy, &[("/a", "", (200, "", 0), "fwd=uri-miss fwd-status=200 stored", asked_for)]);
    // It is complete before it is stored: the next request may join its fetch.
    let again = asked(&proxy, "GET /a", "");
    assert_eq!((again.status, again.text().as_str()), (200, ""));
    assert!(origin.seen.lock().expect("a list").is_empty());
}

/// Stale slices are revalidated one by one; different versions are never mixed.
#[test]
fn stale_and_changed() {
    let (origin, proxy) = started(100_000);
    let (first, second) = ("bytes=0-65535", "bytes=65536-131071 \"v0\"");
    let asked_about = "fwd=stale fwd-status=304";
    origin.check(
        &proxy,
        &[
            ("/stale/a", "", (200, "0..100000", 0), FETCHED, &[first, second]),
            ("/stale/a", "Range: bytes=0-9", (206, "0..10/100000", 0), asked_about, &[first]),
            ("/stale/a", "", (200, "0..100000", 0), asked_about, &[first, "bytes=65536-131071"]),
            ("/a", "Range: bytes=0-9", (206, "0..10/100000", 0), FETCHED, &[first]),
        ],
    );
    origin.version.store(FAILURE, Ordering::SeqCst);
    origin.check(
        &proxy,
        &[
            ("/stale/a", "", (200, "0..100000", 0), "hit detail=if-error", &[first, "bytes=65536-131071"]),
            ("/a", "Range: bytes=0-9", (206, "0..10/100000", 0), "hit", &[]),
        ],
    );
    origin.version.store(1, Ordering::SeqCst);
    // The first slice was stored, and is sent when another version is noticed.
    for path in ["/a", "/whole/a"] {
        origin.version.store(0, Ordering::SeqCst);
        assert_eq!(asked(&proxy, &format!("GET {path}"), "Range: bytes=0-9").status, 206);
        origin.version.store(1, Ordering::SeqCst);
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n"));
        let head = client.head();
        let body = String::from_utf8(client.rest()).expect("letters");
        assert!(head.contains("Content-Length: 100000") || head.contains("content-length: 100000"), "{head}");
        assert!(body.len() <= 65_536 && body == letters(0, 0..body.len()), "{path}: mixed");
        let line = proxy.log(&format!("\"path\":\"{path}\",\"cache\":\"miss\",\"reason\":"));
        assert!(line.contains("\"reason\":\"upstream-changed\""), "{line}");
        let answer = asked(&proxy, &format!("GET {path}"), "");
        assert!(answer.text() == letters(1, 0..100_000), "{path}: mixed");
    }
    origin.seen.lock().expect("a list").clear();
    let asked_again: &[&str] = &[first, "bytes=65536-131071 \"v1\""];
    origin.check(&proxy, &[("/stale/a", "", (200, "0..100000", 1), FETCHED, asked_again)]);
}

/// Each slice is fetched once for all requests that need it.
#[test]
fn one_fetch_for_many() {
    const MANY: usize = 30;
    const LENGTH: usize = 300_000;
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let origin = {
        let (gate, seen) = (Arc::clone(&gate), Arc::clone(&seen));
        Origin::new(move |mut connection, _| {
            while let Some(request) = connection.request() {
                let range =
                    value_of(&request, "range").and_then(|range| range.strip_prefix("bytes=")).expect("a range");
                seen.lock().expect("a list").push(range.to_owned());
                let (first, last) = range.split_once('-').expect("a range");
                let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().expect("a number"));
                let part = first..LENGTH.min(last + 1);
                connection.send(format!(
                    "HTTP/1.1 206 X\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{}/{LENGTH}\r\nETag: \"v0\"\r\n\
                     Cache-Control: max-age=60\r\n\r\n{}",
                    part.len(),
                    part.end - 1,
                    letters(0, first..first + 9)
                ));
                let mut open = gate.0.lock().expect("a gate");
                while !*open {
                    open = gate.1.wait(open).expect("a gate");
                }
                drop(open);
                connection.send(letters(0, first + 9..part.end));
            }
        })
    };
    let proxy = Proxy::start(&build_text("cache-slices", SITE), SITE, &[("app", &origin.address)]);
    let barrier = Arc::new(Barrier::new(MANY + 1));
    let clients: Vec<_> = (0..MANY)
        .map(|number| {
            let (address, barrier) = (proxy.address("listen").to_owned(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let mut client = Client::to(&address);
                let (range, wanted) = match number % 3 {
                    0 => (String::new(), 0..LENGTH),
                    1 => ("Range: bytes=10-199999\r\n".to_owned(), 10..200_000),
                    _ => ("Range: bytes=5-6\r\n".to_owned(), 5..7),
                };
                client.send(format!("GET /slow HTTP/1.1\r\nHost: site.test\r\nX-Number: {number}\r\n{range}\r\n"));
                let head = client.head();
                // All have the head, and none the rest.
                barrier.wait();
                let body = String::from_utf8(client.exactly(wanted.len())).expect("text");
                assert!(body == letters(0, wanted), "another body: {head}");
                head.contains("; collapsed")
            })
        })
        .collect();
    barrier.wait();
    assert_eq!(*seen.lock().expect("a list"), ["0-65535"]);
    *gate.0.lock().expect("a gate") = true;
    gate.1.notify_all();
    let collapsed =
        clients.into_iter().map(|client| client.join().expect("an answer")).filter(|joined| *joined).count();
    assert_eq!(collapsed, MANY - 1);
    let mut seen = seen.lock().expect("a list").clone();
    seen.sort();
    assert_eq!(seen, ["0-65535", "131072-196607", "196608-262143", "262144-327679", "65536-131071"]);
}
