//! Several processes with one folder, for example during an upgrade of the binary; and purges that must take effect in all of them,
//! whatever happens to the disk or to a process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// A folder and an origin for two binaries: one of the site, and one with another site beside it.
struct Two {
    old: Stage,
    new: Stage,
}

impl Two {
    fn of(name: &str) -> Two {
        let added = format!("{SITE}site new.test {{\n    listen (param)listen\n    respond 200 \"new\"\n}}\n");
        Two { old: Stage::new(&format!("{name}-old")), new: Stage::of(&format!("{name}-new"), &added) }
    }

    fn start(&self, stage: &Stage, origin: &Origin) -> Proxy {
        let folder = self.old.folder.to_str().expect("text");
        Proxy::start(&stage.binary, &stage.site, &[("app", &origin.address), ("folder", folder)])
    }

    fn start_old(&self) -> Proxy {
        self.start(&self.old, &self.old.origin)
    }

    fn start_new(&self) -> Proxy {
        self.start(&self.new, &self.old.origin)
    }
}

/// The number in the response of a path, cached or not.
fn number(proxy: &Proxy, path: &str) -> usize {
    get(proxy, path, "").header("x-number").and_then(|number| number.parse().ok()).expect("a number")
}

fn purge(proxy: &Proxy, path: &str, lines: &str) -> u16 {
    let request = format!("PURGE {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{lines}\r\n");
    ask(proxy.address("listen"), &request).status
}

/// Requests until the response is cached: large ones are written first.
fn kept(proxy: &Proxy, path: &str) {
    let until = Instant::now() + PATIENCE;
    while !is_hit(proxy, path, "") {
        assert!(Instant::now() < until, "{path} is not cached");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A purge by one process applies to the other, too: by URL, prefix, pattern, tag, group and as a whole, soft or not, in memory and on disk;
/// permanently.
#[test]
fn purged_in_both() {
    let two = Two::of("disk-both");
    let (old, new) = (two.start_old(), two.start_new());
    let kinds = [
        ("/u/10", "/u/10", ""),
        ("/u/200000", "/u/200000", ""),
        ("/p/x/10", "/p/*", ""),
        ("/t/10", "/", "Purge-Tags: t\r\n"),
        ("/q/x/10", "/", "Purge-Pattern: */q/*/10\r\n"),
        ("/g/10", "/", "Purge-Groups: \"g\"\r\n"),
        ("/vary/10", "/vary/10", ""),
        ("/a/10", "/", "Purge-Mode: all\r\n"),
    ];
    for (path, purged, lines) in kinds {
        for mode in ["", "Purge-Mode: soft\r\n"] {
            if !mode.is_empty() && lines.contains("all") {
                continue;
            }
            for (one, other) in [(&old, &new), (&new, &old)] {
                kept(one, path);
                kept(other, path);
                let before = two.old.asked();
                assert_eq!(purge(one, purged, &format!("{lines}{mode}")), 200, "{path} {lines}{mode}");
                // The first process fetches it again; the second one may find it on the disk.
                for proxy in [other, one] {
                    assert!(number(proxy, path) > before, "{path} {lines}{mode}");
                }
            }
        }
    }
    // An unsafe request in one process takes effect in the other soon.
    let changed = || {
        let request = "POST /c/10 HTTP/1.1\r\nHost: site.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(ask(old.address("listen"), request).status, 200);
    };
    kept(&new, "/c/10");
    let before = two.old.asked();
    changed();
    let until = Instant::now() + PATIENCE;
    while number(&new, "/c/10") <= before {
        assert!(Instant::now() < until, "the changed response is not served");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Written by one process, purged by the other, which then ends; and purged by one that has never read it.
    for path in ["/w/10", "/w/200000", "/v/10"] {
        kept(&new, path);
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(purge(&old, "/w/*", ""), 200);
    drop((old, new));
    let proxy = two.start_new();
    assert!(!is_hit(&proxy, "/w/10", "") && !is_hit(&proxy, "/w/200000", ""));
    assert!(is_hit(&proxy, "/v/10", ""));
}

/// A stopped process with the folder: a purge is not in effect there, which is reported. Once the process continues, the purge is in
/// effect.
#[test]
fn stopped_processes() {
    let two = Two::of("disk-still");
    let (old, new) = (two.start_old(), two.start_new());
    kept(&old, "/u/10");
    old.signal("STOP");
    assert_eq!(purge(&new, "/u/10", ""), 503);
    assert!(new.log("PURGE").contains("purge-not-durable"));
    new.notice("another process with the folder does not follow");
    old.signal("CONT");
    assert_eq!(purge(&new, "/other", ""), 200);
    assert!(!is_hit(&old, "/u/10", ""), "the purge precedes the other one");
    // A process that has ended, in any way, is not waited for.
    old.signal("KILL");
    let began = Instant::now();
    assert_eq!(purge(&new, "/u/10", ""), 200);
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
}

/// A full disk: a purge is in effect, and reports that it is not durable. With space again, it is.
#[test]
fn not_durable() {
    let stage = Stage::new("disk-durable");
    let Some(_mounted) = Mounted::new(&stage.folder, "size=8m") else { return };
    let proxy = stage.start();
    // Filled by others: cached responses are evicted for the journal; without any, there is no space.
    get(&proxy, "/f/100000", "");
    written(&stage, 1);
    let fill = || {
        let mut file = std::fs::File::create(stage.folder.join("ballast")).expect("a file");
        while file.write_all(&[7; 4096]).is_ok() {}
    };
    fill();
    let mut last = 0;
    let many = (0..200).map(|number| format!("tag-{number:0>60}")).collect::<Vec<_>>().join(" ");
    for _ in 0..40 {
        last = purge(&proxy, "/", &format!("Purge-Tags: {}\r\n", &many[..6000]));
        if last != 200 {
            break;
        }
        fill();
    }
    assert_eq!(last, 503, "nothing is left to remove");
    assert!(proxy.log("\"status\":503").contains("purge-not-durable"));
    assert_eq!(files(&stage.folder), 0);
    assert_eq!(unfinished(&stage), 0);
    std::fs::remove_file(stage.folder.join("ballast")).expect("removed");
    assert_eq!(purge(&proxy, "/", "Purge-Tags: u\r\n"), 200);
    get(&proxy, "/u/20", "");
    written(&stage, 1);
}

/// Bytes of the journal are flipped or truncated, or it is removed: no purged response comes back.
#[test]
fn damaged_journal() {
    let stage = Stage::new("disk-journal");
    let mut seed = 11_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let journal = stage.folder.join("journal");
    let mut kept = 0;
    for round in 0..12 {
        let proxy = stage.start();
        let path = |number: usize| format!("/{}{round}/{number}", ["t", "p", "k"][number % 3]);
        (0..9).for_each(|number| drop(get(&proxy, &path(number), "")));
        written(&stage, 9);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(purge(&proxy, "/", &format!("Purge-Tags: t{round}\r\n")), 200);
        assert_eq!(purge(&proxy, &format!("/p{round}/*"), ""), 200);
        proxy.signal("KILL");
        drop(proxy);
        let mut bytes = std::fs::read(&journal).expect("a journal");
        match round % 4 {
            0 => {}
            1 => bytes.truncate(random(bytes.len())),
            _ => {
                let at = random(bytes.len());
                bytes[at] ^= 1 << random(8);
            }
        }
        std::fs::write(&journal, bytes).expect("written");
        if round == 7 {
            std::fs::remove_file(&journal).expect("removed");
        }
        let proxy = stage.start();
        for number in 0..9 {
            let hit = is_hit(&proxy, &path(number), "");
            assert!(!hit || number % 3 == 2, "round {round}: {} was purged", path(number));
            kept += usize::from(hit);
        }
    }
    assert!(kept > 0, "complete journals are used");
}

/// Binaries replace each other under load, alternately killed and stopped, while resources change and are purged: a request after a purge with
/// status 200 gets nothing from before it, from either binary.
#[test]
fn swapped_under_load() {
    const RESOURCES: usize = 4;
    const SWAPS: usize = 6;
    static VERSIONS: [AtomicU64; RESOURCES] = [const { AtomicU64::new(1) }; RESOURCES];
    let resource = |path: &str| path[1..].split('/').next().and_then(|number| number.parse::<usize>().ok());
    let origin = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let path = request.split(' ').nth(1).unwrap_or_default();
            let number = resource(path).expect("a resource");
            // The version at the time of the request, returned a little later.
            let version = VERSIONS[number].load(Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(if version.is_multiple_of(3) { 40 } else { 4 }));
            let body = format!("{}{version:010}", "0".repeat(if number == 0 { 200_000 } else { 0 }));
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nCache-Control: max-age=600\r\nSurrogate-Key: r{number}\r\n\r\n{body}",
                body.len()
            ));
        }
    });
    let two = Two::of("disk-swapped");
    let start = |number: usize| two.start(if number.is_multiple_of(2) { &two.old } else { &two.new }, &origin);
    // The versions at purges with status 200: no client may get older ones from then on.
    let promised: [AtomicU64; RESOURCES] = [const { AtomicU64::new(0) }; RESOURCES];
    let (over, asked, hits, purges) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let live: Mutex<Vec<String>> = Mutex::default();
    let stale: Mutex<Vec<String>> = Mutex::default();
    let addresses = || live.lock().expect("addresses").clone();
    std::thread::scope(|scope| {
        for client in 0..6 {
            let (promised, over, asked, hits, stale, addresses) = (&promised, &over, &asked, &hits, &stale, &addresses);
            scope.spawn(move || {
                let mut at = client;
                while !over.load(Ordering::SeqCst) {
                    at += 1;
                    let (number, addresses) = (at % RESOURCES, addresses());
                    let Some(address) = addresses.get(at / RESOURCES % addresses.len().max(1)) else { continue };
                    let least = promised[number].load(Ordering::SeqCst);
                    let Some((head, body)) = whole(address, &format!("/{number}/x"), "") else { continue };
                    let version: u64 = String::from_utf8_lossy(&body).parse().unwrap_or(u64::MAX);
                    asked.fetch_add(1, Ordering::SeqCst);
                    hits.fetch_add(usize::from(head.contains("; hit")), Ordering::SeqCst);
                    if head.starts_with("HTTP/1.1 200") && version < least {
                        stale.lock().expect("a list").push(format!("{number}: {version}, after {least}: {head}"));
                    }
                }
            });
        }
        for purger in 0..2 {
            let (promised, over, purges, addresses) = (&promised, &over, &purges, &addresses);
            scope.spawn(move || {
                let mut at = purger;
                while !over.load(Ordering::SeqCst) {
                    at += 2;
                    std::thread::sleep(Duration::from_millis(15));
                    let (number, addresses) = (at % RESOURCES, addresses());
                    let Some(address) = addresses.get(at / RESOURCES % addresses.len().max(1)) else { continue };
                    let version = VERSIONS[number].fetch_add(1, Ordering::SeqCst) + 1;
                    let (path, lines) = match at / RESOURCES % 3 {
                        0 => (format!("/{number}/x"), String::new()),
                        1 => (format!("/{number}/*"), String::new()),
                        _ => ("/".to_owned(), format!("Purge-Tags: r{number}\r\n")),
                    };
                    if sent(address, "PURGE", &path, &lines).is_some_and(|(head, _)| head.starts_with("HTTP/1.1 200")) {
                        promised[number].fetch_max(version, Ordering::SeqCst);
                        purges.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        let mut running: HashMap<usize, Proxy> = HashMap::new();
        for number in 0..SWAPS {
            let proxy = start(number);
            live.lock().expect("addresses").push(proxy.address("listen").to_owned());
            running.insert(number, proxy);
            std::thread::sleep(Duration::from_millis(400));
            if let Some(mut before) = number.checked_sub(1).and_then(|before| running.remove(&before)) {
                live.lock().expect("addresses").retain(|address| address != before.address("listen"));
                before.signal(if number.is_multiple_of(3) { "KILL" } else { "TERM" });
                before.wait();
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        over.store(true, Ordering::SeqCst);
    });
    let stale = stale.into_inner().expect("a list");
    let [asked, hits, purges] = [asked, hits, purges].map(AtomicUsize::into_inner);
    eprintln!("{asked} responses, {hits} of them hits, {purges} purges, {} stale", stale.len());
    assert!(stale.is_empty(), "{} of {asked}: {:#?}", stale.len(), &stale[..stale.len().min(10)]);
    assert!(asked > 100 && hits > 10 && purges > 20, "{asked} {hits} {purges}");
}
