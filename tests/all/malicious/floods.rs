//! Servers that send heads without end, or such that are too large.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut flood = |name: &str, frame: Vec<u8>| {
        cases.push(case(format!("{name} without end"), frame.repeat(1000)).then(Then::Repeats));
    };
    flood("interim responses", head(&[(":status", "103")]));
    let block = [frame(h2::HEADERS, 0, 1, b"\x88"), frame(h2::CONTINUATION, 0, 1, &[]).repeat(100_000)].concat();
    cases.push(case("empty CONTINUATION without end", block));
    let field = h2::literal(b"x", &[b'y'; 1000]);
    let block = [frame(h2::HEADERS, 0, 1, b"\x88"), frame(h2::CONTINUATION, 0, 1, &field).repeat(5000)].concat();
    cases.push(case("fields without end", block));
    let mut value = [&b"\x88\x00\x01x"[..], &h2::string(&[b'y'; 1 << 20])].concat();
    let mut large = frame(h2::HEADERS, 0, 1, &value.split_off(0)[..16_000]);
    large.extend(frame(h2::CONTINUATION, 0, 1, &[b'y'; 16_000]).repeat(80));
    cases.push(case("a value of a megabyte", large));
    // Small on the wire: one entry of the table, thousands of times.
    let entry = [&b"\x88\x40\x01x"[..], &h2::string(&[b'y'; 3000])].concat();
    let bomb = [entry.clone(), vec![0xbe; 5000]].concat();
    cases.push(case(
        "a small block of 15 MB",
        [frame(h2::HEADERS, h2::END_HEADERS, 1, &bomb), last_data(b"ok")].concat(),
    ));
    let bomb = [entry, vec![0xbe; 30]].concat();
    cases.push(case(
        "a small block of 90 KB",
        [frame(h2::HEADERS, h2::END_HEADERS, 1, &bomb), last_data(b"ok")].concat(),
    ));
    let names: Vec<u8> = (0..30_000).flat_map(|at| h2::literal(format!("x{at}").as_bytes(), b"")).collect();
    let mut many = frame(h2::HEADERS, 0, 1, b"\x88");
    for part in names.chunks(16_000) {
        many.extend(frame(h2::CONTINUATION, 0, 1, part));
    }
    many.extend(frame(h2::CONTINUATION, h2::END_HEADERS, 1, &[]));
    cases.push(case("thirty thousand fields", and_ok(many)));
    cases
}
