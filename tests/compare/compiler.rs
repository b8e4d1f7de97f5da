//! The cost of the compiler: `kiln check`, the time from an edit to a binary, sizes, and the start.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::client::get;
use kiln_tests::kiln::{cache, scratch, workspace};
use kiln_tests::proxy::address;

use crate::{median, router, row};

pub(crate) fn report() {
    let kiln = release_kiln();
    let dir = scratch("compare");
    std::fs::write(dir.join("large.kdl"), router::site(10_000)).expect("written");
    let check = |name: &str| {
        let check = || timed(Command::new(&kiln).arg("check").arg(dir.join(name)));
        seconds(median((0..3).map(|_| check().as_secs_f64()).collect()))
    };
    row("`kiln check` of 10,000 routes", &check("large.kdl"), "under 1 s");
    std::fs::write(dir.join("mixed.kdl"), mixed(1_000)).expect("written");
    row("`kiln check` of 1,000 routes, 200 of them expressions", &check("mixed.kdl"), "under 1 s");
    std::fs::write(dir.join("table.csv"), table(100_000)).expect("written");
    std::fs::write(dir.join("table.kdl"), TABLE).expect("written");
    row("`kiln check` of 100,000 routes from a table", &check("table.kdl"), "under 5 s");

    let minimal = "param listen type=addr\nsite * {\n    listen (param)listen\n    respond 200 \"ok\"\n}\n";
    std::fs::write(dir.join("minimal.kdl"), minimal).expect("written");
    let fresh = scratch("compare-fresh");
    let binary = dir.join("minimal");
    let mut build = Command::new(&kiln);
    build.args(["build"]).arg(dir.join("minimal.kdl")).arg("-o").arg(&binary);
    let took = timed(build.env("KILN_CACHE", &fresh));
    row("fresh `kiln build` of a minimal site", &seconds(took.as_secs_f64()), "at most 2 minutes");
    let size = std::fs::metadata(&binary).expect("built").len();
    row("minimal binary, stripped", &format!("{:.2} MB", size as f64 / 1e6), "at most 4 MB");

    let (starts, memory): (Vec<f64>, Vec<f64>) = (0..5).map(|_| start(&binary)).unzip();
    row("start to first answer", &format!("{:.1} ms", 1e3 * median(starts)), "at most 20 ms");
    row("resident memory after it", &format!("{:.1} MB", median(memory) / 1e6), "at most 10 MB");

    for (routes, aim) in [(100, "at most 3 s"), (10_000, "at most 10 s")] {
        let site = router::site(routes);
        let (took, _) = edit_to_binary(&kiln, &format!("{routes}"), |_| site.clone());
        row(&format!("edit to binary, {routes} routes"), &seconds(took), aim);
    }
    let (took, memory) = edit_to_binary(&kiln, "table", |folder| {
        std::fs::write(folder.join("table.csv"), table(100_000)).expect("written");
        TABLE.to_owned()
    });
    row("edit to binary, 100,000 routes from a table", &seconds(took), "under 60 s");
    row("memory of that build", &format!("{:.2} GB", memory / 1e9), "under 4 GB");
}

const TABLE: &str = "site example.com {\n    table \"table.csv\"\n    route \"/*\" {\n        respond 404\n    }\n}\n";

fn table(lines: usize) -> String {
    let line = |n| format!("/old/section-{}/{n},redirect,301,/new/{n}/page\n", n % 1000);
    std::iter::once("pattern,handler,status,target\n".to_owned()).chain((0..lines).map(line)).collect()
}

/// A fifth of the routes have regular expressions, all on the same pattern.
fn mixed(routes: usize) -> String {
    let route = |n: usize| match n % 5 {
        0 => format!(
            "route \"/*\" {{\npath-regex #\"^/r{n}/(?:[a-z]+|[0-9]+)/.*[.](?:png|jpg|css)$\"#\nproxy \"http://127.0.0.1:3000\"\n}}\n"
        ),
        _ => format!("route \"/s{n}/{{id}}\" {{\nproxy \"http://127.0.0.1:3000\"\n}}\n"),
    };
    format!("site example.com {{\n{}}}\n", (0..routes).map(route).collect::<String>())
}

/// The command as users have it: optimized.
pub(crate) fn release_kiln() -> std::path::PathBuf {
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--package", "proxy-build", "--bin", "kiln"])
        .current_dir(workspace())
        .status()
        .expect("cargo runs");
    assert!(status.success());
    cache().parent().expect("the target folder").join("release/kiln")
}

fn timed(command: &mut Command) -> Duration {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it runs");
    assert!(status.success(), "{command:?}");
    began.elapsed()
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

/// The time from the start of the process to its first response in seconds, and its memory then in bytes.
fn start(binary: &Path) -> (f64, f64) {
    let here = address();
    let began = Instant::now();
    let mut child = Command::new(binary)
        .args(["--listen", &here])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    while std::net::TcpStream::connect(&here).is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "the proxy does not start");
    }
    assert_eq!(get(&here, "x", "/").status, 200);
    let took = began.elapsed().as_secs_f64();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("a process");
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    child.kill().expect("it ends");
    child.wait().expect("it ends");
    (took, resident.unwrap_or(f64::NAN) * 1024.0)
}

/// `cargo build --release` in a scaffolded crate whose dependencies are built, after a change of the site: seconds, and
/// the peak memory of its processes, in bytes.
fn edit_to_binary(kiln: &Path, name: &str, site: impl Fn(&Path) -> String) -> (f64, f64) {
    let dir = scratch(&format!("compare-edit-{name}")).join("edited");
    timed(Command::new(kiln).arg("new").arg(&dir).env("KILN_SOURCE", workspace()));
    let site = site(&dir);
    let usage = dir.join("usage");
    let build = || {
        let target = cache().parent().expect("the target folder").join("compare");
        let mut command = Command::new("/usr/bin/time");
        command.args(["-f", "%M", "-o"]).arg(&usage).args(["cargo", "build", "--release"]);
        timed(command.current_dir(&dir).env("CARGO_TARGET_DIR", target))
    };
    std::fs::write(dir.join("site.kdl"), &site).expect("written");
    build();
    let rounds = (0..3).map(|round| {
        std::fs::write(dir.join("site.kdl"), format!("// round {round}\n{site}")).expect("written");
        build().as_secs_f64()
    });
    let took = median(rounds.collect());
    let kib: f64 = std::fs::read_to_string(usage).ok().and_then(|kib| kib.trim().parse().ok()).unwrap_or(f64::NAN);
    (took, kib * 1024.0)
}
