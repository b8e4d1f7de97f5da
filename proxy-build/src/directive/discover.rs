//! `discover`: servers that are found while the proxy runs.

use super::{Directive, Place, Prop};
use crate::ast::{Discover, InUpstream, What};
use crate::value;

pub(super) static DISCOVER: Directive = Directive {
    name: "discover",
    places: &[Place::Upstream],
    args: "dns|srv|file TARGET",
    props: &[
        Prop::new("refresh", "DURATION", "How often it is asked or looked at again. Default: `dns` and `srv` as long as the answer is good (its TTL, 1 second to an hour), `file` every second."),
        Prop::new("max", "N", "No more servers than this, 1 to 1000. Default 64."),
    ],
    body: Some(Place::Discover),
    repeats: false,
    summary: "Finds the servers of an upstream while the proxy runs.",
    details: "\
- `dns \"HOST:PORT\"`: every address of the name (A and AAAA) is a server.
- `srv \"_SERVICE._PROTO.NAME\"`: the servers of a service (RFC 2782), with their ports and weights. Those of the first priority
  are asked first, all others are backups.
- `file \"PATH\"`: a line for each server, `ADDRESS:PORT`, and behind it perhaps `weight=N` and `backup`; `#` begins a comment.
  Put a new file in place of the old one (`mv`), so that half of it is never read. The path is seen from where the proxy was started.

Names are asked of the system's name servers, with the search list of `/etc/resolv.conf`, or of `resolvers`. Changes drop no
request: a server that is gone finishes what it has, one that is new has to prove nothing. An answer that can't be read, is
empty, or has more than `max` servers changes nothing and is told on standard error, as is every change. Until the first answer
there is no server: 503.

In a crate of your own, `dns` and `srv` need the feature `dns` of `proxy-runtime`; `kiln build` and `kiln run` see to it.",
    example: r#"
upstream app {
    discover dns "app.internal:8080" {
        resolvers "10.0.0.2" "10.0.0.3:5353"
    }
}
upstream api {
    discover srv "_http._tcp.api.internal" refresh="30s"
}
upstream jobs {
    discover file "/run/jobs/servers" max=200
}
site example.com {
    route "/api/*" {
        proxy api
    }
    route "/jobs/*" {
        proxy jobs
    }
    route "/*" {
        proxy app
    }
}
"#,
    read: |r| {
        let kind = r.arg("`dns`, `srv` or `file`", value::word(value::DISCOVER_KINDS))?;
        Some(What::InUpstream(InUpstream::Discover(Discover {
            from: r.arg("a TARGET", value::discover_target(kind.value))?,
            span: r.span(),
            refresh: r.prop("refresh", value::setting(value::wait("30s"))),
            max: r.prop("max", value::integer(1, 1000)),
            items: r.body(),
        })))
    },
};

pub(super) static RESOLVERS: Directive = Directive {
    name: "resolvers",
    places: &[Place::Discover],
    args: "ADDR...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The name servers to ask.",
    details: "IP addresses, with a port where it is not 53. The fastest is asked first, the others when it does not answer.",
    example: r#"
upstream app {
    discover dns "app.internal:8080" {
        resolvers "127.0.0.1:5353"
    }
}
site example.com {
    proxy app
}
"#,
    read: |r| Some(What::Resolvers(r.some("an ADDR", value::name_server))),
};
