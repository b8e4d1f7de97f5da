//! `timeouts`: the time-outs of each wait.

use std::time::Duration;

use proxy_runtime::site::{self, ParamKind, Setting};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Merge, Policy, PolicyDescription, RouteHandler};
use crate::ast::{self, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, Place, Prop, ROOT_POLICY};
use crate::model::Site;
use crate::model::TIMEOUTS as DEFAULTS;
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};
use crate::value;
use crate::wording;

pub(crate) static TIMEOUTS: Directive = Directive {
    name: "timeouts",
    places: ROOT_POLICY,
    args: "",
    props: &[
        Prop {
            name: "handshake",
            value: "DURATION",
            docs: "A client's TLS handshake, and its PROXY header. Beyond: the connection is closed. Default \
                   `\"10s\"`.",
            places: &[Place::Root],
        },
        Prop::new(
            "connect",
            "DURATION",
            "Connecting to a server, the TLS handshake included. Beyond: the next server, then 504. Default \
             `\"5s\"`.",
        ),
        Prop::new(
            "request",
            "DURATION",
            "Receiving the request: the head, then the body, which gets a second more for each KiB that arrives. \
             Beyond: 408. Default `\"10s\"`.",
        ),
        Prop::new(
            "response",
            "DURATION",
            "From the end of the request to the head of the response. Beyond: 504. Default `\"60s\"`.",
        ),
        Prop::new(
            "continue",
            "DURATION",
            "From the end of the request's head to the server's `100 Continue`, with `proxy continue=upstream`. \
             Beyond: the body is sent without it. Default `\"1s\"`.",
        ),
        Prop::new(
            "idle",
            "DURATION",
            "The idle time of a keep-alive connection between requests, of a body in transfer, of a tunnel. \
             Default `\"60s\"`.",
        ),
        Prop::new(
            "total",
            "DURATION|off",
            "The whole exchange, from the request's head to the end of the response, except tunnels. Default \
             `off`.",
        ),
    ],
    body: None,
    repeats: false,
    summary: "Sets time-outs.",
    details: "\
At the top level these are the defaults of all sites; a site or route overrides single values. Reading a request's head
and waiting on a keep-alive connection happen before a site is known: there the top level's `request` and `idle` apply. The
growing deadline of a body disconnects clients that send a byte now and then, but not slow connections.",
    example: r#"
timeouts request="15s" idle="2m"

site example.com {
    timeouts connect="1s" response="10s"
    route "/reports/*" {
        timeouts response="5m" total="10m"
        proxy "http://127.0.0.1:3000"
    }
    route "/*" {
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| {
        r.some_property();
        Some(What::policy(Timeouts {
            handshake: r.prop("handshake", value::setting(value::wait("10s"))),
            connect: r.prop("connect", value::setting(value::wait("5s"))),
            request: r.prop("request", value::setting(value::wait("10s"))),
            response: r.prop("response", value::setting(value::wait("60s"))),
            proceed: r.prop("continue", value::setting(value::wait("1s"))),
            idle: r.prop("idle", value::setting(value::wait("60s"))),
            total: r.prop("total", value::setting(value::duration_or_off)),
        }))
    },
};

/// `timeouts`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeouts {
    handshake: Option<Spanned<ast::Setting<Duration>>>,
    connect: Option<Spanned<ast::Setting<Duration>>>,
    request: Option<Spanned<ast::Setting<Duration>>>,
    response: Option<Spanned<ast::Setting<Duration>>>,
    proceed: Option<Spanned<ast::Setting<Duration>>>,
    idle: Option<Spanned<ast::Setting<Duration>>>,
    total: Option<Spanned<ast::Setting<Duration>>>,
}

impl Policy for Timeouts {
    const NAME: &'static str = "timeouts";
    const MERGE: Merge<Self> = Merge::Values(Timeouts::within);

    fn check_root(check: &mut Check<'_>, layer: &Layer, listeners: &[site::Listener]) {
        // These have a phase before the first request.
        let waits = |listener: &site::Listener| {
            listener.speaks.tls || listener.speaks.proxy_protocol.is_some() || listener.speaks.stream.is_some()
        };
        let written = layer.one::<Timeouts>().and_then(|timeouts| timeouts.value.handshake.as_ref());
        if let Some(written) = written.filter(|_| !listeners.iter().any(waits)) {
            let message = "`handshake` has no effect: no listener has TLS or expects a PROXY header";
            check.error("no-effect", message, written.span);
        }
    }

    fn idle(&self, _: Span, answer: &RouteHandler<'_>) -> Vec<Diagnostic> {
        let forwarding = answer.handler.forwarding();
        let asks_server = forwarding.and_then(|forwarding| forwarding.asks_server.as_ref());
        let mut found = Vec::new();
        if let (Some(written), false) = (&self.proceed, asks_server.is_some_and(|asks_server| asks_server.value)) {
            let message = "`continue` has no effect: the proxy itself sends `100 Continue` here";
            let label = "to leave it to the server, write continue=upstream here";
            found.push(Diagnostic::error("no-effect", message, written.span).also(answer.at, label));
        }
        if forwarding.is_none() {
            let own = [("`connect`", &self.connect), ("`response`", &self.response)];
            let own = own.into_iter().filter_map(|(name, written)| Some((name, written.as_ref()?.span)));
            found.extend(own.map(|(name, at)| answer.idle(name, "this route forwards nothing", at)));
        }
        found
    }

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        if let Some(timeouts) = layer.one::<Timeouts>() {
            policy.timeouts = timeouts.value.made(check);
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        let timeouts = &of.route.policy.timeouts;
        let time = |setting| wording::setting(of.site, setting, |&duration| wording::duration(duration));
        let mut lines = Vec::new();
        if of.route.handler.proxy().is_some_and(|proxy| proxy.asks_server) {
            let text = format!("sent by the server, within {}", time(&timeouts.proceed));
            lines.push(ExplainLine::new(ExplainStep::Forward, "continue", text));
        }
        let text = format!(
            "connect={} request={} response={} idle={} total={} [{}]",
            time(&timeouts.connect),
            time(&timeouts.request),
            time(&timeouts.response),
            time(&timeouts.idle),
            time(&timeouts.total),
            of.from(Self::NAME)
        );
        lines.push(ExplainLine::new(ExplainStep::Forward, "time-outs", text));
        lines
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::values("timeouts", Self::NAME)
    }
}

impl Timeouts {
    /// Returns the inner time-outs, with missing ones from the outer ones.
    fn within(outer: &Timeouts, inner: &Timeouts) -> Timeouts {
        let (outer, inner) = (outer.clone(), inner.clone());
        Timeouts {
            handshake: inner.handshake.or(outer.handshake),
            connect: inner.connect.or(outer.connect),
            request: inner.request.or(outer.request),
            response: inner.response.or(outer.response),
            proceed: inner.proceed.or(outer.proceed),
            idle: inner.idle.or(outer.idle),
            total: inner.total.or(outer.total),
        }
    }

    fn made(&self, check: &mut Check<'_>) -> site::Timeouts {
        let mut duration = |setting: &Option<Spanned<ast::Setting<Duration>>>, default| match setting {
            Some(setting) => check.setting(setting, ParamKind::Duration).unwrap_or(default),
            None => default,
        };
        let found = site::Timeouts {
            connect: duration(&self.connect, DEFAULTS.connect),
            handshake: duration(&self.handshake, DEFAULTS.handshake),
            request: duration(&self.request, DEFAULTS.request),
            response: duration(&self.response, DEFAULTS.response),
            proceed: duration(&self.proceed, DEFAULTS.proceed),
            idle: duration(&self.idle, DEFAULTS.idle),
            total: duration(&self.total, DEFAULTS.total),
        };
        let (Some(total), Setting::Fixed(limit)) = (&self.total, found.total) else { return found };
        let parts = [
            ("connect", &self.connect, found.connect),
            ("request", &self.request, found.request),
            ("response", &self.response, found.response),
        ];
        for (name, written, value) in parts {
            let (Some(written), Setting::Fixed(value)) = (written, value) else { continue };
            if value > limit {
                check.report.add(
                    Diagnostic::error(
                        "contradicting-timeouts",
                        format!("`{name}` has no effect: it is longer than `total`"),
                        written.span,
                    )
                    .also(total.span, "this limits the whole exchange"),
                );
            }
        }
        found
    }
}
