//! What holds for requests: limits, time-outs, and what else a layer makes.

use std::time::Duration;

use proxy_runtime::site::{self, FieldRules, ParamKind, Policy, Setting, Text};

use super::layer::Layer;
use crate::ast::{self, What};
use crate::check::Check;
use crate::check::fields::sorted;
use crate::check::scope::{self};
use crate::model::{self, list};
use crate::policy;
use crate::policy::cors::Cors;
use crate::report::{Diagnostic, Help};
use crate::source::Spanned;

impl Check<'_> {
    /// What is said of handshakes at the top level, where there are none.
    pub(super) fn handshakes_happen(&mut self, defaults: &Layer, listeners: &[site::Listener]) {
        let tls = listeners.iter().any(|listener| listener.speaks.tls);
        // These wait for something before the first request, too.
        let waits =
            |listener: &site::Listener| listener.speaks.proxy_protocol.is_some() || listener.speaks.stream.is_some();
        if let Some(written) = defaults.limits.handshakes.as_ref().filter(|_| !tls) {
            self.error("no-effect", "`handshakes` has no effect: no listener speaks TLS", written.span);
        }
        if let Some(written) = defaults.timeouts.handshake.as_ref().filter(|_| !tls && !listeners.iter().any(waits)) {
            self.error(
                "no-effect",
                "`handshake` has no effect: no listener speaks TLS or expects a PROXY header",
                written.span,
            );
        }
    }

    /// The policy that a layer makes, where these placeholders have a value.
    pub(super) fn policy(&mut self, layer: &Layer, scope: &scope::Scope) -> Policy {
        let limits = self.limits(&layer.limits);
        let timeouts = self.timeouts(&layer.timeouts);
        let fields = self.field_rules(layer);
        let log = self.log(layer.log.as_ref(), scope);
        let pages: Vec<_> = layer.error_pages.iter().filter_map(|page| self.error_page(page)).collect();
        let retry = layer.retry.as_ref().map(|(_, retry)| self.retry(retry, &timeouts));
        let mut policy = Policy {
            limits,
            timeouts,
            fields,
            error_pages: list(pages),
            log,
            retry,
            mirror: None,
            fault: None,
            cache: None,
            cookies: list(Vec::new()),
            door: None,
            replace: None,
            compress: None,
        };
        policy::ALL.iter().for_each(|kind| kind.check(self, &layer.said, scope, &mut policy));
        policy
    }

    fn limits(&mut self, limits: &ast::Limits) -> site::Limits {
        if let Some(Spanned { value: ast::Setting::Fixed(u64::MAX), span }) = &limits.body {
            self.report.add(
                Diagnostic::lint("unbounded-body", "request bodies may be of any size here", *span)
                    .help("name the largest size that is meant, as in body=\"1GiB\""),
            );
        }
        if let (Some(uri), Some(headers)) = (&limits.uri, &limits.headers)
            && let (ast::Setting::Fixed(longest), ast::Setting::Fixed(head)) = (&uri.value, &headers.value)
            && longest > head
        {
            let message = "`uri` is more than `headers`, which the target is a part of: it can never be reached";
            let found = Diagnostic::error("contradiction", message, uri.span).also(headers.span, "all of the head");
            let slice = self.sources.slice(headers.span).to_owned();
            self.report.add(found.help(Help::write(uri.span, slice)));
        }
        let mut number = |setting: &Option<Spanned<ast::Setting<u64>>>, kind, default| match setting {
            Some(setting) => self.setting(setting, kind).unwrap_or(default),
            None => default,
        };
        site::Limits {
            headers: number(&limits.headers, ParamKind::Size, model::LIMITS.headers),
            uri: number(&limits.uri, ParamKind::Size, model::LIMITS.uri),
            body: number(&limits.body, ParamKind::Size, model::LIMITS.body),
            connections: number(&limits.connections, ParamKind::Number, model::LIMITS.connections),
            per_client: number(&limits.per_client, ParamKind::Number, model::LIMITS.per_client),
            handshakes: number(&limits.handshakes, ParamKind::Number, model::LIMITS.handshakes),
            memory: number(&limits.memory, ParamKind::Size, model::LIMITS.memory),
            min_rate: limits.min_rate.as_ref().map_or(model::LIMITS.min_rate, |rate| rate.value),
            half_close: limits.half_close.as_ref().map_or(model::LIMITS.half_close, |value| value.value),
            encoded_slash: limits.encoded_slash.as_ref().is_some_and(|value| value.value),
        }
    }

    fn timeouts(&mut self, timeouts: &ast::Timeouts) -> site::Timeouts {
        let mut duration = |setting: &Option<Spanned<ast::Setting<Duration>>>, default| match setting {
            Some(setting) => self.setting(setting, ParamKind::Duration).unwrap_or(default),
            None => default,
        };
        let found = site::Timeouts {
            connect: duration(&timeouts.connect, model::TIMEOUTS.connect),
            handshake: duration(&timeouts.handshake, model::TIMEOUTS.handshake),
            request: duration(&timeouts.request, model::TIMEOUTS.request),
            response: duration(&timeouts.response, model::TIMEOUTS.response),
            proceed: duration(&timeouts.proceed, model::TIMEOUTS.proceed),
            idle: duration(&timeouts.idle, model::TIMEOUTS.idle),
            total: duration(&timeouts.total, model::TIMEOUTS.total),
        };
        let (Some(total), Setting::Fixed(limit)) = (&timeouts.total, found.total) else { return found };
        let parts = [
            ("connect", &timeouts.connect, found.connect),
            ("request", &timeouts.request, found.request),
            ("response", &timeouts.response, found.response),
        ];
        for (name, written, value) in parts {
            let (Some(written), Setting::Fixed(value)) = (written, value) else { continue };
            if value > limit {
                self.report.add(
                    Diagnostic::error(
                        "contradicting-timeouts",
                        format!("`{name}` is longer than `total`, so it can never run out"),
                        written.span,
                    )
                    .also(total.span, "all of it takes no longer than this"),
                );
            }
        }
        found
    }

    /// What holds where no route is known; routes add to it.
    pub(super) fn field_rules(&mut self, layer: &Layer) -> FieldRules {
        let mut pass: Vec<Text> = Vec::new();
        for item in layer.request_headers.iter().flat_map(|(_, items)| items) {
            let What::HeaderPass(names) = &item.what else { continue };
            pass.extend(names.iter().filter(|name| self.may_pass(name)).map(|name| name.value.clone().into()));
        }
        FieldRules { pass: list(sorted(pass)), underscores: layer.underscores(), ..FieldRules::default() }
    }

    /// What `cors` says is not said by hand as well: two voices are none to a browser.
    pub(super) fn cors_alone(&mut self, layer: &Layer) {
        let Some(cors) = layer.said.one::<Cors>() else { return };
        for item in layer.response_headers.iter().flat_map(|(_, items)| items) {
            let What::HeaderOp(op) = &item.what else { continue };
            if op.name.value.starts_with("access-control-") {
                let message = format!("`{}` is said by `cors` here: this line contradicts it", op.name);
                let found =
                    Diagnostic::error("contradiction", message, op.name.span).also(cors.span, "it is said here");
                self.report.add(found.help("leave one of both out; `cors` answers preflights, too"));
            }
        }
    }

    /// Of the fields that `proxy` sets where it is asked to, none is let through.
    pub(super) fn passes_nothing_that_is_set(&mut self, layer: &Layer, handler: &ast::Handler) {
        let Some(options) = handler.forwarding() else { return };
        let set = [("x-forwarded-port", &options.port), ("x-real-ip", &options.real_ip)];
        for item in layer.request_headers.iter().flat_map(|(_, items)| items) {
            let What::HeaderPass(names) = &item.what else { continue };
            for name in names {
                let is_set = |(set, wanted): &&(&str, &Option<Spanned<bool>>)| {
                    *set == name.value && wanted.as_ref().is_some_and(|wanted| wanted.value)
                };
                if let Some((_, Some(wanted))) = set.iter().find(is_set) {
                    let message = format!("the proxy sets `{name}` here: what a client says of it can't pass");
                    self.report
                        .add(Diagnostic::error("contradiction", message, name.span).also(wanted.span, "set here"));
                }
            }
        }
    }
}
