//! `panic-threshold`: ignores health if too few servers are healthy.

use proxy_runtime::site::Upstream;

use super::{OptionSpans, UpstreamOption, is_ever_unhealthy};
use crate::ast::What;
use crate::check::Check;
use crate::declaration::{Directive, Place};
use crate::value;

static PANIC_THRESHOLD: Directive = Directive {
    name: "panic-threshold",
    places: &[Place::Upstream],
    args: "PERCENT",
    props: &[],
    body: None,
    repeats: false,
    summary: "Uses all servers when too few are healthy.",
    details: "\
If less than this percentage of the servers is healthy, the proxy treats all as healthy: the checks may be wrong, and the few healthy
servers would break down under the whole load. Default 1: all servers are used when none is healthy. With 0, no server is used then, and
the response is a 503.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    server "10.0.0.12:8080"
    health-check tcp
    panic-threshold 0
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        Some(What::in_upstream(PanicThreshold(r.arg("a PERCENT", value::integer(0, 100))?.value)))
    },
};

/// `panic-threshold`.
#[derive(Debug)]
pub(super) struct PanicThreshold(u64);

impl UpstreamOption for PanicThreshold {
    const DIRECTIVES: &'static [&'static Directive] = &[&PANIC_THRESHOLD];
    const MEMBER: &'static str = "panic_threshold";

    fn check(&self, _: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        upstream.panic_threshold = self.0;
    }

    fn finish(&self, check: &mut Check<'_>, at: OptionSpans, upstream: &mut Upstream) {
        if !is_ever_unhealthy(upstream) {
            let idle = at.idle("panic-threshold", "no server is ever found unhealthy");
            check.report.add(idle.help("a `health-check` or `outlier` would find unhealthy ones"));
        }
    }
}
