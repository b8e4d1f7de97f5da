//! What it costs to pass the door: a look-up in a list of networks, and a turn at a rate limit.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use proxy_runtime::addresses::{Addresses, IpNet};
use proxy_runtime::door::limiter::{Limiter, Turn};
use proxy_runtime::site::{By, RateLimit};

use crate::row;

pub(crate) fn report() {
    let networks = 10_000;
    row(
        &format!("look-up in a deny list of {networks} networks"),
        &format!("{:.0} ns", look_up(networks)),
        "under 100 ns",
    );
    let keys = 1_000_000;
    let (time, bytes, refused) = turns(keys);
    row(&format!("turn at a rate limit with {keys} clients"), &format!("{time:.0} ns"), "under 200 ns");
    row(&format!("memory of a rate limit for {keys} clients"), &format!("{:.0} MB", bytes as f64 / 1e6), "bounded");
    row("wrongly refused of them, of a million", &format!("{refused}"), "0");
}

/// Numbers that look random, the same each time.
fn numbers() -> impl FnMut() -> u32 {
    let mut seed = 7_u64;
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 32) as u32
    }
}

fn look_up(count: usize) -> f64 {
    let mut next = numbers();
    let networks: Vec<(IpNet, bool)> = (0..count)
        .map(|_| {
            let network = IpNet::new(Ipv4Addr::from_bits(next()).into(), 16 + (next() % 17) as u8).expect("a network");
            (network.trunc(), false)
        })
        .collect();
    let set = Addresses::of(&networks, true);
    let clients: Vec<IpAddr> = (0..1 << 16).map(|_| Ipv4Addr::from_bits(next()).into()).collect();
    let began = Instant::now();
    const ROUNDS: usize = 100;
    for _ in 0..ROUNDS {
        for client in &clients {
            black_box(set.contains(black_box(*client)));
        }
    }
    began.elapsed().as_nanos() as f64 / (ROUNDS * clients.len()) as f64
}

/// Nanoseconds, bytes, and how many clients were refused the first time they came.
fn turns(count: u64) -> (f64, usize, usize) {
    let limit = RateLimit {
        identified: false,
        id: 0,
        interval: Duration::from_secs(1),
        burst: 10,
        by: By::Client(32, 64),
        delay: Duration::ZERO,
        status: 429,
        keys: count,
    };
    let limiter = Limiter::new(&limit);
    let mut next = numbers();
    // One behind the other: where a request's key is written, memory is warm.
    const LONG: usize = 15;
    let all: String = (0..count).map(|_| format!("{:<LONG$}", Ipv4Addr::from_bits(next()).to_string())).collect();
    let keys: Vec<&str> = (0..count as usize).map(|at| all[at * LONG..][..LONG].trim_end()).collect();
    let refused = keys.iter().filter(|key| limiter.take(key, Duration::from_secs(1)) != Turn::Now).count();
    let began = Instant::now();
    for round in 0..3 {
        for key in &keys {
            black_box(limiter.take(black_box(key), Duration::from_secs(2 + round)));
        }
    }
    (began.elapsed().as_nanos() as f64 / (3 * keys.len()) as f64, limiter.size(), refused)
}
