//! Upstreams without a name: the URLs of `proxy`, `auth forward` and `tunnel`.

use proxy_runtime::site::{Server, Setting, Upstream, UpstreamTls};

use super::Check;
use crate::ast;
use crate::source::{Span, Spanned};

impl Check<'_> {
    /// Returns the upstream of inline URLs; equal URLs share an upstream.
    pub(crate) fn anonymous_upstream(
        &mut self,
        urls: &[Spanned<ast::Setting<String>>],
        tls: bool,
        span: Span,
    ) -> Option<usize> {
        let mut servers: Vec<Server> = Vec::new();
        for url in urls {
            let address = self.address(url)?;
            if servers.iter().any(|other| other.address == address) {
                self.error("duplicate-server", "this server is listed already", url.span);
            }
            servers.push(Server::new(address, self.place(url.span)));
        }
        let name = match &servers.first()?.address {
            Setting::Fixed(address) => address.clone(),
            Setting::Param(index) => self.params.entries[usize::from(*index)].value.name.clone(),
        };
        let same = |other: &Upstream| {
            other.tls.is_some() == tls
                && other.servers.len() == servers.len()
                && other.servers.iter().zip(&servers).all(|(a, b)| a.address == b.address && a.weight == b.weight)
        };
        let existing = self.upstreams.entries.iter().position(|entry| entry.value.name == name && same(&entry.value));
        Some(existing.unwrap_or_else(|| {
            let place = self.sources.place(span);
            let mut upstream = Upstream::new(name, servers, place);
            upstream.tls = tls.then_some(UpstreamTls { sni: None, ca: None, certificate: None, verify: true });
            self.upstreams.anonymous(span, upstream)
        }))
    }

    /// Returns the index of an upstream, in the type that routes use.
    pub(crate) fn upstream_index(&mut self, index: usize, span: Span) -> u16 {
        if index > usize::from(u16::MAX) {
            self.error("too-many-upstreams", "more than 65536 upstreams", span);
        }
        index as u16
    }
}
