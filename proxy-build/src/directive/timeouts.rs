//! `timeouts`: every wait.

use super::{Directive, Place, Prop, ROOT_POLICY};
use crate::ast::{Policy, Timeouts, What};
use crate::value;

pub(super) static TIMEOUTS: Directive = Directive {
    name: "timeouts",
    places: ROOT_POLICY,
    args: "",
    props: &[
        Prop { name: "handshake", value: "DURATION", docs: "A client's TLS handshake, and its PROXY header. Beyond: the connection is closed. Default `\"10s\"`.", places: &[Place::Root] },
        Prop::new("connect", "DURATION", "Connecting to a server, the TLS handshake included. Beyond: the next server, then 504. Default `\"5s\"`."),
        Prop::new("request", "DURATION", "Receiving the request: the head, then the body, which gets a second more for each KiB that arrives. Beyond: 408. Default `\"10s\"`."),
        Prop::new("response", "DURATION", "From the request being sent to the head of the answer. Beyond: 504. Default `\"60s\"`."),
        Prop::new("continue", "DURATION", "From the request's head being sent to the server saying `100 Continue`, where `proxy continue=upstream` leaves that to it. Beyond: the body is sent all the same. Default `\"1s\"`."),
        Prop::new("idle", "DURATION", "Silence: of a kept connection between requests, of a body on its way, of a tunnel. Default `\"60s\"`."),
        Prop::new("total", "DURATION|off", "The whole exchange, from the request's head to the end of the answer; tunnels excepted. Default `off`."),
    ],
    body: None,
    repeats: false,
    summary: "Limits every wait.",
    details: "\
At the top level these are the defaults of all sites; each value is replaced by what a site or route says. A request's head
is read, and a kept connection waits, before a site is known: for these the top level's `request` and `idle` count. The
growing deadline of a body cuts off clients that send a byte now and then, and leaves slow lines alone.",
    example: r#"
timeouts request="15s" idle="2m"

site example.com {
    timeouts connect="1s" response="10s"
    route "/reports/*" {
        timeouts response="5m" total="10m"
        proxy "http://127.0.0.1:3000"
    }
    route "/*" {
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| {
        r.some_property();
        Some(What::Policy(Policy::Timeouts(Timeouts {
            handshake: r.prop("handshake", value::setting(value::wait("10s"))),
            connect: r.prop("connect", value::setting(value::wait("5s"))),
            request: r.prop("request", value::setting(value::wait("10s"))),
            response: r.prop("response", value::setting(value::wait("60s"))),
            proceed: r.prop("continue", value::setting(value::wait("1s"))),
            idle: r.prop("idle", value::setting(value::wait("60s"))),
            total: r.prop("total", value::setting(value::duration_or_off)),
        })))
    },
};
