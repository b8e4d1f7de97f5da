//! The cost of access control: a look-up in a list of networks, and a decision of a rate limit.

use std::collections::HashSet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use proxy_runtime::access::counted::LimitKey;
use proxy_runtime::access::inspect::{Inspector, Scratch};
use proxy_runtime::access::limiter::{LimitDecision, Limiter};
use proxy_runtime::context::addresses::{Addresses, IpNet};
use proxy_runtime::context::facts::Facts;
use proxy_runtime::context::settings::Settings;
use proxy_runtime::http::Method;
use proxy_runtime::protocol::fields::Fields;
use proxy_runtime::site::{Block, Blocks, By, RateLimit, Where};

use crate::row;

pub(crate) fn report() {
    let networks = 10_000;
    row(
        &format!("look-up in a deny list of {networks} networks"),
        &format!("{:.0} ns", look_up(networks)),
        "under 100 ns",
    );
    let patterns = 1_000;
    let (time, bytes) = inspection(patterns);
    row(
        &format!("{patterns} texts of `block` in 1 KiB of fields, path and query"),
        &format!("{:.1} us", time / 1e3),
        "under 2 us",
    );
    row(&format!("memory of {patterns} texts of `block`"), &format!("{:.1} MB", bytes as f64 / 1e6), "-");
    let keys = 1_000_000;
    let Turns { even, uneven, bytes, refused } = turns(keys);
    row(
        &format!("turn at a rate limit with {keys} clients, as often as each other"),
        &format!("{even:.0} ns"),
        "under 200 ns",
    );
    row(
        "the same, with the second half as often as the first, the third a third, and so on",
        &format!("{uneven:.0} ns"),
        "-",
    );
    row(&format!("memory of a rate limit for {keys} clients"), &format!("{:.0} MB", bytes as f64 / 1e6), "bounded");
    row("a read of as much memory in no order, one after the other", &format!("{:.0} ns", reads(bytes)), "-");
    row("wrongly refused of them, of a million", &format!("{refused}"), "0");
}

/// Pseudo-random numbers, the same each time.
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

/// The nanoseconds for the inspection of a request without a match, and the size of the patterns in bytes.
fn inspection(count: usize) -> (f64, usize) {
    let mut next = numbers();
    let mut word = |length: u32| -> String {
        (0..length)
            .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789-_/.=<>%$"[next() as usize % 45]))
            .collect()
    };
    let pattern = |at: usize, word: &mut dyn FnMut(u32) -> String| {
        let place = [Where::Path, Where::Query, Where::AnyHeader, Where::Header("user-agent".into())][at % 4].clone();
        (place, word(6 + at as u32 % 14).into())
    };
    let patterns: Vec<_> = (0..count).map(|at| pattern(at, &mut word)).collect();
    let rule = Block { name: "all".into(), log_only: false, status: 403, patterns: patterns.into() };
    let inspector = Inspector::new(&Blocks { id: 0, rules: vec![rule].into(), body: 0 });
    // Typical fields of a browser: words, numbers, and a long cookie.
    let lines =
        [("user-agent", 120), ("accept", 90), ("accept-language", 30), ("referer", 80), ("cookie", 600), ("x-id", 36)];
    let fields: Fields = lines.iter().map(|(name, length)| (*name, word(*length))).collect();
    let (path, query) = (word(40), word(60));
    let settings = Settings::new(&[], |_| None).expect("no parameters");
    let facts =
        Facts { path: &path, query: Some(&query), fields: &fields, ..Facts::nothing(&Method::GET, &fields, &settings) };
    let mut scratch = Scratch::default();
    const ROUNDS: u32 = 100_000;
    let began = Instant::now();
    for _ in 0..ROUNDS {
        assert!(black_box(inspector.head(black_box(&facts), &mut scratch)).refused.is_none());
    }
    (began.elapsed().as_nanos() as f64 / f64::from(ROUNDS), inspector.size())
}

/// The cost of a rate limit.
struct Turns {
    /// Nanoseconds for evenly distributed clients in random order.
    even: f64,
    /// Nanoseconds for clients whose frequencies follow Zipf's law.
    uneven: f64,
    /// The size of the table in bytes.
    bytes: usize,
    /// The number of clients that were refused their first request.
    refused: usize,
}

fn turns(count: u64) -> Turns {
    let limiter = |burst| {
        Limiter::new(&RateLimit {
            identified: false,
            id: 0,
            interval: Duration::from_secs(1),
            burst,
            by: By::Client(32, 64),
            delay: Duration::ZERO,
            status: 429,
            keys: count,
        })
    };
    let mut next = numbers();
    let clients: Vec<IpAddr> = (0..count).map(|_| Ipv4Addr::from_bits(next()).into()).collect();
    let turn = |limiter: &Limiter, client, seconds| {
        limiter.take(LimitKey::network(client, (32, 64)), Duration::from_secs(seconds))
    };
    // With a limit of one request, a client that shares an entry with another is refused. Each address occurs once.
    let (strict, mut seen) = (limiter(1), HashSet::new());
    let new = clients.iter().filter(|client| seen.insert(**client));
    let refused = new.filter(|client| turn(&strict, **client, 1) != LimitDecision::Now).count();
    // All are allowed, including repeated requests.
    let limiter = limiter(1_000_000);
    for client in &clients {
        black_box(turn(&limiter, *client, 1));
    }
    let time = |clients: &[IpAddr]| {
        let began = Instant::now();
        for round in 0..3 {
            for client in clients {
                black_box(turn(&limiter, black_box(*client), 2 + round));
            }
        }
        began.elapsed().as_nanos() as f64 / (3 * clients.len()) as f64
    };
    let even = time(&clients);
    // The rank is `count` to the power of a uniform number in 0..1: each rank's probability is proportional to its
    // inverse.
    let place = |number: u32| (count as f64).powf(f64::from(number) / f64::from(u32::MAX)) as usize;
    let comers: Vec<IpAddr> = (0..count).map(|_| clients[place(next()).min(clients.len()) - 1]).collect();
    Turns { even, uneven: time(&comers), bytes: limiter.size(), refused }
}

/// Nanoseconds for a dependent read of memory in a table of so many bytes: a lower bound for any table of that size.
fn reads(bytes: usize) -> f64 {
    const LINE: usize = 64;
    let mut next = numbers();
    // One cycle through all cache lines (Sattolo's algorithm).
    let lines = bytes / LINE;
    let mut order: Vec<usize> = (0..lines).collect();
    for last in (1..lines).rev() {
        order.swap(last, next() as usize % last);
    }
    let mut memory = vec![[0_usize; LINE / size_of::<usize>()]; lines];
    for (line, to) in memory.iter_mut().zip(&order) {
        line[0] = *to;
    }
    const READS: usize = 3_000_000;
    let began = Instant::now();
    let mut at = 0;
    for _ in 0..READS {
        at = memory[at][0];
    }
    black_box(at);
    began.elapsed().as_nanos() as f64 / READS as f64
}
