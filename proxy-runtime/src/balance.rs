//! Whose turn it is: [`Rotation`], weighted round-robin. Lock-free: one atomic add per choice.
//!
//! The order is made once, as smooth weighted round-robin gives it (the algorithm of nginx's
//! `ngx_http_upstream_get_peer`), so that weights 5, 1, 1 come as `a a b a c a a` and not as `a a a a a b c`.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The order in which servers take turns.
#[derive(Debug)]
pub(crate) struct Rotation {
    order: Vec<u16>,
    next: AtomicUsize,
}

impl Rotation {
    /// For servers of these weights (at most 1000 each); a weight of 0 is never chosen.
    pub(crate) fn new(weights: &[u64]) -> Rotation {
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        let weights: Vec<i64> = weights.iter().map(|weight| (weight / divisor).min(1000) as i64).collect();
        let total: i64 = weights.iter().sum();
        let mut current = vec![0_i64; weights.len()];
        let mut order = Vec::with_capacity(total as usize);
        for _ in 0..total {
            for (current, weight) in current.iter_mut().zip(&weights) {
                *current += weight;
            }
            // The first of the largest.
            let Some(best) = (0..current.len()).rev().max_by_key(|&index| current[index]) else { break };
            current[best] -= total;
            order.push(best as u16);
        }
        Rotation { order, next: AtomicUsize::new(0) }
    }

    /// The servers in the order they should be tried: the one whose turn it is, then those that come after it.
    /// Empty where all weights are 0. One atomic add, no allocation.
    pub(crate) fn turns(&self) -> impl Iterator<Item = usize> + '_ {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let len = self.order.len();
        (0..len).map(move |step| usize::from(self.order[start.wrapping_add(step) % len]))
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(weights: &[u64], expected: &[u16]) {
        assert_eq!(Rotation::new(weights).order, expected, "{weights:?}");
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

    #[test]
    fn shares_are_exact() {
        let rotation = Rotation::new(&[3, 2, 5]);
        let mut counts = [0; 3];
        for _ in 0..1000 {
            counts[rotation.turns().next().unwrap()] += 1;
        }
        assert_eq!(counts, [300, 200, 500]);
    }
}
