//! Frames with a wrong size, on a wrong stream, or in a wrong place (RFC 9113 sections 4 to 6).

use super::*;

/// A valid payload of each kind of frame.
const RIGHT: [(&str, u8, &[u8]); 9] = [
    ("DATA", h2::DATA, b"ok"),
    ("HEADERS", h2::HEADERS, b"\x88"),
    ("PRIORITY", h2::PRIORITY, &[0, 0, 0, 0, 1]),
    ("RST_STREAM", h2::RST_STREAM, &[0, 0, 0, 8]),
    ("PUSH_PROMISE", h2::PUSH_PROMISE, &[0, 0, 0, 2, 0x82, 0x86, 0x84, 0x41, 1, b'x']),
    ("PING", h2::PING, &[0; 8]),
    ("WINDOW_UPDATE", h2::WINDOW_UPDATE, &[0, 0, 0, 1]),
    ("CONTINUATION", h2::CONTINUATION, b"\x88"),
    ("SETTINGS", h2::SETTINGS, &[]),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, bytes: Vec<u8>| cases.push(case(name, and_ok(bytes)));
    for (name, kind, payload) in RIGHT {
        let flags = if matches!(kind, h2::HEADERS | h2::CONTINUATION | h2::PUSH_PROMISE) { h2::END_HEADERS } else { 0 };
        let of_streams = !matches!(kind, h2::PING | h2::SETTINGS | h2::WINDOW_UPDATE);
        // Section 6: frames of streams on the connection, and frames of the connection on a stream.
        if of_streams {
            add(format!("{name} on stream 0"), frame(kind, flags, 0, payload));
        } else if kind != h2::WINDOW_UPDATE {
            add(format!("{name} on a stream"), frame(kind, flags, 1, payload));
        }
        // Section 5.1: idle streams.
        if !matches!(kind, h2::PING | h2::SETTINGS | h2::PRIORITY) {
            add(format!("{name} on an idle stream"), frame(kind, flags, 3, payload));
            add(format!("{name} on an idle stream of the server's"), frame(kind, flags, 2, payload));
        }
        // Section 6.2: a frame between the parts of a block.
        if kind != h2::CONTINUATION {
            let parts = |between: Vec<u8>| {
                [
                    frame(h2::HEADERS, 0, 1, b"\x88"),
                    between,
                    frame(h2::CONTINUATION, h2::END_HEADERS, 1, &[]),
                    last_data(b"ok"),
                ]
                .concat()
            };
            let stream = if of_streams || kind == h2::WINDOW_UPDATE { 1 } else { 0 };
            add(format!("{name} within a block"), parts(frame(kind, flags, stream, payload)));
        }
    }
    add(
        "an unknown frame within a block".to_owned(),
        [frame(h2::HEADERS, 0, 1, b"\x88"), frame(0x42, 0, 1, b"x"), frame(h2::CONTINUATION, h2::END_HEADERS, 1, &[])]
            .concat(),
    );
    add(
        "a block that goes on on another stream".to_owned(),
        [frame(h2::HEADERS, 0, 1, b"\x88"), frame(h2::CONTINUATION, h2::END_HEADERS, 3, &[])].concat(),
    );
    add(
        "CONTINUATION behind a whole block".to_owned(),
        [head(&[(":status", "200")]), frame(h2::CONTINUATION, h2::END_HEADERS, 1, &[])].concat(),
    );
    // Section 6.6: server push is disabled.
    for promised in [0, 1, 3, 4] {
        let payload = [&[0, 0, 0, promised][..], &[0x82, 0x86, 0x84, 0x41, 1, b'x']].concat();
        add(format!("PUSH_PROMISE of stream {promised}"), frame(h2::PUSH_PROMISE, h2::END_HEADERS, 1, &payload));
    }
    // Section 4.2: sizes.
    for (name, kind, sizes) in [
        ("SETTINGS", h2::SETTINGS, &[1, 5, 7][..]),
        ("PING", h2::PING, &[0, 7, 9]),
        ("GOAWAY", h2::GOAWAY, &[0, 7]),
        ("WINDOW_UPDATE", h2::WINDOW_UPDATE, &[0, 3, 5]),
    ] {
        for size in sizes {
            add(format!("{name} of {size} bytes"), frame(kind, 0, 0, &vec![0; *size]));
        }
    }
    for (name, kind, sizes) in [("RST_STREAM", h2::RST_STREAM, &[0, 3, 5][..]), ("PRIORITY", h2::PRIORITY, &[0, 4, 6])]
    {
        for size in sizes {
            add(format!("{name} of {size} bytes"), frame(kind, 0, 1, &vec![1; *size]));
        }
    }
    add("an acknowledgement with settings".to_owned(), frame(h2::SETTINGS, h2::ACK, 0, &[0, 3, 0, 0, 0, 1]));
    for (name, kind) in [("DATA", h2::DATA), ("HEADERS", h2::HEADERS), ("an unknown frame", 0x42)] {
        add(format!("{name} larger than it may be"), frame(kind, 0, 1, &[0; 16_385]));
    }
    // Sections 6.1 and 6.2: padding that exceeds the payload.
    let opened = head(&[(":status", "200")]);
    for (name, payload) in [("as long as all", &[2, 0, 0][..]), ("longer than all", &[9, 0, 0]), ("of no length", &[])]
    {
        let padded = |kind, flags| frame(kind, flags | h2::PADDED, 1, payload);
        if name != "as long as all" {
            add(format!("DATA with padding {name}"), [opened.clone(), padded(h2::DATA, h2::END_STREAM)].concat());
        }
        add(format!("HEADERS with padding {name}"), padded(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM));
        add(format!("PUSH_PROMISE with padding {name}"), padded(h2::PUSH_PROMISE, h2::END_HEADERS));
    }
    let flags = h2::END_HEADERS | h2::WITH_PRIORITY;
    add("HEADERS without the priority they have".to_owned(), frame(h2::HEADERS, flags, 1, &[0, 0, 0, 0]));
    add("HEADERS that depend on themselves".to_owned(), frame(h2::HEADERS, flags, 1, &[0, 0, 0, 1, 9, 0x88]));
    cases
}
