//! The beginning of a connection, settings and windows (RFC 9113 sections 3.4, 6.5 and 6.9).

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, parameter) in [
        ("server push", (2, 1)),
        ("push that is no boolean", (2, 2)),
        ("a window of 2^31", (4, 1 << 31)),
        ("a window of all there is", (4, u32::MAX)),
        ("frames of no size", (5, 0)),
        ("frames that are too small", (5, 16_383)),
        ("frames that are too large", (5, 1 << 24)),
        ("extended CONNECT that is no boolean", (8, 2)),
    ] {
        let settings = frame(h2::SETTINGS, 0, 0, &h2::parameters(&[parameter]));
        cases.push(case(format!("settings: {name}"), ok()).opening(settings.clone()));
        cases.push(case(format!("later settings: {name}"), and_ok(settings)));
    }
    // Section 3.4: SETTINGS come first.
    for (name, first) in [
        ("HEADERS", ok()),
        ("a PING", frame(h2::PING, 0, 0, &[0; 8])),
        ("a window", frame(h2::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("an unknown frame", frame(0x42, 0, 0, b"x")),
        ("an acknowledgement", frame(h2::SETTINGS, h2::ACK, 0, &[])),
    ] {
        cases.push(case(format!("{name} before SETTINGS"), and_ok(frame(h2::SETTINGS, 0, 0, &[]))).opening(first));
    }
    for (name, bytes) in [
        ("HTTP/1.1", &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..]),
        ("an error of HTTP/1.1", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
        ("an alert of TLS", b"\x15\x03\x01\x00\x02\x02\x46"),
        ("the client's own preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("another protocol", b"220 mail.test ESMTP\r\n"),
        ("zeros", &[0; 64]),
        ("ones", &[0xFF; 64]),
    ] {
        cases.push(case(format!("{name} instead of HTTP/2"), "").opening(bytes).then(Then::Closes));
    }
    for (name, bytes) in [
        ("nothing", Vec::new()),
        ("half the head of a frame", vec![0, 0, 0, 4]),
        ("a frame that ends early", frame(h2::SETTINGS, 0, 0, &[0; 6])[..12].to_vec()),
    ] {
        cases.push(case(format!("{name}, and closed"), "").opening(bytes.clone()).then(Then::Closes));
        cases.push(case(format!("{name}, and reset"), "").opening(bytes.clone()).then(Then::Resets));
        cases.push(case(format!("{name}, and silence"), "").opening(bytes).expected(Expected::Late));
    }
    // Section 6.9: window increments of zero, and windows that overflow.
    let grows = |stream, by: u32| frame(h2::WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    for (name, stream) in [("the connection", 0), ("the stream", 1)] {
        cases.push(case(format!("the window of {name} grows by nothing"), and_ok(grows(stream, 0))));
    }
    // The stream's window does not matter: the request has ended.
    cases.push(case("the window of the connection overflows", and_ok(grows(0, u32::MAX >> 1))));
    let mut beyond = head(&[(":status", "200")]);
    for _ in 0..3 {
        beyond.extend(data(&[b'x'; 16_384]));
    }
    beyond.extend(last_data(b"ok"));
    // The head is forwarded before the body exceeds the window.
    cases.push(case("more than the stream's window", beyond).expected(Expected::Broken));
    cases
}
