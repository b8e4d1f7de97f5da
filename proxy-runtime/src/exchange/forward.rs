//! The changes that a proxy makes to a forwarded message. Pure; on the hot path.
//!
//! Fields that belong to one connection are removed (RFC 9110 section 7.6.1); `Via` (section 7.6.3), `X-Forwarded-*` and, if configured,
//! `Forwarded` (RFC 7239) are added. An untrusted client's values of these have been removed before: see `intake`.

use std::net::IpAddr;

use crate::access::trust::list;
use crate::protocol::fields::{Fields, has_token, members, number, of_connection};
use crate::protocol::forwarded::{elements, node_address};
use crate::protocol::names::{KnownField, KnownFields};
use crate::site::{Proxy, TrustedHeader};
use crate::{filter::intake, protocol::target};

/// Returns the protocol that a client asks to upgrade to (`Connection: upgrade`, `Upgrade`), if it may be forwarded.
/// `h2c` may not: its requests would bypass the proxy's rules.
pub(crate) fn upgrade(fields: &Fields) -> Option<&[u8]> {
    let wanted = fields.get(KnownField::UPGRADE)?;
    let h2c = members(wanted).any(|one| one.eq_ignore_ascii_case(b"h2c"));
    (!h2c && has_token(fields, KnownField::CONNECTION, "upgrade")).then_some(wanted)
}

/// Removes hop-by-hop fields, and the fields that frame the body, which are written again. `Trailer` and `TE: trailers` stay, as
/// both sides of the proxy support trailers. Fields listed in `Connection` are removed earlier, when a message is received and
/// before any field is added: by `intake` for requests, by [`received`] for responses.
pub(crate) fn end_to_end(fields: Fields) -> Fields {
    without(fields, KnownFields::OF_CONNECTION)
}

fn without(mut fields: Fields, gone: KnownFields) -> Fields {
    let te = has_token(&fields, KnownField::TE, "trailers");
    fields.remove_all(gone);
    if te {
        fields.add_known(KnownField::TE, b"trailers");
    }
    fields
}

/// The fields by which servers name files that the proxy shall send (`send-file`). They reveal paths of a machine, and are meant for
/// the proxy in front of the server alone.
const NAMES_FILE: [KnownField; 2] = [KnownField::X_ACCEL_REDIRECT, KnownField::X_SENDFILE];

/// Removes the fields of a server's response that must not be forwarded.
pub(crate) fn received(mut fields: Fields) -> Fields {
    intake::drop_listed(&mut fields, |_| false);
    without(fields, KnownFields::OF_CONNECTION.and(KnownFields::of(&NAMES_FILE)))
}

/// Information about the client for the server.
pub(crate) struct ForwardedClient<'a> {
    /// The peer's address as text, rendered once per connection.
    pub(crate) address: &'a str,
    /// The peer's address, which is the client's if the peer is not a proxy.
    pub(crate) peer: IpAddr,
    /// The client's address, as reported by the peer if that is trusted.
    pub(crate) client: IpAddr,
    /// The member for `Via`: the received version, and the proxy's name.
    pub(crate) via: &'static str,
    /// The client's scheme, `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The scheme of the connection that the request arrived on.
    pub(crate) connection: &'static str,
    /// The request's `Host`.
    pub(crate) host: Option<&'a str>,
    /// The field with the client's address, if the peer is trusted.
    pub(crate) trusted: Option<&'a TrustedHeader>,
}

/// Returns whether the proxy itself writes or removes a request field: [`end_to_end`], [`announce`] and `Host`. All others reach the
/// server as the client sent them, except for the route's filters.
pub(crate) fn changes(name: &str) -> bool {
    const WRITTEN: [&str; 8] = [
        "forwarded",
        "host",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
    ];
    WRITTEN.iter().any(|written| written.eq_ignore_ascii_case(name)) || of_connection(name.as_bytes())
}

/// Sets `Via`, `X-Forwarded-*` and, if configured, `X-Real-IP` and `Forwarded`.
pub(crate) fn announce(fields: &mut Fields, client: &ForwardedClient<'_>, wanted: &Proxy) {
    append(fields, KnownField::VIA, client.via);
    // Both lists are computed before either is written, because one may be derived from the other.
    let forwarded = wanted.forwarded.then(|| forwarded(fields, client));
    match (client.trusted, addresses_before(fields, client)) {
        (Some(TrustedHeader::XForwardedFor), _) => append(fields, KnownField::X_FORWARDED_FOR, client.address),
        (_, Some(before)) => fields.set(KnownField::X_FORWARDED_FOR, format!("{before}{}", client.address).as_bytes()),
        (_, None) => fields.set(KnownField::X_FORWARDED_FOR, client.address.as_bytes()),
    }
    fields.set(KnownField::X_FORWARDED_PROTO, client.scheme.as_bytes());
    if client.trusted.is_none() || !fields.contains(KnownField::X_FORWARDED_HOST) {
        match client.host {
            Some(host) => fields.set(KnownField::X_FORWARDED_HOST, host.as_bytes()),
            None => fields.remove(KnownField::X_FORWARDED_HOST),
        };
    }
    if wanted.forwarded_port && !(client.trusted.is_some() && says_a_port(fields)) {
        fields.set(KnownField::X_FORWARDED_PORT, port(client).to_string().as_bytes());
    }
    if wanted.real_ip {
        fields.set(KnownField::X_REAL_IP, client.client.to_string().as_bytes());
    }
    if let Some(forwarded) = forwarded {
        fields.set(KnownField::FORWARDED, &forwarded);
    }
}

/// Returns the port that the client connected to: from its `Host`, or the default of its scheme.
fn port(client: &ForwardedClient<'_>) -> u16 {
    let named = client.host.and_then(|host| target::split_port(host)?.1);
    named.unwrap_or(if client.scheme == "https" { 443 } else { 80 })
}

/// Returns whether `X-Forwarded-Port` is a single port.
fn says_a_port(fields: &Fields) -> bool {
    let mut lines = fields.all(KnownField::X_FORWARDED_PORT);
    let (line, second) = (lines.next(), lines.next());
    second.is_none() && line.and_then(number).is_some_and(|port| (1..=u64::from(u16::MAX)).contains(&port))
}

/// Returns the addresses in a trusted peer's list, if that list is not `X-Forwarded-For`, in the same order.
fn addresses_before(fields: &Fields, client: &ForwardedClient<'_>) -> Option<String> {
    match client.trusted? {
        TrustedHeader::XForwardedFor => None,
        TrustedHeader::Field(_) => (client.client != client.peer).then(|| format!("{}, ", client.client)),
        TrustedHeader::Forwarded => {
            let lines: Vec<&[u8]> = fields.all(KnownField::FORWARDED).collect();
            // An element that is not an address ends the chain.
            let nodes = lines.into_iter().rev().flat_map(elements).map(|element| node_address(&element?.node?));
            let mut nearest: Vec<IpAddr> = nodes.map_while(|address| address).collect();
            nearest.reverse();
            Some(nearest.into_iter().map(|address| format!("{address}, ")).collect())
        }
    }
}

/// Returns the value of `Forwarded`: a trusted peer's list, and an element for the peer. Other lists of addresses are converted to
/// elements (RFC 7239 section 7.4); the client's element has its scheme.
fn forwarded(fields: &Fields, client: &ForwardedClient<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    let proto = (client.scheme != client.connection).then_some(client.scheme);
    match client.trusted {
        None => {}
        Some(TrustedHeader::Forwarded) => {
            for earlier in fields.all(KnownField::FORWARDED) {
                line.extend_from_slice(earlier);
                line.extend_from_slice(b", ");
            }
        }
        Some(TrustedHeader::XForwardedFor) => {
            let mut nearest: Vec<Option<IpAddr>> =
                list(fields, KnownField::X_FORWARDED_FOR).map(node_address).collect();
            let of_client = nearest.iter().position(|address| *address == Some(client.client));
            nearest.iter_mut().enumerate().rev().for_each(|(index, address)| {
                match address {
                    Some(address) => line.extend_from_slice(for_address(*address).as_bytes()),
                    None => line.extend_from_slice(b"for=unknown"),
                }
                if let Some(proto) = proto.filter(|_| of_client == Some(index)) {
                    line.extend_from_slice(b";proto=");
                    line.extend_from_slice(proto.as_bytes());
                }
                line.extend_from_slice(b", ");
            });
        }
        Some(TrustedHeader::Field(_)) if client.client != client.peer => {
            line.extend_from_slice(format!("{};proto={}, ", for_address(client.client), client.scheme).as_bytes());
        }
        Some(TrustedHeader::Field(_)) => {}
    }
    line.extend_from_slice(element(client).as_bytes());
    line
}

/// `for=...;host=...;proto=...` (RFC 7239 section 4).
fn element(client: &ForwardedClient<'_>) -> String {
    let mut element = for_address(client.peer);
    if let Some(host) = client.host {
        element = format!("{element};host=\"{}\"", host.replace(['"', '\\'], ""));
    }
    format!("{element};proto={}", client.connection)
}

/// `for=` with an address.
fn for_address(address: IpAddr) -> String {
    match address {
        // Section 6: an IPv6 address is in brackets, and therefore quoted.
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
        IpAddr::V4(address) => format!("for={address}"),
    }
}

/// Appends `value` to the field's list, in one line.
fn append(fields: &mut Fields, name: KnownField, value: &str) {
    if !fields.contains(name) {
        return fields.add_known(name, value.as_bytes());
    }
    let mut line = Vec::new();
    for earlier in fields.all(name) {
        line.extend_from_slice(earlier);
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(value.as_bytes());
    fields.set(name, &line);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::HostField;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        lines.iter().copied().collect()
    }

    #[test]
    fn connection_fields_go() {
        let check = |before: &[(&str, &str)], after: &[(&str, &str)]| {
            assert_eq!(received(fields(before)), fields(after), "{before:?}");
        };
        check(&[("accept", "*/*")], &[("accept", "*/*")]);
        check(&[("connection", "keep-alive, X-Hop"), ("x-hop", "1"), ("keep-alive", "5")], &[]);
        check(&[("connection", "host, content-length"), ("host", "a"), ("Content-Length", "3")], &[("host", "a")]);
        check(&[("te", "trailers, deflate")], &[("te", "trailers")]);
        check(&[("te", "deflate")], &[]);
        check(&[("upgrade", "websocket"), ("proxy-connection", "close")], &[]);
        check(&[("connection", "close"), ("connection", "x-a"), ("x-a", "1"), ("x-b", "2")], &[("x-b", "2")]);
        // An option that is not UTF-8 does not hide the others.
        let odd: Fields =
            [("connection", b"\xe9, x-a".as_slice()), ("x-a", b"\xff"), ("x-b", b"\xff")].into_iter().collect();
        assert_eq!(received(odd), [("x-b", b"\xff")].into_iter().collect());
        let odd: Fields =
            [("connection", b"Upgrade, \xe9".as_slice()), ("upgrade", b"x\xe9, H2C")].into_iter().collect();
        assert_eq!(upgrade(&odd), None);
    }

    fn sorted(fields: &Fields) -> Vec<(String, Vec<u8>)> {
        let mut lines: Vec<_> = fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        lines.sort();
        lines
    }

    /// Checks the fields that a server receives from 192.0.2.1 for `client`, who uses `scheme`.
    #[track_caller]
    fn check(
        trusted: Option<&TrustedHeader>,
        (client, scheme): (&str, &'static str),
        wanted: &Proxy,
        before: &[(&str, &str)],
        after: &[(&str, &str)],
    ) {
        let mut found = fields(before);
        let client = ForwardedClient {
            address: "192.0.2.1",
            peer: "192.0.2.1".parse().expect("an address"),
            client: client.parse().expect("an address"),
            via: "1.1 kiln",
            scheme,
            connection: "http",
            host: Some("a.b:80"),
            trusted,
        };
        announce(&mut found, &client, wanted);
        assert_eq!(sorted(&found), sorted(&fields(after)));
        let before = fields(before);
        for (name, _) in found.iter().chain(before.iter()) {
            let same = found.all(name).eq(before.all(name));
            assert!(same || changes(&name.to_ascii_lowercase()), "{name} changes unannounced");
        }
    }

    fn proxy(forwarded: bool) -> Proxy {
        Proxy {
            shares: vec![].into(),
            by: None,
            cookie: None,
            host: HostField::Client,
            forwarded,
            forwarded_port: false,
            real_ip: false,
            asks_server: false,
        }
    }

    const OWN: [(&str, &str); 4] = [
        ("via", "1.1 kiln"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.b:80"),
    ];

    #[test]
    fn untrusted_peers() {
        let itself = ("192.0.2.1", "http");
        check(None, itself, &proxy(false), &[], &OWN);
        let with_via = [("via", "1.0 x, 1.1 kiln"), OWN[1], OWN[2], OWN[3]];
        check(None, itself, &proxy(false), &[("via", "1.0 x")], &with_via);
        let forwarded = [OWN[0], OWN[1], OWN[2], OWN[3], ("forwarded", "for=192.0.2.1;host=\"a.b:80\";proto=http")];
        check(None, itself, &proxy(true), &[], &forwarded);
        let more = Proxy { forwarded_port: true, real_ip: true, ..proxy(false) };
        let said = [OWN[0], OWN[1], OWN[2], OWN[3], ("x-forwarded-port", "80"), ("x-real-ip", "192.0.2.1")];
        check(None, itself, &more, &[], &said);
    }

    #[test]
    fn trusted_peers() {
        let (via, host) = (OWN[0], ("x-forwarded-host", "shop.test"));
        let own = "for=192.0.2.1;host=\"a.b:80\";proto=http";
        let check = |header: TrustedHeader, before: &[(&str, &str)], list: &str, forwarded: &str| {
            let before: Vec<_> = before.iter().copied().chain([host]).collect();
            let forwarded = if forwarded.is_empty() { own.to_owned() } else { format!("{forwarded}, {own}") };
            let after =
                [via, host, ("x-forwarded-for", list), ("x-forwarded-proto", "https"), ("forwarded", &forwarded)];
            let kept = before.iter().filter(|(name, _)| *name == "x-me");
            let after: Vec<_> = after.into_iter().chain(kept.copied()).collect();
            check(Some(&header), ("1.1.1.1", "https"), &proxy(true), &before, &after);
        };
        let xff = [("x-forwarded-for", "6.6.6.6, junk, 1.1.1.1,,::2:3")];
        check(
            TrustedHeader::XForwardedFor,
            &xff,
            "6.6.6.6, junk, 1.1.1.1,,::2:3, 192.0.2.1",
            "for=6.6.6.6, for=unknown, for=1.1.1.1;proto=https, for=\"[::2:3]\"",
        );
        check(TrustedHeader::XForwardedFor, &[], "192.0.2.1", "");
        let chain = [("forwarded", "for=_x, for=6.6.6.6"), ("forwarded", "for=1.1.1.1;proto=https")];
        check(
            TrustedHeader::Forwarded,
            &chain,
            "6.6.6.6, 1.1.1.1, 192.0.2.1",
            "for=_x, for=6.6.6.6, for=1.1.1.1;proto=https",
        );
        check(
            TrustedHeader::Field("x-me".into()),
            &[("x-me", "1.1.1.1")],
            "1.1.1.1, 192.0.2.1",
            "for=1.1.1.1;proto=https",
        );
    }

    #[test]
    fn ports() {
        let check = |trusted: bool, said: &[&str], scheme: &'static str, expected: &str| {
            let before: Vec<_> = said.iter().map(|port| ("x-forwarded-port", *port)).collect();
            let mut found = fields(&before);
            let header = TrustedHeader::XForwardedFor;
            let peer = "192.0.2.1".parse().expect("an address");
            let client = ForwardedClient {
                address: "",
                peer,
                client: peer,
                via: "",
                scheme,
                connection: "http",
                host: Some("a.b"),
                trusted: trusted.then_some(&header),
            };
            announce(&mut found, &client, &Proxy { forwarded_port: true, ..proxy(false) });
            assert_eq!(found.all("x-forwarded-port").collect::<Vec<_>>(), [expected.as_bytes()], "{said:?}");
        };
        check(true, &[], "https", "443");
        check(true, &["8443"], "https", "8443");
        check(true, &["junk"], "http", "80");
        check(true, &["8443", "9"], "http", "80");
        check(false, &[], "http", "80");
    }
}
