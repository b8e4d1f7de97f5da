//! Load balancing: a [`Balancer`] chooses among [`Candidates`]. Pure, on the hot path, lock-free, no allocation.
//!
//! Each policy is a file. Policies know only a server's weight and its [`Load`], which all
//! workers update. They do not know why a server is available or not (health, capacity, already tried):
//! [`Candidates::can`] tells them, and every policy spreads the share of an unavailable server over all others.

mod candidates;
mod ewma;
mod first;
mod least_conn;
mod load;
mod maglev;
mod random;
mod ring;
mod round_robin;
pub mod split;
mod two_choices;

pub use self::candidates::{Candidates, PickContext, hash};
pub use self::load::{Latency, Load};
use self::maglev::Maglev;
use self::random::Random;
use self::ring::Ring;
use self::round_robin::RoundRobin;
pub use crate::dice::Dice;
use crate::site::BalancePolicy;

/// A load-balancing policy, with its state.
#[derive(Debug)]
pub enum Balancer {
    /// In turn, in proportion to weights.
    RoundRobin(RoundRobin),
    /// The server with the fewest exchanges for its weight.
    LeastConn,
    /// The less loaded of two random servers.
    TwoChoices,
    /// A random server, in proportion to weights.
    Random(Random),
    /// By key, with consistent hashing.
    Ring(Ring),
    /// By key, with a lookup table.
    Maglev(Maglev),
    /// The faster of two random servers.
    Ewma,
    /// The first available server.
    First,
}

impl Balancer {
    /// Creates the policy's state for servers with these names and weights.
    pub fn new(policy: BalancePolicy, servers: &[(&str, u32)]) -> Balancer {
        let weights: Vec<u32> = servers.iter().map(|(_, weight)| *weight).collect();
        match policy {
            BalancePolicy::RoundRobin => Balancer::RoundRobin(RoundRobin::new(&weights)),
            BalancePolicy::LeastConn => Balancer::LeastConn,
            BalancePolicy::P2c => Balancer::TwoChoices,
            BalancePolicy::Random => Balancer::Random(Random::new(&weights)),
            BalancePolicy::Hash => Balancer::Ring(Ring::new(servers)),
            BalancePolicy::Maglev => Balancer::Maglev(Maglev::new(servers)),
            BalancePolicy::Ewma => Balancer::Ewma,
            BalancePolicy::First => Balancer::First,
        }
    }

    /// Chooses a server; `None` if none is available.
    pub fn choose(&self, servers: &impl Candidates, context: PickContext<'_>) -> Option<usize> {
        if servers.count() == 0 {
            return None;
        }
        match self {
            Balancer::RoundRobin(policy) => policy.choose(servers),
            Balancer::LeastConn => least_conn::choose(servers, context),
            Balancer::TwoChoices => two_choices::choose(servers, context),
            Balancer::Random(policy) => policy.choose(servers, context),
            Balancer::Ring(policy) => policy.choose(servers, context),
            Balancer::Maglev(policy) => policy.choose(servers, context),
            Balancer::Ewma => ewma::choose(servers, context),
            Balancer::First => first::choose(servers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Field {
        weights: Vec<u32>,
        loads: Vec<Load>,
        down: Vec<usize>,
    }

    impl Candidates for Field {
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
            !self.down.contains(&position)
        }
    }

    const ALL: [BalancePolicy; 8] = [
        BalancePolicy::RoundRobin,
        BalancePolicy::LeastConn,
        BalancePolicy::P2c,
        BalancePolicy::Random,
        BalancePolicy::Hash,
        BalancePolicy::Maglev,
        BalancePolicy::Ewma,
        BalancePolicy::First,
    ];

    /// Returns how many of 100,000 concurrent requests each server gets: loads only grow.
    fn shares(policy: BalancePolicy, weights: &[u32], down: &[usize]) -> Vec<u32> {
        let names: Vec<String> = (0..weights.len()).map(|n| format!("10.0.0.{n}:80")).collect();
        let servers: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
        let policy = Balancer::new(policy, &servers);
        let loads = weights.iter().map(|_| Load::default()).collect();
        let field = Field { weights: weights.to_vec(), loads, down: down.to_vec() };
        let dice = Dice::new(7);
        for number in 0..100_000_u64 {
            let key = hash(&number.to_le_bytes(), 1);
            let Some(chosen) = policy.choose(&field, PickContext { key, dice: &dice, now: 0 }) else { continue };
            assert!(field.loads[chosen].begin(u64::MAX));
        }
        field.loads.iter().map(Load::active).collect()
    }

    #[track_caller]
    fn check(policy: BalancePolicy, weights: &[u32], down: &[usize], expected: &[f64], tolerance: f64) {
        let shares = shares(policy, weights, down);
        for (share, expected) in shares.iter().zip(expected) {
            let off = (f64::from(*share) / 100_000.0 - expected).abs();
            assert!(off <= tolerance, "{policy:?} {weights:?} without {down:?}: {shares:?}, not {expected:?}");
        }
    }

    #[test]
    fn weights_are_shares() {
        for policy in ALL {
            match policy {
                BalancePolicy::First => check(policy, &[1, 1, 2], &[], &[1.0, 0.0, 0.0], 0.0),
                BalancePolicy::Hash => check(policy, &[1, 1, 2], &[], &[0.25, 0.25, 0.5], 0.05),
                _ => check(policy, &[1, 1, 2], &[], &[0.25, 0.25, 0.5], 0.01),
            }
        }
    }

    /// The share of an unavailable server is spread over all others.
    #[test]
    fn unavailable_shares_are_spread() {
        for policy in ALL {
            match policy {
                BalancePolicy::First => check(policy, &[1, 1, 1, 1], &[0], &[0.0, 1.0, 0.0, 0.0], 0.0),
                BalancePolicy::Hash => {
                    check(policy, &[1, 1, 1, 1], &[1], &[0.333, 0.0, 0.333, 0.333], 0.07);
                }
                _ => check(policy, &[1, 1, 1, 1], &[1], &[0.333, 0.0, 0.333, 0.333], 0.02),
            }
        }
    }

    #[test]
    fn none_or_one_available() {
        for policy in ALL {
            check(policy, &[1, 1], &[0, 1], &[0.0, 0.0], 0.0);
            check(policy, &[0, 0], &[], &[0.0, 0.0], 0.0);
            check(policy, &[], &[], &[], 0.0);
            check(policy, &[1, 1, 1], &[0, 2], &[0.0, 1.0, 0.0], 0.0);
            check(policy, &[0, 1], &[], &[0.0, 1.0], 0.0);
        }
    }

    /// With more servers than are compared, the loads are still even.
    #[test]
    fn many_servers_stay_even() {
        for policy in [BalancePolicy::LeastConn, BalancePolicy::P2c, BalancePolicy::RoundRobin] {
            let shares = shares(policy, &[1; 200], &[]);
            assert!(shares.iter().all(|share| (490..=510).contains(share)), "{policy:?} {shares:?}");
        }
    }

    #[test]
    fn a_key_keeps_its_server() {
        let names: Vec<String> = (0..10).map(|n| format!("10.0.0.{n}:80")).collect();
        let all: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let field = |count, down: &[usize]| Field {
            weights: vec![1; count],
            loads: (0..count).map(|_| Load::default()).collect(),
            down: down.to_vec(),
        };
        let dice = Dice::new(1);
        let keys: Vec<u64> = (0..20_000_u64).map(|number| hash(&number.to_le_bytes(), 2)).collect();
        for kind in [BalancePolicy::Hash, BalancePolicy::Maglev] {
            let before = Balancer::new(kind, &all);
            // The tenth server is removed, or only unavailable.
            let without = Balancer::new(kind, &all[..9]);
            let (full, fewer, down) = (field(10, &[]), field(9, &[]), field(10, &[9]));
            let choose = |policy: &Balancer, field: &Field, key| {
                policy.choose(field, PickContext { key, dice: &dice, now: 0 }).expect("a server")
            };
            let moved = |policy: &Balancer, field: &Field| {
                keys.iter().filter(|&&key| choose(&before, &full, key) != choose(policy, field, key)).count()
            };
            let (gone, away) = (moved(&without, &fewer), moved(&before, &down));
            let its = keys.iter().filter(|&&key| choose(&before, &full, key) == 9).count();
            assert!(gone * 10 <= its * 13, "{kind:?}: {gone} moved for {its}");
            assert_eq!(away, its, "{kind:?}");
        }
    }
}
