//! `p2c`: of two random servers, the one with fewer exchanges for its weight. It is nearly as even as looking at all, and
//! workers that choose at the same moment don't all choose the same server (Mitzenmacher, "The power of two choices", 2001).

use super::candidates::{Candidates, PickContext, two};

pub(super) fn choose(servers: &impl Candidates, PickContext { dice, .. }: PickContext<'_>) -> Option<usize> {
    let (one, Some(other)) = two(servers, dice)? else { return servers.from(dice.below(servers.count())) };
    let cost = |position: usize| u64::from(servers.load(position).active()) + 1;
    let weight = |position: usize| u64::from(servers.weight(position));
    Some(if cost(other) * weight(one) < cost(one) * weight(other) { other } else { one })
}
