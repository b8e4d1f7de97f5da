//! Blocks that are not valid HPACK (RFC 7541, RFC 9113 section 4.3).

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, block: &[u8]| {
        let bytes = [frame(h2::HEADERS, h2::END_HEADERS, 1, block), last_data(b"ok")].concat();
        cases.push(case(format!("HPACK: {name}"), bytes));
    };
    add("index 0", b"\x88\x80");
    add("an index behind the table", b"\x88\xbe");
    add("an index far behind the table", b"\x88\xff\xff\x7f");
    add("a name behind the table", b"\x88\x7e\x01y");
    add("a name far behind the table, not indexed", b"\x88\x0f\xff\x7f\x01y");
    add("an endless integer", b"\x88\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f");
    add("an integer beyond 32 bits", b"\x88\x00\x7f\xff\xff\xff\xff\x7f");
    add("an integer that is cut off", b"\x88\xff\x80");
    add("a field that is cut off", b"\x88\x00");
    add("a name that is cut off", b"\x88\x00\x05ab");
    add("a value that is cut off", b"\x88\x00\x01a\x05b");
    add("no value", b"\x88\x00\x01a");
    add("a length beyond the block", b"\x88\x00\x01a\x7f\xff\x7f");
    add("Huffman: the end of all", b"\x88\x00\x01a\x84\xff\xff\xff\xff");
    add("Huffman: padding of a byte", b"\x88\x00\x01a\x82\x1f\xff");
    add("Huffman: padding of zeros", b"\x88\x00\x01a\x81\x18");
    add("Huffman: half a code", b"\x88\x00\x01a\x82\xff\xc0");
    add("a table larger than announced", b"\x3f\xe2\x1f\x88");
    add("a table larger than anything", b"\x3f\xff\xff\xff\x07\x88");
    add("a table resized within a block", b"\x88\x20");
    add("an entry that was evicted", b"\x20\x88\x40\x01a\x01b\xbe");
    add("an entry larger than the table", &[&b"\x88\x40\x01a"[..], &h2::string(&[b'b'; 5000]), b"\xbe"].concat());
    cases
}
