//! Servers that send useless frames without end, or oversized heads.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut flood = |name: &str, frame: Vec<u8>| {
        cases.push(case(format!("{name} without end"), frame.repeat(1000)).then(Then::Repeats));
    };
    flood("SETTINGS", frame(h2::SETTINGS, 0, 0, &[]));
    flood("SETTINGS with a parameter", frame(h2::SETTINGS, 0, 0, &h2::parameters(&[(3, 100)])));
    flood("acknowledgements", frame(h2::SETTINGS, h2::ACK, 0, &[]));
    flood("PING", frame(h2::PING, 0, 0, &[0; 8]));
    flood("answers to PING", frame(h2::PING, h2::ACK, 0, &[0; 8]));
    flood("PRIORITY", frame(h2::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]));
    flood("PRIORITY on idle streams", frame(h2::PRIORITY, 0, 77, &[0, 0, 0, 0, 1]));
    flood("windows of the connection", frame(h2::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
    flood("windows of the stream", frame(h2::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
    flood("unknown frames", frame(0x42, 0, 0, &[]));
    flood("unknown frames on the stream", frame(0x42, 0, 1, b"x"));
    flood("GOAWAY", frame(h2::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    flood("interim responses", head(&[(":status", "103")]));
    flood("resets of streams that are over", frame(h2::RST_STREAM, 0, 1, &[0, 0, 0, 7]));
    let mut behind_a_head = |name: &str, frame: Vec<u8>| {
        let bytes = [head(&[(":status", "200")]), frame.repeat(100_000)].concat();
        cases.push(case(format!("{name} without end"), bytes).expected(Expected::Broken));
    };
    behind_a_head("empty DATA", data(&[]));
    behind_a_head("DATA that is padding alone", frame(h2::DATA, h2::PADDED, 1, &[3, 0, 0, 0]));
    let block = [frame(h2::HEADERS, 0, 1, b"\x88"), frame(h2::CONTINUATION, 0, 1, &[]).repeat(100_000)].concat();
    cases.push(case("empty CONTINUATION without end", block));
    let field = h2::literal(b"x", &[b'y'; 1000]);
    let block = [frame(h2::HEADERS, 0, 1, b"\x88"), frame(h2::CONTINUATION, 0, 1, &field).repeat(5000)].concat();
    cases.push(case("fields without end", block));
    let mut value = [&b"\x88\x00\x01x"[..], &h2::string(&[b'y'; 1 << 20])].concat();
    let mut large = frame(h2::HEADERS, 0, 1, &value.split_off(0)[..16_000]);
    large.extend(frame(h2::CONTINUATION, 0, 1, &[b'y'; 16_000]).repeat(80));
    cases.push(case("a value of a megabyte", large));
    // Small on the wire: one table entry, thousands of times.
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
    let large = h2::literal(b"x", &[b'y'; 70_000]);
    let mut trailers = frame(h2::HEADERS, h2::END_STREAM, 1, &[]);
    for part in large.chunks(16_000) {
        trailers.extend(frame(h2::CONTINUATION, 0, 1, part));
    }
    trailers.extend(frame(h2::CONTINUATION, h2::END_HEADERS, 1, &[]));
    let bytes = [head(&[(":status", "200")]), data(b"ok"), trailers].concat();
    cases.push(case("trailers that are too large", bytes).expected(Expected::Broken));
    cases
}
