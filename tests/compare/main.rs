//! The benchmark: CPU time per request beside nginx, and what the compiler and the router cost.
//!
//! `cargo run --release -p kiln-tests --bin compare` prints a table in Markdown; with `router`,
//! `compiler` or `requests` behind it, that part alone. Figures about requests need `nginx` and
//! `wrk`; without them these rows say so. All load goes to loopback and ends by itself. CPU time is what the proxy's
//! process used, by /proc, divided by requests; proxies take turns within one run, and the median of the rounds counts.

mod compiler;
mod requests;
mod router;

fn main() {
    println!("| what | figure | aim |\n|---|---|---|");
    let only = std::env::args().nth(1);
    let parts: [(&str, fn()); 3] =
        [("router", router::report), ("compiler", compiler::report), ("requests", requests::report)];
    for (_, report) in parts.into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        report();
    }
}

/// A row of the table.
fn row(what: &str, figure: &str, aim: &str) {
    println!("| {what} | {figure} | {aim} |");
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
