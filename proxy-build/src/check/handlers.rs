//! Routes: each pattern with its one handler, and all that holds for it.

use proxy_runtime::context::template::{Piece, Template};
use proxy_runtime::site::{
    self, Handler, HostField, Proxy, Redirect, Respond, RespondBody, Server, Setting, Share, Upstream, UpstreamTls,
};

use super::Check;
use super::scope::{Phase, Scope};
use crate::ast::{self, HostChoice, HostPattern, Item, Part, ProxyTo, What};
use crate::model::list;
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};

/// Whether a property is there, and `#true`.
pub(crate) fn is_on(written: &Option<Spanned<bool>>) -> bool {
    written.as_ref().is_some_and(|value| value.value)
}

impl Check<'_> {
    pub(crate) fn one_handler(&mut self, handlers: &[&Item]) {
        for second in handlers.iter().skip(1) {
            self.report.add(
                Diagnostic::error("two-handlers", "there is a handler already: only one can answer", second.span)
                    .label("the second")
                    .also(handlers[0].span, "the first"),
            );
        }
    }

    pub(crate) fn handler(
        &mut self,
        handler: &ast::Handler,
        span: Span,
        scope: &Scope,
        hosts: &[HostPattern],
    ) -> Option<Handler> {
        Some(match handler {
            ast::Handler::Proxy(proxy) => Handler::Proxy(self.proxy(proxy, span)?),
            ast::Handler::Split(split) => Handler::Proxy(self.split(split, scope, span)?),
            ast::Handler::Respond(respond) => Handler::Respond(self.respond(respond, scope)?),
            ast::Handler::Redirect(redirect) => Handler::Redirect(self.redirect(redirect, scope, hosts)?),
            ast::Handler::Files(files) => Handler::Files(self.files(files, scope, hosts)?),
            ast::Handler::Echo => Handler::Echo,
            ast::Handler::Abort => Handler::Abort,
        })
    }

    pub(crate) fn proxy(&mut self, proxy: &ast::Proxy, span: Span) -> Option<Proxy> {
        let upstream = match &proxy.to {
            ProxyTo::Name(name) => self.upstreams.look_up("upstream", name, self.report)?,
            ProxyTo::Servers(urls, tls) => self.anonymous_upstream(urls, *tls, span)?,
        };
        Some(Proxy {
            shares: list(vec![Share { upstream: self.upstream_index(upstream, span), weight: 1 }]),
            by: None,
            cookie: None,
            host: host_field(proxy.host.as_ref()),
            forwarded: is_on(&proxy.forwarding.forwarded),
            forwarded_port: is_on(&proxy.forwarding.port),
            real_ip: is_on(&proxy.forwarding.real_ip),
            asks_server: is_on(&proxy.forwarding.asks_server),
        })
    }

    /// The upstream that inline URLs stand for; the same URLs are the same upstream.
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
                self.error("duplicate-server", "this server is there already", url.span);
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

    pub(crate) fn respond(&mut self, respond: &ast::Respond, scope: &Scope) -> Option<Respond> {
        if let (Some(body), Some(file)) = (&respond.body, &respond.file) {
            self.report
                .add(Diagnostic::error("two-bodies", "there is a body already", file.span).also(body.span, "the body"));
        }
        let empty = matches!(respond.code.value, 204 | 205 | 304);
        if let Some(span) = respond
            .body
            .as_ref()
            .map(|body| body.span)
            .or(respond.file.as_ref().map(|file| file.span))
            .filter(|_| empty)
        {
            // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
            self.error("body-not-allowed", format!("an answer with {} has no body", respond.code), span);
        }
        if let (Some(given), None, None) = (&respond.content_type, &respond.body, &respond.file) {
            self.error("no-effect", "`type` has no effect: there is no body", given.span);
        }
        let mut default_type = "text/plain; charset=utf-8".to_owned();
        let body = if let Some(file) = &respond.file {
            let (bytes, name) = self.bytes(file)?;
            default_type = proxy_runtime::protocol::media::of(&name).to_owned();
            RespondBody::Bytes(bytes)
        } else if let Some(body) = &respond.body {
            let template = self.template(&body.value, scope, Phase::Request)?;
            match template.literal() {
                Some(text) => RespondBody::Bytes(site::Bytes::Fixed(text.as_bytes().to_vec().into())),
                None => RespondBody::Template(template),
            }
        } else {
            default_type = String::new();
            RespondBody::Bytes(site::Bytes::Fixed(Vec::new().into()))
        };
        let content_type = respond.content_type.as_ref().map_or(default_type, |given| given.value.clone());
        Some(Respond { code: respond.code.value, body, content_type: content_type.into() })
    }

    pub(crate) fn redirect(
        &mut self,
        redirect: &ast::Redirect,
        scope: &Scope,
        hosts: &[HostPattern],
    ) -> Option<Redirect> {
        let to = self.template(&redirect.to.value, scope, Phase::Request)?;
        self.groups_of_nginx(&redirect.to.value);
        let mut allowed = Vec::new();
        let mut listed = None;
        for Item { span, what, .. } in &redirect.items {
            let What::AllowHost(names) = what else { continue };
            listed = Some(*span);
            for name in names {
                match &name.value {
                    HostPattern::Exact(host) => allowed.push(host.clone().into()),
                    _ => self.error("bad-host", "hosts are listed one by one here", name.span),
                }
            }
        }
        self.redirect_target(redirect, &to, hosts, listed);
        let own_query = has_query(&to);
        if let (Some(written), true) = (&redirect.drop_query, own_query) {
            let message = "`query=drop` has no effect: the request's query is in this target only where it is written";
            self.report.add(
                Diagnostic::error("no-effect", message, written.span)
                    .also(redirect.to.span, "it has a query of its own")
                    .help("leave `query=drop` out, or write a target without a query"),
            );
        }
        let keep_query = redirect.drop_query.is_none() && !own_query;
        Some(Redirect { code: redirect.code.value, to, keep_query, allow_hosts: list(allowed) })
    }

    /// What is known of a target: a URL or a path, whose host does not come from the request unchecked.
    pub(crate) fn redirect_target(
        &mut self,
        redirect: &ast::Redirect,
        to: &Template,
        hosts: &[HostPattern],
        listed: Option<Span>,
    ) {
        let authority = authority(to);
        let takes_host = authority.contains(&&Piece::Host);
        if let (Some(span), false) = (listed, takes_host) {
            self.error(
                "no-effect",
                "`allow-host` has no effect: the target's host is not taken from the request",
                span,
            );
        }
        let other = authority.iter().find(|piece| !matches!(piece, Piece::Host | Piece::Text(_) | Piece::Param(_)));
        if other.is_some() {
            let mut placeholders = redirect.to.value.parts.iter().filter_map(|part| match part {
                Part::Placeholder(name) if name.value != "host" && name.value != "scheme" => Some(name.span),
                _ => None,
            });
            let span = placeholders.next().unwrap_or(redirect.to.span);
            self.report.add(
                Diagnostic::error(
                    "open-redirect",
                    "the target's host comes from the request: anybody could be sent anywhere",
                    span,
                )
                .help("a host is written out, or it is {host}, which `allow-host` bounds"),
            );
        }
        if takes_host && listed.is_none() && hosts.contains(&HostPattern::Any) {
            self.report.add(
                Diagnostic::error(
                    "open-redirect",
                    "this site takes any host, so `{host}` could be anybody's",
                    redirect.to.span,
                )
                .help("list the hosts that are meant: redirect ... { allow-host example.com }"),
            );
        }
        if let Some(Piece::Text(first)) = to.pieces.first() {
            let fits = first.starts_with('/')
                || first.starts_with("http://")
                || first.starts_with("https://")
                || first.starts_with("//");
            if !fits && !first.is_empty() {
                let wrong =
                    Diagnostic::error("bad-target", "a target is an absolute URL or begins with `/`", redirect.to.span);
                let text = self.sources.slice(redirect.to.span).trim_matches('"').to_owned();
                let is_host = first.split('/').next().is_some_and(|host| host.contains('.') && !first.contains(':'));
                let is_path = !is_host && !first.contains(':');
                let proposed = [(is_host, "https://"), (is_path, "/")].into_iter().filter(|(fits, _)| *fits);
                let help = proposed.map(|(_, start)| Help::write(redirect.to.span, format!("\"{start}{text}\"")));
                self.report.add(help.fold(wrong, Diagnostic::help));
            }
        }
    }
}

/// The `Host` that a server is to see.
pub(crate) fn host_field(written: Option<&Spanned<HostChoice>>) -> HostField {
    match written.map(|host| &host.value) {
        None | Some(HostChoice::Client) => HostField::Client,
        Some(HostChoice::Upstream) => HostField::Upstream,
        Some(HostChoice::Fixed(host)) => HostField::Fixed(host.clone().into()),
    }
}

/// Whether a target has a query of its own, or says where the request's goes.
fn has_query(to: &Template) -> bool {
    for piece in to.pieces.iter() {
        match piece {
            Piece::Query | Piece::PathAndQuery => return true,
            Piece::Text(text) => match text.find(['?', '#']) {
                Some(at) => return text[at..].starts_with('?'),
                None => continue,
            },
            _ => continue,
        }
    }
    false
}

/// The pieces of a target's authority: between `//` and the next `/`.
fn authority(to: &Template) -> Vec<&Piece> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, piece) in to.pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) if inside => {
                if text.contains(['/', '?', '#']) {
                    if !text.starts_with(['/', '?', '#']) {
                        found.push(piece);
                    }
                    return found;
                }
                found.push(piece);
            }
            Piece::Text(text) => {
                let Some((_, after)) = text.split_once("//") else {
                    // `/path...`: an origin-relative target has no authority.
                    if index == 0 && text.starts_with('/') {
                        return found;
                    }
                    continue;
                };
                if after.contains(['/', '?', '#']) {
                    return found;
                }
                inside = true;
                found.extend((!after.is_empty()).then_some(piece));
            }
            // A path begins with one slash (normal form merges them): it ends the authority, or there is none. Behind an empty
            // one browsers take its first segment for the host.
            Piece::Path | Piece::PathAndQuery if index == 0 || (inside && !found.is_empty()) => return found,
            Piece::Scheme if !inside => {}
            piece => {
                if inside || index == 0 {
                    found.push(piece);
                }
            }
        }
    }
    found
}
