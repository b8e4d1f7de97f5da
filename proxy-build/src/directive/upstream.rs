//! `upstream`, `server`, and what is said of the whole of them: turns, room, kept connections.

use proxy_runtime::site::{BalancePolicy, ProxyProtocol};

use super::{Directive, Place, Prop};
use crate::ast::{CircuitBreaker, InUpstream, Pool, Server, Sticky, Top, Upstream, What};
use crate::value;

const IN_UPSTREAM: &[Place] = &[Place::Upstream];

pub(super) static UPSTREAM: Directive = Directive {
    name: "upstream",
    places: &[Place::Root],
    args: "NAME",
    props: &[],
    body: Some(Place::Upstream),
    repeats: true,
    summary: "Names a group of servers.",
    details: "\
Nothing is connected at start, and a server's name that does not resolve never stops the start: the server is left out
until it does. Names are looked up again every 30 seconds, and every second while there is no answer.

A name with several addresses is one server, and all of them are tried within `timeouts connect` (RFC 8305, \"Happy Eyeballs\"): IPv4 and
IPv6 alternate, the next attempt begins when one fails or has taken 250 ms, and the first that connects is used. Connections begin with
another address in turn; one that could not be connected to is tried last for up to 30 seconds.

A server that can't be connected to is passed over for the next, whatever `retry` says: the request has not left. What
happens after it has left is a matter of [`retry`](#retry); but what an HTTP/2 server says that it has not processed is sent
again in any case, as it says there.

Of a response that can be read in two ways nothing is passed on: 502. Bare LFs for line ends are taken where all line ends are
such, or where none stands before a field that frames the message or at the end of the head; and so are blanks behind the sizes
of chunks. Versions 1.2 to 1.9 are read as 1.1. The reason phrase goes to HTTP/1.1 clients as it is, but for responses from a
cache, which have the usual one. A 101 must be to a protocol that the client has asked for, and over HTTP/2 have the right
`Sec-WebSocket-Accept`. A 205 has no body, whatever comes. `TE` is left out.",
    example: r#"
upstream api {
    server "10.0.0.11:8080" weight=2
    server "10.0.0.12:8080"
    balance least-conn
}
site example.com {
    proxy api
}
"#,
    read: |r| Some(What::Top(Top::Upstream(Upstream { name: r.arg("a NAME", value::name)?, items: r.body() }))),
};

pub(super) static SERVER: Directive = Directive {
    name: "server",
    places: IN_UPSTREAM,
    args: "ADDR",
    props: &[
        Prop::new("weight", "N", "Its share of the requests relative to the others', 0 to 1000. Default 1."),
        Prop::new("backup", "BOOL", "Asked only while no other server can be. Default `#false`."),
        Prop::new(
            "max-connections",
            "N",
            "Exchanges at once, over all workers; each has a connection. Default: no limit.",
        ),
    ],
    body: None,
    repeats: true,
    summary: "A server of an upstream.",
    details: "\
`ADDR` is `host:port`, `[v6]:port`, `unix:/path` or `(param)NAME`. When all servers that could be asked have as many
exchanges as they may, a request waits for one to end, as far as `circuit-breaker` lets it.",
    example: r#"
upstream app {
    server "app-1.internal:8080" weight=3 max-connections=200
    server "unix:/run/app.sock"
    server "10.0.9.1:8080" backup=#true
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        Some(What::InUpstream(InUpstream::Server(Server {
            address: r.arg("an ADDR", value::setting(value::server_address))?,
            weight: r.prop("weight", value::number(0, 1000)),
            backup: r.prop("backup", value::boolean),
            max_connections: r.prop("max-connections", value::number(1, 1 << 24)),
        })))
    },
};

/// The names of policies.
pub const POLICIES: &[(&str, BalancePolicy)] = &[
    ("round-robin", BalancePolicy::RoundRobin),
    ("least-conn", BalancePolicy::LeastConn),
    ("p2c", BalancePolicy::P2c),
    ("random", BalancePolicy::Random),
    ("hash", BalancePolicy::Hash),
    ("maglev", BalancePolicy::Maglev),
    ("ewma", BalancePolicy::Ewma),
    ("first", BalancePolicy::First),
];

pub(super) static BALANCE: Directive = Directive {
    name: "balance",
    places: IN_UPSTREAM,
    args: "POLICY",
    props: &[Prop::new("key", "TEXT", "What `hash` and `maglev` go by, with placeholders, as in `\"{client.ip}\"`. No default.")],
    body: None,
    repeats: false,
    summary: "How the servers of an upstream take turns.",
    details: "\
- `round-robin` (default): in turn, in proportion to their weights, spread evenly.
- `least-conn`: the server with the fewest exchanges for its weight; of more than 24, the best of 24 by chance.
- `p2c`: of two servers by chance, the one with fewer exchanges for its weight.
- `ewma`: of two servers by chance, the one with less latency times exchanges, for its weight. Latency is a moving average
  that rises at once and fades over ten seconds.
- `random`: by chance, in proportion to their weights.
- `hash`: requests with the same `key` go to the same server (a ring, 160 points per weight). A server that comes or goes
  moves its own keys only; shares are even to some percent.
- `maglev`: the same from a table; shares are even to a percent, and a server that comes or goes moves a few more keys.
- `first`: the first server, in the order of the file, that may be asked; with `max-connections` they fill up in turn.

Workers share what is counted of a server. A server that can't be asked (unhealthy, full, tried already) is left out, and its
share goes to all others; under `hash` and `maglev` each of its keys has one other server.",
    example: r#"
upstream app {
    server "10.0.0.11:8080" weight=2
    server "10.0.0.12:8080"
    balance maglev key="{cookie.session}"
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        let policy = r.arg("a policy", value::word(POLICIES))?;
        Some(What::InUpstream(InUpstream::Balance { policy, key: r.prop("key", value::template) }))
    },
};

pub(super) static SLOW_START: Directive = Directive {
    name: "slow-start",
    places: IN_UPSTREAM,
    args: "DURATION",
    props: &[],
    body: None,
    repeats: false,
    summary: "Lets a server that comes back warm up.",
    details: "\
Over this time after a server has become healthy again (by `health-check`, or at the end of an ejection by `outlier`), it gets
a part of its share that grows from a tenth to all of it. Not at the start of the proxy, when all are new.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    server "10.0.0.12:8080"
    health-check "/healthz"
    slow-start "30s"
}
site example.com {
    proxy app
}
"#,
    read: |r| Some(What::InUpstream(InUpstream::SlowStart(r.arg("a DURATION", value::setting(value::wait("30s")))?))),
};

pub(super) static CIRCUIT_BREAKER: Directive = Directive {
    name: "circuit-breaker",
    places: IN_UPSTREAM,
    args: "",
    props: &[
        Prop::new("max-connections", "N", "Exchanges at once with all servers together; each has a connection. Default: no limit."),
        Prop::new("max-pending", "N", "Requests that may wait for an exchange to end. Beyond: 503, at once. Default 100."),
        Prop::new("pending-timeout", "DURATION", "How long they wait. Beyond: 503. Default `\"1s\"`."),
    ],
    body: None,
    repeats: false,
    summary: "Keeps a full upstream from being flooded.",
    details: "\
A request waits while the upstream has `max-connections` exchanges, or every server that could be asked has its own
`max-connections`. First come, first served, over all workers. Refused ones are logged with the reason `upstream-overloaded` or
`pending-timeout`.",
    example: r#"
upstream app {
    server "10.0.0.11:8080" max-connections=100
    circuit-breaker max-pending=500 pending-timeout="2s"
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        Some(What::InUpstream(InUpstream::CircuitBreaker(CircuitBreaker {
            max_connections: r.prop("max-connections", value::number(1, 1 << 24)),
            max_pending: r.prop("max-pending", value::number(0, 1 << 24)),
            pending_timeout: r.prop("pending-timeout", value::setting(value::duration)),
        })))
    },
};

pub(super) static POOL: Directive = Directive {
    name: "pool",
    places: IN_UPSTREAM,
    args: "",
    props: &[
        Prop::new("max-idle", "N", "Idle connections kept per server and worker; 0 keeps none. Default 64."),
        Prop::new("idle-timeout", "DURATION", "How long a connection may be idle. Default `\"60s\"`."),
        Prop::new("max-age", "DURATION|off", "A connection this old is not used again. Default `off`."),
        Prop::new("tcp-keepalive", "DURATION|off", "After so much silence TCP itself asks whether the server is still there, five times a tenth of that apart. Default `off`."),
    ],
    body: None,
    repeats: false,
    summary: "Which connections to servers are kept for later exchanges.",
    details: "\
Each worker keeps its own. The connection used last is used first, so that those too many run out. `max-age` lets servers
behind another balancer be spread again.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    pool max-idle=16 idle-timeout="20s" max-age="10m" tcp-keepalive="1m"
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        r.some_property();
        Some(What::InUpstream(InUpstream::Pool(Pool {
            max_idle: r.prop("max-idle", value::number(0, 1 << 20)),
            idle_timeout: r.prop("idle-timeout", value::setting(value::wait("60s"))),
            max_age: r.prop("max-age", value::setting(value::duration_or_off)),
            tcp_keepalive: r.prop("tcp-keepalive", value::setting(value::keepalive)),
        })))
    },
};

pub(super) static STICKY: Directive = Directive {
    name: "sticky",
    places: IN_UPSTREAM,
    args: "COOKIE",
    props: &[
        Prop::new("secret", "TEXT", "What the cookie's values are made with, best a `(param)` of type secret. Default: the upstream's name."),
        Prop::new("max-age", "DURATION", "How long browsers keep it. Default: until they are closed."),
        Prop::new("path", "PATH", "Where it is sent. Default `\"/\"`."),
        Prop::new("domain", "HOST", "For which domain. Default: the host of the request."),
        Prop::new("same-site", "strict|lax|none", "Whether other sites' requests carry it. Default `lax`."),
        Prop::new("secure", "BOOL", "Sent over TLS only. Default `#false`."),
        Prop::new("http-only", "BOOL", "Hidden from scripts. Default `#true`."),
    ],
    body: None,
    repeats: false,
    summary: "Keeps a client with the server it had first, by a cookie.",
    details: "\
Whoever comes without the cookie gets a server by `balance`, and the cookie with the answer. Its value tells nothing of the
server: it is a SipHash of the server's address under `secret`, so with a secret nobody can make a valid one. While the
server can't be asked, another answers and the cookie changes.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    server "10.0.0.12:8080"
    sticky app-server max-age="8h" secure=#true
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        Some(What::InUpstream(InUpstream::Sticky(Sticky {
            cookie: r.arg("a COOKIE", value::cookie_name)?,
            secret: r.prop("secret", value::template),
            max_age: r.prop("max-age", value::duration),
            path: r.prop("path", value::cookie_attribute),
            domain: r.prop("domain", value::cookie_attribute),
            same_site: r.prop("same-site", value::word(&[("strict", "Strict"), ("lax", "Lax"), ("none", "None")])),
            secure: r.prop("secure", value::boolean),
            http_only: r.prop("http-only", value::boolean),
        })))
    },
};

/// The versions of the PROXY protocol.
pub(super) const PROXY_VERSIONS: &[(&str, ProxyProtocol)] = &[("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];

pub(super) static PROXY_PROTOCOL: Directive = Directive {
    name: "proxy-protocol",
    places: IN_UPSTREAM,
    args: "v1|v2",
    props: &[],
    body: None,
    repeats: false,
    summary: "Tells servers the client's address before the first byte of a connection.",
    details: "\
As HAProxy's PROXY protocol has it, as text (`v1`) or binary (`v2`). A connection is one client's then, so it is not kept
for other exchanges. The proxy's own connections, for health checks and keys, say that they are its own: `LOCAL` (`v2`), `UNKNOWN` (`v1`).
Servers must expect it.",
    example: r#"
upstream mail {
    server "10.0.0.25:8080"
    proxy-protocol v2
}
site example.com {
    proxy mail
}
"#,
    read: |r| {
        let version = r.arg("a version", value::word(PROXY_VERSIONS))?;
        Some(What::InUpstream(InUpstream::ProxyProtocol(version.value)))
    },
};
