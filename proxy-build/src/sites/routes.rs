//! Routes: each pattern with its handler and its policies.

use proxy_runtime::site;

use crate::ast::{self, HostPattern, Item, Pattern, Segment, What};
use crate::check::scope::Scope;
use crate::check::{Check, fields};
use crate::handler::{self, HandlerContext, WrittenHandler};
use crate::model::Route;
use crate::policy::{self, Filters, Layer, RouteContext, RouteHandler};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

/// Returns whether all of these directives could be read completely.
fn whole(items: &[Item]) -> bool {
    items.iter().all(|item| {
        !item.broken
            && match &item.what {
                What::Unread => false,
                What::Matcher(ast::Matcher::Not(inner) | ast::Matcher::Any(inner)) => whole(inner),
                _ => handler::of(item).is_none_or(|handler| whole(handler.others())),
            }
    })
}

impl Check<'_> {
    /// Returns the routes of a site; the site's own handler is a route `/*`.
    pub(super) fn routes(&mut self, site: &ast::Site, outer: &Layer, hosts: &[HostPattern]) -> Vec<Route> {
        let mut routes = Vec::new();
        let mut complete = !site.items.iter().any(|item| self.may_be_route(item));
        if let Some((item, handler)) = handler::only(self, &site.items) {
            let pattern =
                Spanned { value: Pattern { text: "/*".to_owned(), segments: vec![Segment::Rest] }, span: item.span };
            let route = self.route(&pattern, 0, &[], (item.span, handler), outer.clone(), hosts);
            complete &= route.is_some();
            routes.extend(route);
        }
        for Item { what, span, .. } in &site.items {
            if let What::Route(route) = what {
                let (before, first) = (self.report.errors(), routes.len());
                self.route_node(*span, route, outer, hosts, &mut routes);
                complete &= routes.len() - first == route.patterns.len();
                if self.report.errors() > before || !whole(&route.items) {
                    self.unsound.extend(routes[first..].iter().map(|route| route.span));
                }
            }
        }
        if !complete {
            // What was left out may forward, and be what a priority or a condition is about.
            self.note_lost_route();
        } else if !routes.is_empty() && routes.iter().all(|route| route.handler.proxy().is_none()) {
            for item in &site.items {
                let kind = policy::ALL.iter().find(|kind| kind.is(item) && kind.needs_upstream());
                let Some(kind) = kind else { continue };
                let message = format!("`{}` has no effect: no route of this site forwards anything", kind.name());
                self.error("no-effect", message, item.span);
            }
        }
        routes
    }

    /// Returns whether a line of a site that could not be read may be a route or a handler: it is not a policy with a mistake in it.
    fn may_be_route(&self, Item { what, span, .. }: &Item) -> bool {
        matches!(what, What::Unread) && !policy::ALL.iter().any(|kind| kind.name() == self.sources.slice(*span))
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
        let Some((item, handler)) = handler::only(self, &route.items) else {
            if route.items.iter().any(|item| matches!(item.what, What::Unread)) {
                return;
            }
            self.report.add(
                Diagnostic::error("no-handler", "this route has no handler", span)
                    .help(format!("a route ends in one of: {}", handler::NAMES.join(" "))),
            );
            return;
        };
        let priority = route.priority.as_ref().map_or(0, |priority| priority.value);
        let first = routes.len();
        for pattern in &route.patterns {
            self.note_priority(pattern, route.priority.as_ref());
            routes.extend(self.route(pattern, priority, &route.items, (item.span, handler), layer.clone(), hosts));
        }
        let methods = routes[first..].first().map(|route| route.methods.mask);
        let answer = RouteHandler { handler, at: item.span, methods };
        for item in &route.items {
            policy::ALL.iter().flat_map(|kind| kind.idle(item, &answer)).for_each(|found| self.report.add(found));
        }
    }

    fn route(
        &mut self,
        pattern: &Spanned<Pattern>,
        priority: i64,
        items: &[Item],
        (at, handler): (Span, &dyn WrittenHandler),
        layer: Layer,
        hosts: &[HostPattern],
    ) -> Option<Route> {
        let matched = self.matchers(items, pattern);
        let scope = Scope {
            captures: matched.captures,
            pattern: Some(pattern.value.text.clone()),
            any_case: pattern.value.ignores_case(),
            upstream: handler.forwarding().is_some(),
            ..policy::auth::scope(&layer)
        };
        let mut filters = Filters::default();
        let of = RouteContext { pattern, scope: &scope, handler };
        policy::ALL.iter().for_each(|kind| kind.filter(self, &layer, &of, &mut filters));
        let mut policy = self.policy(&layer, &scope);
        fields::own(&mut policy, &filters.request, &self.trusted_header);
        let made = handler.check(self, &HandlerContext { at, scope: &scope, hosts })?;
        self.grpc_gets_through(items, &made);
        handler.check_requests(self, at, &pattern.value, &matched.methods);
        let mut route = Route {
            pattern: pattern.value.clone(),
            span: pattern.span,
            place: self.place(pattern.span),
            priority,
            rank: 0,
            methods: matched.methods,
            matchers: matched.matchers,
            request: filters.request,
            response: filters.response,
            functions: filters.functions,
            handler: made,
            handler_span: at,
            policy,
            example: None,
            origins: layer.origins.iter().map(|(name, span)| (*name, self.place(*span))).collect(),
        };
        policy::ALL.iter().for_each(|kind| kind.finish(self, &layer, &mut route));
        Some(route)
    }

    /// Checks that gRPC uses HTTP/2 from the client to the server.
    fn grpc_gets_through(&mut self, items: &[Item], handler: &site::Handler) {
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
            let message = format!("gRPC needs HTTP/2, and `{}` uses HTTP/1.1", entry.value.name);
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
}
