//! A store with several disks: each response is on one of them, and a disk that hangs, is full or is absent affects only the
//! responses on it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kiln_tests::kiln::scratch;
use kiln_tests::proxy::{PATIENCE, Proxy};

use super::{Mounted, SITE, Stage, files, is_hit, paths_of_files, sent};

/// A store with two folders.
struct Two {
    stage: Stage,
    other: PathBuf,
}

impl Two {
    fn of(name: &str) -> Two {
        let disk = "    disk (param)folder size=\"64MiB\" max-files=100000 min-free=\"1MiB\"\n";
        assert!(SITE.contains(disk));
        let both = format!("{disk}    disk (param)other size=\"64MiB\"\n");
        let site = format!("param other type=string\n{}", SITE.replace(disk, &both));
        Two { stage: Stage::of(name, &site), other: scratch(&format!("{name}-other")) }
    }

    fn start(&self) -> Proxy {
        let [folder, other] = [&self.stage.folder, &self.other].map(|path| path.to_str().expect("text"));
        let given = [("app", &*self.stage.origin.address), ("folder", folder), ("other", other)];
        Proxy::start(&self.stage.binary, &self.stage.site, &given)
    }

    /// The number of files of each.
    fn files(&self) -> [usize; 2] {
        [&self.stage.folder, &self.other].map(|folder| files(folder))
    }

    /// Fetches this many responses, waits until they are written, and stops. `enough` checks the number of files.
    fn fill(&self, count: usize, enough: impl Fn([usize; 2]) -> bool) {
        let mut proxy = self.start();
        (0..count).for_each(|number| assert!(!is_hit(&proxy, &path(number), "")));
        let until = Instant::now() + PATIENCE;
        while !enough(self.files()) {
            assert!(Instant::now() < until, "{:?} of {count} files", self.files());
            std::thread::sleep(Duration::from_millis(5));
        }
        proxy.signal("TERM");
        proxy.wait();
    }
}

fn path(number: usize) -> String {
    format!("/t/{}", 1000 + number)
}

fn status(proxy: &Proxy, method: &str, path: &str, lines: &str) -> u16 {
    let lines = format!("Content-Length: 0\r\n{lines}");
    let (head, _) = sent(proxy.address("listen"), method, path, &lines).expect("a response");
    head["HTTP/1.1 ".len()..][..3].parse().expect("a status")
}

/// Half of the responses are on a disk that hangs: they are fetched from the origin, and the others are served from the
/// other disk.
#[test]
fn one_hangs() {
    const FILES: usize = 100;
    let two = Two::of("disk-several-hung");
    two.fill(FILES, |[one, other]| one + other == FILES && one.min(other) > 20);
    let [there, _] = two.files();
    let pipes = paths_of_files(&two.other);
    for file in &pipes {
        std::fs::remove_file(file).expect("removed");
        assert!(std::process::Command::new("mkfifo").arg(file).status().expect("mkfifo").success());
    }
    let proxy = two.start();
    let hits: BTreeSet<usize> = std::thread::scope(|scope| {
        let proxy = &proxy;
        let asking: Vec<_> = (0..FILES).map(|number| scope.spawn(move || is_hit(proxy, &path(number), ""))).collect();
        asking
            .into_iter()
            .enumerate()
            .filter_map(|(at, asked)| asked.join().expect("a response").then_some(at))
            .collect()
    });
    assert_eq!(hits.len(), there);
    // Unsafe requests invalidate at once on either disk; a purge is not durable, and reports that.
    for number in [hits.first().copied(), (0..FILES).find(|number| !hits.contains(number))].into_iter().flatten() {
        let began = Instant::now();
        assert_eq!(status(&proxy, "POST", &path(number), ""), 200);
        assert!(!is_hit(&proxy, &path(number), ""));
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        assert!(is_hit(&proxy, &path(number), ""));
        assert_eq!(status(&proxy, "PURGE", &path(number), ""), 503);
        assert!(!is_hit(&proxy, &path(number), ""), "purged all the same");
    }
    // Once the disk responds, it is used again.
    let until = Instant::now() + PATIENCE;
    while status(&proxy, "PURGE", "/", "Purge-Tags: t\r\n") != 200 {
        assert!(Instant::now() < until, "the disk is there again, and is not used");
        for pipe in &pipes {
            use std::os::unix::fs::OpenOptionsExt as _;
            drop(std::fs::File::options().write(true).custom_flags(0o4000).open(pipe));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One file system is smaller than its limit: files are evicted from it, and none from the other.
#[test]
fn one_is_full() {
    let two = Two::of("disk-several-full");
    let Some(_mounted) = Mounted::new(&two.other, "size=1m") else { return };
    let mut most = 0;
    {
        let mut proxy = two.start();
        for number in 0..400 {
            assert!(!is_hit(&proxy, &format!("/t/{}", 20_000 + number), ""));
            most = most.max(two.files()[1]);
        }
        proxy.signal("TERM");
        proxy.wait();
    }
    let [one, other] = two.files();
    assert!(one > 120 && (1..80).contains(&other) && most < 80, "{one} and {other}, of {most}");
    let proxy = two.start();
    let hits = (0..400).filter(|number| is_hit(&proxy, &format!("/t/{}", 20_000 + number), "")).count();
    assert!(hits >= one && hits <= one + other, "{hits} of {one} and {other}");
}

/// One disk is absent at a start: the others continue. Responses that are purged meanwhile do not come back with it.
#[test]
fn one_is_away() {
    const FILES: usize = 40;
    let two = Two::of("disk-several-away");
    two.fill(FILES, |[one, other]| one + other == FILES && one.min(other) > 5);
    let [there, _] = two.files();
    let away = two.other.with_extension("away");
    std::fs::rename(&two.other, &away).expect("renamed");
    std::fs::write(&two.other, "no folder").expect("written");
    {
        let mut proxy = two.start();
        assert!(proxy.notice("is not used until the next start").contains("other"));
        let hits = (0..FILES).filter(|number| is_hit(&proxy, &path(*number), "")).count();
        assert_eq!(hits, there);
        assert_eq!(status(&proxy, "PURGE", "/", "Purge-Tags: t\r\n"), 200);
        proxy.signal("TERM");
        proxy.wait();
    }
    std::fs::remove_file(&two.other).expect("removed");
    std::fs::rename(&away, &two.other).expect("renamed");
    // Filled again, and kept from now on.
    two.fill(FILES, |[one, other]| one + other == FILES);
    let proxy = two.start();
    assert!((0..FILES).all(|number| is_hit(&proxy, &path(number), "")));
}
