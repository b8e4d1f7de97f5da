//! `split`, `mirror` and `fault`.

use std::time::Duration;

use proxy_runtime::site::{Fault, Mirror, ParamKind, Proxy, Setting, Share};

use super::handlers::{host_field, is_on};
use super::scope::Scope;
use super::{Check, list};
use crate::ast::{self, Item, What};
use crate::report::{Diagnostic, Help};
use crate::source::Span;

impl Check<'_> {
    pub(crate) fn split(&mut self, split: &ast::Split, scope: &Scope, span: Span) -> Option<Proxy> {
        let mut shares: Vec<Share> = Vec::new();
        for Item { what, .. } in &split.items {
            let What::To(to) = what else { continue };
            let Some(upstream) = self.upstreams.look_up("upstream", &to.upstream, self.report) else { continue };
            let upstream = self.upstream_index(upstream, span);
            if shares.iter().any(|share| share.upstream == upstream) {
                self.report.add(
                    Diagnostic::error("duplicate-share", "this upstream has a share already", to.upstream.span)
                        .help("one line is enough; a larger share is given by `weight`"),
                );
            }
            shares.push(Share { upstream, weight: to.weight.as_ref().map_or(1, |weight| weight.value) });
        }
        let written = split.items.iter().filter(|item| matches!(item.what, What::To(_) | What::Unread)).count();
        if written < 2 {
            self.report.add(
                Diagnostic::error("no-shares", "there is nothing to split among", span)
                    .help("there are two lines or more, as in: to NAME weight=1; a single upstream is for `proxy`"),
            );
        } else if !shares.is_empty() && shares.iter().all(|share| share.weight == 0) {
            self.error("no-weight", "the weights sum to 0: no upstream would ever be asked", span);
        }
        let by = match &split.by {
            Some(by) => Some(self.varying(by, scope)?),
            None => None,
        };
        (shares.len() > 1).then(|| Proxy {
            shares: list(shares),
            by,
            cookie: split.sticky.as_ref().map(|cookie| cookie.value.clone().into()),
            host: host_field(split.host.as_ref()),
            forwarded: is_on(&split.forwarding.forwarded),
            forwarded_port: is_on(&split.forwarding.port),
            real_ip: is_on(&split.forwarding.real_ip),
            asks_server: is_on(&split.forwarding.asks_server),
        })
    }

    /// The index of an upstream, as routes hold it.
    pub(crate) fn upstream_index(&mut self, index: usize, span: Span) -> u16 {
        if index > usize::from(u16::MAX) {
            self.error("too-many-upstreams", "more than 65536 upstreams", span);
        }
        index as u16
    }

    pub(crate) fn mirror(&mut self, mirror: &ast::Mirror) -> Option<Mirror> {
        let upstream = self.upstreams.look_up("upstream", &mirror.upstream, self.report)?;
        if self.upstreams.entries[upstream].value.http2 {
            self.report.add(
                Diagnostic::error(
                    "contradiction",
                    "copies are sent in HTTP/1.1, and these servers speak HTTP/2",
                    mirror.upstream.span,
                )
                .also(self.upstreams.entries[upstream].span, "the upstream")
                .help("declare another `upstream` for copies, without `http h2`"),
            );
        }
        Some(Mirror {
            upstream: self.upstream_index(upstream, mirror.upstream.span),
            percent: mirror.percent.as_ref().map_or(100, |percent| percent.value),
            body: self.or(mirror.body.as_ref(), ParamKind::Size, Setting::Fixed(64 << 10)),
        })
    }

    pub(crate) fn fault(&mut self, fault: &ast::Fault, span: Span) -> Option<Fault> {
        for (share, of, what) in [
            (&fault.delay_percent, fault.delay.is_some(), "delay"),
            (&fault.abort_percent, fault.abort.is_some(), "abort"),
        ] {
            if let Some(share) = share.as_ref().filter(|_| !of) {
                let message = format!("`{what}-percent` has no effect: there is no `{what}`");
                self.error("no-effect", message, share.span);
            }
        }
        if fault.delay.is_none() && fault.abort.is_none() {
            self.report.add(
                Diagnostic::error("no-effect", "this does nothing", span)
                    .help(Help::beside(span, "delay=\"300ms\""))
                    .help(Help::beside(span, "abort=503")),
            );
            return None;
        }
        self.report.add(
            Diagnostic::lint("fault", "requests are slowed down or refused here, on purpose", span)
                .help(self.allowed("for a drill", "fault")),
        );
        let all = |given: bool| Setting::Fixed(if given { 100 } else { 0 });
        Some(Fault {
            delay: self.or(fault.delay.as_ref(), ParamKind::Duration, Setting::Fixed(Duration::ZERO)),
            delay_percent: self.or(fault.delay_percent.as_ref(), ParamKind::Number, all(fault.delay.is_some())),
            abort: fault.abort.as_ref().map_or(503, |status| status.value),
            abort_percent: self.or(fault.abort_percent.as_ref(), ParamKind::Number, all(fault.abort.is_some())),
        })
    }
}
