//! `Forwarded` (RFC 7239): its elements, and addresses as proxies write them. Pure.
//!
//! Lines are read from the right, where the nearest proxy writes: a client's text before that (such as an unterminated
//! quote) can't hide the elements after it.

use std::borrow::Cow;
use std::net::IpAddr;

/// An element: a proxy's statement about one hop.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    /// `for`: the client of the hop.
    pub(crate) node: Option<Cow<'a, [u8]>>,
    /// `proto`: its protocol.
    pub(crate) proto: Option<Cow<'a, [u8]>>,
}

/// Returns the elements of a line, in reverse order.
pub(crate) fn elements(line: &[u8]) -> impl Iterator<Item = Option<Element<'_>>> {
    parts(line, b',').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()).map(element)
}

/// Parses an element of pairs (section 4); `None` if it is malformed.
fn element(text: &[u8]) -> Option<Element<'_>> {
    let mut element = Element::default();
    for pair in parts(text, b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()) {
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        let (name, found) = (pair[..equals].trim_ascii(), value(pair[equals + 1..].trim_ascii())?);
        let place = match name {
            name if name.eq_ignore_ascii_case(b"for") => &mut element.node,
            name if name.eq_ignore_ascii_case(b"proto") => &mut element.proto,
            _ => continue,
        };
        // Each parameter may occur only once.
        if place.replace(found).is_some() {
            return None;
        }
    }
    Some(element)
}

/// Parses a token, or a quoted string (RFC 9110 section 5.6.4).
fn value(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        // Unquoted brackets and colons are invalid, but common.
        return (!text.contains(&b'"')).then_some(Cow::Borrowed(text));
    };
    let quoted = quoted.strip_suffix(b"\"")?;
    if !quoted.iter().any(|byte| matches!(byte, b'\\' | b'"')) {
        return Some(Cow::Borrowed(quoted));
    }
    let (mut out, mut bytes) = (Vec::with_capacity(quoted.len()), quoted.iter());
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => out.push(*bytes.next()?),
            b'"' => return None,
            byte => out.push(byte),
        }
    }
    Some(Cow::Owned(out))
}

/// Returns the parts between separators outside of quotes, in reverse order.
fn parts(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        for at in (0..text.len()).rev() {
            match text[at] {
                b'"' => {
                    let escapes = text[..at].iter().rev().take_while(|&&byte| byte == b'\\').count();
                    quoted ^= escapes % 2 == 0;
                }
                byte if byte == separator && !quoted => {
                    rest = Some(&text[..at]);
                    return Some(&text[at + 1..]);
                }
                _ => {}
            }
        }
        rest = None;
        Some(text)
    })
}

/// Parses an address with or without port and brackets (section 6).
pub(crate) fn node_address(node: &[u8]) -> Option<IpAddr> {
    let node = std::str::from_utf8(node).ok()?;
    // Section 6.2: a number, or a name that begins with `_`.
    let is_port = |port: &str| {
        port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit())
            || port.strip_prefix('_').is_some_and(|name| {
                !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
            })
    };
    let address = match node.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            IpAddr::V6(address.parse().ok().filter(|_| fine)?)
        }
        None => match node.split_once(':') {
            Some((address, port)) if !port.contains(':') => IpAddr::V4(address.parse().ok().filter(|_| is_port(port))?),
            _ => node.parse().ok()?,
        },
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |line: &str, expected: &[Option<(&str, &str)>]| {
            let text = |value: Option<Cow<'_, [u8]>>| {
                value.map_or(String::new(), |value| String::from_utf8_lossy(&value).into_owned())
            };
            let found: Vec<_> = elements(line.as_bytes())
                .map(|element| element.map(|element| (text(element.node), text(element.proto))))
                .collect();
            let expected: Vec<_> =
                expected.iter().map(|one| one.map(|(node, proto)| (node.to_owned(), proto.to_owned()))).collect();
            assert_eq!(found, expected, "{line}");
        };
        check("for=1.1.1.1;proto=http, For=2.2.2.2", &[Some(("2.2.2.2", "")), Some(("1.1.1.1", "http"))]);
        check(" , ,for=\"[::1]:80\" ; PROTO = \"https\" ,", &[Some(("[::1]:80", "https"))]);
        check("for=\"a,b;c\";host=\"x,;y\\\"z\";proto=http", &[Some(("a,b;c", "http"))]);
        check("for=\"a\\\\\", for=b", &[Some(("b", "")), Some(("a\\", ""))]);
        // The nearest proxy's element does not depend on an unterminated quote before it.
        check("for=\", for=1.1.1.1", &[Some(("1.1.1.1", "")), None]);
        check("for=\"x, for=\"[::1]\"", &[Some(("[::1]", "")), None]);
        check("for=1.1.1.1;for=2.2.2.2", &[None]);
        check("junk", &[None]);
        check("for=", &[Some(("", ""))]);
        check("", &[]);
    }

    #[test]
    fn nodes() {
        let check = |node: &str, expected: Option<&str>| {
            assert_eq!(node_address(node.as_bytes()), expected.map(|address| address.parse().expect("one")), "{node}");
        };
        check("1.1.1.1", Some("1.1.1.1"));
        check("1.1.1.1:4711", Some("1.1.1.1"));
        check("1.1.1.1:_port", Some("1.1.1.1"));
        check("2001:db8::1", Some("2001:db8::1"));
        check("[2001:db8::1]", Some("2001:db8::1"));
        check("[2001:db8::1]:80", Some("2001:db8::1"));
        check("::ffff:1.1.1.1", Some("1.1.1.1"));
        for wrong in [
            "",
            "unknown",
            "_hidden",
            "[::1",
            "[::1]80",
            "[1.1.1.1]",
            "1.1.1.1:",
            "1.1.1.1:x",
            "1.1.1.1:99999",
            "1.1.1.1:+1",
            "1.1.1.1, 2.2.2.2",
            "1.1.1.1 ",
            "[::1]:",
        ] {
            check(wrong, None);
        }
    }
}
