//! `circuit-breaker`: limits the concurrent exchanges of an upstream, and the requests that wait.

use std::time::Duration;

use proxy_runtime::site::{self, ParamKind, Setting, Upstream};

use super::{OptionSpans, UpstreamOption};
use crate::ast::{self, What};
use crate::check::Check;
use crate::declaration::{Directive, Place, Prop};
use crate::source::Spanned;
use crate::value;

static CIRCUIT_BREAKER: Directive = Directive {
    name: "circuit-breaker",
    places: &[Place::Upstream],
    args: "",
    props: &[
        Prop::new(
            "max-connections",
            "N",
            "Concurrent exchanges with all servers together; each has a connection. Default: no limit.",
        ),
        Prop::new(
            "max-pending",
            "N",
            "The number of requests that may wait for an exchange to end. Further requests get a 503 at once. \
             Default 100.",
        ),
        Prop::new("pending-timeout", "DURATION", "How long a request waits before it gets a 503. Default `\"1s\"`."),
    ],
    body: None,
    repeats: false,
    summary: "Limits the concurrent requests of an upstream, and queues the rest.",
    details: "\
A request waits while the upstream has `max-connections` exchanges, or every available server has reached its own
`max-connections`. The queue is first come, first served, over all workers. Refused requests are logged with the reason
`upstream-overloaded` or `pending-timeout`.",
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
        Some(What::in_upstream(CircuitBreaker {
            max_connections: r.prop("max-connections", value::number(1, 1 << 24)),
            max_pending: r.prop("max-pending", value::number(0, 1 << 24)),
            pending_timeout: r.prop("pending-timeout", value::setting(value::duration)),
        }))
    },
};

/// `circuit-breaker`.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    max_connections: Option<Spanned<ast::Setting<u64>>>,
    max_pending: Option<Spanned<ast::Setting<u64>>>,
    pending_timeout: Option<Spanned<ast::Setting<Duration>>>,
}

impl UpstreamOption for CircuitBreaker {
    const DIRECTIVES: &'static [&'static Directive] = &[&CIRCUIT_BREAKER];
    const MEMBER: &'static str = "circuit_breaker";
    const NEEDS_ALL: bool = true;

    fn check(&self, check: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        let unsaid = &upstream.circuit_breaker;
        upstream.circuit_breaker = site::CircuitBreaker {
            pending_timeout: check.or(self.pending_timeout.as_ref(), ParamKind::Duration, unsaid.pending_timeout),
            max_connections: check.or(self.max_connections.as_ref(), ParamKind::Number, unsaid.max_connections),
            max_pending: check.or(self.max_pending.as_ref(), ParamKind::Number, unsaid.max_pending),
        };
    }

    fn finish(&self, check: &mut Check<'_>, at: OptionSpans, upstream: &mut Upstream) {
        let limits = upstream.servers.iter().map(|server| server.max_connections);
        let mut limits = limits.chain([upstream.circuit_breaker.max_connections]);
        if limits.all(|limit| limit == Setting::Fixed(u64::MAX)) {
            let idle = at.idle("circuit-breaker", "there is no limit that could be reached");
            check.report.add(idle.help("`max-connections` here or at the servers would be a limit"));
        }
    }
}
