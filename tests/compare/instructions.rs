//! User instructions per request, counted by callgrind: Kiln beside nginx and HAProxy. They do not depend on the hour.

use kiln_tests::instructions::{CountedLoad, bearer, missing, per_request};
use kiln_tests::kiln::scratch;

use crate::jobs::Job;
use crate::proxies::Kind;
use crate::requests::{FIRST_PORT, origin};

const JOBS: [Job; 13] = [
    Job::Plain,
    Job::Logged,
    Job::Limited,
    Job::Token,
    Job::Prefixes(10),
    Job::Prefixes(10_000),
    Job::Prefixes(100_000),
    Job::Expressions(10),
    Job::Expressions(10_000),
    Job::Tls,
    Job::Http2,
    Job::Cached,
    Job::Embedded { compressed: false },
];

pub(crate) fn report(only: Option<&str>) {
    if let Some(program) = missing() {
        println!("Not counted: `{program}` is not installed.");
        return;
    }
    let kinds = [Kind::Kiln, Kind::Nginx, Kind::Haproxy];
    let kinds: Vec<(Kind, String)> = kinds.into_iter().filter_map(|kind| Some((kind, kind.version()?))).collect();
    let names: Vec<String> = kinds.iter().map(|(kind, version)| format!("{} {version}", kind.name())).collect();
    println!(
        "\n**User instructions per request**\n\n| job | {} |\n|---{}|",
        names.join(" | "),
        "|---".repeat(names.len())
    );
    let dir = scratch("compare-instructions");
    let _origin = origin(&dir);
    for job in JOBS.into_iter().filter(|job| job.is_among(only)) {
        let cells = kinds.iter().map(|(kind, _)| {
            if would_take_hours(*kind, job) {
                return "-".to_owned();
            }
            let port = FIRST_PORT + *kind as u16;
            let scheme = if job.tls() { "https" } else { "http" };
            let url = format!("{scheme}://localhost:{port}{}", job.path());
            let field = (job == Job::Token).then(bearer);
            let load = CountedLoad { url, to: None, http2: job == Job::Http2, field };
            let mut refused = None;
            let count = per_request(&dir, &load, |program, send| match kind.start_within(program, job, &dir, port) {
                Ok(running) => {
                    send();
                    drop(running);
                }
                Err(reason) => refused = Some(reason),
            });
            count.map_or_else(|| refused.unwrap_or("not counted").to_owned(), |count| count.to_string())
        });
        println!("| {} | {} |", job.name(), cells.collect::<Vec<_>>().join(" | "));
    }
}

/// Whether a proxy tries one route after the other of so many.
fn would_take_hours(kind: Kind, job: Job) -> bool {
    match kind {
        Kind::Nginx => matches!(job, Job::Expressions(1_000..)),
        Kind::Haproxy => matches!(job, Job::Prefixes(1_000..) | Job::Expressions(1_000..)),
        _ => false,
    }
}
