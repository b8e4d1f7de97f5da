//! `split`, `mirror` and `fault`.

use proxy_runtime::site::{Proxy, Share};

use super::handlers::{host_field, is_on};
use super::scope::Scope;
use super::{Check, list};
use crate::ast::{self, Item, What};
use crate::report::Diagnostic;
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
}
