//! `health-check`, `outlier`, `panic-threshold`: which servers are healthy.

use super::{Directive, Place, Prop};
use crate::ast::{HealthCheck, InHealthCheck, InUpstream, Outlier, What};
use crate::value;

pub(super) static HEALTH_CHECK: Directive = Directive {
    name: "health-check",
    places: &[Place::Upstream],
    args: "PATH|tcp|grpc",
    props: &[
        Prop::new("interval", "DURATION", "From one check to the next, give or take a tenth. Default `\"5s\"`."),
        Prop::new("timeout", "DURATION", "How long a check may take; not longer than `interval`. Default `\"1s\"`."),
        Prop::new("rise", "N", "So many good checks in a row make a server healthy. Default 2."),
        Prop::new("fall", "N", "So many bad ones make it unhealthy. Default 3."),
        Prop::new("port", "N", "Another port than the server's own."),
        Prop::new("host", "HOST", "The `Host` to send. Default: the server's address."),
        Prop::new("service", "NAME", "For `grpc`: the service that is asked about. Default: the server as a whole."),
    ],
    body: Some(Place::HealthCheck),
    repeats: false,
    summary: "Asks every server, all the time, whether it is healthy.",
    details: "\
`PATH` is asked for with GET on a connection of its own, and good is an answer of `expect-status` with `expect-body` in it;
for `tcp` it is good that the server can be connected to, and for `grpc` that it says `SERVING` (grpc.health.v1). In the
version of HTTP, and with the `tls`, that requests have. The process checks, not each worker. A server is taken to be healthy
until a check says otherwise; one that is unhealthy is not asked, but see `panic-threshold`. Every change is told on standard error
with its reason.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    server "10.0.0.12:8080"
    health-check "/healthz" interval="2s" timeout="500ms" rise=2 fall=3 {
        expect-status "200-299"
        expect-body "ok"
    }
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        let probe = r.arg("a PATH, `tcp` or `grpc`", value::health_check)?.value;
        Some(What::InUpstream(InUpstream::HealthCheck(HealthCheck {
            probe,
            service: r.prop("service", value::service_name),
            host: r.prop("host", value::header_value),
            port: r.prop("port", value::integer(1, 65535)),
            interval: r.prop("interval", value::setting(value::wait("5s"))),
            timeout: r.prop("timeout", value::setting(value::wait("1s"))),
            rise: r.prop("rise", value::integer(1, 100)),
            fall: r.prop("fall", value::integer(1, 100)),
            items: r.body(),
        })))
    },
};

pub(super) static EXPECT_STATUS: Directive = Directive {
    name: "expect-status",
    places: &[Place::HealthCheck],
    args: "STATUS...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The statuses of a healthy answer.",
    details: "Statuses, or ranges of them as in `\"200-299\"`. Default: `\"200-399\"`.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    health-check "/healthz" {
        expect-status 200 204 "401-403"
    }
}
site example.com {
    proxy app
}
"#,
    read: |r| Some(What::InHealthCheck(InHealthCheck::Statuses(r.some("a STATUS", value::statuses)))),
};

pub(super) static EXPECT_BODY: Directive = Directive {
    name: "expect-body",
    places: &[Place::HealthCheck],
    args: "TEXT",
    props: &[],
    body: None,
    repeats: false,
    summary: "Text that a healthy answer has in its body.",
    details: "Within its first 64 KiB.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    health-check "/healthz" {
        expect-body "\"status\":\"up\""
    }
}
site example.com {
    proxy app
}
"#,
    read: |r| Some(What::InHealthCheck(InHealthCheck::Body(r.arg("a TEXT", value::text)?))),
};

pub(super) static OUTLIER: Directive = Directive {
    name: "outlier",
    places: &[Place::Upstream],
    args: "",
    props: &[
        Prop::new(
            "consecutive-5xx",
            "N",
            "So many failures in a row eject a server: answers of 5xx, and no answers at all. Default 5.",
        ),
        Prop::new(
            "eject",
            "DURATION",
            "For how long the first time; each time after that twice as long, up to 16 times. Default `\"30s\"`.",
        ),
        Prop::new(
            "max-ejected-percent",
            "N",
            "No more of the servers than this are ejected at once, but always one. Default 50.",
        ),
    ],
    body: None,
    repeats: false,
    summary: "Ejects servers that fail, by what their exchanges come to.",
    details: "\
An ejected server is not asked for a while, but see `panic-threshold`. The percentage is of the servers that there are, discovered
ones included, not of those that there is room for. One that has stayed for as long as it was ejected
last begins again. Every ejection is told on standard error.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    server "10.0.0.12:8080"
    outlier consecutive-5xx=5 eject="30s" max-ejected-percent=50
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        Some(What::InUpstream(InUpstream::Outlier(Outlier {
            consecutive_5xx: r.prop("consecutive-5xx", value::integer(1, 1000)),
            eject: r.prop("eject", value::setting(value::wait("30s"))),
            max_ejected_percent: r.prop("max-ejected-percent", value::integer(1, 100)),
        })))
    },
};

pub(super) static PANIC_THRESHOLD: Directive = Directive {
    name: "panic-threshold",
    places: &[Place::Upstream],
    args: "PERCENT",
    props: &[],
    body: None,
    repeats: false,
    summary: "When too few servers are healthy, all are asked.",
    details: "\
If less than this percentage of the servers are healthy, all are taken to be: the checks may be wrong, and the few would break
down under the load of all. Default 1: all are asked when none is healthy. 0: none is asked then, and the answer is a 503.",
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
        Some(What::InUpstream(InUpstream::PanicThreshold(r.arg("a PERCENT", value::integer(0, 100))?.value)))
    },
};
