//! Latency at a constant rate: `compare latency`. The same rates for all proxies, a half and nine tenths of what the slower one of Kiln and nginx
//! can take; they take turns within each round. See `load` for what a latency is.

use std::time::Duration;

use kiln_tests::kiln::scratch;

use crate::jobs::Job;
use crate::load::{Clients, LoadResult, Pace, pin};
use crate::proxies::{Kind, Running};
use crate::{median, requests};

const JOBS: [Job; 4] = [Job::Plain, Job::Hosts(1_000), Job::Cached, Job::File(10 << 10)];

/// The proxies; last, a program that only reads and writes, whose latency is the machine's own.
const COLUMNS: [(&str, Kind); 4] =
    [("Kiln", Kind::Kiln), ("nginx", Kind::Nginx), ("HAProxy", Kind::Haproxy), ("one read, one write", Kind::Kiln)];

/// The column of that program.
const BARE: usize = 3;

const SHARES: [f64; 2] = [0.5, 0.9];
const QUANTILES: [(&str, f64); 3] = [("50 %", 0.5), ("99 %", 0.99), ("99.9 %", 0.999)];
const CLIENTS: usize = 64;
const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);

/// The first of the proxies' ports.
const FIRST_PORT: u16 = 18_180;

pub(crate) fn report(only: Option<&str>) {
    if requests::lacks(&["nginx", "taskset"]) {
        return;
    }
    let dir = scratch("compare-latency");
    let origin = requests::origin(&dir);
    let names = COLUMNS.map(|(name, _)| name).join(" | ");
    println!("\n**Latency at a constant rate, ms: median of {ROUNDS} rounds (lowest to highest)**\n");
    println!("| job | requests per second | share | {names} |\n|---|---|---{}|", "|---".repeat(COLUMNS.len()));
    for job in JOBS.into_iter().filter(|job| job.is_among(only)) {
        // Builds have all cores; then the load and the origin have one, the proxies the other.
        pin(&[0, 1]);
        let asked = asked(job);
        let started = (0..COLUMNS.len()).map(|at| {
            let job = if at == BARE { Job::Bare } else { job };
            COLUMNS[at].1.start(job, &dir, FIRST_PORT + at as u16)
        });
        let mut proxies: Vec<Option<(Running, Clients)>> = started
            .map(|proxy| {
                let proxy = proxy.ok()?;
                let clients = Clients::connect(proxy.port, CLIENTS)?;
                Some((proxy, clients))
            })
            .collect();
        pin(&[1]);
        let capacities = capacities(&mut proxies, &asked);
        let capacity = capacities[0].min(capacities[1]);
        eprintln!("{}: at most {capacities:.0?} requests per second", job.name());
        for share in SHARES {
            let rate = (capacity * share / 100.0).floor() * 100.0;
            let rounds = rounds(&mut proxies, &asked, rate, capacities);
            for (name, quantile) in QUANTILES {
                let cells = rounds.iter().zip(capacities).map(|(rounds, capacity)| {
                    let slow: Vec<f64> = rounds.iter().map(|round| round.quantile(quantile)).collect();
                    match slow.len() {
                        ROUNDS => with_range(&slow),
                        _ if capacity.is_nan() => "-".to_owned(),
                        _ => "can't keep up".to_owned(),
                    }
                });
                let cells = cells.collect::<Vec<_>>().join(" | ");
                println!("| {}, {:.0} % of capacity | {rate:.0} | {name} | {cells} |", job.name(), share * 100.0);
            }
        }
    }
    drop(origin);
}

/// The median and the range.
fn with_range(values: &[f64]) -> String {
    let (least, most) =
        values.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), &value| (least.min(value), most.max(value)));
    format!("{:.2} ({least:.2} to {most:.2})", median(values.to_vec()))
}

/// Requests per second without a schedule, in turns; NaN for a proxy that does not run.
fn capacities(proxies: &mut [Option<(Running, Clients)>], asked: &[Vec<u8>]) -> [f64; COLUMNS.len()] {
    let mut found: [Vec<f64>; COLUMNS.len()] = Default::default();
    for _ in 0..3 {
        for (proxy, found) in proxies.iter_mut().zip(&mut found) {
            let run = proxy.as_mut().and_then(|(_, clients)| clients.run(asked, Pace::Closed, TIME / 4));
            found.extend(run.map(|run| run.per_second));
        }
    }
    found.map(median)
}

/// The results of all rounds of each proxy; fewer, if it can't keep up.
fn rounds(
    proxies: &mut [Option<(Running, Clients)>],
    asked: &[Vec<u8>],
    rate: f64,
    capacities: [f64; COLUMNS.len()],
) -> Vec<Vec<LoadResult>> {
    let mut rounds: Vec<Vec<LoadResult>> = proxies.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        for turn in 0..proxies.len() {
            // Which proxy comes first in a round rotates, as its predecessor affects it.
            let at = (round + turn) % proxies.len();
            let Some((proxy, clients)) = proxies[at].as_mut().filter(|_| capacities[at] >= rate) else { continue };
            match clients.run(asked, Pace::PerSecond(rate), TIME) {
                Some(result) => rounds[at].push(result),
                None => *clients = Clients::connect(proxy.port, CLIENTS).expect("it runs"),
            }
        }
    }
    rounds
}

/// The requests of a job, which are repeated.
fn asked(job: Job) -> Vec<Vec<u8>> {
    let get = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    match job {
        Job::Hosts(n) => (0..n).map(|at| get("/", &format!("host{}.example.com", at * 7919 % n))).collect(),
        Job::Cached => vec![get("/cached", "localhost")],
        Job::File(size) => vec![get(&format!("/{size}.txt"), "localhost")],
        _ => vec![get("/", "localhost")],
    }
}
