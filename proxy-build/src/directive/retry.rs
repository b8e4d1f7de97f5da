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
        Prop::new("body", "SIZE", "Bodies up to this size can be sent again. Default `\"64KiB\"`."),
        Prop::new("hedge", "DURATION", "Asks a second server if the first has not answered after this time, and takes what comes first. Counts as a retry. No default."),
    ],
    body: Some(Place::Retry),
    repeats: false,
    summary: "Sends a request to another server, up to N times.",
    details: "\
A server that can't be connected to is passed over in any case: the request has not left. `retry` is about requests that
have, which are sent again only if that does no harm: their method is idempotent (RFC 9110 section 9.2.2), or the site says
that it does none ([`methods`](#methods)). A server that was tried is asked again only if there is no other. The last answer
is passed on, whatever its status.

The body must still be there from its beginning. One with a `Content-Length` of up to `body` is read whole before it is sent.
Of one whose length is not known, as those of gRPC calls, what is sent is kept until the server answers, up to `body`; once
more than that is sent, the request is not sent again.

A request that a server has not processed for sure is sent again without `retry`, and whatever its method (RFC 9113 section
8.7): if an HTTP/2 server refuses its stream (`REFUSED_STREAM`), or closes the connection and says that it has not looked at
it (`GOAWAY`), or if the connection is gone before anything was written. This happens on another connection or at another
server, as often as the upstream has servers and twice more, ten times at most. So restarts of HTTP/2 servers lose no calls. For that, up to
64 KiB of a body are kept until the server answers, or as much as `body` says where there is a `retry` for the method, and
16 MiB of all bodies of a worker that are sent as they come; a request whose body is not kept is not sent again. The
same holds for an idempotent request on a kept connection that turns out to be closed.

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
            per_try: r.prop("per-try", value::setting(value::wait("2s"))),
            budget: r.prop("budget", value::integer(1, 100)),
            body: r.prop("body", value::size_within(0, value::MAX_KEPT_BODY)),
            hedge: r.prop("hedge", value::setting(value::wait("200ms"))),
            items: r.body(),
        })))
    },
};

pub(super) static ON: Directive = Directive {
    name: "on",
    places: &[Place::Retry],
    args: "reset|timeout|STATUS|grpc-STATUS...",
    props: &[],
    body: None,
    repeats: false,
    summary: "What a retry follows.",
    details: "\
- `reset`: the connection ended before an answer came.
- `timeout`: no answer in time.
- a status from 400 on: the answer has it.
- `grpc-` and the name of a status, as in `grpc-unavailable` or `grpc-resource-exhausted`: a gRPC call has failed with it
  before it has answered anything, so that the response is a head alone. A status that follows messages is not retried, since
  these are with the client already. Calls are `POST` requests, which must be [named](#methods).

Default: `reset`.",
    example: r#"
site example.com {
    retry 1 {
        on reset 503
    }
    proxy "http://10.0.0.11:8080" "http://10.0.0.12:8080"
}
"#,
    read: |r| Some(What::InRetry(InRetry::On(r.some("`reset`, `timeout`, a STATUS or a `grpc-STATUS`", value::retry_on)))),
};

pub(super) static METHODS: Directive = Directive {
    name: "methods",
    places: &[Place::Retry],
    args: "METHOD...",
    props: &[Prop::new("non-idempotent", "#true", "Methods that are not idempotent are meant, such as `POST`.")],
    body: None,
    repeats: false,
    summary: "Which requests are sent again.",
    details: "\
Idempotent methods, whose requests do no more if they come twice. Default: `GET HEAD OPTIONS PUT DELETE`.

A server may have done the work of a request whose answer was lost. With `non-idempotent=#true` the site says that this does
no harm for its requests, or that its servers see to it themselves. Calls of gRPC are `POST` requests.",
    example: r#"
upstream greeter {
    server "10.0.0.11:50051"
    server "10.0.0.12:50051"
    http h2
}
site example.com {
    route "/greeter.Greeter/*" {
        retry 2 {
            on grpc-unavailable
            methods POST non-idempotent=#true
        }
        proxy greeter
    }
}
"#,
    read: |r| {
        let anyway = r.prop("non-idempotent", value::boolean);
        Some(What::InRetry(InRetry::Methods(r.some("a METHOD", value::method), anyway)))
    },
};
