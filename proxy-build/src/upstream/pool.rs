//! `pool`: the idle connections to servers.

use std::time::Duration;

use proxy_runtime::site::{self, ParamKind, Upstream};

use super::{OptionSpans, UpstreamOption};
use crate::ast::{self, What};
use crate::check::Check;
use crate::declaration::{Directive, Place, Prop};
use crate::source::Spanned;
use crate::value;

static POOL: Directive = Directive {
    name: "pool",
    places: &[Place::Upstream],
    args: "",
    props: &[
        Prop::new("max-idle", "N", "Idle connections per server and worker; 0 disables pooling. Default 1024."),
        Prop::new("idle-timeout", "DURATION", "How long a connection may be idle. Default `\"60s\"`."),
        Prop::new("max-age", "DURATION|off", "A connection older than this is not reused. Default `off`."),
        Prop::new(
            "tcp-keepalive",
            "DURATION|off",
            "The idle time after which TCP keep-alive probes the server, five times at intervals of a tenth of \
             that time. Default `off`.",
        ),
    ],
    body: None,
    repeats: false,
    summary: "Configures the pool of idle connections to servers (keep-alive).",
    details: "\
Each worker has its own pool. The most recently used connection is reused first, so that surplus connections expire. `max-age` makes
the connections to servers behind another load balancer be distributed again.",
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
        Some(What::in_upstream(Pool {
            max_idle: r.prop("max-idle", value::number(0, 1 << 20)),
            idle_timeout: r.prop("idle-timeout", value::setting(value::wait("60s"))),
            max_age: r.prop("max-age", value::setting(value::duration_or_off)),
            tcp_keepalive: r.prop("tcp-keepalive", value::setting(value::keepalive)),
        }))
    },
};

/// `pool`.
#[derive(Debug)]
pub(super) struct Pool {
    max_idle: Option<Spanned<ast::Setting<u64>>>,
    idle_timeout: Option<Spanned<ast::Setting<Duration>>>,
    max_age: Option<Spanned<ast::Setting<Duration>>>,
    tcp_keepalive: Option<Spanned<ast::Setting<Duration>>>,
}

impl UpstreamOption for Pool {
    const DIRECTIVES: &'static [&'static Directive] = &[&POOL];
    const MEMBER: &'static str = "pool";

    fn check(&self, check: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        let unsaid = &upstream.pool;
        upstream.pool = site::Pool {
            max_idle: check.or(self.max_idle.as_ref(), ParamKind::Number, unsaid.max_idle),
            idle_timeout: check.or(self.idle_timeout.as_ref(), ParamKind::Duration, unsaid.idle_timeout),
            max_age: check.or(self.max_age.as_ref(), ParamKind::Duration, unsaid.max_age),
            tcp_keepalive: check.or(self.tcp_keepalive.as_ref(), ParamKind::Duration, unsaid.tcp_keepalive),
        };
    }
}
