//! Fields that HTTP/2 does not allow in responses (RFC 9113 sections 8.2 and 8.3).

use super::*;

/// Pseudo-header fields that are unknown, or not for responses.
const PSEUDO: [(&str, &str); 8] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "site.test"),
    (":path", "/"),
    (":protocol", "websocket"),
    (":x", "y"),
    (":", "y"),
    (":Status", "200"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, fields: Vec<u8>| {
        let bytes = [frame(h2::HEADERS, h2::END_HEADERS, 1, &fields), last_data(b"ok")].concat();
        cases.push(case(name, bytes));
    };
    let (status, usual) = ((":status", "200"), ("x", "y"));
    // Section 8.3.2: exactly one status, before all fields.
    add("no status".to_owned(), block(&[usual]));
    add("no fields".to_owned(), Vec::new());
    add("a status twice".to_owned(), block(&[status, status]));
    add("two statuses".to_owned(), block(&[status, (":status", "404")]));
    add("a status behind a field".to_owned(), block(&[usual, status]));
    for text in ["", "2", "20", "099", "99", "000", "1000", "0200", "abc", "2x0", "+20", " 200", "200 ", "2e2", "-200"]
    {
        add(format!("the status {text:?}"), block(&[(":status", text)]));
    }
    // Section 8.3: pseudo-header fields of requests, and unknown ones; before and after the status, from either table of HPACK.
    for (name, value) in PSEUDO {
        let field = (name, value);
        add(format!("{name:?} behind the status"), block(&[status, field]));
        add(format!("{name:?} before the status"), block(&[field, status]));
        add(format!("{name:?} behind a field"), block(&[status, usual, field]));
        let indexed = [&[0x40][..], &h2::string(name.as_bytes()), &h2::string(value.as_bytes())].concat();
        add(format!("{name:?} put into the table"), [b"\x88", &indexed[..]].concat());
    }
    for index in 1..=7_u8 {
        add(format!("entry {index} of the table"), vec![0x88, 0x80 | index]);
        add(format!("the name of entry {index} of the table"), vec![0x88, index, 1, b'/']);
    }
    // Huffman-coded, as all libraries send it: `:path: /`.
    add("a path in Huffman's code".to_owned(), b"\x88\x00\x84\xb9\x58\xd3\x3f\x81\x63".to_vec());
    // A table entry of an earlier block.
    let with_path = |block: &[u8]| frame(h2::HEADERS, h2::END_HEADERS, 1, block);
    let hints = with_path(b"\x08\x03103\x40\x05:path\x01/");
    cases.push(case("a path in the table of a head before", and_ok(hints)));
    let mut add = |name: String, fields: Vec<u8>| {
        let bytes = [frame(h2::HEADERS, h2::END_HEADERS, 1, &fields), last_data(b"ok")].concat();
        cases.push(case(name, bytes));
    };
    // Section 8.2.1: names and values.
    for name in ["", "X", "Content-Type", "a b", "a:b", " a", "a\0", "a\r\nb", "a\u{7f}", "\u{e4}", "a\"b", "a/b"] {
        add(format!("the name {name:?}"), block(&[status, (name, "y")]));
    }
    for value in [" y", "y ", "\ty", "y\t", " ", "a\0b", "a\nb", "a\rb", "a\r\nb: c", "a\u{1}b", "a\u{7f}b"] {
        add(format!("the value {value:?}"), block(&[status, ("x", value)]));
    }
    // Section 8.2.2: connection-specific fields.
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ] {
        add(format!("{name}: {value}"), block(&[status, (name, value)]));
    }
    // Section 8.1.1: invalid lengths.
    for value in ["", "x", "-2", "+2", "2x", "0x2", "2.0", "2 2", "2, 2", "99999999999999999999"] {
        add(format!("a length of {value:?}"), block(&[status, ("content-length", value)]));
    }
    add("two lengths".to_owned(), block(&[status, ("content-length", "2"), ("content-length", "3")]));
    cases
}
