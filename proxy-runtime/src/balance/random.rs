//! `random`: a random server, in proportion to weights. O(log n) per choice.

use super::candidates::{Candidates, PickContext};

/// The cumulative weights.
#[derive(Debug)]
pub struct Random {
    sums: Vec<u64>,
}

/// How often another server is drawn if one is unavailable.
const THROWS: usize = 16;

impl Random {
    pub(super) fn new(weights: &[u32]) -> Random {
        let sums = weights.iter().scan(0, |sum, weight| {
            *sum += u64::from(*weight);
            Some(*sum)
        });
        Random { sums: sums.collect() }
    }

    pub(super) fn choose(&self, servers: &impl Candidates, PickContext { dice, .. }: PickContext<'_>) -> Option<usize> {
        let total = *self.sums.last()? as usize;
        if total == 0 {
            return None;
        }
        let throw = || {
            let at = dice.below(total) as u64;
            self.sums.partition_point(|&sum| sum <= at)
        };
        let found = (0..THROWS).map(|_| throw()).find(|&position| servers.eligible(position));
        found.or_else(|| servers.from(dice.below(servers.count())))
    }
}
