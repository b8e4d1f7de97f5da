//! For any bytes in `Cookie` fields, matchers, `bypass` and `key` decide like a naive reader of bytes.

use std::net::{IpAddr, Ipv4Addr};

use http::Method;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proxy_runtime::cache::key;
use proxy_runtime::context::facts::Facts;
use proxy_runtime::context::matcher;
use proxy_runtime::context::settings::Settings;
use proxy_runtime::context::template::{Piece, Template};
use proxy_runtime::context::view::{RequestVersion, RequestView};
use proxy_runtime::protocol::fields::Fields;
use proxy_runtime::site::{Key, Mark, Part};

use super::{BOTH, Lines, ask, fresh};

/// Valid and invalid pieces of cookies, with more special characters than random ones would have.
fn cookie() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["session", "a", "=", ";", "; ", "\"", " ", "\t", "é", "1"])
            .prop_map(|text| text.as_bytes().to_vec()),
        // Bytes that are allowed in a value (RFC 9110 section 5.5).
        2 => prop_oneof![0x21..=0x7e_u8, 0x80..=0xff_u8].prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().trim_ascii().to_vec())
}

/// The values of a cookie, parsed naively.
fn naive(lines: &[Vec<u8>], name: &[u8]) -> Vec<Vec<u8>> {
    quoted(lines, name).into_iter().map(unquoted).collect()
}

fn unquoted(value: Vec<u8>) -> Vec<u8> {
    if value.len() >= 2 && value[0] == b'"' && value[value.len() - 1] == b'"' {
        return value[1..value.len() - 1].to_vec();
    }
    value
}

/// The values with their quotes.
fn quoted(lines: &[Vec<u8>], name: &[u8]) -> Vec<Vec<u8>> {
    fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
        while bytes.last().is_some_and(u8::is_ascii_whitespace) {
            bytes.pop();
        }
        while bytes.first().is_some_and(u8::is_ascii_whitespace) {
            bytes.remove(0);
        }
        bytes
    }
    let mut values = Vec::new();
    for line in lines {
        let (mut pairs, mut open) = (Vec::new(), Vec::new());
        for &byte in line {
            if byte == b';' {
                pairs.push(std::mem::take(&mut open));
            } else {
                open.push(byte);
            }
        }
        pairs.push(open);
        for pair in pairs {
            let at = (0..pair.len()).find(|&at| pair[at] == b'=').unwrap_or(pair.len());
            let value = trimmed(pair[(at + 1).min(pair.len())..].to_vec());
            if trimmed(pair[..at].to_vec()) == name {
                values.push(value);
            }
        }
    }
    values
}

fn mark(value: Option<&str>) -> Mark {
    Mark { part: Part::Cookie, name: "session".into(), value: value.map(|value| value.to_owned().into()) }
}

proptest! {
    #![proptest_config(crate::kiln_config(4000))]

    #[test]
    fn same_decisions_for_any_bytes(lines in prop::collection::vec(cookie(), 0..3), others in prop::collection::vec(cookie(), 0..3)) {
        let fields: Fields = lines.iter().map(|line| ("Cookie", line)).collect();
        let expected = naive(&lines, b"session");
        let settings = Settings::default();
        let facts = Facts::nothing(&Method::GET, &fields, &settings);
        let view = RequestView {
            method: &Method::GET,
            host: "",
            path: "/",
            query: None,
            headers: &fields,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            version: RequestVersion::Http1,
        };
        let is = |wanted: &str| expected.iter().any(|value| value == wanted.as_bytes());
        prop_assert_eq!(matcher::cookie(&view, "session"), !expected.is_empty());
        prop_assert_eq!(key::has(&mark(None), &facts), !expected.is_empty());
        for wanted in ["1", "", "é", "a=1", "session"] {
            prop_assert_eq!(matcher::cookie_is(&view, "session", wanted), is(wanted));
            prop_assert_eq!(key::has(&mark(Some(wanted)), &facts), is(wanted));
        }
        let mut rendered = Vec::new();
        Template { pieces: vec![Piece::Cookie("session".into())].into() }.render(&facts, &mut rendered);
        prop_assert_eq!(rendered, expected.first().cloned().unwrap_or_default());

        // Two requests share a response if and only if they have the same values, including quotes.
        let key = Key { query: proxy_runtime::site::Query::Whole, send_keyed: false, follows_search: false, headers: vec![].into(), cookies: vec!["session".into()].into(), device: None, zone: 0, site: 0 };
        let variant = |lines: &[Vec<u8>]| {
            let mut out = Vec::new();
            key::variant(&key, std::iter::empty(), &lines.iter().map(|line| ("cookie", line)).collect(), &mut out);
            out
        };
        prop_assert_eq!(variant(&lines) == variant(&others), quoted(&lines, b"session") == quoted(&others, b"session"));
    }
}

/// The same through the proxy.
#[test]
fn same_decisions_through_the_proxy() {
    let mut runner = proptest::test_runner::TestRunner::new(crate::kiln_config(1));
    for version in BOTH {
        for _ in 0..60 {
            let line = cookie().new_tree(&mut runner).expect("a cookie").current();
            let lines: Lines<'_> = &[("cookie", &line)];
            let expected = naive(std::slice::from_ref(&line), b"session");
            let path = fresh("/bypass");
            ask(version, &path, lines);
            let mode = naive(std::slice::from_ref(&line), b"mode").contains(&b"on".to_vec());
            let stored = expected.is_empty() && !mode;
            assert_eq!(ask(version, &path, &[]).is_hit(), stored, "{version:?} {:?}", line.escape_ascii().to_string());
        }
    }
}
