//! `split`, `mirror`, `fault`: what becomes of a part of the requests.

use super::proxy::{forwarding, host_choice};
use super::{Directive, HANDLER, POLICY, Place, Prop};
use crate::ast::{Fault, Handler, Mirror, Policy, Split, To, What};
use crate::value;

pub(super) static SPLIT: Directive = Directive {
    name: "split",
    places: HANDLER,
    args: "",
    props: &[
        Prop::new("by", "TEXT", "What decides, with placeholders, as in `\"{client.ip}\"`: requests with the same text go to the same upstream. Default: chance."),
        Prop::new("sticky", "COOKIE", "A cookie that keeps a client with the upstream it had first."),
        Prop::new("host", "client|upstream|HOST", "As in `proxy`."),
        Prop::new("forwarded", "BOOL", "As in `proxy`."),
        Prop::new("forwarded-port", "BOOL", "As in `proxy`."),
        Prop::new("real-ip", "BOOL", "As in `proxy`."),
        Prop::new("continue", "proxy|upstream", "As in `proxy`."),
    ],
    body: Some(Place::Split),
    repeats: true,
    summary: "Forwards each request to one of several upstreams.",
    details: "\
For canaries and experiments: the upstreams share the requests in proportion to their weights. When a weight changes, only
as many keys of `by` change sides as must. In all else it is a `proxy`. In tests of the site, where chance decides, the first
upstream with a weight stands for all.",
    example: r#"
upstream stable {
    server "10.0.0.11:8080"
}
upstream canary {
    server "10.0.0.12:8080"
}
site example.com {
    split by="{cookie.user}" {
        to stable weight=95
        to canary weight=5
    }
}
"#,
    read: |r| {
        Some(What::Handler(Handler::Split(Split {
            by: r.prop("by", value::template),
            sticky: r.prop("sticky", value::cookie_name),
            host: r.prop("host", host_choice),
            forwarding: forwarding(r),
            items: r.body(),
        })))
    },
};

pub(super) static TO: Directive = Directive {
    name: "to",
    places: &[Place::Split],
    args: "UPSTREAM",
    props: &[Prop::new("weight", "N", "Its share of the requests relative to the others', 0 to 1000000. Default 1.")],
    body: None,
    repeats: true,
    summary: "An upstream that has a share.",
    details: "",
    example: r#"
upstream a {
    server "10.0.0.11:8080"
}
upstream b {
    server "10.0.0.12:8080"
}
site example.com {
    split sticky=side {
        to a
        to b
    }
}
"#,
    read: |r| {
        Some(What::To(To {
            upstream: r.arg("an UPSTREAM", value::name)?,
            weight: r.prop("weight", value::integer(0, 1_000_000)),
        }))
    },
};

pub(super) static MIRROR: Directive = Directive {
    name: "mirror",
    places: POLICY,
    args: "UPSTREAM",
    props: &[
        Prop::new("percent", "N", "So many of a hundred requests. Default 100."),
        Prop::new("body", "SIZE", "Requests with larger bodies, or bodies of unknown length, are not copied. Default `\"64KiB\"`."),
    ],
    body: None,
    repeats: false,
    summary: "Sends a copy of requests to another upstream.",
    details: "\
For trying a new version with real requests. The copy is what the upstream of the route gets, with `-shadow` behind the host;
its answer is thrown away. It goes on a connection of its own, beside the exchange, which never waits for it and does not fail
with it: only a body that is to be copied is received whole before it is sent on. A worker has up to 100 copies under way, each
for up to ten seconds; beyond that, and while the upstream has no server that can be asked, requests are not copied.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
}
upstream next {
    server "10.0.0.12:8080"
}
site example.com {
    mirror next percent=10
    proxy app
}
"#,
    read: |r| {
        Some(What::Policy(Policy::Mirror(Mirror {
            upstream: r.arg("an UPSTREAM", value::name)?,
            percent: r.prop("percent", value::integer(1, 100)),
            body: r.prop("body", value::size_within(0, value::MAX_KEPT_BODY)),
        })))
    },
};

pub(super) static FAULT: Directive = Directive {
    name: "fault",
    places: POLICY,
    args: "",
    props: &[
        Prop::new("delay", "DURATION", "Holds requests back for so long."),
        Prop::new("delay-percent", "N", "So many of a hundred. Default 100."),
        Prop::new("abort", "STATUS", "Refuses requests with this status."),
        Prop::new("abort-percent", "N", "So many of a hundred. Default 100."),
    ],
    body: None,
    repeats: false,
    summary: "Makes a part of the requests slow or fail, for drills.",
    details: "\
Before the handler, whatever it is; a request may be held back and refused after that. Refused ones are logged with the reason
`fault`. A lint points at it, lest it is forgotten; with a `(param)` the share can be given at start, and be 0.",
    example: r#"
param share type=number default="0"
lint allow fault
site example.com {
    fault delay="300ms" delay-percent=(param)share abort=503 abort-percent=(param)share
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let fault = Fault {
            delay: r.prop("delay", value::setting(value::duration)),
            delay_percent: r.prop("delay-percent", value::number(0, 100)),
            abort: r.prop("abort", value::status),
            abort_percent: r.prop("abort-percent", value::number(0, 100)),
        };
        Some(What::Policy(Policy::Fault(fault)))
    },
};
