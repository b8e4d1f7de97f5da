//! `http2`: what holds for clients' connections in HTTP/2.

use super::{Directive, Place};
use crate::ast::{Top, What};
use crate::value;

pub(super) static HTTP2: Directive = Directive {
    name: "http2",
    places: &[Place::Root],
    args: "",
    props: &[],
    body: Some(Place::Http2),
    repeats: false,
    summary: "What holds for clients' connections in HTTP/2.",
    details: "Of listeners that speak it: see [`http`](#http-in-a-listen).",
    example: r#"
http2 {
    max-streams 250
}
listen ":8080" {
    http h1 h2
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::Top(Top::Http2(r.body()))),
};

pub(super) static MAX_STREAMS: Directive = Directive {
    name: "max-streams",
    places: &[Place::Http2],
    args: "N",
    props: &[],
    body: None,
    repeats: false,
    summary: "How many requests a client may have under way on one connection.",
    details: "\
`SETTINGS_MAX_CONCURRENT_STREAMS` of RFC 9113 section 6.5.2: clients wait, or open another connection, and what comes beyond is
refused so that it may be sent again. 1 to 1000. Default 100, the least that the RFC recommends.",
    example: r#"
http2 {
    max-streams 250
}
listen ":8080" {
    http h1 h2
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::MaxStreams(r.arg("a number N", value::number(1, 1000))?)),
};
