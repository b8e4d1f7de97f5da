//! Allow and deny lists: networks of which the most specific one decides, flattened into ranges ([`Addresses`]). Pure;
//! a lookup is a binary search, without allocation.
//!
//! The compiler flattens the lists of the site into its output; lists in files are flattened at start by [`parse`] and
//! [`Addresses::of`].

use std::borrow::Cow;
use std::net::IpAddr;

pub use ipnet::IpNet;

/// A set of addresses: alternating beginnings and ends of ranges, in ascending order.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// The bounds of IPv4 ranges, four bytes each, big-endian.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::value::as_bytes"))]
    pub v4: Cow<'static, [u8]>,
    /// The bounds of IPv6 ranges, sixteen bytes each, big-endian.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::value::as_bytes"))]
    pub v6: Cow<'static, [u8]>,
}

impl Addresses {
    /// Returns the addresses that the most specific of `networks` includes; `default` applies to addresses in none of
    /// them. The last one of duplicate networks counts. Costs a sort.
    pub fn of(networks: &[(IpNet, bool)], default: bool) -> Addresses {
        let family = |v4: bool| {
            let mut rules = networks.iter().enumerate().filter(|(_, (network, _))| network.addr().is_ipv4() == v4);
            let mut list: Vec<NetworkRange> =
                rules.by_ref().map(|(at, (network, inside))| NetworkRange::of(at, network, *inside)).collect();
            list.sort_by_key(|rule| (rule.first, std::cmp::Reverse(rule.last), rule.at));
            bounds(&list, default, if v4 { u128::from(u32::MAX) } else { u128::MAX })
        };
        let v4 = family(true).into_iter().flat_map(|bound| (bound as u32).to_be_bytes()).collect();
        let v6 = family(false).into_iter().flat_map(u128::to_be_bytes).collect();
        Addresses { v4: Cow::Owned(v4), v6: Cow::Owned(v6) }
    }

    /// Returns whether the set contains an address. An IPv4-mapped IPv6 address counts as IPv4 (RFC 4291 section
    /// 2.5.5.2).
    pub fn contains(&self, address: IpAddr) -> bool {
        // An address is in the set if the number of bounds up to it is odd.
        let before = match address.to_canonical() {
            IpAddr::V4(address) => {
                let address = address.to_bits();
                self.v4.as_chunks().0.partition_point(|bound| u32::from_be_bytes(*bound) <= address)
            }
            IpAddr::V6(address) => {
                let address = address.to_bits();
                self.v6.as_chunks().0.partition_point(|bound| u128::from_be_bytes(*bound) <= address)
            }
        };
        before % 2 == 1
    }
}

/// A network, as a range.
struct NetworkRange {
    first: u128,
    last: u128,
    at: usize,
    inside: bool,
}

impl NetworkRange {
    fn of(at: usize, network: &IpNet, inside: bool) -> NetworkRange {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        NetworkRange { first: bits(network.network()), last: bits(network.broadcast()), at, inside }
    }
}

/// Returns the bounds that rules produce among the addresses up to `end`. Inner rules follow those around them: networks
/// are nested or disjoint.
fn bounds(rules: &[NetworkRange], default: bool, end: u128) -> Vec<u128> {
    let mut bounds: Vec<u128> = Vec::new();
    // Each bound toggles whether the following addresses are in the set.
    let mut turn = |at: u128, inside: bool| {
        if inside != (bounds.len() % 2 == 1) {
            match bounds.last() {
                Some(last) if *last == at => drop(bounds.pop()),
                _ => bounds.push(at),
            }
        }
    };
    let mut around: Vec<&NetworkRange> = Vec::new();
    let outside = |around: &[&NetworkRange]| around.last().map_or(default, |rule| rule.inside);
    turn(0, default);
    for rule in rules {
        while let Some(over) = around.pop_if(|other| other.last < rule.first) {
            turn(over.last + 1, outside(&around));
        }
        around.push(rule);
        turn(rule.first, rule.inside);
    }
    while let Some(over) = around.pop() {
        // No address follows the last one.
        if over.last < end {
            turn(over.last + 1, outside(&around));
        }
    }
    bounds
}

/// Parses a list: a network or an address per line; `#` begins a comment.
///
/// # Errors
/// The number of the first invalid line.
pub fn parse(list: &[u8]) -> Result<Vec<IpNet>, usize> {
    let mut networks = Vec::new();
    for (index, line) in list.split(|&byte| byte == b'\n').enumerate() {
        let line = line.split(|&byte| byte == b'#').next().unwrap_or_default().trim_ascii();
        if line.is_empty() {
            continue;
        }
        let text = std::str::from_utf8(line).map_err(|_| index + 1)?;
        networks.push(network(text).ok_or(index + 1)?);
    }
    Ok(networks)
}

/// Parses a network, or an address as a network; without host bits.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Some(canonical(network.trunc()))
}

/// Returns the IPv4 network that a network of IPv4-mapped IPv6 addresses stands for (RFC 4291 section 2.5.5.2), as clients have IPv4
/// addresses there; others unchanged.
pub fn canonical(network: IpNet) -> IpNet {
    let mapped = network.addr().is_ipv6().then(|| network.addr().to_canonical()).filter(IpAddr::is_ipv4);
    let prefix = network.prefix_len().checked_sub(96);
    mapped.zip(prefix).and_then(|(address, prefix)| IpNet::new(address, prefix).ok()).unwrap_or(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rules: &[&str], default: bool) -> Addresses {
        let rule = |rule: &&str| {
            let (sign, network) = rule.split_at(1);
            (network.parse().expect("a network"), sign == "+")
        };
        Addresses::of(&rules.iter().map(rule).collect::<Vec<_>>(), default)
    }

    fn check(rules: &[&str], default: bool, address: &str, expected: bool) {
        let found = set(rules, default).contains(address.parse().expect("an address"));
        assert_eq!(found, expected, "{address} in {rules:?}, default {default}");
    }

    #[test]
    fn the_most_specific_network_decides() {
        let rules = ["+10.0.0.0/8", "-10.1.0.0/16", "+10.1.2.0/24", "-10.255.255.255/32", "+2001:db8::/32"];
        for (address, expected) in [
            ("10.0.0.0", true),
            ("9.255.255.255", false),
            ("10.1.0.0", false),
            ("10.1.1.255", false),
            ("10.1.2.0", true),
            ("10.1.3.0", false),
            ("10.2.0.0", true),
            ("10.255.255.254", true),
            ("10.255.255.255", false),
            ("11.0.0.0", false),
            ("::ffff:10.1.2.3", true),
            ("::ffff:10.1.3.3", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            check(&rules, false, address, expected);
        }
        check(&[], true, "255.255.255.255", true);
        check(&[], false, "::", false);
        check(&["-0.0.0.0/0"], true, "1.2.3.4", false);
        check(&["-0.0.0.0/0"], true, "::1", true);
        check(&["-::/0", "+::1/128"], true, "::1", true);
        check(&["-255.0.0.0/8"], true, "255.255.255.255", false);
        check(&["+10.0.0.0/8", "-10.0.0.0/8"], true, "10.0.0.1", false);
    }

    /// Compares with a linear search.
    #[test]
    fn same_as_a_linear_search() {
        let mut seed = 7_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as u32
        };
        for _ in 0..200 {
            let rules: Vec<(IpNet, bool)> = (0..12)
                .map(|_| {
                    // Few bits, so that networks overlap.
                    let address = std::net::Ipv4Addr::from_bits((next() % 16) << 28 | (next() % 4) << 8);
                    let network = IpNet::new(address.into(), (next() % 33) as u8).expect("a network").trunc();
                    (network, next() % 2 == 0)
                })
                .collect();
            let default = next() % 2 == 0;
            let set = Addresses::of(&rules, default);
            for _ in 0..200 {
                let address = IpAddr::from(std::net::Ipv4Addr::from_bits((next() % 16) << 28 | (next() % 1024)));
                let found = rules.iter().filter(|(network, _)| network.contains(&address));
                let expected =
                    found.max_by_key(|(network, _)| network.prefix_len()).map_or(default, |(_, inside)| *inside);
                assert_eq!(set.contains(address), expected, "{address} in {rules:?}");
            }
        }
    }

    #[test]
    fn lists() {
        let networks = parse(b"# bad people\n10.0.0.0/8\r\n 192.0.2.7 # one\n\n2001:db8::1/32\n").expect("a list");
        let written: Vec<_> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(written, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
        let mapped =
            parse(b"::ffff:192.0.2.7\n::ffff:192.0.2.1/120\n::ffff:0:0/96\n::ffff:0:0/95\n::/0\n").expect("a list");
        let written: Vec<_> = mapped.iter().map(ToString::to_string).collect();
        assert_eq!(written, ["192.0.2.7/32", "192.0.2.0/24", "0.0.0.0/0", "::fffe:0:0/95", "::/0"]);
        assert_eq!(parse(b"10.0.0.0/8\n10.0.0.0/33\n"), Err(2));
        assert_eq!(parse(b"\xff\n"), Err(1));
        assert_eq!(parse(b"").map(|list| list.len()), Ok(0));
    }
}
