//! `ewma`: of two random servers, the one with the lower cost: its latency times its concurrent exchanges, divided by
//! its weight.

use super::candidates::{Candidates, PickContext, two};

/// The assumed latency of a server without a response so far, in nanoseconds.
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
