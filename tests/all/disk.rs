//! Responses on disk: they survive restarts and crashes, are streamed at any size, and stay purged.

mod several;
mod shared;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kiln_tests::client::{Answer, ask};
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, build_text};

const SITE: &str = "\
param listen type=addr
param app type=addr
param folder type=string
log access
process {
    workers 2
}
upstream app {
    server (param)app
}
cache-store main memory=\"2MiB\" max-object=\"128KiB\" {
    disk (param)folder size=\"64MiB\" max-files=100000 min-free=\"1MiB\"
}
site site.test {
    listen (param)listen
    cache main {
        tags from=Surrogate-Key
        purge \"127.0.0.0/8\"
    }
    proxy app
    route \"/sliced/*\" {
        cache main {
            slice \"64KiB\"
            purge \"127.0.0.0/8\"
        }
        proxy app
    }
}
site other.test {
    listen (param)listen
    respond 200 \"here\"
}
";

/// The body of a path: its length is the number in it, and its content is unique.
fn body(path: &str) -> Vec<u8> {
    let length: usize = path.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let mut state = path
        .bytes()
        .fold(0x9E37_79B9_7F4A_7C15_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// An origin that responds to each path with its body, and the number of requests so far.
fn origin() -> (Origin, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            let path = request.split(' ').nth(1).unwrap_or_default();
            let tag = path.split('/').nth(1).unwrap_or_default();
            let changed = if request.starts_with("POST") { path.split('/').nth(2).unwrap_or_default() } else { "" };
            let vary = if tag == "vary" { "Vary: X-V\r\n" } else { "" };
            let body = body(path);
            let range =
                request.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
            if let Some((first, last)) =
                range.as_deref().filter(|_| ["part", "sliced"].contains(&tag)).and_then(|range| range.split_once('-'))
            {
                let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().expect("a number"));
                let last = last.min(body.len() - 1);
                connection.send(format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{last}/{}\r\n\
                     Cache-Control: max-age=600\r\nETag: \"a\"\r\n\r\n",
                    last - first + 1,
                    body.len()
                ));
                connection.send(&body[first..=last]);
                continue;
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nCache-Control: max-age=600\r\nETag: \"a\"\r\n{vary}Surrogate-Key: {tag}\r\n\
                 Cache-Groups: \"{tag}\"\r\nCache-Group-Invalidation: \"{changed}\"\r\nX-Number: {number}\r\n\r\n",
                body.len()
            );
            connection.send([head.into_bytes(), body].concat());
        }
    });
    (origin, asked)
}

struct Stage {
    site: String,
    binary: PathBuf,
    folder: PathBuf,
    origin: Origin,
    asked: Arc<AtomicUsize>,
}

impl Stage {
    fn new(name: &str) -> Stage {
        Stage::of(name, SITE)
    }

    fn of(name: &str, site: &str) -> Stage {
        let (origin, asked) = origin();
        let folder = scratch(&format!("{name}-folder"));
        Stage { site: site.to_owned(), binary: build_text(name, site), folder, origin, asked }
    }

    fn start(&self) -> Proxy {
        let folder = self.folder.to_str().expect("text");
        Proxy::start(&self.binary, &self.site, &[("app", &self.origin.address), ("folder", folder)])
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn get(proxy: &Proxy, path: &str, lines: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{lines}\r\n");
    ask(proxy.address("listen"), &request)
}

/// Whether a response is complete and correct, and from the cache.
fn is_hit(proxy: &Proxy, path: &str, lines: &str) -> bool {
    let answer = get(proxy, path, lines);
    assert!(
        answer.status == 200 && answer.body == body(path),
        "{path}: {} bytes of {:?}",
        answer.body.len(),
        answer.headers
    );
    answer.header("cache-status").is_some_and(|status| status.contains("; hit"))
}

/// Whether a part of an uncached response is correct, and from the cache.
fn is_part_kept(proxy: &Proxy) -> bool {
    let part = get(proxy, "/part/3000000", "Range: bytes=2000000-2000009\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &body("/part/3000000")[2_000_000..=2_000_009]));
    part.header("cache-status").is_some_and(|status| status.contains("; hit"))
}

/// The number of files.
fn files(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder).expect("a folder").flatten().filter(|entry| entry.path().is_dir());
    let files = |entry: std::fs::DirEntry| std::fs::read_dir(entry.path()).into_iter().flatten().count();
    folders.filter(|entry| entry.file_name() != "new").map(files).sum()
}

/// Waits until this many responses are written, in the background.
fn written(stage: &Stage, count: usize) {
    let until = Instant::now() + PATIENCE;
    while files(&stage.folder) < count {
        assert!(Instant::now() < until, "{} of {count} files are written", files(&stage.folder));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn survives_a_restart() {
    let stage = Stage::new("disk-restart");
    // In memory, too; too large for memory; variants.
    let paths = [
        "/a/0",
        "/a/1",
        "/a/100000",
        "/b/131073",
        "/b/3000000",
        "/pattern/7",
        "/group/8",
        "/group/200000",
        "/sliced/200000",
    ];
    {
        let mut proxy = stage.start();
        for path in paths {
            assert!(!is_hit(&proxy, path, ""), "{path}");
        }
        for value in ["X-V: 1\r\n", "X-V: 2\r\n"] {
            assert!(!is_hit(&proxy, "/vary/50", value));
        }
        assert!(!is_part_kept(&proxy));
        // Four slices; indexes of variants, also for slices and parts; variants; a part, and the list of parts.
        written(&stage, paths.len() + 10);
        let before = stage.asked();
        for path in paths {
            assert!(is_hit(&proxy, path, ""), "{path}");
        }
        assert_eq!(stage.asked(), before);
        // A changed resource is fetched again, and stored.
        let changed = "POST /a/1 HTTP/1.1\r\nHost: site.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(ask(proxy.address("listen"), changed).status, 200);
        assert!(!is_hit(&proxy, "/a/1", "") && is_hit(&proxy, "/a/1", ""));
        proxy.signal("TERM");
        proxy.wait();
    }
    let before = stage.asked();
    {
        let proxy = stage.start();
        for path in paths {
            assert!(is_hit(&proxy, path, ""), "{path}");
        }
        for value in ["X-V: 1\r\n", "X-V: 2\r\n"] {
            assert!(is_hit(&proxy, "/vary/50", value));
        }
        assert!(is_part_kept(&proxy));
        assert_eq!(stage.asked(), before, "all entries were kept");
        assert!(!is_hit(&proxy, "/vary/50", "X-V: 3\r\n"));
        // Ranges of a response that is only on disk.
        for range in ["bytes=65530-65545", "bytes=2999990-", "bytes=0-0", "bytes=100000-2900000"] {
            let part = get(&proxy, "/b/3000000", &format!("Range: {range}\r\n"));
            let (first, last) = range["bytes=".len()..].split_once('-').expect("two numbers");
            let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().unwrap_or(2_999_999));
            assert_eq!(part.status, 206, "{range}");
            assert!(part.body == body("/b/3000000")[first..=last], "{range}");
        }
        // Purged on disk as well: by URL, and, without a pass over the files, by tag.
        let purge = |path: &str, lines: &str| {
            let request = format!("PURGE {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{lines}\r\n");
            assert_eq!(ask(proxy.address("listen"), &request).status, 200);
        };
        purge("/a/1", "");
        purge("/", "Purge-Tags: b\r\n");
        purge("/vary/*", "");
        purge("/", "Purge-Pattern: */*tern/7\r\n");
        // A group that a response invalidates, without waiting.
        let changes = "POST /x/group HTTP/1.1\r\nHost: site.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(ask(proxy.address("listen"), changes).status, 200);
        purge("/sliced/200000", "");
        purge("/nothing", "");
    }
    let proxy = stage.start();
    assert!(is_hit(&proxy, "/a/100000", ""));
    for path in ["/a/1", "/b/131073", "/b/3000000", "/pattern/7", "/group/8", "/group/200000", "/sliced/200000"] {
        assert!(!is_hit(&proxy, path, ""), "{path}");
    }
    assert!(!is_hit(&proxy, "/vary/50", "X-V: 1\r\n"));
}

/// Damaged files are not served, whatever is damaged in them.
#[test]
fn damaged_files() {
    let stage = Stage::new("disk-torn");
    let paths = ["/a/1000", "/a/100000", "/a/900000", "/a/1000000"];
    {
        let proxy = stage.start();
        for path in paths {
            assert!(!is_hit(&proxy, path, ""));
        }
        written(&stage, paths.len());
    }
    for file in paths_of_files(&stage.folder) {
        let mut bytes = std::fs::read(&file).expect("a file");
        let at = if (800_000..950_000).contains(&bytes.len()) { 2000 } else { bytes.len() / 2 };
        bytes[at] ^= 1;
        std::fs::write(file, bytes).expect("written");
    }
    let proxy = stage.start();
    // Small ones are verified completely, and fetched again; so are large ones whose beginning is damaged.
    for path in &paths[..3] {
        assert!(!is_hit(&proxy, path, ""), "{path}");
    }
    // A large one is verified while it is sent: damage ends the response, which can't be taken for complete.
    let mut client = TcpStream::connect(proxy.address("listen")).expect("connected");
    client.write_all(b"GET /a/1000000 HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n").expect("sent");
    let mut all = Vec::new();
    let _ = client.read_to_end(&mut all);
    let start = all.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let expected = body(paths[3]);
    assert!(all.len() - start < expected.len() && expected.starts_with(&all[start..]), "{}", all.len());
    assert!(proxy.log(paths[3]).contains("store-unreadable"));
    // It was removed.
    assert!(!is_hit(&proxy, paths[3], ""));
    assert!(is_hit(&proxy, paths[3], ""));
}

/// Killed repeatedly at random points under load, with bytes flipped and files truncated in between: every response is correct or incomplete, and
/// cached responses are used. No partial file is left.
#[test]
fn killed_under_load() {
    const ROUNDS: usize = 8;
    const CLIENTS: usize = 8;
    let stage = Stage::new("disk-killed");
    let paths: Arc<Vec<String>> =
        Arc::new((0..1500_usize).map(|number| format!("/k{number}/{}", number * number * 37 % 400_000)).collect());
    let mut seed = 7_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let (mut right, mut kept) = (0, 0);
    for round in 0..ROUNDS {
        let proxy = stage.start();
        let over = Arc::new(AtomicBool::new(false));
        let wrong: Arc<Mutex<Vec<String>>> = Arc::default();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (address, over, wrong) =
                    (proxy.address("listen").to_owned(), Arc::clone(&over), Arc::clone(&wrong));
                let paths = Arc::clone(&paths);
                std::thread::spawn(move || {
                    let (mut right, mut hits, mut at) = (0, 0, client * 17 + round * 5);
                    while !over.load(Ordering::SeqCst) {
                        at = (at * 31 + 7) % 9973;
                        let path = &paths[at % paths.len()];
                        match whole(&address, path, "") {
                            // The proxy was killed before the response was complete.
                            None => {}
                            Some((head, found)) if head.starts_with("HTTP/1.1 200") && found == body(path) => {
                                right += 1;
                                hits += usize::from(head.contains("; hit"));
                            }
                            Some((head, found)) => {
                                wrong.lock().expect("a list").push(format!("{path}: {} bytes\n{head}", found.len()));
                            }
                        }
                    }
                    (right, hits)
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100 + random(400)));
        proxy.signal("KILL");
        over.store(true, Ordering::SeqCst);
        for client in clients {
            let (answers, hits) = client.join().expect("a client");
            (right, kept) = (right + answers, kept + hits);
        }
        assert!(wrong.lock().expect("a list").is_empty(), "round {round}: {:#?}", wrong.lock());
        let files = paths_of_files(&stage.folder);
        for _ in 0..files.len().min(20) {
            let path = &files[random(files.len() as u64) as usize];
            let mut bytes = std::fs::read(path).expect("a file");
            let at = random(bytes.len() as u64) as usize;
            if random(2) == 0 {
                bytes[at] ^= 1 << random(8)
            } else {
                bytes.truncate(at)
            }
            std::fs::write(path, bytes).expect("written");
        }
    }
    // The cached responses after all that.
    let proxy = stage.start();
    let is_kept = |path: &&String| {
        let answer = whole(proxy.address("listen"), path, "Cache-Control: only-if-cached\r\n");
        answer.is_some_and(|(head, found)| {
            let is_kept = head.starts_with("HTTP/1.1 200");
            assert!(head.starts_with("HTTP/1.1 504") || is_kept && found == body(path), "{path}: {head}");
            is_kept
        })
    };
    let hits = paths.iter().filter(is_kept).count();
    assert_eq!(unfinished(&stage), 0, "no file is incomplete");
    eprintln!("{right} right answers, {kept} of them kept ones; {hits} of {} are kept in the end", paths.len());
    assert!(right > 0 && hits > 0);
}

/// The response to a GET, if it is complete.
fn whole(address: &str, path: &str, lines: &str) -> Option<(String, Vec<u8>)> {
    sent(address, "GET", path, lines)
}

/// The response to a request, if it is complete.
fn sent(address: &str, method: &str, path: &str, lines: &str) -> Option<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok()?;
    let start = all.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&all[..start]).to_lowercase().replace("http/1.1", "HTTP/1.1");
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())?;
    let body = all.split_off(start);
    (body.len() == length).then_some((head, body))
}

/// The paths of a folder's files.
fn paths_of_files(folder: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(folder).expect("a folder").flatten();
    let folders = folders.filter(|entry| entry.path().is_dir() && entry.file_name() != "new");
    folders
        .flat_map(|entry| std::fs::read_dir(entry.path()).into_iter().flatten().flatten())
        .map(|e| e.path())
        .collect()
}

/// A hanging disk: opening a pipe without a writer blocks forever, like opening a file of a frozen file system. No site of
/// the process stops, responses are fetched from the origin, and a purge reports that it is not durable. Then the disk
/// recovers.
#[test]
fn hung_disk() {
    const FILES: usize = 48;
    let stage = Stage::new("disk-hung");
    let path = |number: usize| format!("/h{number}/{}", 1000 + number);
    {
        let mut proxy = stage.start();
        (0..FILES).for_each(|number| assert!(!is_hit(&proxy, &path(number), "")));
        written(&stage, FILES);
        proxy.signal("TERM");
        proxy.wait();
    }
    let proxy = stage.start();
    let pipes = paths_of_files(&stage.folder);
    for file in &pipes {
        std::fs::remove_file(file).expect("removed");
        let made = std::process::Command::new("mkfifo").arg(file).status().expect("mkfifo");
        assert!(made.success());
    }
    let quick = || {
        let began = Instant::now();
        let request = "GET / HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n";
        assert_eq!(ask(proxy.address("listen"), request).body, b"here");
        assert!(began.elapsed() < Duration::from_millis(1500), "another site waited for {:?}", began.elapsed());
    };
    std::thread::scope(|scope| {
        let (path, proxy) = (&path, &proxy);
        let asking: Vec<_> = (0..FILES).map(|number| scope.spawn(move || is_hit(proxy, &path(number), ""))).collect();
        for _ in 0..20 {
            quick();
            std::thread::sleep(Duration::from_millis(50));
        }
        for asked in asking {
            assert!(!asked.join().expect("a response"), "from the origin");
        }
    });
    let send = |method: &str, path: &str| {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: site.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        ask(proxy.address("listen"), &request)
    };
    // Many more than there are threads, or queued writes: invalidation is immediate.
    for number in 0..300 {
        let began = Instant::now();
        let path = path(number % FILES);
        assert_eq!(send("POST", &path).status, 200);
        assert!(!is_hit(&proxy, &path, ""), "the response was invalidated");
        assert!(began.elapsed() < Duration::from_millis(1500), "{number} waited for {:?}", began.elapsed());
    }
    quick();
    let purged = send("PURGE", &path(0));
    assert_eq!(purged.status, 503);
    assert!(proxy.log("PURGE").contains("purge-not-durable"));
    assert!(!is_hit(&proxy, &path(0), ""), "the purge has taken effect");
    assert!(is_hit(&proxy, &path(0), ""), "in memory");
    // A blocked open of a pipe continues once a writer opens it.
    let until = Instant::now() + PATIENCE;
    while send("PURGE", &path(1)).status != 200 {
        assert!(Instant::now() < until, "the disk responds again, but is not used");
        for pipe in &pipes {
            use std::os::unix::fs::OpenOptionsExt as _;
            // ENXIO: no thread is blocked on this one.
            drop(std::fs::File::options().write(true).custom_flags(0o4000).open(pipe));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!is_hit(&proxy, "/h/77", ""));
    written(&stage, 1);
}

/// The space that a folder occupies, in bytes, like `du`.
fn occupied(folder: &Path) -> u64 {
    let said = std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(folder).output().expect("du");
    let said = String::from_utf8_lossy(&said.stdout);
    said.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("a number")
}

/// The number of unfinished files.
fn unfinished(stage: &Stage) -> usize {
    std::fs::read_dir(stage.folder.join("new")).expect("a folder").count()
}

/// Fetches these responses, one after another, and waits until they are written.
fn fill(stage: &Stage, proxy: &Proxy, paths: impl Iterator<Item = String>) {
    let mut client = std::io::BufReader::new(TcpStream::connect(proxy.address("listen")).expect("connected"));
    for path in paths {
        let request = format!("GET {path} HTTP/1.1\r\nHost: site.test\r\n\r\n");
        client.get_mut().write_all(request.as_bytes()).expect("sent");
        let (mut head, expected) = (Vec::new(), body(&path));
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        let mut found = vec![0; expected.len()];
        client.read_exact(&mut found).expect("a body");
        assert!(head.starts_with(b"HTTP/1.1 200") && found == expected, "{path}");
    }
    let until = Instant::now() + PATIENCE;
    let mut before = None;
    loop {
        let now = (files(&stage.folder), unfinished(stage));
        if now.1 == 0 && before == Some(now) {
            return;
        }
        assert!(Instant::now() < until, "{} files are incomplete", now.1);
        before = Some(now);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The site with other limits for the folder.
fn limited(limits: &str) -> String {
    SITE.replace("size=\"64MiB\" max-files=100000 min-free=\"1MiB\"", limits)
}

/// Small files count with their blocks: the result of `du` is within `size`. The number of files is limited, too.
#[test]
fn small_files() {
    let check = |name: &str, limits: &str, count: usize, expected: std::ops::RangeInclusive<usize>| {
        let stage = Stage::of(name, &limited(limits));
        let proxy = stage.start();
        fill(&stage, &proxy, (0..count).map(|number| format!("/s{number}/70")));
        let found = files(&stage.folder);
        assert!(expected.contains(&found), "{limits}: {found} files");
        occupied(&stage.folder)
    };
    let bytes = check("disk-small", "size=\"16MiB\"", 5000, 3500..=4096);
    assert!((14 << 20..=16 << 20).contains(&bytes), "{bytes}");
    check("disk-count", "size=\"64MiB\" max-files=100", 400, 90..=100);
}

/// A tmpfs at a stage's folder, until it is dropped. `None`: mounting is not permitted.
struct Mounted(PathBuf);

impl Mounted {
    fn new(folder: &Path, options: &str) -> Option<Mounted> {
        let mut mount = std::process::Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", options, "kiln-test"]).arg(folder);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Mounted(folder.to_owned()));
        }
        eprintln!("SKIPPED: a file system can't be mounted here, so a full one can't be tested");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A file system smaller than the folder's limits, in bytes or in files: the least recently used responses are evicted, no partial file
/// is left, and the latest response is stored. `min-free` is respected.
#[test]
fn full_disk() {
    let check = |name: &str, options: &str, limits: &str, expected: std::ops::RangeInclusive<u64>| {
        let stage = Stage::of(name, &limited(limits));
        let Some(_mounted) = Mounted::new(&stage.folder, options) else { return };
        let path = |number: usize| format!("/f{number}/20000");
        {
            let mut proxy = stage.start();
            fill(&stage, &proxy, (0..600).map(path));
            // Larger than memory allows, in pieces.
            fill(&stage, &proxy, (0..8).map(|number| format!("/l{number}/300000")));
            proxy.signal("TERM");
            proxy.wait();
        }
        let bytes = occupied(&stage.folder);
        assert!(expected.contains(&bytes), "{name}: {bytes} bytes");
        assert_eq!(unfinished(&stage), 0, "{name}");
        let proxy = stage.start();
        assert!(is_hit(&proxy, "/l7/300000", ""), "{name}");
        // Evictions are based on a sample: some of the first are gone.
        let kept = (0..100).filter(|number| is_hit(&proxy, &path(*number), "")).count();
        assert!(kept < 100, "{name}");
    };
    check("disk-full", "size=4m", "size=\"64MiB\"", 2 << 20..=4 << 20);
    check("disk-files", "size=64m,nr_inodes=500", "size=\"64MiB\"", 2 << 20..=8 << 20);
    check("disk-free", "size=4m", "size=\"64MiB\" min-free=\"2MiB\"", 1 << 20..=2 << 20);
}
