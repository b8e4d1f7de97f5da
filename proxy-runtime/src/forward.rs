//! What changes in a message because a proxy passes it on. Pure; on the hot path.
//!
//! Fields that belong to one connection go (RFC 9110 section 7.6.1), `Via` comes (section 7.6.3), and so do
//! `X-Forwarded-*` and, where asked for, `Forwarded` (RFC 7239). What an untrusted client said in these is replaced.

use std::net::IpAddr;

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};

use crate::matcher;
use crate::site::{Trusted, TrustedHeader};
use crate::view::{has_token, tokens};

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The protocol a client asks to change to, where it is one to pass on: `Connection: upgrade` and `Upgrade: it`.
/// `h2c` is not: what follows would pass the proxy's rules unseen.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(header::UPGRADE)?;
    let h2c = wanted.to_str().is_ok_and(|wanted| wanted.split(',').any(|one| one.trim().eq_ignore_ascii_case("h2c")));
    (!h2c && has_token(headers, header::CONNECTION, "upgrade")).then(|| wanted.clone())
}

/// The fields that belong to a connection, and go. `TE` and what `Connection` lists are seen to apart.
static OF_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// Removes the fields that belong to a connection: those RFC 9110 names, and those that `Connection` names.
/// `Trailer` stays, and so does `TE: trailers`, whose meaning both of our sides share. One pass over the names where
/// there is nothing to remove; no allocation but for fields that `Connection` lists beside the usual ones.
pub(crate) fn strip_connection_fields(headers: &mut HeaderMap) {
    let mut found = 0_u8;
    for name in headers.keys() {
        if let Some(index) = OF_CONNECTION.iter().position(|of_connection| of_connection == name) {
            found |= 1 << index;
        }
    }
    if found == 0 {
        return;
    }
    let trailers = has_token(headers, header::TE, "trailers");
    for name in listed(headers) {
        headers.remove(name);
    }
    for (index, name) in OF_CONNECTION.iter().enumerate() {
        if found & (1 << index) != 0 {
            headers.remove(name);
        }
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// The fields that `Connection` lists, beside its own options and what is removed anyway. Fields that frame or address
/// the message can't be made to vanish this way.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    const USUAL: [&str; 8] =
        ["keep-alive", "close", "upgrade", "te", "trailer", "transfer-encoding", "content-length", "host"];
    tokens(headers, header::CONNECTION)
        .filter(|token| !USUAL.iter().any(|usual| usual.eq_ignore_ascii_case(token)))
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .collect()
}

/// What is said about the client to an upstream.
pub(crate) struct Client<'a> {
    /// Its address as a field value; made once per connection.
    pub(crate) address: &'a HeaderValue,
    /// The peer's address, which is the client's where the peer is not a proxy.
    pub(crate) peer: IpAddr,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The `Host` it asked for.
    pub(crate) host: Option<HeaderValue>,
    /// Whether the peer is believed.
    pub(crate) trusted: bool,
}

/// Sets `Via`, `X-Forwarded-*` and, where wanted, `Forwarded`.
pub(crate) fn announce(headers: &mut HeaderMap, client: &Client<'_>, forwarded: bool) {
    append(headers, header::VIA, HeaderValue::from_static("1.1 kiln"), true);
    append(headers, X_FORWARDED_FOR.clone(), client.address.clone(), client.trusted);
    let keep = |headers: &HeaderMap, name: &HeaderName| client.trusted && headers.contains_key(name);
    if !keep(headers, &X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO.clone(), HeaderValue::from_static(client.scheme));
    }
    if !keep(headers, &X_FORWARDED_HOST) {
        match &client.host {
            Some(host) => headers.insert(X_FORWARDED_HOST.clone(), host.clone()),
            None => headers.remove(&X_FORWARDED_HOST),
        };
    }
    if forwarded {
        append(headers, header::FORWARDED, forwarded_element(client), client.trusted);
    } else if !client.trusted {
        headers.remove(header::FORWARDED);
    }
}

/// Puts `value` behind what is there, in one line; or in its place.
fn append(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue, keep: bool) {
    match headers.entry(name) {
        Entry::Occupied(mut entry) if keep => {
            let mut line = Vec::new();
            for earlier in entry.iter() {
                line.extend_from_slice(earlier.as_bytes());
                line.extend_from_slice(b", ");
            }
            line.extend_from_slice(value.as_bytes());
            if let Ok(line) = HeaderValue::from_bytes(&line) {
                entry.insert(line);
            }
        }
        Entry::Occupied(mut entry) => {
            entry.insert(value);
        }
        Entry::Vacant(entry) => {
            entry.insert(value);
        }
    }
}

/// `for=...;host=...;proto=...` (RFC 7239 section 4).
fn forwarded_element(client: &Client<'_>) -> HeaderValue {
    let mut element = match client.peer {
        // Section 6: an IPv6 address is in brackets, and so in quotes.
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
        IpAddr::V4(address) => format!("for={address}"),
    };
    if let Some(host) = client.host.as_ref().and_then(|host| host.to_str().ok()) {
        element = format!("{element};host=\"{}\"", host.replace(['"', '\\'], ""));
    }
    HeaderValue::from_str(&format!("{element};proto={}", client.scheme))
        .unwrap_or_else(|_| HeaderValue::from_static("for=unknown"))
}

/// The client's address: the peer's, or behind trusted peers the last address in their field that is not itself trusted.
pub(crate) fn client_address(headers: &HeaderMap, peer: IpAddr, trusted: &Trusted) -> IpAddr {
    if !matcher::contains(&trusted.networks, peer) {
        return peer;
    }
    let mut client = peer;
    let name = match trusted.header {
        TrustedHeader::XForwardedFor => X_FORWARDED_FOR.clone(),
        TrustedHeader::Forwarded => header::FORWARDED,
    };
    let lines: Vec<_> = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok()).collect();
    for element in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let address = match trusted.header {
            TrustedHeader::XForwardedFor => node_address(element.trim()),
            TrustedHeader::Forwarded => forwarded_for(element).and_then(node_address),
        };
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

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn connection_fields_go() {
        let check = |before: &[(&'static str, &'static str)], after: &[(&'static str, &'static str)]| {
            let mut found = HeaderMap::new();
            for (name, value) in before {
                found.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            strip_connection_fields(&mut found);
            assert_eq!(found, headers(after), "{before:?}");
        };
        check(&[("accept", "*/*")], &[("accept", "*/*")]);
        check(&[("connection", "keep-alive, X-Hop"), ("x-hop", "1"), ("keep-alive", "5")], &[]);
        check(&[("connection", "host, content-length"), ("host", "a")], &[("host", "a")]);
        check(&[("te", "trailers, deflate")], &[("te", "trailers")]);
        check(&[("te", "deflate")], &[]);
        check(&[("upgrade", "websocket"), ("proxy-connection", "close")], &[]);
        check(&[("connection", "close"), ("connection", "x-a"), ("x-a", "1"), ("x-b", "2")], &[("x-b", "2")]);
    }

    #[test]
    fn clients_behind_trusted_proxies() {
        let trusted = |header| Trusted { networks: Cow::Owned(vec!["10.0.0.0/8".parse().unwrap()]), header };
        let check = |peer: &str, field: &'static str, value: &'static str, header, expected: &str| {
            let found = client_address(&headers(&[(field, value)]), peer.parse().unwrap(), &trusted(header));
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {value}");
        };
        let xff = TrustedHeader::XForwardedFor;
        check("192.0.2.1", "x-forwarded-for", "1.1.1.1", xff, "192.0.2.1");
        check("10.0.0.1", "x-forwarded-for", "1.1.1.1", xff, "1.1.1.1");
        check("10.0.0.1", "x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.0.0.2", xff, "1.1.1.1");
        check("10.0.0.1", "x-forwarded-for", "6.6.6.6, junk, 10.0.0.2", xff, "10.0.0.2");
        check("10.0.0.1", "x-forwarded-for", "1.1.1.1:4711", xff, "1.1.1.1");
        check("10.0.0.1", "x-forwarded-for", "10.0.0.3", xff, "10.0.0.3");
        let forwarded = TrustedHeader::Forwarded;
        check("10.0.0.1", "forwarded", "for=1.1.1.1;proto=http", forwarded, "1.1.1.1");
        check("10.0.0.1", "forwarded", "proto=http;For=\"[2001:db8::1]:80\"", forwarded, "2001:db8::1");
        check("10.0.0.1", "forwarded", "for=_hidden, for=10.0.0.9", forwarded, "10.0.0.9");
        check("10.0.0.1", "x-forwarded-for", "1.1.1.1", forwarded, "10.0.0.1");
    }

    #[test]
    fn announcing() {
        let address = HeaderValue::from_static("192.0.2.1");
        let check = |trusted: bool,
                     forwarded: bool,
                     before: &[(&'static str, &'static str)],
                     after: &[(&'static str, &'static str)]| {
            let mut found = headers(before);
            let client = Client {
                address: &address,
                peer: "192.0.2.1".parse().unwrap(),
                scheme: "http",
                host: Some(HeaderValue::from_static("a.b:80")),
                trusted,
            };
            announce(&mut found, &client, forwarded);
            assert_eq!(found, headers(after));
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
