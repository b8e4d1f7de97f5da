//! `health`: responds whether the proxy and its upstreams are ready for requests.

use proxy_runtime::site;

use super::{CheckedHandler, HandlerContext, WrittenHandler};
use crate::check::Check;
use crate::declaration::{Directive, HANDLER};
use crate::model::{Site, list};
use crate::source::Spanned;
use crate::value;

pub(super) static HEALTH: Directive = Directive {
    name: "health",
    places: HANDLER,
    args: "[UPSTREAM...]",
    props: &[],
    body: None,
    repeats: true,
    summary: "Responds whether the proxy is ready: the endpoint for load balancers.",
    details: "\
The response is 200 with `ready`, or 503: with `draining` once the process is ending, and with `unhealthy` while an upstream that is named
here has no healthy server, by `health-check`, `outlier` and what operators drain. It needs no `admin`. For whether the process runs at all, as for a liveness
probe, any `respond` will do. In tests of the site, it is 200.",
    example: r#"
upstream app {
    server "10.0.0.1:3000"
    health-check "/healthz"
}
site example.com {
    route "/readyz" {
        log off
        health app
    }
    route "/*" {
        proxy app
    }
}
"#,
    read: |r| Some(super::written(Health(r.rest(value::name)))),
};

/// `health`.
#[derive(Debug)]
struct Health(Vec<Spanned<String>>);

impl WrittenHandler for Health {
    fn check(&self, check: &mut Check<'_>, _: &HandlerContext<'_>) -> Option<site::Handler> {
        Some(site::Handler::Health(site::Readiness { upstreams: list(check.upstreams_named(&self.0)) }))
    }
}

impl CheckedHandler for site::Readiness {
    fn short(&self, site: &Site) -> String {
        let names = self.upstreams.iter().filter_map(|&upstream| site.upstreams.get(usize::from(upstream)));
        names.fold("health".to_owned(), |said, upstream| format!("{said} {}", upstream.name))
    }

    fn explain(&self, site: &Site) -> Option<String> {
        Some(self.short(site).trim_start_matches("health").trim_start().to_owned())
    }
}
