//! Stored parts of responses, which are used and completed (RFC 9111 sections 3.3 and 3.4; RFC 9110 sections 14 and
//! 15.3.7).

use std::time::{Duration, Instant};

use kiln_tests::proxy::PATIENCE;

use super::*;

/// An origin with representations of letters, which serves ranges of them, and records requests.
pub(super) struct Letters {
    pub(super) origin: Origin,
    pub(super) version: Arc<AtomicUsize>,
    /// `Range` and `If-Range` of each request, or its method if it has none.
    pub(super) seen: Arc<Mutex<Vec<String>>>,
}

/// The version for which the server fails.
pub(super) const FAILURE: usize = 9;

/// The content of a version.
pub(super) fn letters(version: usize, range: std::ops::Range<usize>) -> String {
    range.map(|at| char::from(b'a' + ((at + 7 * version) % 26) as u8)).collect()
}

/// The range that a `Range` selects of a body of this length.
fn named(range: &str, length: usize) -> Option<std::ops::Range<usize>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let part = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => first..length.min(last + 1),
        (Ok(first), Err(_)) => first..length,
        (Err(_), Ok(suffix)) => length.saturating_sub(suffix)..length,
        _ => return None,
    };
    Some(part)
}

/// Path and lines of a request; its status, part and version; the cache's result; and the requests to the origin.
type Step<'s> = (&'s str, &'s str, (u16, &'s str, usize), &'s str, &'s [&'s str]);

impl Letters {
    /// The path selects the response: `weak`, `dated`, `young`, `bare`, `ignores`, `whole`, `vary`, `search`, `private`, `stale`;
    /// the rest of it is arbitrary. Version 9 is a failure.
    pub(super) fn new(length: usize) -> Letters {
        let (version, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (current, record) = (Arc::clone(&version), Arc::clone(&seen));
        let origin = Origin::new(move |mut connection, _| {
            while let Some(request) = connection.request() {
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let field = |name: &str| value_of(&request, name).map(str::to_owned);
                let (range, if_range) = (field("range"), field("if-range"));
                let asked = [range.clone(), if_range.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ");
                let method = request.split(' ').next().unwrap_or_default();
                record.lock().expect("a list").push(if asked.is_empty() { method.to_owned() } else { asked });
                let version = current.load(Ordering::SeqCst);
                let tag = format!("\"v{version}\"");
                let modified = format!("Sun, 06 Nov 1994 08:4{version}:37 GMT");
                let validators = match path.split('/').nth(1).unwrap_or_default() {
                    "weak" => format!("ETag: W/{tag}\r\n"),
                    "dated" => format!("Last-Modified: {modified}\r\n"),
                    "young" => "Last-Modified: Fri, 05 Nov 2094 08:49:37 GMT\r\n".to_owned(),
                    "bare" => String::new(),
                    "vary" => format!("ETag: {tag}\r\nVary: X-V\r\n"),
                    "search" => format!("ETag: {tag}\r\nNo-Vary-Search: params=(\"x\")\r\n"),
                    _ => format!("ETag: {tag}\r\n"),
                };
                let control = match path.split('/').nth(1).unwrap_or_default() {
                    "private" => "private",
                    "stale" => "max-age=0",
                    _ => "max-age=99999999",
                };
                let fresh = format!("{validators}Cache-Control: {control}\r\n");
                if version == FAILURE {
                    connection.send("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n");
                    continue;
                }
                if field("if-none-match").is_some_and(|said| said == tag) {
                    connection.send(format!("HTTP/1.1 304 X\r\n{fresh}\r\n"));
                    continue;
                }
                let is_meant =
                    path.starts_with("/whole") || if_range.is_none_or(|said| said == tag || said == modified);
                let part = range.filter(|_| is_meant && !path.starts_with("/ignores"));
                match part.and_then(|range| named(&range, length)) {
                    Some(part) if part.start >= length => connection.send(format!(
                        "HTTP/1.1 416 X\r\nContent-Length: 0\r\nCache-Control: max-age=60\r\nContent-Range: bytes */{length}\r\n\r\n"
                    )),
                    Some(part) => connection.send(format!(
                        "HTTP/1.1 206 X\r\nContent-Length: {}\r\nContent-Range: bytes {}-{}/{length}\r\n{fresh}\r\n{}",
                        part.len(),
                        part.start,
                        part.end - 1,
                        letters(version, part.clone())
                    )),
                    None if path.starts_with("/cut") && version == 0 && path.len() > 4 => {
                        let sent = letters(version, 0..path[5..].parse().expect("a number"));
                        connection.send(format!("HTTP/1.1 200 X\r\nContent-Length: {length}\r\n{fresh}\r\n{sent}"));
                        return;
                    }
                    None => {
                        let body = letters(version, 0..length);
                        connection.send(format!("HTTP/1.1 200 X\r\nContent-Length: {length}\r\n{fresh}\r\n{body}"));
                    }
                }
            }
        });
        Letters { origin, version, seen }
    }

    /// Requests, one after another.
    pub(super) fn check(&self, proxy: &Proxy, steps: &[Step<'_>]) {
        for (step, (path, lines, (status, part, version), says, asked_for)) in steps.iter().enumerate() {
            let (method, path) = path.split_once(' ').unwrap_or(("GET", path));
            let until = Instant::now() + PATIENCE;
            let answer = loop {
                let answer = asked(proxy, &format!("{method} {path}"), lines);
                // A response that was fetched for HEAD is stored a moment after its client has the response.
                let early = answer.status == 504 && *status != 504 && lines.contains("only-if-cached");
                if !early || Instant::now() > until {
                    break answer;
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            let context = format!("step {step}: {method} {path} {lines}\n{} {:?}", answer.status, answer.headers);
            let (range, total) = part.split_once('/').unwrap_or((part, ""));
            let (first, end) = range.split_once("..").unwrap_or(("0", "0"));
            let (first, end): (usize, usize) = (first.parse().expect("a number"), end.parse().expect("a number"));
            let said = (!total.is_empty() && end > 0).then(|| format!("bytes {first}-{}/{total}", end - 1));
            let nothing = (*status == 416).then(|| format!("bytes */{total}"));
            assert_eq!(answer.status, *status, "{context}");
            assert_eq!(answer.header("content-range").map(str::to_owned), said.or(nothing), "{context}");
            assert!(answer.text() == letters(*version, first..end), "another body: {context}");
            let shown = shown(&answer);
            assert!(shown.ends_with(&format!(" {says}")), "{says}: {context}");
            assert_eq!(std::mem::take(&mut *self.seen.lock().expect("a list")), *asked_for, "{context}");
        }
    }
}

pub(super) const FETCHED: &str = "fwd=partial fwd-status=206 stored";

/// Ranges within stored parts are served from the cache; with a strong validator, missing parts are fetched; and the whole is
/// complete.
#[test]
fn parts_are_used_and_completed() {
    let letters = Letters::new(100);
    let proxy = Proxy::start(&build_text("cache-partial", SITE), SITE, &[("app", &letters.origin.address)]);
    letters.check(
        &proxy,
        &[
            ("/a", "Range: bytes=-60", (206, "40..100/100", 0), FETCHED, &["bytes=-60"]),
            ("/a", "Range: bytes=-60", (206, "40..100/100", 0), "hit", &[]),
            ("/a", "Range: bytes=50-59", (206, "50..60/100", 0), "hit", &[]),
            ("/a", "Range: bytes=90-", (206, "90..100/100", 0), "hit", &[]),
            ("/a", "Range: bytes=-1", (206, "99..100/100", 0), "hit", &[]),
            ("/a", "Range: bytes=99-200", (206, "99..100/100", 0), "hit", &[]),
            ("/a", "Range: bytes=100-", (416, "0..0/100", 0), "hit", &[]),
            ("/a", "Range: bytes=50-59;;If-Range: \"v0\"", (206, "50..60/100", 0), "hit", &[]),
            ("/a", "Range: bytes=50-59;;If-None-Match: \"v0\"", (304, "", 0), "hit", &[]),
            ("HEAD /a", "", (200, "", 0), "hit", &[]),
            // Half of it is stored: the other half is fetched. Less than half of the whole is stored.
            ("/a", "Range: bytes=30-49", (206, "30..50/100", 0), FETCHED, &["bytes=30-39 \"v0\""]),
            ("/a", "Range: bytes=25-99", (206, "25..100/100", 0), FETCHED, &["bytes=25-29 \"v0\""]),
            ("/a", "", (200, "0..100", 0), FETCHED, &["bytes=0-24 \"v0\""]),
            ("/a", "", (200, "0..100", 0), "hit", &[]),
            ("/a", "Range: bytes=1-98", (206, "1..99/100", 0), "hit", &[]),
            ("/a", "Range: bytes=1-98;;If-Range: \"v1\"", (200, "0..100", 0), "hit", &[]),
            ("/a", "Cache-Control: only-if-cached", (200, "0..100", 0), "hit", &[]),
            // Little is stored: all is fetched.
            ("/b", "Range: bytes=-5", (206, "95..100/100", 0), FETCHED, &["bytes=-5"]),
            ("/b", "", (200, "0..100", 0), "fwd=vary-miss fwd-status=200 stored", &["GET"]),
            ("/b", "Range: bytes=-5", (206, "95..100/100", 0), "hit", &[]),
            // A strong date is a validator, too.
            ("/dated/a", "Range: bytes=-60", (206, "40..100/100", 0), FETCHED, &["bytes=-60"]),
            ("/dated/a", "", (200, "0..100", 0), FETCHED, &["bytes=0-39 Sun, 06 Nov 1994 08:40:37 GMT"]),
            // Parts that may be of two versions are not combined, but used individually.
            ("/weak/a", "Range: bytes=-60", (206, "40..100/100", 0), FETCHED, &["bytes=-60"]),
            ("/weak/a", "Range: bytes=50-59", (206, "50..60/100", 0), "hit", &[]),
            ("/weak/a", "", (200, "0..100", 0), "fwd=vary-miss fwd-status=200 stored", &["GET"]),
            ("/bare/a", "Range: bytes=-60", (206, "40..100/100", 0), FETCHED, &["bytes=-60"]),
            ("/bare/a", "Range: bytes=-1", (206, "99..100/100", 0), "hit", &[]),
            ("/bare/a", "", (200, "0..100", 0), "fwd=vary-miss fwd-status=200 stored", &["GET"]),
            ("/young/a", "Range: bytes=-60", (206, "40..100/100", 0), FETCHED, &["bytes=-60"]),
            ("/young/a", "", (200, "0..100", 0), "fwd=vary-miss fwd-status=200 stored", &["GET"]),
            // Each variant has its own parts.
            ("/vary/a", "X-V: 1;;Range: bytes=-60", (206, "40..100/100", 0), FETCHED, &["bytes=-60"]),
            ("/vary/a", "X-V: 1;;Range: bytes=-9", (206, "91..100/100", 0), "hit", &[]),
            ("/vary/a", "X-V: 2;;Range: bytes=-9", (206, "91..100/100", 0), FETCHED, &["bytes=-9"]),
            ("/vary/a", "X-V: 1", (200, "0..100", 0), FETCHED, &["bytes=0-39 \"v0\""]),
            // Parts are stored under the URL that `No-Vary-Search` determines.
            ("/search/a?x=1", "Range: bytes=-60", (206, "40..100/100", 0), FETCHED, &["bytes=-60"]),
            ("/search/a?x=2", "Range: bytes=-9", (206, "91..100/100", 0), "hit", &[]),
            ("/search/a?x=3", "", (200, "0..100", 0), FETCHED, &["bytes=0-39 \"v0\""]),
            ("/search/a?x=1", "", (200, "0..100", 0), "hit", &[]),
            ("/search/a?x=1&y=1", "Range: bytes=-9", (206, "91..100/100", 0), FETCHED, &["bytes=-9"]),
            // A server that ignores ranges: the whole is stored, and the range is served from it.
            (
                "/ignores/a",
                "Range: bytes=-60",
                (206, "40..100/100", 0),
                "fwd=partial fwd-status=200 stored",
                &["bytes=-60"],
            ),
            ("/ignores/a", "", (200, "0..100", 0), "hit", &[]),
            // An unsatisfiable range is not stored.
            (
                "/far",
                "Range: bytes=2000000-",
                (416, "0..0/100", 0),
                "fwd=partial fwd-status=416 detail=status",
                &["bytes=2000000-"],
            ),
            ("/far", "", (200, "0..100", 0), "fwd=uri-miss fwd-status=200 stored", &["GET"]),
        ],
    );
    // Purges and unsafe requests apply to parts, too.
    for (request, lines) in [("PURGE /c", ""), ("PURGE /", "Purge-Mode: all"), ("POST /c", "Content-Length: 0")] {
        letters.check(&proxy, &[("/c", "Range: bytes=-60", (206, "40..100/100", 0), FETCHED, &["bytes=-60"])]);
        assert_eq!(asked(&proxy, request, lines).status, 200);
        letters.seen.lock().expect("a list").clear();
    }
}

/// A response that was cut short is stored as a part, and completed. Different versions are never mixed.
#[test]
fn cut_short_and_changed() {
    let letters = Letters::new(60_000);
    let proxy = Proxy::start(&build_text("cache-partial", SITE), SITE, &[("app", &letters.origin.address)]);
    let cut = |path: &str| {
        letters.version.store(0, Ordering::SeqCst);
        let mut client = Client::to(proxy.address("listen"));
        client.send(format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n"));
        client.rest();
        proxy.log(&format!("\"path\":\"{path}\""));
        assert_eq!(std::mem::take(&mut *letters.seen.lock().expect("a list")), ["GET"]);
    };
    cut("/cut/40000");
    letters.check(
        &proxy,
        &[
            ("/cut/40000", "Range: bytes=0-39999", (206, "0..40000/60000", 0), "hit", &[]),
            ("/cut/40000", "", (200, "0..60000", 0), "fwd=partial", &["bytes=40000-59999 \"v0\""]),
            ("/cut/40000", "", (200, "0..60000", 0), "hit", &[]),
        ],
    );
    // The first part was already sent when another version is noticed: the response ends, and the next one is new.
    cut("/cut/40001");
    letters.version.store(1, Ordering::SeqCst);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET /cut/40001 HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n");
    let head = client.head();
    let body = String::from_utf8(client.rest()).expect("letters");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.len() <= 40_001, "{head}{}", body.len());
    assert!(body == super::partial::letters(0, 0..body.len()), "mixed");
    proxy.log("\"reason\":\"upstream-changed\"");
    let changed: &[&str] = &["bytes=40001-59999 \"v0\""];
    assert_eq!(std::mem::take(&mut *letters.seen.lock().expect("a list")), changed);
    let answer = asked(&proxy, "GET /cut/40001", "");
    assert!(answer.text() == super::partial::letters(1, 0..60_000), "mixed");
    // Nothing was sent yet: the response is the new version, whether the server supports `If-Range` or not.
    for path in ["/x", "/whole/x"] {
        letters.version.store(0, Ordering::SeqCst);
        letters.seen.lock().expect("a list").clear();
        letters.check(
            &proxy,
            &[(path, "Range: bytes=-40000", (206, "20000..60000/60000", 0), FETCHED, &["bytes=-40000"])],
        );
        letters.version.store(1, Ordering::SeqCst);
        let answer = asked(&proxy, &format!("GET {path}"), "");
        assert!(answer.text() == super::partial::letters(1, 0..60_000), "mixed: {path}");
        letters.seen.lock().expect("a list").clear();
        letters.check(&proxy, &[(path, "Range: bytes=-9", (206, "59991..60000/60000", 1), "hit", &[])]);
    }
}
