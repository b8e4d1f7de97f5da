//! Streams and connections that end before their response does, or never (RFC 9113 sections 5.4, 6.4 and 6.8).

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let reset = |code: u32| frame(h2::RST_STREAM, 0, 1, &code.to_be_bytes());
    let goaway = |last: u32, code: u32| frame(h2::GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    // All codes, and an unknown one. NO_ERROR is for servers that have responded.
    for code in (0..14).chain([0xFF]) {
        cases.push(case(format!("reset with {code}"), reset(code)));
    }
    let whole = head(&[(":status", "200")]);
    let partly = [whole.clone(), data(b"ok")].concat();
    let promising = [head(&[(":status", "200"), ("content-length", "3")]), data(b"ok")].concat();
    for (name, begun) in [("a head", whole), ("half a body", partly), ("half a body of known length", promising)] {
        for code in [0, 1, 2, 8] {
            cases.push(case(format!("{name}, and reset with {code}"), [begun.clone(), reset(code)].concat()));
        }
        cases.push(case(format!("{name}, and closed"), begun.clone()).then(Then::Closes).expected(Expected::Broken));
        cases.push(
            case(format!("{name}, and the connection reset"), begun.clone())
                .then(Then::Resets)
                .expected(Expected::Broken),
        );
        let away = [begun.clone(), goaway(1, 2)].concat();
        cases.push(case(format!("{name}, GOAWAY, and closed"), away).then(Then::Closes).expected(Expected::Broken));
        cases.push(case(format!("{name}, and silence"), begun).expected(Expected::Broken));
    }
    for (name, last, code) in [
        ("of nothing", 0, 0),
        ("of this request", 1, 0),
        ("of what was never opened", 2, 0),
        ("of all there can be", u32::MAX >> 1, 0),
        ("for an error", 0, 2),
        ("for an error in this request", 1, 1),
        ("to be calm", 0, 11),
        ("for want of security", 0, 12),
        ("back to HTTP/1.1", 0, 13),
    ] {
        cases.push(case(format!("GOAWAY {name}, and closed"), goaway(last, code)).then(Then::Closes));
    }
    let twice = [goaway(1, 0), goaway(3, 0)].concat();
    cases.push(case("GOAWAY of more than before, and closed", twice).then(Then::Closes));
    let late = |name: &str, bytes: Vec<u8>| case(format!("{name}, and silence"), bytes).expected(Expected::Late);
    cases.push(late("settings alone", Vec::new()));
    cases.push(late("half the head of a response", ok()[..5].to_vec()));
    cases.push(late("half a block", head(&[(":status", "200"), ("x", "yyyyyyy")])[..20].to_vec()));
    cases.push(late("a block without an end", frame(h2::HEADERS, 0, 1, b"\x88")));
    cases.push(late("an interim response", head(&[(":status", "103")])));
    cases.push(late("a window", frame(h2::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])));
    cases.push(late("GOAWAY of this request", goaway(1, 0)));
    cases.push(case("a block without an end, and closed", frame(h2::HEADERS, 0, 1, b"\x88")).then(Then::Closes));
    cases.push(case("half a frame, and closed", ok()[..12].to_vec()).then(Then::Closes));
    let known =
        [head(&[(":status", "200"), ("content-length", "2")]), frame(h2::DATA, 0, 1, b"ok")[..10].to_vec()].concat();
    cases.push(case("half of the last frame, and closed", known).then(Then::Closes).expected(Expected::Broken));
    cases
}
