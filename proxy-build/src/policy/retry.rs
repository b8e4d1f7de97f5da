//! `retry`: sends a failed request to another server.

use std::time::Duration;

use proxy_runtime::site::{self, Methods, ParamKind, Setting};

use super::{ExplainStep, ExplainedRequest, Layer, Policy, PolicyDescription, words};
use crate::ast::{self, Item, RetryOn, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Place, Prop};
use crate::model::Site;
use crate::model::list;
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::value;

const BRACES: Place = Place::Within("in `retry`");

/// Idempotent methods (RFC 9110 section 9.2.2); TRACE is rejected anyway.
const IDEMPOTENT: [&str; 5] = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];

pub(crate) static RETRY: Directive = Directive {
    name: "retry",
    places: POLICY,
    args: "N",
    props: &[
        Prop::new("per-try", "DURATION", "The time-out of each attempt. Default: as `timeouts response`."),
        Prop::new(
            "budget",
            "PERCENT",
            "The maximum of concurrent retries, in percent of the upstream's exchanges; three are always allowed. \
             Default 20.",
        ),
        Prop::new("body", "SIZE", "The largest body that can be sent again. Default `\"64KiB\"`."),
        Prop::new(
            "hedge",
            "DURATION",
            "Sends the request to a second server if the first has not responded after this time, and uses the \
             response that comes first (hedging). Counts as a retry. No default.",
        ),
    ],
    body: Some(BRACES),
    repeats: false,
    summary: "Retries a failed request on another server, up to N times.",
    details: "\
A server that can't be connected to is always skipped, because the request has not been sent. `retry` applies to requests that
were sent. They are sent again only if that is safe: their method is idempotent (RFC 9110 section 9.2.2), or the site says
that repeating is harmless ([`methods`](#methods)). A server that was tried gets the request again only if there is no other. The last response
is passed on, whatever its status.

The proxy must still have the whole body. A body with a `Content-Length` of up to `body` is read completely before it is sent.
Of a body of unknown length, as in gRPC calls, the proxy keeps the sent part until the server responds, up to `body`; once
more than that is sent, the request is not retried.

A request that a server has certainly not processed is sent again without `retry`, whatever its method (RFC 9113 section 8.7): if an HTTP/2
server refuses its stream (`REFUSED_STREAM`), or closes the connection and says that it has not processed it (`GOAWAY`), or if the
connection closes before anything was written. The request is sent on another connection or to another server, as often as the upstream has
servers and twice more, ten times at most. Restarts of HTTP/2 servers therefore lose no calls. For this, the proxy keeps up to 64 KiB of a
body until the server responds, or as much as `body` says if there is a `retry` for the method, and 16 MiB of all bodies of a worker that
are sent as they arrive; a request whose body is not kept is not sent again. The same applies to an idempotent request on a pooled
connection that turns out to be closed.

The budget keeps retries from multiplying the load when all servers fail.",
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
        Some(What::policy(Retry {
            times: r.arg("a number N", value::integer(1, 10))?,
            per_try: r.prop("per-try", value::setting(value::wait("2s"))),
            budget: r.prop("budget", value::integer(1, 100)),
            body: r.prop("body", value::size_within(0, value::MAX_KEPT_BODY)),
            hedge: r.prop("hedge", value::setting(value::wait("200ms"))),
            items: r.body(),
        }))
    },
};

pub(crate) static ON: Directive = Directive {
    name: "on",
    places: &[BRACES],
    args: "reset|timeout|STATUS|grpc-STATUS...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the failures that are retried.",
    details: "\
- `reset`: the connection ended before a response arrived.
- `timeout`: no response in time.
- a status from 400 on: the response has it.
- `grpc-` and the name of a status, as in `grpc-unavailable` or `grpc-resource-exhausted`: a gRPC call has failed with it
  without any message, so that the response is only a head. A status after messages is not retried, because the client
  has received them already. Calls are `POST` requests, which must be [named](#methods).

Default: `reset`.",
    example: r#"
site example.com {
    retry 1 {
        on reset 503
    }
    proxy "http://10.0.0.11:8080" "http://10.0.0.12:8080"
}
"#,
    read: |r| Some(What::line(RetryLine::On(r.some("`reset`, `timeout`, a STATUS or a `grpc-STATUS`", value::retry_on)))),
};

pub(crate) static METHODS: Directive = Directive {
    name: "methods",
    places: &[BRACES],
    args: "METHOD...",
    props: &[Prop::new("non-idempotent", "#true", "Allows methods that are not idempotent, such as `POST`.")],
    body: None,
    repeats: false,
    summary: "Sets the methods of requests that are retried.",
    details: "\
By default only idempotent methods are allowed, whose requests have the same effect if they are repeated. Default: `GET HEAD OPTIONS PUT DELETE`.

A server may have processed a request whose response was lost. With `non-idempotent=#true` the site says that repeating
its requests is harmless, or that its servers detect repeated ones. gRPC calls are `POST` requests.",
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
        Some(What::line(RetryLine::Methods(r.some("a METHOD", value::method), anyway)))
    },
};

/// `retry`.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    times: Spanned<u64>,
    per_try: Option<Spanned<ast::Setting<Duration>>>,
    budget: Option<Spanned<u64>>,
    hedge: Option<Spanned<ast::Setting<Duration>>>,
    body: Option<Spanned<ast::Setting<u64>>>,
    items: Vec<Item>,
}

/// A line of `retry`.
#[derive(Debug)]
enum RetryLine {
    /// `on`.
    On(Vec<Spanned<RetryOn>>),
    /// `methods`, and whether non-idempotent ones are explicitly allowed.
    Methods(Vec<Spanned<String>>, Option<Spanned<bool>>),
}

impl Policy for Retry {
    const NAME: &'static str = "retry";
    const NEEDS_UPSTREAM: bool = true;

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        policy.retry = layer.one::<Retry>().map(|retry| retry.value.made(check, &policy.timeouts));
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<words::ExplainLine> {
        let retry = of.route.policy.retry.iter();
        of.lines(ExplainStep::Forward, Self::NAME, retry.map(in_words))
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::values("retry", Self::NAME)
    }
}

fn in_words(retry: &site::Retry) -> String {
    let flags = [("reset", retry.on_reset), ("timeout", retry.on_timeout)].into_iter().filter(|(_, on)| *on);
    let statuses = retry.on_statuses.iter().map(u16::to_string);
    let calls = retry
        .on_grpc_statuses
        .iter()
        .map(|&code| format!("grpc-{}", value::GRPC_STATUSES.get(usize::from(code)).copied().unwrap_or_default()));
    let on: Vec<String> = flags.map(|(name, _)| name.to_owned()).chain(statuses).chain(calls).collect();
    let methods: Vec<_> = retry.methods.names().collect();
    format!("{} on {} of {}, budget {} %", retry.times, on.join(" "), methods.join(" "), retry.budget)
}

impl Retry {
    fn made(&self, check: &mut Check<'_>, timeouts: &site::Timeouts) -> site::Retry {
        let (mut on, mut methods) = (Vec::new(), Methods::NONE);
        for line in self.items.iter().filter_map(Item::line::<RetryLine>) {
            match line {
                RetryLine::On(written) => on = written.clone(),
                RetryLine::Methods(written, anyway) => methods = retried(check, written, anyway.as_ref()),
            }
        }
        if methods == Methods::NONE {
            methods.mask = IDEMPOTENT.iter().map(|method| bit(method)).sum();
        }
        if let Some(grpc) = on.iter().find(|on| matches!(on.value, RetryOn::Grpc(_)))
            && methods.mask & bit("POST") == 0
        {
            check.report.add(
                Diagnostic::error(
                    "retry-not-idempotent",
                    "gRPC calls are POST requests, which are not retried",
                    grpc.span,
                )
                .label("never happens")
                .help("if the calls may be sent twice, add `methods POST non-idempotent=#true`"),
            );
        }
        let on: Vec<RetryOn> = match &*on {
            [] => vec![RetryOn::Reset],
            on => on.iter().map(|on| on.value).collect(),
        };
        let never = Setting::Fixed(Duration::MAX);
        let per_try = check.or(self.per_try.as_ref(), ParamKind::Duration, never);
        let hedge = check.or(self.hedge.as_ref(), ParamKind::Duration, never);
        let mut contradicts = |written: &Option<Spanned<ast::Setting<Duration>>>, value, limit, message: &str| {
            if let (Some(written), Setting::Fixed(value), Setting::Fixed(limit)) = (written, value, limit)
                && value >= limit
            {
                check.report.add(Diagnostic::error("contradicting-timeouts", message, written.span));
            }
        };
        contradicts(
            &self.per_try,
            per_try,
            timeouts.total,
            "`per-try` is not shorter than `timeouts total`: there would be no time for another attempt",
        );
        let one_try = if per_try == never { timeouts.response } else { per_try };
        contradicts(
            &self.hedge,
            hedge,
            one_try,
            "`hedge` has no effect: it is not shorter than the time-out of an attempt",
        );
        site::Retry {
            times: self.times.value,
            on_reset: on.contains(&RetryOn::Reset),
            on_timeout: on.contains(&RetryOn::Timeout),
            on_statuses: list(
                on.iter()
                    .filter_map(|on| match on {
                        RetryOn::Status(code) => Some(*code),
                        RetryOn::Reset | RetryOn::Timeout | RetryOn::Grpc(_) => None,
                    })
                    .collect(),
            ),
            on_grpc_statuses: list(
                on.iter()
                    .filter_map(|on| match on {
                        RetryOn::Grpc(code) => Some(*code),
                        RetryOn::Reset | RetryOn::Timeout | RetryOn::Status(_) => None,
                    })
                    .collect(),
            ),
            methods,
            body: check.or(self.body.as_ref(), ParamKind::Size, Setting::Fixed(64 << 10)),
            per_try,
            budget: self.budget.as_ref().map_or(20, |percent| percent.value),
            hedge,
        }
    }
}

/// Returns the methods of `retry`; `anyway` allows non-idempotent ones.
fn retried(check: &mut Check<'_>, written: &[Spanned<String>], anyway: Option<&Spanned<bool>>) -> Methods {
    let meant = anyway.is_some_and(|anyway| anyway.value);
    let (mut mask, mut others, mut not_idempotent) = (0, Vec::new(), 0);
    for method in written {
        let name = method.value.as_str();
        if !IDEMPOTENT.contains(&name) {
            not_idempotent += 1;
            if !meant {
                let message = format!("{method} requests may take effect twice if they are retried");
                check.report.add(
                    Diagnostic::error("retry-not-idempotent", message, method.span)
                        .label("not idempotent (RFC 9110 section 9.2.2)")
                        .help(format!("of these, {} may be retried", IDEMPOTENT.join(" ")))
                        .help("if that is harmless, add `non-idempotent=#true`"),
                );
            }
        }
        match bit(name) {
            0 => others.push(name.to_owned().into()),
            bit => mask |= bit,
        }
    }
    if let Some(anyway) = anyway.filter(|anyway| anyway.value && not_idempotent == 0) {
        let message = "all of these methods are idempotent: `non-idempotent` has no effect";
        check.report.add(Diagnostic::error("no-effect", message, anyway.span).help("leave it out"));
    }
    Methods { mask, others: list(others) }
}

fn bit(method: &str) -> u16 {
    http::Method::from_bytes(method.as_bytes()).map_or(0, |method| Methods::bit(&method))
}
