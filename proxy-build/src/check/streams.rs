//! Checks `stream`: its routes and their servers.

use proxy_runtime::site::{self, Place, Tunnel};

use super::{Check, list};
use crate::ast::{self, HostPattern, InStream, Item, ProxyTo, What};
use crate::report::Diagnostic;
use crate::source::Span;

impl Check<'_> {
    pub(crate) fn streams(&mut self, streams: &[(Span, ast::Stream)]) -> Vec<site::Stream> {
        let mut found: Vec<site::Stream> = Vec::new();
        let mut names: Vec<(&str, Span)> = Vec::new();
        for (_, stream) in streams {
            let name = &stream.name;
            if let Some((_, first)) = names.iter().find(|(other, _)| *other == name.value) {
                let message = format!("the stream `{name}` is declared twice");
                self.report.add(Diagnostic::error("duplicate-name", message, name.span).also(*first, "the first"));
            }
            names.push((&name.value, name.span));
            let place = self.place(name.span);
            found.push(self.stream(stream, place));
        }
        found
    }

    fn stream(&mut self, stream: &ast::Stream, place: Place) -> site::Stream {
        let name = &stream.name;
        let whole = stream.items.iter().all(|item| !item.broken && !matches!(item.what, What::Unread));
        let has = |wanted: fn(&InStream) -> bool| {
            stream.items.iter().any(|item| matches!(&item.what, What::InStream(item) if wanted(item)))
        };
        if whole && !has(|item| matches!(item, InStream::Listen(_))) {
            self.report.add(
                Diagnostic::error("no-listener", format!("the stream `{name}` accepts no connections"), name.span)
                    .help(self.inside(name.span, "listen \":5432\"")),
            );
        }
        if whole && !has(|item| matches!(item, InStream::Route { .. } | InStream::Tunnel(_))) {
            self.report.add(
                Diagnostic::error("no-handler", format!("the stream `{name}` has no `tunnel`"), name.span)
                    .help(self.inside(name.span, "tunnel \"10.0.0.1:5432\"")),
            );
        }
        let mut routes: Vec<(HostPattern, Span, u16)> = Vec::new();
        for Item { span, what, .. } in &stream.items {
            let What::InStream(InStream::Route { sni, items }) = what else { continue };
            let Some(upstream) = self.tunnel(items) else {
                if items.is_empty() {
                    self.error("no-handler", "this route has no `tunnel`", *span);
                }
                continue;
            };
            if sni.value == HostPattern::Any {
                self.report.add(
                    Diagnostic::error("bad-host", "a name is needed here", sni.span)
                        .help("for connections that no route matches, write a `tunnel` beside the routes"),
                );
            } else if let Some((_, first, _)) = routes.iter().find(|(other, ..)| *other == sni.value) {
                let message = format!("two routes claim `{}`", sni.value);
                self.report.add(Diagnostic::error("duplicate-host", message, sni.span).also(*first, "the first"));
            }
            routes.push((sni.value.clone(), sni.span, upstream));
        }
        let of = |wanted: fn(&HostPattern) -> Option<&str>| {
            let mut found: Vec<Tunnel> = routes
                .iter()
                .filter_map(|(host, _, upstream)| {
                    Some(Tunnel { host: wanted(host)?.to_owned().into(), upstream: *upstream })
                })
                .collect();
            found.sort_by(|a, b| a.host.cmp(&b.host));
            list(found)
        };
        site::Stream {
            name: name.value.clone().into(),
            exact: of(|host| if let HostPattern::Exact(host) = host { Some(host) } else { None }),
            below: of(|host| if let HostPattern::Wildcard(suffix) = host { Some(suffix) } else { None }),
            otherwise: self.tunnel(&stream.items),
            place,
        }
    }

    /// Returns the upstream of the `tunnel` among these items.
    fn tunnel(&mut self, items: &[Item]) -> Option<u16> {
        let (span, to) = items.iter().find_map(|item| match &item.what {
            What::InStream(InStream::Tunnel(to)) => Some((item.span, to)),
            _ => None,
        })?;
        let upstream = match to {
            ProxyTo::Name(name) => self.upstreams.look_up("upstream", name, self.report)?,
            ProxyTo::Servers(servers, tls) => self.anonymous_upstream(servers, *tls, span)?,
        };
        Some(self.upstream_index(upstream, span))
    }
}
