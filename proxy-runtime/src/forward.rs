//! What changes in a message because a proxy passes it on. Pure; on the hot path.
//!
//! Fields that belong to one connection go (RFC 9110 section 7.6.1), `Via` comes (section 7.6.3), and so do
//! `X-Forwarded-*` and, where asked for, `Forwarded` (RFC 7239). What an untrusted client said in these is replaced.

use std::net::IpAddr;

use crate::fields::{Fields, has_token, members, of_connection, tokens};
use crate::matcher;
use crate::site::{Trusted, TrustedHeader};

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const X_FORWARDED_HOST: &str = "x-forwarded-host";

/// The protocol a client asks to change to, where it is one to pass on: `Connection: upgrade` and `Upgrade: it`.
/// `h2c` is not: what follows would pass the proxy's rules unseen.
pub(crate) fn upgrade(fields: &Fields) -> Option<&[u8]> {
    let wanted = fields.get("upgrade")?;
    let h2c = members(wanted).any(|one| one.eq_ignore_ascii_case(b"h2c"));
    (!h2c && has_token(fields, "connection", "upgrade")).then_some(wanted)
}

/// Leaves the fields that go beyond a connection: neither those that belong to it, nor those that `Connection` lists, nor
/// those that frame the body, which are written anew. `Trailer` stays, and so does `TE: trailers`, whose meaning both of
/// our sides share. One pass; no allocation but for fields that `Connection` lists beside the usual ones.
pub(crate) fn end_to_end(mut fields: Fields) -> Fields {
    let te = has_token(&fields, "te", "trailers");
    let listed: Vec<Vec<u8>> = listed(&fields).map(<[u8]>::to_owned).collect();
    fields.retain(|name, _| !of_connection(name));
    if !listed.is_empty() {
        fields.retain(|name, _| !listed.iter().any(|listed| name.eq_ignore_ascii_case(listed)));
    }
    if te {
        fields.add(b"te", b"trailers");
    }
    fields
}

/// The fields that `Connection` lists, beside its own options and what goes anyway. Fields that frame or address the
/// message can't be made to vanish this way.
fn listed(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    const USUAL: [&str; 8] =
        ["keep-alive", "close", "upgrade", "te", "trailer", "transfer-encoding", "content-length", "host"];
    tokens(fields, "connection").filter(|token| !USUAL.iter().any(|usual| token.eq_ignore_ascii_case(usual.as_bytes())))
}

/// What is said about the client to an upstream.
pub(crate) struct Client<'a> {
    /// Its address as text; made once per connection.
    pub(crate) address: &'a str,
    /// The peer's address, which is the client's where the peer is not a proxy.
    pub(crate) peer: IpAddr,
    /// What is added to `Via`: the version that was received, and the proxy's name.
    pub(crate) via: &'static str,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The `Host` it asked for.
    pub(crate) host: Option<&'a str>,
    /// Whether the peer is believed.
    pub(crate) trusted: bool,
}

/// Sets `Via`, `X-Forwarded-*` and, where wanted, `Forwarded`.
pub(crate) fn announce(fields: &mut Fields, client: &Client<'_>, forwarded: bool) {
    append(fields, "via", client.via, true);
    append(fields, X_FORWARDED_FOR, client.address, client.trusted);
    let keep = |fields: &Fields, name: &str| client.trusted && fields.contains(name);
    if !keep(fields, X_FORWARDED_PROTO) {
        fields.set(X_FORWARDED_PROTO, client.scheme.as_bytes());
    }
    if !keep(fields, X_FORWARDED_HOST) {
        match client.host {
            Some(host) => fields.set(X_FORWARDED_HOST, host.as_bytes()),
            None => fields.remove(X_FORWARDED_HOST),
        };
    }
    if forwarded {
        append(fields, "forwarded", &forwarded_element(client), client.trusted);
    } else if !client.trusted {
        fields.remove("forwarded");
    }
}

/// Puts `value` behind what is there, in one line; or in its place.
fn append(fields: &mut Fields, name: &str, value: &str, keep: bool) {
    if !keep || !fields.contains(name) {
        return fields.set(name, value.as_bytes());
    }
    let mut line = Vec::new();
    for earlier in fields.all(name) {
        line.extend_from_slice(earlier);
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(value.as_bytes());
    fields.set(name, &line);
}

/// `for=...;host=...;proto=...` (RFC 7239 section 4).
fn forwarded_element(client: &Client<'_>) -> String {
    let mut element = match client.peer {
        // Section 6: an IPv6 address is in brackets, and so in quotes.
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
        IpAddr::V4(address) => format!("for={address}"),
    };
    if let Some(host) = client.host {
        element = format!("{element};host=\"{}\"", host.replace(['"', '\\'], ""));
    }
    format!("{element};proto={}", client.scheme)
}

/// The client's address: the peer's, or behind trusted peers the last address in their field that is not itself trusted.
pub(crate) fn client_address(fields: &Fields, peer: IpAddr, trusted: &Trusted) -> IpAddr {
    if !matcher::contains(&trusted.networks, peer) {
        return peer;
    }
    let mut client = peer;
    let name = match trusted.header {
        TrustedHeader::XForwardedFor => X_FORWARDED_FOR,
        TrustedHeader::Forwarded => "forwarded",
    };
    let lines: Vec<_> = fields.all(name).collect();
    for element in lines.iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b',')) {
        // What is not UTF-8 is there, and is no address.
        let address = std::str::from_utf8(element).ok().and_then(|element| match trusted.header {
            TrustedHeader::XForwardedFor => node_address(element.trim()),
            TrustedHeader::Forwarded => forwarded_for(element).and_then(node_address),
        });
        // What is no address ends the chain: nothing before it can be believed.
        let Some(address) = address else { break };
        client = address;
        if !matcher::contains(&trusted.networks, address) {
            break;
        }
    }
    client
}

/// The value of `for` in an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address with or without port and brackets (RFC 7239 section 6).
fn node_address(node: &str) -> Option<IpAddr> {
    let bare = match node.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None if node.matches(':').count() == 1 => node.split(':').next()?,
        None => node,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        lines.iter().copied().collect()
    }

    #[test]
    fn connection_fields_go() {
        let check = |before: &[(&str, &str)], after: &[(&str, &str)]| {
            assert_eq!(end_to_end(fields(before)), fields(after), "{before:?}");
        };
        check(&[("accept", "*/*")], &[("accept", "*/*")]);
        check(&[("connection", "keep-alive, X-Hop"), ("x-hop", "1"), ("keep-alive", "5")], &[]);
        check(&[("connection", "host, content-length"), ("host", "a"), ("Content-Length", "3")], &[("host", "a")]);
        check(&[("te", "trailers, deflate")], &[("te", "trailers")]);
        check(&[("te", "deflate")], &[]);
        check(&[("upgrade", "websocket"), ("proxy-connection", "close")], &[]);
        check(&[("connection", "close"), ("connection", "x-a"), ("x-a", "1"), ("x-b", "2")], &[("x-b", "2")]);
        // What is not UTF-8 hides nothing beside it.
        let odd: Fields =
            [("connection", b"\xe9, x-a".as_slice()), ("x-a", b"\xff"), ("x-b", b"\xff")].into_iter().collect();
        assert_eq!(end_to_end(odd), [("x-b", b"\xff")].into_iter().collect());
        let odd: Fields =
            [("connection", b"Upgrade, \xe9".as_slice()), ("upgrade", b"x\xe9, H2C")].into_iter().collect();
        assert_eq!(upgrade(&odd), None);
    }

    #[test]
    fn clients_behind_trusted_proxies() {
        let trusted = |header| Trusted { networks: Cow::Owned(vec!["10.0.0.0/8".parse().unwrap()]), header };
        let check = |peer: &str, field: &str, value: &str, header, expected: &str| {
            let found = client_address(&fields(&[(field, value)]), peer.parse().unwrap(), &trusted(header));
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {value}");
        };
        let xff = TrustedHeader::XForwardedFor;
        check("192.0.2.1", "x-forwarded-for", "1.1.1.1", xff, "192.0.2.1");
        check("10.0.0.1", "x-forwarded-for", "1.1.1.1", xff, "1.1.1.1");
        check("10.0.0.1", "x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.0.0.2", xff, "1.1.1.1");
        check("10.0.0.1", "x-forwarded-for", "6.6.6.6, junk, 10.0.0.2", xff, "10.0.0.2");
        check("10.0.0.1", "x-forwarded-for", "1.1.1.1:4711", xff, "1.1.1.1");
        check("10.0.0.1", "x-forwarded-for", "10.0.0.3", xff, "10.0.0.3");
        // What is not UTF-8 is no address, and ends the chain.
        for lines in [[b"6.6.6.6, \xe9, 10.0.0.2".as_slice(), b"10.0.0.3"], [b"6.6.6.6", b"\xe9, 10.0.0.2"]] {
            let odd: Fields = lines.into_iter().map(|line| ("x-forwarded-for", line)).collect();
            let found = client_address(&odd, "10.0.0.1".parse().unwrap(), &trusted(xff));
            assert_eq!(found, "10.0.0.2".parse::<IpAddr>().unwrap());
        }
        let forwarded = TrustedHeader::Forwarded;
        check("10.0.0.1", "forwarded", "for=1.1.1.1;proto=http", forwarded, "1.1.1.1");
        check("10.0.0.1", "forwarded", "proto=http;For=\"[2001:db8::1]:80\"", forwarded, "2001:db8::1");
        check("10.0.0.1", "forwarded", "for=_hidden, for=10.0.0.9", forwarded, "10.0.0.9");
        check("10.0.0.1", "x-forwarded-for", "1.1.1.1", forwarded, "10.0.0.1");
    }

    fn sorted(fields: &Fields) -> Vec<(String, Vec<u8>)> {
        let mut lines: Vec<_> = fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn announcing() {
        let check = |trusted: bool, forwarded: bool, before: &[(&str, &str)], after: &[(&str, &str)]| {
            let mut found = fields(before);
            let client = Client {
                address: "192.0.2.1",
                peer: "192.0.2.1".parse().unwrap(),
                via: "1.1 kiln",
                scheme: "http",
                host: Some("a.b:80"),
                trusted,
            };
            announce(&mut found, &client, forwarded);
            assert_eq!(sorted(&found), sorted(&fields(after)));
        };
        let said = &[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=6.6.6.6"),
            ("via", "1.0 x"),
        ];
        check(
            false,
            false,
            said,
            &[
                ("via", "1.0 x, 1.1 kiln"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "a.b:80"),
            ],
        );
        check(
            true,
            true,
            said,
            &[
                ("via", "1.0 x, 1.1 kiln"),
                ("x-forwarded-for", "6.6.6.6, 192.0.2.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil"),
                ("forwarded", "for=6.6.6.6, for=192.0.2.1;host=\"a.b:80\";proto=http"),
            ],
        );
    }
}
