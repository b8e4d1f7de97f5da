//! The same jobs for all proxies, side by side: CPU time per request, requests per second, the 99th percentile of
//! latency,
//! and memory. Proxies take turns within each round; the tables show the median of the rounds.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use kiln_tests::kiln::scratch;

use crate::jobs::{JOBS, Job, LARGE, TEXT};
use crate::median;
use crate::proxies::{Kind, ORIGIN, PROXIES, Running, nginx};
use crate::runs;

const ROUNDS: usize = 6;

/// The first of the proxies' ports.
pub(crate) const FIRST_PORT: u16 = 18_080;

/// The result of one proxy in one round.
#[derive(Clone, Copy, Default)]
struct Measured {
    /// Microseconds per request.
    user: f64,
    system: f64,
    per_second: f64,
    /// Milliseconds.
    slowest: f64,
    memory: f64,
}

/// A row: the result of each proxy, or the reason why it has none.
type Row = (Job, Vec<Result<Measured, &'static str>>);

pub(crate) fn report(only: Option<&str>) {
    if lacks(&["nginx", "wrk", "taskset"]) {
        return;
    }
    let proxies: Vec<(Kind, String)> = PROXIES.iter().filter_map(|kind| Some((*kind, kind.version()?))).collect();
    let dir = scratch("compare-requests");
    let origin = origin(&dir);
    let jobs = JOBS.iter().filter(|job| job.is_among(only));
    let mut growth = Vec::new();
    let began = std::time::SystemTime::now();
    let rows: Vec<Row> = jobs
        .map(|&job| {
            let row = run(job, &proxies, &dir, &mut growth);
            let of = |((kind, _), found): (&(Kind, String), &Result<Measured, _>)| {
                found.as_ref().ok().map(|found| (kind.name(), found.user + found.system))
            };
            runs::keep(began, &job.name(), &proxies.iter().zip(&row).filter_map(of).collect::<Vec<_>>());
            (job, row)
        })
        .collect();
    drop(origin);
    let names: Vec<String> = proxies.iter().map(|(kind, version)| format!("{} {version}", kind.name())).collect();
    table("CPU per request, us (of it in the kernel); times nginx's", &names, &rows, |measured, nginx| {
        let total = measured.user + measured.system;
        let times = nginx.map(|nginx| format!("; {:.2}", total / (nginx.user + nginx.system))).unwrap_or_default();
        format!("{total:.1} ({:.1}){times}", measured.system)
    });
    println!("\n**Kiln's CPU per request, in turns with less of the same**\n\n| job | beside | times |\n|---|---|---|");
    growth.iter().for_each(|(job, less, times)| println!("| {job} | {less} | {times:.2} |"));
    table("Requests per second", &names, &rows, |measured, _| format!("{:.0}", measured.per_second));
    table("Slowest hundredth, ms", &names, &rows, |measured, _| format!("{:.1}", measured.slowest));
    table("Resident memory, MB", &names, &rows, |measured, _| format!("{:.1}", measured.memory / 1e6));
}

/// Returns whether a program is not installed, and says which.
pub(crate) fn lacks(tools: &[&str]) -> bool {
    let runs = |tool: &str| Command::new(tool).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let missing = tools.iter().find(|tool| !runs(tool));
    missing.inspect(|tool| println!("Not measured: `{tool}` is not installed.")).is_some()
}

fn table(title: &str, names: &[String], rows: &[Row], cell: impl Fn(&Measured, Option<&Measured>) -> String) {
    println!("\n**{title}**\n\n| job | {} |\n|---{}|", names.join(" | "), "|---".repeat(names.len()));
    let nginx = names.iter().position(|name| name.starts_with("nginx"));
    for (job, row) in rows {
        let beside = nginx.and_then(|at| row[at].as_ref().ok());
        let cells = row.iter().map(|found| match found {
            Ok(measured) => cell(measured, beside),
            Err(reason) => (*reason).to_owned(),
        });
        println!("| {} | {} |", job.name(), cells.collect::<Vec<_>>().join(" | "));
    }
}

fn run(
    job: Job,
    proxies: &[(Kind, String)],
    dir: &Path,
    growth: &mut Vec<(String, String, f64)>,
) -> Vec<Result<Measured, &'static str>> {
    let script = dir.join("script.lua");
    std::fs::write(&script, job.script()).expect("written");
    let start = |kind: Kind| kind.start(job, dir, FIRST_PORT + kind as u16);
    let running: Vec<Result<Running, &str>> = proxies.iter().map(|(kind, _)| start(*kind)).collect();
    // The cost of many routes or of a log only shows beside the same proxy without, in turns with it.
    let without = job.without().map(|less| (less, Kind::Kiln.start(less, &dir.join("without"), FIRST_PORT - 1)));
    let script_without = dir.join("without.lua");
    let mut beside = Vec::new();
    let mut rounds: Vec<Vec<Measured>> = vec![Vec::new(); running.len()];
    std::fs::write(&script_without, without.as_ref().map(|(less, _)| less.script()).unwrap_or_default())
        .expect("written");
    for round in 0..ROUNDS {
        // Which proxy comes first in a round rotates, as its predecessor affects it.
        for turn in 0..running.len() {
            let at = (round + turn) % running.len();
            let Ok(proxy) = &running[at] else { continue };
            let mut alone = || rounds[at].extend(measure(proxy, job, &script));
            match &without {
                Some((less, Ok(other))) if proxy.kind == Kind::Kiln => {
                    let mut less = || beside.extend(measure(other, *less, &script_without));
                    if round % 2 == 0 {
                        less();
                        alone();
                    } else {
                        alone();
                        less();
                    }
                }
                _ => alone(),
            }
            let last = rounds[at].last().map_or(f64::NAN, |measured| measured.user + measured.system);
            eprintln!("{} {} {round}: {last:.1} us", job.name(), proxy.kind.name());
        }
    }
    let of = |rounds: &[Measured], what: fn(&Measured) -> f64| median(rounds.iter().map(what).collect());
    let cpu = |rounds: &[Measured]| of(rounds, |measured| measured.user) + of(rounds, |measured| measured.system);
    if let (Some(at), Some((less, _))) = (proxies.iter().position(|(kind, _)| *kind == Kind::Kiln), &without) {
        growth.push((job.name(), less.name(), cpu(&rounds[at]) / cpu(&beside)));
    }
    running
        .iter()
        .zip(&rounds)
        .map(|(proxy, rounds)| {
            proxy.as_ref().map_err(|reason| *reason)?;
            if rounds.is_empty() {
                return Err("no answer");
            }
            Ok(Measured {
                user: of(rounds, |measured| measured.user),
                system: of(rounds, |measured| measured.system),
                per_second: of(rounds, |measured| measured.per_second),
                slowest: of(rounds, |measured| measured.slowest),
                memory: of(rounds, |measured| measured.memory),
            })
        })
        .collect()
}

/// Runs a second of load from the other core; `None` without a response, or with a wrong one.
fn measure(proxy: &Running, job: Job, script: &Path) -> Option<Measured> {
    let before = proxy.cpu();
    match job {
        Job::Http2 => return measure_http2(proxy, before),
        Job::Handshakes | Job::Resumed => return measure_handshakes(proxy, job == Job::Resumed, before),
        _ => {}
    }
    let scheme = if job.tls() { "https" } else { "http" };
    let wrk = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "--latency", "-d1s", "--timeout", "30s", &format!("-c{}", job.clients()), "-s"])
        .arg(script)
        .arg(format!("{scheme}://localhost:{}/", proxy.port))
        .output()
        .ok()?;
    let after = proxy.cpu();
    let text = String::from_utf8_lossy(&wrk.stdout).into_owned();
    if text.contains("Non-2xx") {
        return None;
    }
    let number = |line: &str| line.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    let requests = text.lines().find(|line| line.contains("requests in")).and_then(number).filter(|n| *n > 0.0)?;
    let per_second = text.lines().find_map(|line| number(line.strip_prefix("Requests/sec:")?))?;
    let slowest = text.lines().find_map(|line| milliseconds(line.trim().strip_prefix("99%")?.trim()));
    Some(Measured {
        user: (after.0 - before.0) * 1e6 / requests,
        system: (after.1 - before.1) * 1e6 / requests,
        per_second,
        slowest: slowest.unwrap_or(f64::NAN),
        memory: proxy.memory(),
    })
}

/// The same with h2load.
fn measure_http2(proxy: &Running, before: (f64, f64)) -> Option<Measured> {
    let url = format!("https://localhost:{}/", proxy.port);
    let h2load =
        Command::new("taskset").args(["-c", "1", "h2load", "-t1", "-c4", "-m16", "-D1", &url]).output().ok()?;
    let after = proxy.cpu();
    let text = String::from_utf8_lossy(&h2load.stdout).into_owned();
    // Parses "status codes: 41000 2xx, 0 3xx, 0 4xx, 0 5xx".
    let statuses = text.lines().find_map(|line| line.strip_prefix("status codes: "))?;
    let counts: Vec<f64> = statuses.split(", ").filter_map(|part| part.split(' ').next()?.parse().ok()).collect();
    let [requests, others @ ..] = counts.as_slice() else { return None };
    let requests = *requests;
    if requests < 1.0 || others.iter().any(|&count| count > 0.0) {
        return None;
    }
    // Parses "time for request:     1.20ms     8.11ms     1.52ms ...", of which the second is the maximum.
    let slowest = text.lines().find_map(|line| line.strip_prefix("time for request:"));
    let slowest = slowest.and_then(|times| milliseconds(times.split_whitespace().nth(1)?)).unwrap_or(f64::NAN);
    Some(measured(proxy, requests, (before, after), (requests, slowest)))
}

/// A connection for each request, one after the other.
fn measure_handshakes(proxy: &Running, resumed: bool, before: (f64, f64)) -> Option<Measured> {
    let began = std::time::Instant::now();
    let requests = crate::handshakes::connect_for_a_second(proxy.port, resumed)? as f64;
    let per_second = requests / began.elapsed().as_secs_f64();
    Some(measured(proxy, requests, (before, proxy.cpu()), (per_second, f64::NAN)))
}

fn measured(
    proxy: &Running,
    requests: f64,
    (before, after): ((f64, f64), (f64, f64)),
    (per_second, slowest): (f64, f64),
) -> Measured {
    Measured {
        user: (after.0 - before.0) * 1e6 / requests,
        system: (after.1 - before.1) * 1e6 / requests,
        per_second,
        slowest,
        memory: proxy.memory(),
    }
}

/// The number of concurrent idle connections.
const IDLE: usize = 5000;

/// The memory of each idle TLS connection, after one response.
pub(crate) fn idle() {
    let dir = scratch("compare-idle");
    let origin = origin(&dir);
    println!("\n| proxy | resident memory per idle TLS connection, KiB |\n|---|---|");
    for kind in PROXIES.iter().filter(|kind| kind.version().is_some()) {
        let Ok(proxy) = kind.start(Job::Tls, &dir, FIRST_PORT + *kind as u16) else { continue };
        // Shared memory is allocated for the first connections.
        drop(crate::handshakes::keep(proxy.port, 100));
        let before = proxy.memory();
        let Some(kept) = crate::handshakes::keep(proxy.port, IDLE) else { continue };
        println!("| {} | {:.1} |", kind.name(), (proxy.memory() - before) / 1024.0 / IDLE as f64);
        drop(kept);
    }
    drop(origin);
}

/// Parses the durations of wrk and h2load.
fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3), ("m", 6e4)];
    units.iter().find_map(|(unit, times)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * times))
}

pub(crate) struct Origin(Child);

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// An nginx that responds to everything, on the load generator's core.
pub(crate) fn origin(dir: &Path) -> Origin {
    origin_on(dir, &[])
}

/// The same, which listens on more addresses.
pub(crate) fn origin_on(dir: &Path, more: &[String]) -> Origin {
    let files = dir.join("files");
    std::fs::create_dir_all(&files).expect("made");
    std::fs::write(files.join("large"), vec![b'x'; LARGE]).expect("written");
    for size in [10 << 10, 1 << 20] {
        // Pseudo-random letters: compression leaves about five bits of each byte.
        let letters = (0..size as u32).map(|at| b'a' + (at.wrapping_mul(2_654_435_769).rotate_left(9) % 26) as u8);
        let path = files.join(format!("{size}.txt"));
        std::fs::write(&path, letters.collect::<Vec<u8>>()).expect("written");
        let gzip = std::process::Command::new("gzip").args(["-9", "-k", "-f"]).arg(&path).status();
        assert!(gzip.is_ok_and(|status| status.success()), "gzip runs");
    }
    let text: String = (0..)
        .map(|number| format!("{{\"id\":{number},\"name\":\"item {}\"}},\n", number * 7919 % 10_007))
        .take(4000)
        .collect();
    std::fs::write(files.join("text"), &text[..TEXT]).expect("written");
    let small = "x".repeat(100);
    let listen: String = more.iter().map(|address| format!(" listen {address};")).collect();
    let text = nginx(
        dir,
        "origin",
        &format!(
            "access_log off; client_max_body_size 1g; sendfile on;\nserver {{ listen {ORIGIN};{listen}\n\
             location / {{ return 200 \"{small}\"; }}\n\
             location /bytes/ {{ root {0}; }}\n\
             location = /cached {{ add_header Cache-Control max-age=36000; return 200 \"{small}\"; }}\nlocation = /large {{ root {0}; }}\nlocation = /text {{ default_type application/json; add_header Cache-Control max-age=36000; root {0}; }} }}",
            files.display()
        ),
    );
    let path = dir.join("origin.conf");
    std::fs::write(&path, text).expect("written");
    let child = Command::new("taskset").args(["-c", "1", "nginx", "-c"]).arg(&path).stderr(Stdio::null()).spawn();
    let origin = Origin(child.expect("nginx starts"));
    while std::net::TcpStream::connect(ORIGIN).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    origin
}
