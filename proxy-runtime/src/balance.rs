//! Whose turn it is: a [`Policy`] chooses among [`Candidates`]. Pure, on the hot path, lock-free, no allocation.
//!
//! Each policy is a file. What they share is what they may know of a server: its weight, and its [`Load`], which all
//! workers count in. Whether a server may be asked at all (health, room, tried already) is not theirs to know: they are
//! told by [`Candidates::can`], and every policy spreads what a server can't take over all others.

mod ewma;
mod first;
mod least_conn;
mod maglev;
mod random;
mod ring;
mod round_robin;
mod two_choices;

use std::cell::Cell;
use std::hash::Hasher as _;
use std::sync::atomic::{AtomicU32, Ordering};

use siphasher::sip::SipHasher13;

pub use self::ewma::Latency;
use self::maglev::Maglev;
use self::random::Random;
use self::ring::Ring;
use self::round_robin::RoundRobin;
use crate::site::BalancePolicy;

/// What is counted of a server.
#[derive(Debug, Default)]
pub struct Load {
    /// Exchanges at it now.
    active: AtomicU32,
    /// How long it takes to answer.
    pub latency: Latency,
}

impl Load {
    /// Exchanges at the server now.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Counts one more exchange, unless there are `limit` already.
    pub fn begin(&self, limit: u64) -> bool {
        let others = self.active.fetch_add(1, Ordering::Relaxed);
        let room = u64::from(others) < limit;
        if !room {
            self.end();
        }
        room
    }

    /// One exchange is over.
    pub fn end(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The servers that a policy chooses among, by position.
pub trait Candidates {
    /// How many there are.
    fn count(&self) -> usize;
    /// What a server's share is relative to the others'; 0 is never chosen.
    fn weight(&self, position: usize) -> u32;
    /// What is counted of it.
    fn load(&self, position: usize) -> &Load;
    /// Whether it may be asked now.
    fn can(&self, position: usize) -> bool;

    /// Whether it may be chosen: it may be asked, and has a weight.
    fn eligible(&self, position: usize) -> bool {
        self.weight(position) > 0 && self.can(position)
    }

    /// The first that may be chosen from a position on, and round to it.
    fn from(&self, start: usize) -> Option<usize> {
        let count = self.count();
        (0..count).map(|step| (start + step) % count).find(|&position| self.eligible(position))
    }
}

/// What a choice depends on, besides the servers.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The hash of the key, for `hash` and `maglev`.
    pub key: u64,
    /// Chance.
    pub dice: &'a Dice,
    /// The time, in nanoseconds since the start.
    pub now: u64,
}

/// How servers take turns, with what a policy remembers.
#[derive(Debug)]
pub enum Policy {
    /// In turn, in proportion to weights.
    RoundRobin(RoundRobin),
    /// The one with the fewest exchanges for its weight.
    LeastConn,
    /// The less loaded of two, by chance.
    TwoChoices,
    /// By chance, in proportion to weights.
    Random(Random),
    /// By key, on a ring.
    Ring(Ring),
    /// By key, from a table.
    Maglev(Maglev),
    /// The faster of two, by chance.
    Ewma,
    /// The first that may be asked.
    First,
}

impl Policy {
    /// For servers of these names and weights.
    pub fn new(policy: BalancePolicy, servers: &[(&str, u32)]) -> Policy {
        let weights: Vec<u32> = servers.iter().map(|(_, weight)| *weight).collect();
        match policy {
            BalancePolicy::RoundRobin => Policy::RoundRobin(RoundRobin::new(&weights)),
            BalancePolicy::LeastConn => Policy::LeastConn,
            BalancePolicy::P2c => Policy::TwoChoices,
            BalancePolicy::Random => Policy::Random(Random::new(&weights)),
            BalancePolicy::Hash => Policy::Ring(Ring::new(servers)),
            BalancePolicy::Maglev => Policy::Maglev(Maglev::new(servers)),
            BalancePolicy::Ewma => Policy::Ewma,
            BalancePolicy::First => Policy::First,
        }
    }

    /// The server to ask; `None` if there is none that may be asked.
    pub fn choose(&self, servers: &impl Candidates, ask: Ask<'_>) -> Option<usize> {
        if servers.count() == 0 {
            return None;
        }
        match self {
            Policy::RoundRobin(policy) => policy.choose(servers),
            Policy::LeastConn => least_conn::choose(servers, ask),
            Policy::TwoChoices => two_choices::choose(servers, ask),
            Policy::Random(policy) => policy.choose(servers, ask),
            Policy::Ring(policy) => policy.choose(servers, ask),
            Policy::Maglev(policy) => policy.choose(servers, ask),
            Policy::Ewma => ewma::choose(servers, ask),
            Policy::First => first::choose(servers),
        }
    }
}

/// Two different servers by chance, if there are two that may be chosen.
fn two(servers: &impl Candidates, dice: &Dice) -> Option<(usize, Option<usize>)> {
    let one = servers.from(dice.below(servers.count()))?;
    // Thrown for all others, so that no neighbour is preferred; counted on from the one chosen.
    let others = servers.count() - 1;
    let start = if others == 0 { one } else { one + 1 + dice.below(others) };
    let other = servers.from(start % servers.count()).filter(|&other| other != one);
    let other = other.or_else(|| servers.from((one + 1) % servers.count()).filter(|&other| other != one));
    Some((one, other))
}

/// The hash of a key, or of a server's name: SipHash-1-3, the same on every machine and in every version.
pub fn hash(key: &[u8], salt: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(salt, 0);
    hasher.write(key);
    hasher.finish()
}

/// Chance, quick and good enough to spread by: xorshift64* (Vigna 2016). One per worker.
#[derive(Debug)]
pub struct Dice(Cell<u64>);

impl Dice {
    /// Throws that depend on the seed.
    pub fn new(seed: u64) -> Dice {
        Dice(Cell::new(seed.max(1)))
    }

    /// Any number.
    pub fn number(&self) -> u64 {
        let mut state = self.0.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.set(state);
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&self, limit: usize) -> usize {
        // Multiplied, not divided (Lemire 2019); the bias is of no account at these sizes.
        ((u128::from(self.number()) * limit as u128) >> 64) as usize
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

    /// How many of 100,000 requests each server gets, where each request stays: loads only grow.
    fn shares(policy: BalancePolicy, weights: &[u32], down: &[usize]) -> Vec<u32> {
        let names: Vec<String> = (0..weights.len()).map(|n| format!("10.0.0.{n}:80")).collect();
        let servers: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
        let policy = Policy::new(policy, &servers);
        let loads = weights.iter().map(|_| Load::default()).collect();
        let field = Field { weights: weights.to_vec(), loads, down: down.to_vec() };
        let dice = Dice::new(7);
        for number in 0..100_000_u64 {
            let key = hash(&number.to_le_bytes(), 1);
            let Some(chosen) = policy.choose(&field, Ask { key, dice: &dice, now: 0 }) else { continue };
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

    /// What a server can't take goes to all others alike.
    #[test]
    fn what_is_down_is_spread() {
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
    fn nobody_and_the_only_one() {
        for policy in ALL {
            check(policy, &[1, 1], &[0, 1], &[0.0, 0.0], 0.0);
            check(policy, &[0, 0], &[], &[0.0, 0.0], 0.0);
            check(policy, &[], &[], &[], 0.0);
            check(policy, &[1, 1, 1], &[0, 2], &[0.0, 1.0, 0.0], 0.0);
            check(policy, &[0, 1], &[], &[0.0, 1.0], 0.0);
        }
    }

    /// With more servers than are looked at, the loads still come out even.
    #[test]
    fn many_servers() {
        for policy in [BalancePolicy::LeastConn, BalancePolicy::P2c, BalancePolicy::RoundRobin] {
            let shares = shares(policy, &[1; 200], &[]);
            assert!(shares.iter().all(|share| (490..=510).contains(share)), "{policy:?} {shares:?}");
        }
    }

    #[test]
    fn a_key_stays_where_it_is() {
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
            let before = Policy::new(kind, &all);
            // The tenth is gone for good, or only down.
            let without = Policy::new(kind, &all[..9]);
            let (full, fewer, down) = (field(10, &[]), field(9, &[]), field(10, &[9]));
            let choose = |policy: &Policy, field: &Field, key| {
                policy.choose(field, Ask { key, dice: &dice, now: 0 }).expect("a server")
            };
            let moved = |policy: &Policy, field: &Field| {
                keys.iter().filter(|&&key| choose(&before, &full, key) != choose(policy, field, key)).count()
            };
            let (gone, away) = (moved(&without, &fewer), moved(&before, &down));
            let its = keys.iter().filter(|&&key| choose(&before, &full, key) == 9).count();
            assert!(gone * 10 <= its * 13, "{kind:?}: {gone} moved for {its}");
            assert_eq!(away, its, "{kind:?}");
        }
    }
}
