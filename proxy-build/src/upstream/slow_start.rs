//! `slow-start`: increases the load of a recovered server gradually.

use std::time::Duration;

use proxy_runtime::site::{ParamKind, Upstream};

use super::{OptionSpans, UpstreamOption, is_ever_unhealthy};
use crate::ast::{self, What};
use crate::check::Check;
use crate::declaration::{Directive, Place};
use crate::source::Spanned;
use crate::value;

static SLOW_START: Directive = Directive {
    name: "slow-start",
    places: &[Place::Upstream],
    args: "DURATION",
    props: &[],
    body: None,
    repeats: false,
    summary: "Ramps up a server that has recovered.",
    details: "\
When a server becomes healthy again (by `health-check`, or at the end of an ejection by `outlier`), its share of requests grows
over this time from a tenth to all of it. This does not apply at the start of the proxy, when all servers are new.",
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
    read: |r| Some(What::in_upstream(SlowStart(r.arg("a DURATION", value::setting(value::wait("30s")))?))),
};

/// `slow-start`.
#[derive(Debug)]
pub(super) struct SlowStart(Spanned<ast::Setting<Duration>>);

impl UpstreamOption for SlowStart {
    const DIRECTIVES: &'static [&'static Directive] = &[&SLOW_START];
    const MEMBER: &'static str = "slow_start";

    fn check(&self, check: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        upstream.slow_start = check.or(Some(&self.0), ParamKind::Duration, upstream.slow_start);
    }

    fn finish(&self, check: &mut Check<'_>, at: OptionSpans, upstream: &mut Upstream) {
        if !is_ever_unhealthy(upstream) {
            let idle = at.idle("slow-start", "no server ever recovers");
            check.report.add(idle.help("a `health-check` or `outlier` would find unhealthy ones"));
        }
    }
}
