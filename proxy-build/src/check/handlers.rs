//! Routes: each pattern with its one handler, and all that holds for it.

use proxy_runtime::site::{
    self, Handler, HostField, Proxy, Redirect, Respond, RespondBody, Server, Setting, Share, UpstreamTls,
};
use proxy_runtime::template::{Piece, Template};

use super::Check;
use super::layer::Layer;
use super::scope::{Phase, Scope};
use crate::ast::{self, HostChoice, HostPattern, Item, Part, Pattern, ProxyTo, Segment, What};
use crate::model;
use crate::model::{Functions, HeaderOp, RequestFilter, ResponseFilter, Route, list};
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};

/// Whether a property is there, and `#true`.
pub(super) fn is_on(written: &Option<Spanned<bool>>) -> bool {
    written.as_ref().is_some_and(|value| value.value)
}

/// Whether everything about these directives could be read.
fn whole(items: &[Item]) -> bool {
    items.iter().all(|item| {
        !item.broken
            && match &item.what {
                What::Unread => false,
                What::Matcher(ast::Matcher::Not(inner) | ast::Matcher::Any(inner)) => whole(inner),
                What::Handler(ast::Handler::Files(files)) => whole(&files.or_else),
                _ => true,
            }
    })
}

impl Check<'_> {
    /// The routes of a site; the site's own handler is a route `/*`.
    pub(super) fn routes(
        &mut self,
        site_span: Span,
        site: &ast::Site,
        outer: &Layer,
        hosts: &[HostPattern],
    ) -> Vec<Route> {
        let mut routes = Vec::new();
        let handlers: Vec<_> = site.items.iter().filter(|item| matches!(item.what, What::Handler(_))).collect();
        if let Some(item) = handlers.first() {
            self.one_handler(&handlers);
            let pattern =
                Spanned { value: Pattern { text: "/*".to_owned(), segments: vec![Segment::Rest] }, span: item.span };
            routes.extend(self.route(&pattern, 0, &[], item, outer.clone(), hosts));
        }
        for Item { what, span, .. } in &site.items {
            if let What::Route(route) = what {
                let (before, first) = (self.report.errors(), routes.len());
                self.route_node(*span, route, outer, hosts, &mut routes);
                if self.report.errors() > before || !whole(&route.items) {
                    self.unsound.extend(routes[first..].iter().map(|route| route.span));
                }
            }
        }
        self.policies_act(site_span, site, &routes);
        routes
    }

    fn route_node(
        &mut self,
        span: Span,
        route: &ast::Route,
        outer: &Layer,
        hosts: &[HostPattern],
        routes: &mut Vec<Route>,
    ) {
        let layer = self.layer(&route.items, outer);
        let handlers: Vec<_> = route.items.iter().filter(|item| matches!(item.what, What::Handler(_))).collect();
        let Some(handler) = handlers.first() else {
            if route.items.iter().any(|item| matches!(item.what, What::Unread)) {
                return;
            }
            self.report.add(
                Diagnostic::error("no-handler", "this route has no handler: nobody would answer", span)
                    .help("a route ends in one of: proxy split files respond redirect echo abort"),
            );
            return;
        };
        self.one_handler(&handlers);
        let priority = route.priority.as_ref().map_or(0, |priority| priority.value);
        for pattern in &route.patterns {
            self.note_priority(pattern, route.priority.as_ref());
            routes.extend(self.route(pattern, priority, &route.items, handler, layer.clone(), hosts));
        }
        self.no_effect_without_upstream(&route.items, handler);
    }

    pub(super) fn one_handler(&mut self, handlers: &[&Item]) {
        for second in handlers.iter().skip(1) {
            self.report.add(
                Diagnostic::error("two-handlers", "there is a handler already: only one can answer", second.span)
                    .label("the second")
                    .also(handlers[0].span, "the first"),
            );
        }
    }

    fn route(
        &mut self,
        pattern: &Spanned<Pattern>,
        priority: i64,
        items: &[Item],
        handler: &Item,
        layer: Layer,
        hosts: &[HostPattern],
    ) -> Option<Route> {
        let What::Handler(written) = &handler.what else { return None };
        let matched = self.matchers(items, pattern);
        let proxied = written.forwarding().is_some();
        let auth = layer.auth.as_ref().map(|(_, auth)| auth);
        let scope = Scope {
            captures: matched.captures,
            pattern: Some(pattern.value.text.clone()),
            any_case: pattern.value.ignores_case(),
            upstream: proxied,
            ..Scope::behind(auth)
        };
        let mut request = Vec::new();
        if proxied {
            if let Some(rewrite) = &layer.rewrite {
                self.note_rewrite(pattern, &rewrite.1);
                request.extend(self.rewrite(rewrite, &scope).map(RequestFilter::Rewrite));
            }
            let mut ops = self.header_ops(&layer.request_headers, &scope, Phase::Request);
            if layer.replace.as_ref().is_some_and(|(_, rule)| rule.on.value) {
                // Texts are found in what is whole, and not compressed.
                let unwanted = ["accept-encoding", "range", "if-range"];
                ops.extend(unwanted.map(|name| HeaderOp::Remove(name.to_owned())));
            }
            if !ops.is_empty() {
                request.push(RequestFilter::Headers(ops));
            }
        }
        let mut policy = self.policy(&layer, &scope);
        super::fields::own(&mut policy, &request, &self.trusted_header);
        self.passes_nothing_that_is_set(&layer, written);
        self.cors_alone(&layer);
        let ops = self.header_ops(&layer.response_headers, &scope, Phase::Response);
        let response = if ops.is_empty() { Vec::new() } else { vec![ResponseFilter::Headers(ops)] };
        let functions = self.functions(&layer.filters);
        let answer = self.handler(written, handler.span, &scope, hosts)?;
        self.grpc_gets_through(items, &answer);
        self.something_is_kept(items, matched.methods.mask);
        if let ast::Handler::Files(files) = written {
            self.files_and_else_are_asked(files, handler.span, &pattern.value, &matched.methods);
        }
        let mut route = Route {
            pattern: pattern.value.clone(),
            span: pattern.span,
            place: self.place(pattern.span),
            priority,
            rank: 0,
            methods: matched.methods,
            matchers: matched.matchers,
            request,
            response,
            functions,
            handler: answer,
            handler_span: handler.span,
            policy,
            example: None,
            origins: layer.origins.iter().map(|(name, span)| (*name, self.place(*span))).collect(),
        };
        if let Some((span, cache)) = layer.cache.as_ref().filter(|_| proxied) {
            self.keeps_no_named_files(*span, &route.handler);
            route.policy.cache = self.cache(*span, cache, &route);
        }
        Some(route)
    }

    /// gRPC goes over HTTP/2 all the way.
    fn grpc_gets_through(&mut self, items: &[Item], handler: &Handler) {
        let Some(proxy) = handler.proxy() else { return };
        let grpc = items.iter().find(|item| match &item.what {
            What::Matcher(ast::Matcher::Protocol(asked)) => {
                asked.iter().all(|asked| asked.value == ast::Protocol::Grpc)
            }
            _ => false,
        });
        let Some(grpc) = grpc else { return };
        for share in proxy.shares.iter() {
            let index = usize::from(share.upstream);
            let entry = &self.upstreams.entries[index];
            if entry.value.http2 {
                continue;
            }
            let message = format!("gRPC is spoken in HTTP/2 alone, and `{}` in HTTP/1.1", entry.value.name);
            let declared = self.upstreams.index.values().any(|&named| named == index);
            let help = match declared {
                true => self.inside(entry.span, "http h2"),
                false => "declare an `upstream` for these servers, with: http h2".into(),
            };
            let found =
                Diagnostic::error("contradiction", message, grpc.span).also(entry.span, "it is forwarded to here");
            self.report.add(found.help(help));
        }
    }

    /// A cache keeps responses to GET and HEAD alone (`methods` in `cache`).
    fn something_is_kept(&mut self, items: &[Item], methods: u16) {
        let cache = items.iter().find(|item| matches!(item.what, What::Policy(ast::Policy::Cache(_))));
        if let Some(cache) = cache.filter(|_| methods & 0b11 == 0) {
            let message = "`cache` has no effect: this route takes neither GET nor HEAD";
            let found = Diagnostic::error("no-effect", message, cache.span);
            self.report.add(found.help("a cache answers GET and HEAD; all other methods pass"));
        }
    }

    /// `filter`: which functions are asked.
    fn functions(&mut self, filters: &[(Span, ast::Filter)]) -> Functions {
        let mut functions = Functions::default();
        for (_, filter) in filters {
            let on_response = filter.on_response.as_ref();
            match (filter.is_off(), on_response) {
                (true, Some(on)) => self.error("no-effect", "`on` has no effect: `off` is none", on.span),
                (true, None) => {}
                (false, on) => {
                    let list =
                        if on.is_some_and(|on| on.value) { &mut functions.response } else { &mut functions.request };
                    list.push(filter.function.value.clone());
                }
            }
        }
        functions
    }

    pub(super) fn handler(
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

    fn proxy(&mut self, proxy: &ast::Proxy, span: Span) -> Option<Proxy> {
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
    pub(super) fn anonymous_upstream(
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
            servers.push(model::server(address, self.place(url.span)));
        }
        let name = match &servers.first()?.address {
            Setting::Fixed(address) => address.clone(),
            Setting::Param(index) => self.params.entries[usize::from(*index)].value.name.clone(),
        };
        let same = |other: &site::Upstream| {
            other.tls.is_some() == tls
                && other.servers.len() == servers.len()
                && other.servers.iter().zip(&servers).all(|(a, b)| a.address == b.address && a.weight == b.weight)
        };
        let existing = self.upstreams.entries.iter().position(|entry| entry.value.name == name && same(&entry.value));
        Some(existing.unwrap_or_else(|| {
            let place = self.sources.place(span);
            let mut upstream = model::upstream(name, servers, place);
            upstream.tls = tls.then_some(UpstreamTls { sni: None, ca: None, certificate: None, verify: true });
            self.upstreams.anonymous(span, upstream)
        }))
    }

    fn respond(&mut self, respond: &ast::Respond, scope: &Scope) -> Option<Respond> {
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
            default_type = proxy_runtime::media::of(&name).to_owned();
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

    fn redirect(&mut self, redirect: &ast::Redirect, scope: &Scope, hosts: &[HostPattern]) -> Option<Redirect> {
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
    fn redirect_target(
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

    /// `rewrite` and the like, written in a route that forwards nothing.
    fn no_effect_without_upstream(&mut self, items: &[Item], handler: &Item) {
        self.continue_acts(items, handler);
        if matches!(&handler.what, What::Handler(handler) if handler.forwarding().is_some()) {
            return;
        }
        for Item { span, what, .. } in items {
            let name = match what {
                What::Policy(ast::Policy::Rewrite(_)) => "rewrite",
                What::Policy(ast::Policy::RequestHeaders(_)) => "request-headers",
                What::Policy(policy @ (ast::Policy::Compress(_) | ast::Policy::BodyReplace(_)))
                    if matches!(handler.what, What::Handler(ast::Handler::Redirect(_) | ast::Handler::Abort)) =>
                {
                    let name = if matches!(policy, ast::Policy::Compress(_)) { "compress" } else { "body-replace" };
                    let message = format!("`{name}` has no effect: the answer has no body");
                    self.report
                        .add(Diagnostic::error("no-effect", message, *span).also(handler.span, "it is answered here"));
                    continue;
                }
                What::Policy(ast::Policy::Retry(_)) => "retry",
                What::Policy(ast::Policy::Mirror(_)) => "mirror",
                What::Policy(ast::Policy::Cache(_)) => "cache",
                What::Policy(ast::Policy::ResponseCookies(_)) => "response-cookies",
                What::Policy(ast::Policy::ErrorPage(ast::ErrorPage { upstream: Some(upstream), .. })) => {
                    let message = "`upstream` has no effect: this route forwards nothing";
                    self.report.add(
                        Diagnostic::error("no-effect", message, upstream.span)
                            .also(handler.span, "it is answered here"),
                    );
                    continue;
                }
                What::Policy(ast::Policy::Timeouts(timeouts)) => {
                    let own = [("connect", &timeouts.connect), ("response", &timeouts.response)];
                    for (name, found) in own {
                        if let Some(found) = found {
                            self.report.add(
                                Diagnostic::error(
                                    "no-effect",
                                    format!("`{name}` has no effect: this route forwards nothing"),
                                    found.span,
                                )
                                .also(handler.span, "it is answered here"),
                            );
                        }
                    }
                    continue;
                }
                _ => continue,
            };
            let message = format!("`{name}` has no effect: this route forwards nothing");
            self.report.add(Diagnostic::error("no-effect", message, *span).also(handler.span, "it is answered here"));
        }
    }

    /// `timeouts continue` in a route where the proxy does not wait for a server to say that.
    fn continue_acts(&mut self, items: &[Item], handler: &Item) {
        let What::Handler(written) = &handler.what else { return };
        let asks_server = written.forwarding().and_then(|forwarding| forwarding.asks_server.as_ref());
        if asks_server.is_some_and(|asks_server| asks_server.value) {
            return;
        }
        for Item { what, .. } in items {
            let What::Policy(ast::Policy::Timeouts(ast::Timeouts { proceed: Some(written), .. })) = what else {
                continue;
            };
            self.report.add(
                Diagnostic::error(
                    "no-effect",
                    "`continue` has no effect: it is the proxy that says it here",
                    written.span,
                )
                .also(handler.span, "to leave it to the server write continue=upstream here"),
            );
        }
    }

    /// The same for a whole site.
    fn policies_act(&mut self, _site: Span, site: &ast::Site, routes: &[Route]) {
        if routes.is_empty() || routes.iter().any(|route| route.handler.proxy().is_some()) {
            return;
        }
        for Item { span, what, .. } in &site.items {
            let name = match what {
                What::Policy(ast::Policy::Rewrite(_)) => "rewrite",
                What::Policy(ast::Policy::RequestHeaders(_)) => "request-headers",
                What::Policy(ast::Policy::Retry(_)) => "retry",
                What::Policy(ast::Policy::Mirror(_)) => "mirror",
                What::Policy(ast::Policy::Cache(_)) => "cache",
                What::Policy(ast::Policy::ResponseCookies(_)) => "response-cookies",
                _ => continue,
            };
            self.error("no-effect", format!("`{name}` has no effect: no route of this site forwards anything"), *span);
        }
    }
}

/// The `Host` that a server is to see.
pub(super) fn host_field(written: Option<&Spanned<HostChoice>>) -> HostField {
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
