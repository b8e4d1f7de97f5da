//! `upstream`, `server`, `balance`: who is behind the proxy.

use super::{Directive, Place, Prop};
use crate::ast::{Balance, Server, Upstream, What};
use crate::value;

pub(super) static UPSTREAM: Directive = Directive {
    name: "upstream",
    places: &[Place::Root],
    args: "NAME",
    props: &[],
    body: Some(Place::Upstream),
    repeats: true,
    summary: "Names a group of servers.",
    details: "\
Connections to servers are kept for later exchanges, per worker: up to 64 idle ones per server, each for up to 60
seconds. Nothing is connected at start, and a server's name that does not resolve never stops the start: the server is
left out until it does. Names are looked up again every 30 seconds, and every second while there is no answer.",
    example: r#"
upstream api {
    server "10.0.0.11:8080" weight=2
    server "10.0.0.12:8080"
    balance round-robin
}
site example.com {
    proxy api
}
"#,
    read: |r| Some(What::Upstream(Upstream { name: r.arg("a NAME", value::name)?, items: r.body() })),
};

pub(super) static SERVER: Directive = Directive {
    name: "server",
    places: &[Place::Upstream],
    args: "ADDR",
    props: &[Prop::new("weight", "N", "Its share of the requests relative to the others', 0 to 1000. Default 1.")],
    body: None,
    repeats: true,
    summary: "A server of an upstream.",
    details: "`ADDR` is `host:port`, `[v6]:port`, `unix:/path` or `(param)NAME`.",
    example: r#"
upstream app {
    server "app-1.internal:8080" weight=3
    server "unix:/run/app.sock"
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        Some(What::Server(Server {
            address: r.arg("an ADDR", value::setting(value::server_address))?,
            weight: r.prop("weight", value::setting(value::integer(0, 1000))),
        }))
    },
};

pub(super) static BALANCE: Directive = Directive {
    name: "balance",
    places: &[Place::Upstream],
    args: "round-robin",
    props: &[],
    body: None,
    repeats: false,
    summary: "How the servers of an upstream take turns.",
    details: "`round-robin` (default): in turn, in proportion to their weights, spread evenly.",
    example: r#"
upstream app {
    server "10.0.0.11:8080" weight=2
    server "10.0.0.12:8080"
    balance round-robin
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        let policy = r.arg("a policy", value::word(&[("round-robin", Balance::RoundRobin)]))?;
        Some(What::Balance(policy.value))
    },
};
