//! Chooses the share of a `split` for a request. Pure; a `proxy` has one share, and costs a comparison.

use crate::balance::hash;
use crate::context::facts::Facts;
use crate::context::view::cookie_values;
use crate::site::{Proxy, Share};

/// Returns the index of the upstream, and whether the client's cookie named it. `chance` is a random number for the
/// choice without a cookie; `name` returns an upstream's name.
/// decides; `name` gives an upstream's name.
pub fn share<'n>(
    proxy: &Proxy,
    facts: &Facts<'_>,
    chance: impl FnOnce() -> u64,
    name: impl Fn(u16) -> &'n str,
) -> (u16, bool) {
    let [first, .., _] = &*proxy.shares else { return (proxy.shares.first().map_or(0, |share| share.upstream), true) };
    if let Some(cookie) = &proxy.cookie {
        let values = cookie_values(facts.fields, cookie);
        let wants =
            |share: &&Share, value: &[u8]| share.weight > 0 && cookie_value(name(share.upstream)).as_bytes() == value;
        let mut wanted = values.filter_map(|value| proxy.shares.iter().find(|share| wants(share, value)));
        if let Some(share) = wanted.next() {
            return (share.upstream, true);
        }
    }
    let number = match &proxy.by {
        Some(by) => hash(&by.rendered(facts), 0),
        None => chance(),
    };
    let total: u64 = proxy.shares.iter().map(|share| share.weight).sum();
    // Scaled instead of taken modulo: each share gets a contiguous range.
    let mut place = ((u128::from(number) * u128::from(total)) >> 64) as u64;
    let found = proxy.shares.iter().find(|share| match place.checked_sub(share.weight) {
        Some(rest) => {
            place = rest;
            false
        }
        None => true,
    });
    (found.unwrap_or(first).upstream, false)
}

/// Returns the cookie's name for an upstream.
pub fn cookie_value(upstream: &str) -> String {
    format!("{:016x}", hash(upstream.as_bytes(), 1))
}
