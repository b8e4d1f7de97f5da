//! Reads PROXY headers of a proxy in front, versions 1 and 2 (haproxy.org, "The PROXY protocol", 2020). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::site::ProxyProtocolIn;

/// A parsed header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProxyHeader {
    /// Its size in bytes.
    pub(super) size: usize,
    /// The client's and the server's address; `None` if the proxy speaks for itself, or does not know.
    pub(super) addresses: Option<(SocketAddr, SocketAddr)>,
}

/// The connection does not begin with a valid header of an expected version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MalformedHeader;

/// The first bytes of a binary header (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest text header, with its line end (section 2.1).
const MAX_TEXT: usize = 107;

/// The most bytes after the first 16 of a binary header: addresses and extensions.
const MAX_BINARY: usize = 4096;

/// Parses the header at the front of `bytes`; `None` if it is incomplete.
///
/// # Errors
/// [`MalformedHeader`].
pub(super) fn read(bytes: &[u8], expected: &ProxyProtocolIn) -> Result<Option<ProxyHeader>, MalformedHeader> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    match bytes.first() {
        None => Ok(None),
        Some(b'P') if expected.v1 && begins(b"PROXY ") => text(bytes),
        Some(b'\r') if expected.v2 && begins(SIGNATURE) => binary(bytes),
        Some(_) => Err(MalformedHeader),
    }
}

/// Parses a text header, such as `PROXY TCP4 192.0.2.1 192.0.2.2 51324 443`.
fn text(bytes: &[u8]) -> Result<Option<ProxyHeader>, MalformedHeader> {
    let Some(end) = bytes.iter().take(MAX_TEXT).position(|&byte| byte == b'\n') else {
        return if bytes.len() < MAX_TEXT { Ok(None) } else { Err(MalformedHeader) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(MalformedHeader)?;
    let line = std::str::from_utf8(line).map_err(|_| MalformedHeader)?;
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or(MalformedHeader);
    let of = word()?;
    if of == "UNKNOWN" {
        // The rest of the line is ignored.
        return Ok(Some(ProxyHeader { size: end + 1, addresses: None }));
    }
    let (client, proxy, client_port, proxy_port) = (word()?, word()?, word()?, word()?);
    let address = |ip: &str, port: &str| {
        let ip = match of {
            "TCP4" => ip.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        };
        Some(SocketAddr::new(ip?, port.parse().ok()?))
    };
    let pair = address(client, client_port).zip(address(proxy, proxy_port)).ok_or(MalformedHeader)?;
    if words.next().is_some() {
        Err(MalformedHeader)
    } else {
        Ok(Some(ProxyHeader { size: end + 1, addresses: Some(pair) }))
    }
}

fn binary(bytes: &[u8]) -> Result<Option<ProxyHeader>, MalformedHeader> {
    let [version, family, high, low] = match bytes.get(12..16) {
        Some(&[version, family, high, low]) => [version, family, high, low],
        _ => return Ok(None),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version >> 4 != 2 || length > MAX_BINARY {
        return Err(MalformedHeader);
    }
    let Some(body) = bytes.get(16..16 + length) else { return Ok(None) };
    let header = |addresses| Ok(Some(ProxyHeader { size: 16 + length, addresses }));
    match (version & 0xF, family) {
        // LOCAL: the proxy's own connection, for example a health check.
        (0, _) => header(None),
        (1, 0x11) => header(Some(pair::<4>(body)?)),
        (1, 0x21) => header(Some(pair::<16>(body)?)),
        // UNIX and UNSPEC have no usable address.
        (1, 0x00 | 0x31) => header(None),
        _ => Err(MalformedHeader),
    }
}

/// Two addresses of `N` bytes, then two ports.
fn pair<const N: usize>(body: &[u8]) -> Result<(SocketAddr, SocketAddr), MalformedHeader>
where
    IpAddr: From<[u8; N]>,
{
    let ip = |at: usize| Some(IpAddr::from(<[u8; N]>::try_from(body.get(at..at + N)?).ok()?));
    let port = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    let address = |at: usize, port_at: usize| Some(SocketAddr::new(ip(at)?, port(port_at)?));
    address(0, 2 * N).zip(address(N, 2 * N + 2)).ok_or(MalformedHeader)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    /// The size of a header, and the addresses in it.
    type Expected<'a> = (usize, Option<(&'a str, &'a str)>);

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Option<Expected<'_>>, MalformedHeader>) {
        let both = ProxyProtocolIn { v1: true, v2: true, from: Cow::Borrowed(&[]) };
        let expected = expected.map(|header| {
            header.map(|(size, addresses)| ProxyHeader {
                size,
                addresses: addresses.map(|(a, b)| (a.parse().expect("an address"), b.parse().expect("an address"))),
            })
        });
        assert_eq!(read(bytes, &both), expected, "{bytes:?}");
        if let Ok(Some(header)) = &expected {
            for end in 0..header.size {
                assert_eq!(read(&bytes[..end], &both), Ok(None), "{end} bytes of {bytes:?}");
            }
        }
    }

    #[test]
    fn headers() {
        let addresses = Some(("192.0.2.1:51324", "192.0.2.2:443"));
        check(b"PROXY TCP4 192.0.2.1 192.0.2.2 51324 443\r\nGET", Ok(Some((42, addresses))));
        check(b"PROXY TCP6 ::1 ::2 1 2\r\n", Ok(Some((24, Some(("[::1]:1", "[::2]:2"))))));
        check(b"PROXY UNKNOWN\r\n", Ok(Some((15, None))));
        check(b"PROXY UNKNOWN ffff::1 x\r\n", Ok(Some((25, None))));
        for bad in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 51324\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 51324 70000\r\n",
            "PROXY TCP4 ::1 ::2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "\r\n\r\nX",
        ] {
            check(bad.as_bytes(), Err(MalformedHeader));
        }
        check(format!("PROXY UNKNOWN {}", "x".repeat(200)).as_bytes(), Err(MalformedHeader));
    }

    #[test]
    fn binary_headers() {
        let header = |command: u8, family: u8, body: &[u8]| {
            let mut bytes = SIGNATURE.to_vec();
            bytes.extend([0x20 | command, family]);
            bytes.extend((body.len() as u16).to_be_bytes());
            bytes.extend(body);
            bytes
        };
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0xC8, 0x7C, 1, 0xBB];
        let addresses = Some(("192.0.2.1:51324", "192.0.2.2:443"));
        check(&header(1, 0x11, &v4), Ok(Some((28, addresses))));
        // Extensions are ignored.
        check(&header(1, 0x11, &[&v4[..], &[4, 0, 1, 0]].concat()), Ok(Some((32, addresses))));
        check(&header(0, 0, &[]), Ok(Some((16, None))));
        check(&header(1, 0x31, &[0; 216]), Ok(Some((232, None))));
        check(&header(1, 0x11, &v4[..11]), Err(MalformedHeader));
        check(&header(2, 0x11, &v4), Err(MalformedHeader));
        check(&header(1, 0x12, &v4), Err(MalformedHeader));
    }

    #[test]
    fn only_what_is_expected() {
        let only = |v1, v2| ProxyProtocolIn { v1, v2, from: Cow::Borrowed(&[]) };
        assert_eq!(read(b"PROXY UNKNOWN\r\n", &only(false, true)), Err(MalformedHeader));
        assert_eq!(read(SIGNATURE, &only(true, false)), Err(MalformedHeader));
    }
}
