//! Writes PROXY headers for servers: HAProxy's PROXY protocol, versions 1 and 2
//! (`doc/proxy-protocol.txt` of HAProxy, sections 2.1 and 2.2). Pure.

use std::net::{IpAddr, SocketAddr};

use crate::site::ProxyProtocol;

/// The first bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Writes the header for a client that has connected to `ours`; both addresses are unknown for a Unix socket.
pub(crate) fn announce(
    version: ProxyProtocol,
    client: Option<SocketAddr>,
    ours: Option<SocketAddr>,
    out: &mut Vec<u8>,
) {
    let pair = client.zip(ours).map(|(client, ours)| match (client.ip().to_canonical(), ours.ip().to_canonical()) {
        (from @ IpAddr::V4(_), to @ IpAddr::V4(_)) => (from, to, client.port(), ours.port()),
        // Both must be of one family.
        (from, to) => (mapped(from), mapped(to), client.port(), ours.port()),
    });
    match version {
        ProxyProtocol::V1 => {
            let line = match pair {
                Some((from, to, port, our)) => {
                    let kind = if from.is_ipv4() { "TCP4" } else { "TCP6" };
                    format!("PROXY {kind} {from} {to} {port} {our}\r\n")
                }
                None => "PROXY UNKNOWN\r\n".to_owned(),
            };
            out.extend_from_slice(line.as_bytes());
        }
        ProxyProtocol::V2 => {
            out.extend_from_slice(&SIGNATURE);
            // Version 2, command PROXY.
            out.push(0x21);
            let Some((from, to, port, our)) = pair else {
                // Unspecified family, without addresses.
                out.extend_from_slice(&[0, 0, 0]);
                return;
            };
            let mut addresses = Vec::with_capacity(36);
            for ip in [from, to] {
                match ip {
                    IpAddr::V4(ip) => addresses.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => addresses.extend_from_slice(&ip.octets()),
                }
            }
            addresses.extend_from_slice(&port.to_be_bytes());
            addresses.extend_from_slice(&our.to_be_bytes());
            // TCP over IPv4 or IPv6.
            out.push(if from.is_ipv4() { 0x11 } else { 0x21 });
            out.extend_from_slice(&(addresses.len() as u16).to_be_bytes());
            out.extend_from_slice(&addresses);
        }
    }
}

/// Writes the header for a connection of the proxy's own, such as a health check. Version 1 only has `UNKNOWN` for it.
pub(super) fn announce_own(version: ProxyProtocol, out: &mut Vec<u8>) {
    match version {
        ProxyProtocol::V1 => announce(version, None, None, out),
        ProxyProtocol::V2 => {
            out.extend_from_slice(&SIGNATURE);
            // Version 2, command LOCAL; unspecified family, without addresses.
            out.extend_from_slice(&[0x20, 0, 0, 0]);
        }
    }
}

fn mapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
        IpAddr::V6(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(version: ProxyProtocol, pair: Option<(&str, &str)>, expected: &[u8]) {
        let address = |text: &str| text.parse().expect("an address");
        let mut out = Vec::new();
        announce(version, pair.map(|(client, _)| address(client)), pair.map(|(_, ours)| address(ours)), &mut out);
        assert_eq!(out, expected, "{}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn headers_for_clients() {
        use ProxyProtocol::{V1, V2};
        check(V1, Some(("192.0.2.7:1000", "10.0.0.1:80")), b"PROXY TCP4 192.0.2.7 10.0.0.1 1000 80\r\n");
        check(V1, Some(("[2001:db8::7]:1000", "[::1]:80")), b"PROXY TCP6 2001:db8::7 ::1 1000 80\r\n");
        check(V1, Some(("[::ffff:192.0.2.7]:1000", "10.0.0.1:80")), b"PROXY TCP4 192.0.2.7 10.0.0.1 1000 80\r\n");
        check(V1, None, b"PROXY UNKNOWN\r\n");
        check(
            V2,
            Some(("192.0.2.7:1000", "10.0.0.1:80")),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x03\xe8\0\x50",
        );
        check(V2, None, b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0");
    }

    #[test]
    fn headers_for_own_connections() {
        let check = |version, expected: &[u8]| {
            let mut out = Vec::new();
            announce_own(version, &mut out);
            assert_eq!(out, expected, "{version:?}");
        };
        check(ProxyProtocol::V1, b"PROXY UNKNOWN\r\n");
        check(ProxyProtocol::V2, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }
}
