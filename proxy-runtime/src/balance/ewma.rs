//! `ewma`: of two random servers, the one with the lower cost: its latency times the exchanges it has, for its weight.

use super::candidates::{Candidates, PickContext, two};

/// What a server costs that has not answered yet, in nanoseconds, while it is waited for.
const UNKNOWN: f64 = 1e9;

pub(super) fn choose(servers: &impl Candidates, PickContext { dice, now, .. }: PickContext<'_>) -> Option<usize> {
    let (one, Some(other)) = two(servers, dice)? else { return servers.from(dice.below(servers.count())) };
    let cost = |position: usize| {
        let load = servers.load(position);
        let latency = load.latency.faded(now);
        let latency = if latency > 0.0 { latency } else { UNKNOWN };
        latency * (f64::from(load.active()) + 1.0) / f64::from(servers.weight(position))
    };
    Some(if cost(other) < cost(one) { other } else { one })
}
