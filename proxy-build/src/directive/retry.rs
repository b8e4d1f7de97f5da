//! `retry`: when a request is sent to another server.

use super::{Directive, POLICY, Place, Prop};
use crate::ast::{InRetry, Policy, Retry, What};
use crate::value;

pub(super) static RETRY: Directive = Directive {
    name: "retry",
    places: POLICY,
    args: "N",
    props: &[
        Prop::new("per-try", "DURATION", "How long each try waits for an answer. Default: as `timeouts response`."),
        Prop::new("budget", "PERCENT", "No more retries at once than this percentage of the upstream's exchanges; three are always allowed. Default 20."),
        Prop::new("body", "SIZE", "Bodies up to this size are read whole before they are sent, to be sent again. Default `\"64KiB\"`."),
        Prop::new("hedge", "DURATION", "Asks a second server if the first has not answered after this time, and takes what comes first. Counts as a retry. No default."),
    ],
    body: Some(Place::Retry),
    repeats: false,
    summary: "Sends a request to another server, up to N times.",
    details: "\
A server that can't be connected to is passed over in any case: the request has not left. `retry` is about requests that
have, which are sent again only if that does no harm: their method is idempotent (RFC 9110 section 9.2.2), and their body,
if they have one, is kept. A larger body, or one of unknown length, is sent as it comes, once. A server that was
tried is asked again only if there is no other. The last answer is passed on, whatever its status.

The budget keeps retries from becoming a flood when all servers fail.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    server "10.0.0.12:8080"
}
site example.com {
    retry 2 per-try="2s" budget=10 {
        on reset timeout 502 503 504
        methods GET HEAD
    }
    proxy app
}
"#,
    read: |r| {
        Some(What::Policy(Policy::Retry(Retry {
            times: r.arg("a number N", value::integer(1, 10))?,
            per_try: r.prop("per-try", value::setting(value::duration)),
            budget: r.prop("budget", value::integer(1, 100)),
            body: r.prop("body", value::size_within(0, value::MAX_KEPT_BODY)),
            hedge: r.prop("hedge", value::setting(value::duration)),
            items: r.body(),
        })))
    },
};

pub(super) static ON: Directive = Directive {
    name: "on",
    places: &[Place::Retry],
    args: "reset|timeout|STATUS...",
    props: &[],
    body: None,
    repeats: false,
    summary: "What a retry follows.",
    details: "\
- `reset`: the connection ended before an answer came.
- `timeout`: no answer in time.
- a status from 400 on: the answer has it.

Default: `reset`.",
    example: r#"
site example.com {
    retry 1 {
        on reset 503
    }
    proxy "http://10.0.0.11:8080" "http://10.0.0.12:8080"
}
"#,
    read: |r| Some(What::InRetry(InRetry::On(r.some("`reset`, `timeout` or a STATUS", value::retry_on)))),
};

pub(super) static METHODS: Directive = Directive {
    name: "methods",
    places: &[Place::Retry],
    args: "METHOD...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Which requests are sent again.",
    details: "Idempotent methods only. Default: `GET HEAD OPTIONS PUT DELETE`.",
    example: r#"
site example.com {
    retry 1 {
        methods GET HEAD
    }
    proxy "http://10.0.0.11:8080" "http://10.0.0.12:8080"
}
"#,
    read: |r| Some(What::InRetry(InRetry::Methods(r.some("a METHOD", value::method)))),
};
