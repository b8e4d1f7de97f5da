//! The cost of a choice among servers, how even the shares are, and how many keys move when a server is removed.

use std::hint::black_box;
use std::time::Instant;

use proxy_runtime::balance::{Balancer, Candidates, Dice, Load, PickContext, hash};
use proxy_runtime::site::BalancePolicy;

use crate::row;

const POLICIES: [(&str, BalancePolicy); 8] = [
    ("round-robin", BalancePolicy::RoundRobin),
    ("least-conn", BalancePolicy::LeastConn),
    ("p2c", BalancePolicy::P2c),
    ("random", BalancePolicy::Random),
    ("hash", BalancePolicy::Hash),
    ("maglev", BalancePolicy::Maglev),
    ("ewma", BalancePolicy::Ewma),
    ("first", BalancePolicy::First),
];

struct Servers {
    weights: Vec<u32>,
    loads: Vec<Load>,
}

impl Candidates for Servers {
    fn count(&self) -> usize {
        self.weights.len()
    }
    fn weight(&self, position: usize) -> u32 {
        self.weights[position]
    }
    fn load(&self, position: usize) -> &Load {
        &self.loads[position]
    }
    fn can(&self, position: usize) -> bool {
        self.loads[position].active() < 1_000_000
    }
}

pub(crate) fn report() {
    for (name, policy) in POLICIES {
        // Two exponential functions are expensive.
        let dear = policy == BalancePolicy::Ewma;
        for (count, aim) in [(3, "under 50 ns"), (1_000, "under 200 ns")] {
            let aim = if dear { "reported" } else { aim };
            let (policy, servers) = made(policy, &vec![1; count]);
            row(
                &format!("choice by {name} among {count} servers"),
                &format!("{:.0} ns", nanoseconds(&policy, &servers)),
                aim,
            );
        }
    }
    for (name, policy) in POLICIES {
        if policy != BalancePolicy::First {
            let weights: Vec<u32> = (1..=10).collect();
            let worst = worst_share(policy, &weights);
            let figure = format!("{:.1} % off its share at most", 100.0 * worst);
            row(&format!("shares by {name}, 10 servers of weights 1 to 10"), &figure, "reported");
        }
    }
    for (name, policy) in [("hash", BalancePolicy::Hash), ("maglev", BalancePolicy::Maglev)] {
        let figure = format!("{:.2} of its share of the keys move", moved(policy));
        row(&format!("one of 10 servers goes, {name}"), &figure, "at most 1.3");
    }
    let began = Instant::now();
    black_box(made(BalancePolicy::Maglev, &vec![1; 1_000]));
    row(
        "making the table of maglev for 1,000 servers",
        &format!("{:.1} ms", began.elapsed().as_secs_f64() * 1e3),
        "reported",
    );
}

fn made(policy: BalancePolicy, weights: &[u32]) -> (Balancer, Servers) {
    let names: Vec<String> = (0..weights.len()).map(|n| format!("10.0.{}.{}:8080", n / 250, n % 250)).collect();
    let named: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
    let loads = weights.iter().map(|_| Load::default()).collect();
    (Balancer::new(policy, &named), Servers { weights: weights.to_vec(), loads })
}

/// The minimum over many batches. About a hundred exchanges are in progress at any time.
fn nanoseconds(policy: &Balancer, servers: &Servers) -> f64 {
    const LOT: usize = 1_000;
    let dice = Dice::new(7);
    let mut under_way = std::collections::VecDeque::new();
    let mut least = f64::INFINITY;
    for lot in 0..300_u64 {
        let keys: Vec<u64> = (0..LOT as u64).map(|n| hash(&(lot * LOT as u64 + n).to_le_bytes(), 0)).collect();
        let mut chosen = Vec::with_capacity(LOT);
        let began = Instant::now();
        for key in keys {
            chosen.push(black_box(policy.choose(servers, PickContext { key, dice: &dice, now: lot })));
        }
        least = least.min(began.elapsed().as_nanos() as f64 / LOT as f64);
        for position in chosen.into_iter().flatten() {
            servers.loads[position].begin(u64::MAX);
            under_way.push_back(position);
        }
        while under_way.len() > 100 {
            under_way.pop_front().into_iter().for_each(|position| servers.loads[position].end());
        }
    }
    least
}

/// The largest relative deviation of a server from its share of a million requests.
fn worst_share(policy: BalancePolicy, weights: &[u32]) -> f64 {
    const REQUESTS: usize = 1_000_000;
    let (policy, servers) = made(policy, weights);
    let dice = Dice::new(11);
    for number in 0..REQUESTS as u64 {
        let key = hash(&number.to_le_bytes(), 1);
        if let Some(position) = policy.choose(&servers, PickContext { key, dice: &dice, now: 0 }) {
            servers.loads[position].begin(u64::MAX);
        }
    }
    let total: u32 = weights.iter().sum();
    let off = weights.iter().zip(&servers.loads).map(|(weight, load)| {
        let ideal = f64::from(*weight) / f64::from(total) * REQUESTS as f64;
        (f64::from(load.active()) - ideal).abs() / ideal
    });
    off.fold(0.0, f64::max)
}

/// The number of keys that move when one of ten servers is removed, as a multiple of that server's keys.
fn moved(policy: BalancePolicy) -> f64 {
    let dice = Dice::new(3);
    let ((before, ten), (after, nine)) = (made(policy, &[1; 10]), made(policy, &[1; 9]));
    let (mut moved, mut its) = (0, 0);
    for number in 0..200_000_u64 {
        let ask = PickContext { key: hash(&number.to_le_bytes(), 1), dice: &dice, now: 0 };
        let was = before.choose(&ten, ask);
        its += usize::from(was == Some(9));
        moved += usize::from(was != after.choose(&nine, ask));
    }
    moved as f64 / its as f64
}
