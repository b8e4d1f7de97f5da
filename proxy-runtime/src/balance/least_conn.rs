//! `least-conn`: the server with the fewest exchanges for its weight.
//!
//! It is exact among up to [`SCANNED`] servers; of more, it looks at as many random ones, which differs only in the
//! last exchange (Mitzenmacher 2001) and costs no more with a thousand servers.

use super::candidates::{Candidates, PickContext};

/// The most servers that are compared.
const SCANNED: usize = 24;

pub(super) fn choose(servers: &impl Candidates, PickContext { dice, .. }: PickContext<'_>) -> Option<usize> {
    let count = servers.count();
    let start = dice.below(count);
    if count <= SCANNED {
        // From a random start, so that equal servers are equally likely.
        return least(servers, (0..count).map(|step| (start + step) % count));
    }
    least(servers, (0..SCANNED).map(|_| dice.below(count))).or_else(|| servers.from(start))
}

fn least(servers: &impl Candidates, positions: impl Iterator<Item = usize>) -> Option<usize> {
    let mut best: Option<(usize, u64, u64)> = None;
    for position in positions {
        let (active, weight) = (u64::from(servers.load(position).active()) + 1, u64::from(servers.weight(position)));
        // active / weight < the best's, without a division.
        if best.is_none_or(|(_, least, its)| active * its < least * weight) && servers.eligible(position) {
            best = Some((position, active, weight));
        }
    }
    best.map(|(position, ..)| position)
}
