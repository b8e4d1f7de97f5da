//! `round-robin`: in turn, in proportion to weights. One atomic add per choice.
//!
//! The order is computed once, by smooth weighted round-robin (the algorithm of nginx's
//! `ngx_http_upstream_get_peer`), so that weights 5, 1, 1 give `a a b a c a a` and not `a a a a a b c`.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::candidates::Candidates;

/// The sequence of servers, and the position in it.
#[derive(Debug)]
pub struct RoundRobin {
    order: Vec<u16>,
    next: AtomicUsize,
}

impl RoundRobin {
    pub(super) fn new(weights: &[u32]) -> RoundRobin {
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        let weights: Vec<i64> = weights.iter().map(|weight| i64::from((weight / divisor).min(1000))).collect();
        let total: i64 = weights.iter().sum();
        let mut current = vec![0_i64; weights.len()];
        let mut order = Vec::with_capacity(total as usize);
        for _ in 0..total {
            for (current, weight) in current.iter_mut().zip(&weights) {
                *current += weight;
            }
            // The first one with the largest value.
            let Some(best) = (0..current.len()).rev().max_by_key(|&index| current[index]) else { break };
            current[best] -= total;
            order.push(best as u16);
        }
        RoundRobin { order, next: AtomicUsize::new(0) }
    }

    pub(super) fn choose(&self, servers: &impl Candidates) -> Option<usize> {
        // Each look takes a turn, so that the turns of an unavailable server do not all go to its neighbour.
        let turn = || self.order.get(self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.order.len())?);
        let mut turns = (0..self.order.len()).map_while(|_| turn()).map(|&position| usize::from(position));
        // Other workers take turns meanwhile, so a full round may have missed the only available server.
        turns.find(|&position| servers.eligible(position)).or_else(|| servers.from(0))
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(weights: &[u32], expected: &[u16]) {
        assert_eq!(RoundRobin::new(weights).order, expected, "{weights:?}");
    }

    #[test]
    fn orders() {
        check(&[1, 1], &[0, 1]);
        check(&[2, 2, 2], &[0, 1, 2]);
        check(&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]);
        check(&[2, 1], &[0, 1, 0]);
        check(&[0, 3], &[1]);
        check(&[0, 0], &[]);
        check(&[], &[]);
    }
}
