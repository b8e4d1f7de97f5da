//! Sets of client addresses: finds an address that is in all of some networks and in none of others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::ANYBODY;

/// A range of addresses of one family: whether it is IPv6, first and last.
type Stretch = (bool, u128, u128);

/// IPv4-mapped IPv6 addresses: clients have IPv4 addresses instead.
const MAPPED: (u128, u128) = (0xFFFF_0000_0000, 0xFFFF_FFFF_FFFF);

/// Returns an address that each of `within` contains, and none of `without`.
pub(super) fn address(within: &[&[IpNet]], without: &[&[IpNet]]) -> Option<IpAddr> {
    let mut left: Vec<Stretch> =
        vec![(false, 0, u128::from(u32::MAX)), (true, 0, MAPPED.0 - 1), (true, MAPPED.1 + 1, u128::MAX)];
    for networks in within {
        let networks: Vec<Stretch> = networks.iter().map(stretch).collect();
        left = left.iter().flat_map(|a| networks.iter().filter_map(|b| both(*a, *b))).collect();
    }
    for network in without.iter().flat_map(|networks| networks.iter()) {
        let gone = stretch(network);
        left = left.into_iter().flat_map(|stretch| less(stretch, gone)).collect();
    }
    if left.iter().any(|stretch| contains(*stretch, ANYBODY)) {
        return Some(ANYBODY);
    }
    // The first address of a network identifies the network: the next one is a more natural client.
    left.first().map(|&(v6, first, last)| to_address(v6, if last > first { first + 1 } else { first }))
}

fn stretch(network: &IpNet) -> Stretch {
    match network {
        IpNet::V4(network) => {
            (false, u128::from(u32::from(network.network())), u128::from(u32::from(network.broadcast())))
        }
        IpNet::V6(network) => (true, network.network().into(), network.broadcast().into()),
    }
}

fn both(a: Stretch, b: Stretch) -> Option<Stretch> {
    let (first, last) = (a.1.max(b.1), a.2.min(b.2));
    (a.0 == b.0 && first <= last).then_some((a.0, first, last))
}

fn less(from: Stretch, gone: Stretch) -> Vec<Stretch> {
    let Some((v6, first, last)) = both(from, gone) else { return vec![from] };
    let before = (first > from.1).then(|| (v6, from.1, first - 1));
    let after = (last < from.2).then(|| (v6, last + 1, from.2));
    before.into_iter().chain(after).collect()
}

fn contains((v6, first, last): Stretch, address: IpAddr) -> bool {
    let (is_v6, number) = match address {
        IpAddr::V4(address) => (false, u128::from(u32::from(address))),
        IpAddr::V6(address) => (true, address.into()),
    };
    v6 == is_v6 && (first..=last).contains(&number)
}

fn to_address(v6: bool, number: u128) -> IpAddr {
    if v6 { Ipv6Addr::from(number).into() } else { Ipv4Addr::from(number as u32).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(within: &[&[&str]], without: &[&[&str]], expected: Option<&str>) {
        let parse = |sets: &[&[&str]]| -> Vec<Vec<IpNet>> {
            sets.iter().map(|set| set.iter().map(|net| net.parse().expect("a network")).collect()).collect()
        };
        let (within, without) = (parse(within), parse(without));
        let slices = |sets: &'static [Vec<IpNet>]| sets.iter().map(Vec::as_slice).collect::<Vec<_>>();
        let found = address(&slices(within.leak()), &slices(without.leak()));
        assert_eq!(found.map(|address| address.to_string()).as_deref(), expected);
    }

    #[test]
    fn addresses() {
        check(&[], &[], Some("192.0.2.1"));
        check(&[&["10.0.0.0/8"]], &[], Some("10.0.0.1"));
        check(&[&["10.0.0.0/8"], &["10.1.0.0/16", "192.168.0.0/16"]], &[], Some("10.1.0.1"));
        check(&[&["10.0.0.0/8"]], &[&["10.0.0.0/9", "10.128.0.0/9"]], None);
        check(&[&["10.0.0.0/30"]], &[&["10.0.0.0/31"]], Some("10.0.0.3"));
        check(&[], &[&["0.0.0.0/0"]], Some("::1"));
        check(&[&["::ffff:0:0/96"]], &[], None);
        check(&[], &[&["0.0.0.0/0", "::/0"]], None);
    }
}
