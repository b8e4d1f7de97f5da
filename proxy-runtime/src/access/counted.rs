//! The key of a limit ([`LimitKey`]): requests with the same key are counted together.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;

/// The key of requests by one [`By`](crate::site::By). Keys of different limits are counted separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKey<'k> {
    /// The client's network.
    Network(IpAddr),
    /// The rendered template: bytes, so that different values are counted separately.
    Bytes(&'k [u8]),
}

impl LimitKey<'_> {
    /// Returns the network of a client: with these prefix lengths of an IPv4 and an IPv6 address. An IPv4-mapped IPv6
    /// address counts as IPv4.
    pub fn network(client: IpAddr, (v4, v6): (u8, u8)) -> LimitKey<'static> {
        let address = client.to_canonical();
        let bits = if matches!(address, IpAddr::V4(_)) { v4 } else { v6 };
        LimitKey::Network(IpNet::new(address, bits).map_or(address, |network| network.network()))
    }
}

/// Hashes only the bytes that distinguish keys of one kind: on the hot path.
impl Hash for LimitKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            LimitKey::Network(IpAddr::V4(address)) => state.write_u32(address.to_bits()),
            LimitKey::Network(IpAddr::V6(address)) => state.write_u128(address.to_bits()),
            LimitKey::Bytes(bytes) => state.write(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let check = |client: &str, expected: &str| {
            let address = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(LimitKey::network(address(client), (24, 64)), LimitKey::Network(address(expected)), "{client}");
        };
        check("203.0.113.7", "203.0.113.0");
        check("::ffff:203.0.113.7", "203.0.113.0");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
    }
}
