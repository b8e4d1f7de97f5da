//! `http2`: settings of clients' HTTP/2 connections.

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
    summary: "Configures clients' HTTP/2 connections.",
    details: "It applies to listeners with HTTP/2: see [`http`](#http).",
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
    summary: "Limits the concurrent requests on a client's connection.",
    details: "\
`SETTINGS_MAX_CONCURRENT_STREAMS` of RFC 9113 section 6.5.2: clients wait, or open another connection, and requests beyond the limit are
refused so that they may be sent again. 1 to 1000. Default 100, the least that the RFC recommends.",
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
