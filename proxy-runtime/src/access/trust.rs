//! Determines the client's address and scheme: those of the peer, or those that a trusted peer names (`trusted-proxies`). Pure.
//!
//! A list is read from the right, where the nearest proxy writes: each address that is itself trusted is a proxy whose statement
//! about the one before it is trusted, and the first that is not is the client. Addresses to its left come from the client.

use std::net::IpAddr;

use crate::context::matcher;
use crate::protocol::fields::Fields;
use crate::protocol::forwarded::{elements, node_address};
use crate::protocol::names::KnownField;
use crate::site::{Trusted, TrustedHeader};

/// The origin of a request: the client's address and scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientOrigin {
    /// Whether the peer is trusted.
    pub trusted: bool,
    /// The client's address.
    pub client: IpAddr,
    /// `http` or `https`, if a trusted peer reports it.
    pub scheme: Option<&'static str>,
}

/// Determines the origin of a request from a peer.
pub fn origin(fields: &Fields, peer: IpAddr, trusted: &Trusted) -> ClientOrigin {
    if !matcher::contains(&trusted.networks, peer) {
        return ClientOrigin { trusted: false, client: peer, scheme: None };
    }
    let (client, scheme) = match &trusted.header {
        TrustedHeader::XForwardedFor => {
            let (client, hops) = walk(list(fields, KnownField::X_FORWARDED_FOR).map(node_address), peer, trusted);
            (client, forwarded_proto(fields, hops))
        }
        TrustedHeader::Forwarded => by_forwarded(fields, peer, trusted),
        TrustedHeader::Field(name) => {
            let mut lines = fields.all(name);
            let only = lines.next().filter(|_| lines.next().is_none());
            (only.and_then(node_address).unwrap_or(peer), forwarded_proto(fields, 0))
        }
    };
    ClientOrigin { trusted: true, client, scheme }
}

/// Returns the client in a list of addresses, the nearest first; and how many of them are proxies.
fn walk(addresses: impl Iterator<Item = Option<IpAddr>>, peer: IpAddr, trusted: &Trusted) -> (IpAddr, usize) {
    let (mut client, mut hops) = (peer, 0);
    for (index, address) in addresses.enumerate() {
        hops = index;
        // An invalid address ends the chain: nothing to its left can be trusted.
        let Some(address) = address else { break };
        client = address;
        if !matcher::contains(&trusted.networks, address) {
            break;
        }
    }
    (client, hops)
}

/// Returns the members of a comma-separated field, in reverse order, without empty ones (RFC 9110 section 5.6.1).
pub(crate) fn list(fields: &Fields, name: KnownField) -> impl Iterator<Item = &[u8]> {
    let lines: Vec<&[u8]> = fields.all(name).collect();
    let members = lines.into_iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
    members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Returns the scheme in `X-Forwarded-Proto` for the hop at which the client's address was found. A single value, as most proxies
/// send it, is the client's; a list has one for each hop, like the list of addresses.
fn forwarded_proto(fields: &Fields, hops: usize) -> Option<&'static str> {
    list(fields, KnownField::X_FORWARDED_PROTO).take(hops + 1).last().and_then(scheme)
}

fn scheme(text: &[u8]) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| text.eq_ignore_ascii_case(known.as_bytes()))
}

/// Both from `Forwarded`: each element describes the client of a proxy.
fn by_forwarded(fields: &Fields, peer: IpAddr, trusted: &Trusted) -> (IpAddr, Option<&'static str>) {
    let lines: Vec<&[u8]> = fields.all(KnownField::FORWARDED).collect();
    let (mut client, mut proto) = (peer, None);
    for element in lines.into_iter().rev().flat_map(elements) {
        let Some(element) = element else { break };
        proto = element.proto.as_deref().and_then(scheme).or(proto);
        let Some(address) = element.node.as_deref().and_then(node_address) else { break };
        client = address;
        if !matcher::contains(&trusted.networks, address) {
            break;
        }
    }
    (client, proto)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: TrustedHeader, peer: &str, lines: &[(&str, &str)], client: &str, scheme: &str) {
        let networks = vec!["10.0.0.0/8".parse().expect("a network")];
        let trusted = Trusted { networks: networks.into(), header };
        let fields: Fields = lines.iter().copied().collect();
        let found = origin(&fields, peer.parse().expect("an address"), &trusted);
        let found = (found.client.to_string(), found.scheme.unwrap_or(""));
        assert_eq!(found, (client.to_owned(), scheme), "{peer} {lines:?}");
    }

    #[test]
    fn lists_of_addresses() {
        let check = |peer: &str, value: &str, expected: &str| {
            check(TrustedHeader::XForwardedFor, peer, &[("x-forwarded-for", value)], expected, "");
        };
        check("192.0.2.1", "1.1.1.1", "192.0.2.1");
        check("10.0.0.1", "1.1.1.1", "1.1.1.1");
        check("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1");
        check("10.0.0.1", "6.6.6.6, junk, 10.0.0.2", "10.0.0.2");
        check("10.0.0.1", "6.6.6.6, \u{e9}, 10.0.0.2", "10.0.0.2");
        check("10.0.0.1", "1.1.1.1:4711", "1.1.1.1");
        check("10.0.0.1", "10.0.0.3", "10.0.0.3");
        check("10.0.0.1", "6.6.6.6, 1.1.1.1,, ,10.0.0.2, ,", "1.1.1.1");
        check("10.0.0.1", "", "10.0.0.1");
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = [("x-forwarded-for", "6.6.6.6, 1.1.1.1"), ("X-Forwarded-For", ""), ("x-forwarded-for", "10.0.0.2")];
        check(TrustedHeader::XForwardedFor, "10.0.0.1", &lines, "1.1.1.1", "");
    }

    #[test]
    fn schemes() {
        let check = |addresses: &str, schemes: &str, expected: &str| {
            let lines = [("x-forwarded-for", addresses), ("x-forwarded-proto", schemes)];
            check(TrustedHeader::XForwardedFor, "10.0.0.1", &lines, "1.1.1.1", expected);
        };
        check("1.1.1.1", "https", "https");
        check("1.1.1.1", "HTTPS", "https");
        check("1.1.1.1", "wss", "");
        check("1.1.1.1", "https;x", "");
        check("6.6.6.6, 1.1.1.1, 10.0.0.2", "https", "https");
        check("6.6.6.6, 1.1.1.1, 10.0.0.2", "https, http", "https");
        // Values to the left of the first proxy's are from the client, and are not trusted.
        check("6.6.6.6, 1.1.1.1", "https, http", "http");
        check("6.6.6.6, 1.1.1.1, 10.0.0.2", "http, https, http", "https");
        check("1.1.1.1", "https, ,", "https");
    }

    #[test]
    fn untrusted_peers_are_ignored() {
        let lines =
            [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), ("forwarded", "for=2.2.2.2;proto=https")];
        check(TrustedHeader::XForwardedFor, "192.0.2.1", &lines, "192.0.2.1", "");
        check(TrustedHeader::Forwarded, "192.0.2.1", &lines, "192.0.2.1", "");
        check(TrustedHeader::Forwarded, "10.0.0.1", &lines, "2.2.2.2", "https");
        check(TrustedHeader::Forwarded, "10.0.0.1", &lines[..2], "10.0.0.1", "");
    }

    #[test]
    fn forwarded() {
        let check = |value: &str, client: &str, scheme: &str| {
            check(TrustedHeader::Forwarded, "10.0.0.1", &[("forwarded", value)], client, scheme);
        };
        check("for=1.1.1.1;proto=http", "1.1.1.1", "http");
        check("proto=https;For=\"[2001:db8::1]:80\"", "2001:db8::1", "https");
        check("for=_hidden;proto=https, for=10.0.0.9;proto=http", "10.0.0.9", "https");
        check("for=1.1.1.1, for=10.0.0.9;proto=https", "1.1.1.1", "https");
        check("proto=https", "10.0.0.1", "https");
        check("for=6.6.6.6;proto=http, for=1.1.1.1;proto=https;host=\"a,b;c\"", "1.1.1.1", "https");
        check("for=\", for=1.1.1.1", "1.1.1.1", "");
    }

    #[test]
    fn fields_of_their_own() {
        let check = |lines: &[(&str, &str)], client: &str| {
            check(TrustedHeader::Field("cf-connecting-ip".into()), "10.0.0.1", lines, client, "");
        };
        check(&[("CF-Connecting-IP", "1.1.1.1")], "1.1.1.1");
        check(&[("CF-Connecting-IP", "10.0.0.7")], "10.0.0.7");
        check(&[("CF-Connecting-IP", "2001:db8::1")], "2001:db8::1");
        check(&[("CF-Connecting-IP", "1.1.1.1"), ("CF-Connecting-IP", "2.2.2.2")], "10.0.0.1");
        check(&[("CF-Connecting-IP", "1.1.1.1, 2.2.2.2")], "10.0.0.1");
        check(&[("CF-Connecting-IP", "junk")], "10.0.0.1");
        check(&[("x-forwarded-for", "1.1.1.1")], "10.0.0.1");
    }
}
