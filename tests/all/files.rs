//! `files`: serves the files of a folder and nothing else, for any requested path.

mod or_else;
mod send_file;

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use kiln_tests::client::{Answer, Client, ask, get};
use kiln_tests::kiln::{scratch, workspace};
use kiln_tests::proxy::{PATIENCE, Proxy};

const SITE: &str = "\
param listen type=addr
param root type=string
listen (param)listen
log access {
    fields path status reason bytes
}
error-page 404 (file)\"/dev/null\"
site * {
    limits encoded-slash=#true
    route \"/plain/*\" {
        files (param)root
    }
    route \"/all/*\" {
        files (param)root index=\"start.html\" listing=#true dotfiles=#true symlinks=#true precompressed=#true immutable=#true
        response-headers {
            set X-Served yes
        }
    }
    route \"/list/*\" {
        files (param)root listing=#true
    }
    route \"/app/*\" {
        files (param)root fallback=\"/app.html\"
    }
    route \"/robots.txt\" {
        files (param)root
    }
    route \"/missing/*\" {
        files \"/nowhere/at/all\"
    }
}
";

/// A folder with all the difficult cases, and a proxy that serves it.
struct Served {
    proxy: Proxy,
    root: PathBuf,
}

impl Served {
    fn new(name: &str) -> Served {
        let outside = scratch(&format!("files-{name}"));
        let root = outside.join("root");
        let write = |path: &str, text: &[u8]| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(&path, text).expect("written");
            settle(&path);
        };
        std::fs::write(outside.join("secret.txt"), "secret\n").expect("written");
        write("index.html", b"<p>home\n");
        write("app.html", b"<p>app\n");
        write("robots.txt", b"robots\n");
        write("a b/ä.txt", b"blank\n");
        write("a b/<&>/film.vtt", b"WEBVTT\n");
        write("sub/index.html", b"<p>sub\n");
        write("sub/start.html", b"<p>start\n");
        write("empty/keep", b"");
        write(".git/config", b"hidden\n");
        write("app-3f9ac01b.js", b"let a = 1;\n");
        write("alphabet.txt", b"abcdefghijklmnopqrstuvwxyz");
        write("large.bin", &(0..1_000_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<u8>>());
        write("pre.css", b"body { color: black; }\n");
        write("pre.css.br", b"brotli, so to say");
        write("pre.css.gz", b"gzip, so to say");
        write("stale.css", b"new\n");
        write("stale.css.gz", b"old");
        let old = std::fs::File::options().write(true).open(root.join("stale.css.gz")).expect("opened");
        old.set_modified(SystemTime::now() - Duration::from_secs(1000)).expect("set");
        symlink("../../secret.txt", root.join("sub/out")).expect("linked");
        symlink(outside.join("secret.txt"), root.join("absolute")).expect("linked");
        symlink("sub", root.join("inside")).expect("linked");
        symlink("/", root.join("top")).expect("linked");
        let status = std::process::Command::new("mkfifo").arg(root.join("pipe")).status().expect("mkfifo runs");
        assert!(status.success());
        let proxy = Proxy::of_text(&format!("files-{name}"), SITE, &[("root", root.to_str().expect("text"))]);
        Served { proxy, root }
    }

    fn get(&self, path: &str) -> Answer {
        get(self.proxy.address("listen"), "a.test", path)
    }

    fn ask(&self, path: &str, fields: &str) -> Answer {
        ask(
            self.proxy.address("listen"),
            &format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n"),
        )
    }

    /// Checks the status and the body.
    fn check(&self, path: &str, status: u16, text: &str) {
        let answer = self.get(path);
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{path}: {:?}", answer.headers);
    }
}

/// Sets a file's modification time back, so that its tag is a strong one.
fn settle(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).expect("opened");
    file.set_modified(SystemTime::now() - Duration::from_secs(100)).expect("set");
}

#[test]
fn files_that_exist() {
    let served = Served::new("there");
    served.check("/plain/", 200, "<p>home\n");
    served.check("/plain/index.html", 200, "<p>home\n");
    served.check("/plain/sub/", 200, "<p>sub\n");
    served.check("/all/sub/", 200, "<p>start\n");
    served.check("/plain/a%20b/%C3%A4.txt", 200, "blank\n");
    served.check("/robots.txt", 200, "robots\n");
    served.check("/plain/nothing", 404, "");
    served.check("/plain/nothing/", 404, "");
    served.check("/plain/robots.txt/", 404, "");
    served.check("/plain/robots.txt/x", 404, "");
    served.check("/plain/empty/", 404, "");
    served.check("/plain/empty/keep", 200, "");
    served.check("/app/some/where", 200, "<p>app\n");
    served.check("/app/robots.txt", 200, "robots\n");
    served.check("/missing/x", 500, "500 Internal Server Error\n");
    served.proxy.log("\"reason\":\"file-unreadable\"");
    served.proxy.log("\"reason\":\"no-file\"");
    // Folders without a trailing slash are redirected.
    for (path, location) in
        [("/plain", "/plain/"), ("/plain/sub?a=1", "/plain/sub/?a=1"), ("//plain/sub", "/plain/sub/")]
    {
        let answer = served.get(path);
        assert_eq!((answer.status, answer.header("location")), (308, Some(location)), "{path}");
    }
    // A listing of a folder.
    let list = served.get("/all/empty/");
    assert_eq!((list.status, list.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(
        list.text().contains("<a href=\"./keep\">keep</a>") && list.text().contains("<a href=\"../\">"),
        "{}",
        list.text()
    );
    // Headings are decoded and escaped.
    let list = served.get("/all/a%20b/%3C%26%3E/").text();
    assert!(list.contains("<title>/all/a b/&lt;&amp;&gt;/</title>"), "{list}");
    assert!(list.contains("<h1>/all/a b/&lt;&amp;&gt;/</h1>"), "{list}");
    assert_eq!(served.get("/all/a%20b/%3C%26%3E/film.vtt").header("content-type"), Some("text/vtt; charset=utf-8"));
    let list = served.get("/all/");
    assert_eq!(list.status, 200);
    assert!(
        list.text().contains("<a href=\"./.git/\">") && !list.text().contains("pipe") && !list.text().contains("../")
    );
    // Only GET and HEAD are allowed.
    let post = ask(
        served.proxy.address("listen"),
        "POST /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    let mut client = Client::to(served.proxy.address("listen"));
    client.send("HEAD /plain/alphabet.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.answer_to("HEAD");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("26"), 0));
}

#[test]
fn files_that_must_not_be_served() {
    let served = Served::new("not");
    // Links, hidden names and pipes are not found.
    for path in ["sub/out", "absolute", "inside/index.html", "top/etc/passwd", ".git/config", ".git/", "pipe"] {
        served.check(&format!("/plain/{path}"), 404, "");
    }
    // Links that are followed do not lead out of the folder.
    for path in ["sub/out", "absolute", "top/etc/passwd", "pipe"] {
        served.check(&format!("/all/{path}"), 404, "");
    }
    served.check("/all/inside/start.html", 200, "<p>start\n");
    served.check("/all/.git/config", 200, "hidden\n");
    // CVE-2021-41773 and CVE-2021-42013, CVE-2018-7490, CVE-2017-14849 and similar ones; `encoded-slash` is on.
    for path in [
        "/plain/../../secret.txt",
        "/plain/.%2e/.%2e/secret.txt",
        "/plain/%2e%2e/%2e%2e/secret.txt",
        "/plain/..%2f..%2fsecret.txt",
        "/plain/..%2F..%2Fsecret.txt",
        "/plain/%%32%65%%32%65/secret.txt",
        "/plain/%252e%252e/secret.txt",
        "/plain/..%5c..%5csecret.txt",
        "/plain/sub%2findex.html",
        "/plain/..%c0%af..%c0%afsecret.txt",
        "/plain/%c0%ae%c0%ae/secret.txt",
        "/plain/..;/..;/secret.txt",
        "/plain/sub/..%00/../../secret.txt",
        "/plain//etc/passwd",
        "/plain/etc/passwd",
        "/all/sub/../../../secret.txt",
    ] {
        let answer = served.get(path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {} {}", answer.status, answer.text());
        assert!(!answer.text().contains("secret"), "{path}");
    }
}

/// A file that is replaced by a link during requests is either served or not found; the link's target never is served.
#[test]
fn races() {
    let served = Served::new("races");
    let (target, link) = (served.root.join("turn"), served.root.join("link"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::write(&link, "mine\n").expect("written");
                std::fs::rename(&link, &target).expect("renamed");
                symlink("../secret.txt", &link).expect("linked");
                std::fs::rename(&link, &target).expect("renamed");
            }
        });
        for _ in 0..500 {
            let answer = served.get("/plain/turn");
            // The file may also be empty, as it is just being written.
            let right = matches!((answer.status, answer.text().as_str()), (200, "mine\n" | "") | (404, ""));
            stop.fetch_or(!right, std::sync::atomic::Ordering::Relaxed);
            assert!(right, "{} {}", answer.status, answer.text());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn ranges_and_conditions() {
    let served = Served::new("parts");
    let path = "/plain/alphabet.txt";
    let whole = served.get(path);
    let (tag, date) =
        (whole.header("etag").expect("a tag").to_owned(), whole.header("last-modified").expect("a date").to_owned());
    assert!(tag.starts_with('"'), "{tag}");
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(whole.header("content-type"), Some("text/plain; charset=utf-8"));
    let check = |fields: &str, status: u16, text: &str| {
        let answer = served.ask(path, fields);
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{fields} {:?}", answer.headers);
        answer
    };
    const ALL: &str = "abcdefghijklmnopqrstuvwxyz";
    check(&format!("If-None-Match: {tag}\r\n"), 304, "");
    check(&format!("If-None-Match: W/{tag}\r\n"), 304, "");
    check("If-None-Match: \"x\"\r\n", 200, ALL);
    check(&format!("If-Modified-Since: {date}\r\n"), 304, "");
    check("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 200, ALL);
    check(&format!("If-Match: {tag}\r\n"), 200, ALL);
    check("If-Match: \"x\"\r\n", 412, "412 Precondition Failed\n");
    check("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 412, "412 Precondition Failed\n");
    let part = check("Range: bytes=2-4\r\n", 206, "cde");
    assert_eq!(part.header("content-range"), Some("bytes 2-4/26"));
    check("Range: bytes=-2\r\n", 206, "yz");
    check(&format!("Range: bytes=2-4\r\nIf-Range: {tag}\r\n"), 206, "cde");
    check("Range: bytes=2-4\r\nIf-Range: \"x\"\r\n", 200, ALL);
    // Only exactly the same date matches (RFC 9110 section 13.1.5), not a later one.
    check(&format!("Range: bytes=2-4\r\nIf-Range: {date}\r\n"), 206, "cde");
    for other in ["Sun, 06 Nov 1994 08:49:37 GMT", "Thu, 31 Dec 2099 23:59:59 GMT", "soon", "", &format!("W/{tag}")] {
        check(&format!("Range: bytes=2-4\r\nIf-Range: {other}\r\n"), 200, ALL);
    }
    check(&format!("Range: bytes=26-\r\nIf-Range: {date}\r\n"), 416, "");
    // A suffix range of an empty file is the whole of it; no other range can be satisfied (section 14.1.2).
    for (range, status) in
        [("-5", 200), ("-1", 200), ("0-,-1", 200), ("0-", 416), ("0-0", 416), ("5-", 416), ("-0", 416)]
    {
        let none = served.ask("/plain/empty/keep", &format!("Range: bytes={range}\r\n"));
        assert_eq!((none.status, none.text().as_str()), (status, ""), "{range} {:?}", none.headers);
        assert_eq!(none.header("content-range"), (status == 416).then_some("bytes */0"), "{range}");
    }
    // A file that was just written may change again within the second, so its date is no strong validator (section
    // 8.8.2.2).
    std::fs::write(served.root.join("fresh.txt"), "fresh").expect("written");
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let fresh = std::fs::File::options().write(true).open(served.root.join("fresh.txt")).expect("opened");
    fresh.set_modified(tomorrow).expect("set");
    let written = served.get("/plain/fresh.txt").header("last-modified").expect("a date").to_owned();
    let answer = served.ask("/plain/fresh.txt", &format!("Range: bytes=1-2\r\nIf-Range: {written}\r\n"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "fresh"));
    let none = check("Range: bytes=26-\r\n", 416, "");
    assert_eq!(none.header("content-range"), Some("bytes */26"));
    let parts = served.ask(path, "Range: bytes=0-1,-1\r\n");
    assert_eq!(parts.status, 206);
    let boundary =
        parts.header("content-type").and_then(|kind| kind.split_once("boundary=")).expect("a boundary").1.to_owned();
    let part = |range: &str, text: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes {range}/26\r\n\r\n{text}"
        )
    };
    assert_eq!(parts.text(), part("0-1", "ab") + &part("25-25", "z") + &format!("\r\n--{boundary}--\r\n"));
    // Thousands of ranges: the response is the whole file, once.
    let many: Vec<String> = (0..1000).map(|at| format!("{at}-{at}")).collect();
    check(&format!("Range: bytes={}\r\n", many.join(",")), 200, ALL);
    // A large file, whole and in part.
    let large = served.get("/plain/large.bin");
    assert_eq!(large.body.len(), 4_000_000);
    assert!(large.body.chunks(4).zip(0_u32..).all(|(found, expected)| found == expected.to_be_bytes()));
    let part = served.ask("/plain/large.bin", "Range: bytes=1999996-2000003\r\n");
    assert_eq!(part.body, [499_999_u32.to_be_bytes(), 500_000_u32.to_be_bytes()].concat());
    // A file that was just changed has a weak tag.
    std::fs::File::create(served.root.join("fresh.txt")).and_then(|mut file| file.write_all(b"x")).expect("written");
    assert!(served.get("/plain/fresh.txt").header("etag").is_some_and(|tag| tag.starts_with("W/")));
}

#[test]
fn precompressed_files() {
    let served = Served::new("compressed");
    let check = |path: &str, accept: &str, encoding: Option<&str>, text: &str| {
        let answer = served.ask(path, &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!((answer.header("content-encoding"), answer.text().as_str()), (encoding, text), "{path} {accept}");
        answer
    };
    let br = check("/all/pre.css", "gzip, br", Some("br"), "brotli, so to say");
    assert_eq!(
        (br.header("vary"), br.header("content-type")),
        (Some("Accept-Encoding"), Some("text/css; charset=utf-8"))
    );
    let gzip = check("/all/pre.css", "gzip, br;q=0", Some("gzip"), "gzip, so to say");
    assert_ne!(br.header("etag"), gzip.header("etag"));
    check("/all/pre.css", "identity", None, "body { color: black; }\n");
    check("/all/stale.css", "gzip", None, "new\n");
    check("/plain/pre.css", "br", None, "body { color: black; }\n");
    // The tag is that of the compressed bytes: they may be made again while the file stays.
    let now = SystemTime::now();
    let write = |name: &str, content: &str, modified: SystemTime| {
        let path = served.root.join(name);
        std::fs::write(&path, content).expect("written");
        let file = std::fs::File::options().write(true).open(path).expect("opened");
        file.set_modified(modified).expect("set");
    };
    let made = |name: &str, modified: SystemTime| {
        write(&format!("{name}.css"), "plain", now - Duration::from_secs(100));
        write(&format!("{name}.css.br"), "coded", modified);
        let answer = check(&format!("/all/{name}.css"), "br", Some("br"), "coded");
        let field = |name: &str| answer.header(name).expect("a field").to_owned();
        (field("etag"), field("last-modified"))
    };
    let (earlier, later) =
        (made("earlier", now - Duration::from_secs(60)), made("later", now - Duration::from_secs(50)));
    let ahead = made("ahead", now + Duration::from_secs(3600));
    assert!(earlier.0 != later.0 && !earlier.0.starts_with("W/") && earlier.1 == later.1, "{earlier:?} {later:?}");
    assert!(ahead.0.starts_with("W/") && ahead.1 == later.1, "{ahead:?}");
    let hashed = served.get("/all/app-3f9ac01b.js");
    assert_eq!(hashed.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(hashed.header("x-served"), Some("yes"));
    assert_eq!(served.get("/all/alphabet.txt").header("cache-control"), None);
    assert_eq!(served.get("/plain/app-3f9ac01b.js").header("cache-control"), None);
}

/// Soon after a folder is replaced (here by renaming a link), the new one is served.
#[test]
fn a_new_release() {
    let outside = scratch("files-release");
    for release in ["1", "2"] {
        std::fs::create_dir_all(outside.join(release)).expect("made");
        std::fs::write(outside.join(release).join("index.html"), release).expect("written");
    }
    symlink("1", outside.join("current")).expect("linked");
    let root = outside.join("current");
    let site = format!("process {{\n    workers 1\n}}\n{SITE}");
    let proxy = Proxy::of_text("files-release", &site, &[("root", root.to_str().expect("text"))]);
    let get = || get(proxy.address("listen"), "a.test", "/plain/").text();
    assert_eq!(get(), "1");
    symlink("2", outside.join("next")).expect("linked");
    std::fs::rename(outside.join("next"), &root).expect("renamed");
    // What a worker has found is used for a second.
    let began = Instant::now();
    while get() == "1" {
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(get(), "2");
}

/// What was found is used for a second at most: when a folder is replaced by one with other files, which have not changed for long, these are
/// served soon, and until then whole responses of the old one.
#[test]
fn replaced_files() {
    let outside = scratch("files-replaced");
    let folders = ["proxy-runtime", "proxy-build"].map(|name| workspace().join(name));
    let contents = folders.each_ref().map(|folder| std::fs::read(folder.join("Cargo.toml")).expect("read"));
    let root = outside.join("current");
    symlink(&folders[0], &root).expect("linked");
    // The sandbox would allow the folders of the start alone; each worker has its own view.
    let site = format!("process {{\n    sandbox off\n    workers 1\n}}\n{SITE}");
    let proxy = Proxy::of_text("files-replaced", &site, &[("root", root.to_str().expect("text"))]);
    let get = || get(proxy.address("listen"), "a.test", "/plain/Cargo.toml");
    let mut tags = std::collections::BTreeSet::new();
    for turn in 0..4 {
        let (old, new) = (turn % 2, (turn + 1) % 2);
        assert!(get().body == contents[old]);
        symlink(&folders[new], outside.join("next")).expect("linked");
        std::fs::rename(outside.join("next"), &root).expect("renamed");
        let began = Instant::now();
        loop {
            let found = get();
            let tag = found.header("etag").expect("a tag").trim_start_matches("W/").to_owned();
            tags.insert((tag, found.body.clone()));
            if found.body == contents[new] {
                break;
            }
            assert!(found.body == contents[old] && began.elapsed() < PATIENCE, "{:?}", found.headers);
        }
    }
    // Each content had a tag of its own.
    assert_eq!(tags.len(), 2);
}

/// A compiled-in folder: as on disk, without later changes.
#[test]
fn compiled_in() {
    let root = scratch("files-compiled").join("root");
    let text = "let words = 'the same again and again';\n".repeat(50);
    for (path, content) in [
        ("index.html", "<p>home\n"),
        ("sub/start.html", "<p>start\n"),
        ("sub/app-3f9ac01b.js", &text),
        ("alphabet.txt", "abcdefghijklmnopqrstuvwxyz"),
        (".git/config", "hidden\n"),
    ] {
        std::fs::create_dir_all(root.join(path).parent().expect("a folder")).expect("made");
        std::fs::write(root.join(path), content).expect("written");
    }
    symlink("../../secret.txt", root.join("out")).expect("linked");
    std::fs::write(root.join("../secret.txt"), "secret\n").expect("written");
    let site = COMPILED_IN.replace("ROOT", root.to_str().expect("text"));
    let proxy = Proxy::of_text("files-compiled", &site, &[]);
    // The folder on disk is no longer needed.
    std::fs::remove_dir_all(&root).expect("removed");
    let ask = |path: &str, fields: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n");
        ask(proxy.address("listen"), &request)
    };
    let check = |path: &str, fields: &str, status: u16, text: &str| {
        let answer = ask(path, fields);
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{path} {fields}: {:?}", answer.headers);
        answer
    };
    let home = check("/plain/", "", 200, "<p>home\n");
    assert_eq!((home.header("last-modified"), home.header("vary")), (None, None));
    let tag = home.header("etag").expect("a tag");
    assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
    check("/plain/", &format!("If-None-Match: {tag}\r\n"), 304, "");
    check("/plain/", "If-Match: \"x\"\r\n", 412, "412 Precondition Failed\n");
    assert_eq!(check("/plain/sub", "", 308, "").header("location"), Some("/plain/sub/"));
    for path in ["/plain/sub/", "/plain/nothing", "/plain/out", "/plain/.git/config", "/plain/a%2fsecret.txt"] {
        check(path, "", 404, "404 Not Found\n");
    }
    check("/plain/..%2fsecret.txt", "", 400, "400 Bad Request\n");
    check("/all/sub/", "", 200, "<p>start\n");
    let list = ask("/all/", "").text();
    assert!(list.contains("<a href=\"./sub/\">sub/</a>") && !list.contains("git") && !list.contains("../"), "{list}");
    check("/app/some/where", "", 200, "<p>home\n");
    check("/plain/alphabet.txt", "Range: bytes=2-4\r\n", 206, "cde");
    let parts = ask("/plain/alphabet.txt", "Range: bytes=0-1,-1\r\n");
    assert!(parts.status == 206 && parts.text().contains("0-1/26\r\n\r\nab\r\n--"), "{}", parts.text());
    // Compressed by the build, unless switched off.
    let path = "/all/sub/app-3f9ac01b.js";
    let plain = check(path, "Accept-Encoding: identity\r\n", 200, &text);
    assert_eq!(plain.header("cache-control"), Some("public, max-age=31536000, immutable"));
    for coding in ["br", "zstd", "gzip"] {
        let answer = ask(path, &format!("Accept-Encoding: {coding}\r\n"));
        let said = (answer.header("content-encoding"), answer.header("vary"), answer.header("content-type"));
        assert_eq!(said, (Some(coding), Some("Accept-Encoding"), plain.header("content-type")));
        assert!(answer.body.len() < 150 && answer.header("etag") != plain.header("etag"), "{:?}", answer.headers);
    }
    assert_eq!(ask("/plain/sub/app-3f9ac01b.js", "Accept-Encoding: gzip\r\n").text(), text);
    let post = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(kiln_tests::client::ask(proxy.address("listen"), &post).status, 405);
}

const COMPILED_IN: &str = "\
param listen type=addr
listen (param)listen
site * {
    limits encoded-slash=#true
    route \"/plain/*\" {
        files \"ROOT\" embed=#true precompressed=#false
    }
    route \"/all/*\" {
        files \"ROOT\" embed=#true index=\"start.html\" listing=#true immutable=#true
    }
    route \"/app/*\" {
        files \"ROOT\" embed=#true fallback=\"/index.html\"
    }
}
";

/// A truncated listing says so: on the page, and once in the error log.
#[test]
fn truncated_listings() {
    let served = Served::new("many");
    let many = served.root.join("many");
    std::fs::create_dir(&many).expect("made");
    let file = |number: usize| many.join(format!("{number}.txt"));
    // Files that can't be listed don't count.
    (0..20).for_each(|number| std::os::unix::fs::symlink("/", many.join(format!("out{number}"))).expect("linked"));
    (0..10_000).for_each(|number| drop(std::fs::File::create(file(number)).expect("made")));
    let listed = |route: &str| {
        let page = served.get(&format!("/{route}/many/")).text();
        (page.matches("<li>").count() - 1, page.contains("more than these 10000 names"))
    };
    assert_eq!(listed("list"), (10_000, false));
    std::fs::File::create(file(10_000)).expect("made");
    for _ in 0..3 {
        assert_eq!(listed("list"), (10_000, true));
    }
    served.proxy.notice("the listing of a.test/list/many/ is incomplete: it has no more than 10000 names");
    assert_eq!(served.proxy.noticed().iter().filter(|line| line.contains("incomplete")).count(), 1);
}
