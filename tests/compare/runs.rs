//! Keeps the results of runs, as one run is no claim: each run of `compare requests` adds its lines to a file, and `compare runs` prints the ratios as the
//! median of all runs, with their range. The file is part of the project, so that runs at other hours, and of other versions, stay comparable.
//!
//! A line is `TIME JOB | PROXY NUMBER | ...`: microseconds of CPU time per request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use kiln_tests::kiln::workspace;

use crate::median;

/// The fewest runs that make a figure.
const ENOUGH: usize = 3;

/// The job and the results of one line: proxies and their CPU times.
type Line<'t> = (&'t str, Vec<(&'t str, f64)>);

fn file() -> PathBuf {
    workspace().join("docs/performance-runs.txt")
}

/// Adds the results of a job to the file: CPU time per request of each proxy.
pub(crate) fn keep(began: SystemTime, job: &str, results: &[(&str, f64)]) {
    let cells: String = results.iter().map(|(name, micros)| format!(" | {name} {micros:.3}")).collect();
    let line = format!("{} {job}{cells}\n", at(began));
    let file = std::fs::File::options().create(true).append(true).open(file());
    file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes())).expect("written");
}

/// The time of a run in minutes, in UTC.
fn at(began: SystemTime) -> String {
    let seconds = began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let output = std::process::Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%FT%RZ"]).output();
    output.map_or_else(|_| seconds.to_string(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

pub(crate) fn report() {
    match std::fs::read_to_string(file()) {
        Ok(text) => print!("{}", table(&text)),
        Err(_) => println!("No runs in {}: `compare requests` makes one.", file().display()),
    }
}

/// The ratios of each job to nginx's figure of the same run.
fn table(text: &str) -> String {
    let mut order = Vec::new();
    let mut ratios: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    let mut times: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines() {
        let Some((time, (job, results))) = line.split_once(' ').and_then(|(time, rest)| Some((time, parse(rest)?)))
        else {
            continue;
        };
        let Some((_, nginx)) = results.iter().find(|(name, _)| *name == "nginx").copied() else { continue };
        if !order.contains(&job) {
            order.push(job);
        }
        times.entry(job).or_default().push(time);
        for (name, micros) in results.iter().filter(|(name, _)| *name != "nginx") {
            ratios.entry((job, name)).or_default().push(micros / nginx);
        }
    }
    let mut names: Vec<&str> = ratios.keys().map(|(_, name)| *name).collect();
    names.sort_unstable_by_key(|name| (*name != "Kiln", *name));
    names.dedup();
    let mut out = format!("| job | runs | {} |\n|---|---{}|\n", names.join(" | "), "|---".repeat(names.len()));
    for job in order {
        let times = &times[job];
        let cells: Vec<String> =
            names.iter().map(|name| ratios.get(&(job, *name)).map_or("-".to_owned(), |all| ratio(all))).collect();
        let (first, last) = (times[0], times[times.len() - 1]);
        out += &format!("| {job} | {} ({first} to {last}) | {} |\n", times.len(), cells.join(" | "));
    }
    out
}

fn parse(line: &str) -> Option<Line<'_>> {
    let mut parts = line.split(" | ");
    let job = parts.next()?;
    let results = parts.map(|part| {
        let (name, micros) = part.rsplit_once(' ')?;
        Some((name, micros.parse().ok()?))
    });
    Some((job, results.collect::<Option<_>>()?))
}

/// The median and the range; what is not yet a figure says so.
fn ratio(all: &[f64]) -> String {
    let lowest = all.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = all.iter().copied().fold(0.0, f64::max);
    match all.len() {
        ENOUGH.. => format!("{:.2} ({lowest:.2} to {highest:.2})", median(all.to_vec())),
        runs => format!("{lowest:.2} to {highest:.2} in {runs} of {ENOUGH} runs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_runs() {
        let text = "\
2026-11-30T01:00Z plain | Kiln 20.000 | nginx 25.000 | HAProxy 30.000
2026-11-30T01:00Z cache hits | Kiln 6.000 | nginx 10.000
2026-11-30T03:00Z plain | Kiln 30.000 | nginx 25.000
something else
2026-11-30T05:00Z plain | Kiln 45.000 | nginx 50.000 | HAProxy 40.000
2026-11-30T05:00Z no nginx | Kiln 45.000
";
        let expected = "\
| job | runs | Kiln | HAProxy |
|---|---|---|---|
| plain | 3 (2026-11-30T01:00Z to 2026-11-30T05:00Z) | 0.90 (0.80 to 1.20) | 0.80 to 1.20 in 2 of 3 runs |
| cache hits | 1 (2026-11-30T01:00Z to 2026-11-30T01:00Z) | 0.60 to 0.60 in 1 of 3 runs | - |
";
        assert_eq!(table(text), expected);
        assert_eq!(at(SystemTime::UNIX_EPOCH), "1970-01-01T00:00Z");
    }
}
