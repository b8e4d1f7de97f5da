//! `split`, `mirror`, `fault`: what becomes of a part of the requests.

use super::proxy::{forwarding, host_choice};
use super::{Directive, HANDLER, Place, Prop};
use crate::ast::{Handler, Split, To, What};
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
