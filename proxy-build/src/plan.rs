//! The plan between `lower` and `emit`: everything is numbered, ordered and shared. No name is left to look up, and no
//! order to choose.
//!
//! The plan can be executed: [`Plan`] implements the runtime's `SiteRules`, so that a site's tests and `kiln explain`
//! use the tables that are compiled in.

use std::borrow::Cow;

use proxy_runtime::context::facts::Facts;
use proxy_runtime::context::matcher;
use proxy_runtime::context::view::RequestView;
use proxy_runtime::filter::{self, Outgoing};
use proxy_runtime::protocol::fields::Fields;
use proxy_runtime::rehearse::{NotCompiled, SiteRules};
use proxy_runtime::router::regex::{Capturing, Regex};
use proxy_runtime::router::route::{Captures, RouteId, SiteId, Tables};
use proxy_runtime::site::{Handler, Methods, NormalForm, Policy, Setting, Text, Trusted};

use crate::interned::Interned;
use crate::model::{self, Functions, Matcher, RequestFilter, ResponseFilter};
use crate::pattern::{ValueOf, ValueTest};

/// A site ready for code generation, or simulation.
pub struct Plan<'m> {
    /// The model that it was made from.
    pub model: &'m model::Site,
    /// The lookup tables.
    pub tables: Tables,
    /// The routes by id.
    pub routes: Vec<Route<'m>>,
    /// Distinct policies; routes and sites share them.
    pub policies: Interned<&'m Policy>,
    /// Distinct conjunctions of matchers.
    pub matchers: Interned<&'m [Matcher]>,
    /// Distinct sequences of request filters.
    pub requests: Interned<&'m [RequestFilter]>,
    /// Distinct sequences of response filters.
    pub responses: Interned<&'m [ResponseFilter]>,
    /// Distinct lists of user functions.
    pub functions: Interned<&'m Functions>,
    /// Distinct sets of methods.
    pub methods: Interned<&'m Methods>,
    /// Distinct handlers.
    pub handlers: Interned<Cow<'m, Handler>>,
    /// Expressions without captures, each with its serialized DFA; sorted.
    pub regexes: Vec<(String, Regex, Vec<u8>)>,
    /// Expressions with captures; sorted.
    pub capturing: Vec<(String, &'static Capturing)>,
}

/// A route, with its parts by index.
pub struct Route<'m> {
    /// The route.
    pub model: &'m model::Route,
    /// The site it belongs to.
    pub site: SiteId,
    /// Index into [`Plan::methods`].
    pub methods: usize,
    /// Index into [`Plan::matchers`].
    pub matches: Option<usize>,
    /// Index into [`Plan::requests`].
    pub request: Option<usize>,
    /// Index into [`Plan::responses`].
    pub response: Option<usize>,
    /// Index into [`Plan::functions`].
    pub functions: Option<usize>,
    /// Index into [`Plan::handlers`].
    pub handler: usize,
    /// Its own text.
    pub row: &'m str,
    /// Index into [`Plan::policies`].
    pub policy: usize,
}

impl Plan<'_> {
    /// Returns the index of an expression in [`Plan::regexes`].
    pub fn regex(&self, pattern: &str) -> usize {
        self.regexes.binary_search_by(|(known, ..)| known.as_str().cmp(pattern)).expect("lowered")
    }

    /// Returns the index of an expression in [`Plan::capturing`].
    pub fn capturing(&self, pattern: &str) -> usize {
        self.capturing.binary_search_by(|(known, _)| known.as_str().cmp(pattern)).expect("lowered")
    }

    fn holds(&self, matcher: &Matcher, view: &RequestView<'_>, captures: &mut Captures) -> bool {
        match matcher {
            Matcher::Method(names) => names.iter().any(|name| name == view.method.as_str()),
            Matcher::Value(of, name, test) => self.value_holds(*of, name, test, view),
            Matcher::ClientIp(networks) => matcher::client_ip(view, networks),
            Matcher::WebSocket => matcher::websocket(view),
            Matcher::Grpc => matcher::grpc(view),
            Matcher::Http2 => matcher::http2(view),
            Matcher::Http3 => matcher::http3(view),
            Matcher::Always => true,
            Matcher::PathRegex(pattern, None) => self.regexes[self.regex(pattern)].1.is_match(view.path.as_bytes()),
            Matcher::PathRegex(pattern, Some(first)) => {
                self.capturing[self.capturing(pattern)].1.bind(view.path, *first, captures)
            }
            Matcher::Not(inner) => !inner.iter().all(|matcher| self.holds(matcher, view, captures)),
            Matcher::Any(inner) => inner.iter().any(|matcher| self.holds(matcher, view, captures)),
        }
    }

    fn value_holds(&self, of: ValueOf, name: &str, test: &ValueTest, view: &RequestView<'_>) -> bool {
        let regex = |pattern: &str| &self.regexes[self.regex(pattern)].1;
        match (of, test) {
            (ValueOf::Header, ValueTest::Present) => matcher::header(view, name),
            (ValueOf::Header, ValueTest::Equals(value)) => matcher::header_is(view, name, value),
            (ValueOf::Header, ValueTest::Matches(pattern)) => matcher::header_matches(view, name, regex(pattern)),
            (ValueOf::Query, ValueTest::Present) => matcher::query(view, name),
            (ValueOf::Query, ValueTest::Equals(value)) => matcher::query_is(view, name, value),
            (ValueOf::Query, ValueTest::Matches(pattern)) => matcher::query_matches(view, name, regex(pattern)),
            (ValueOf::Cookie, ValueTest::Present) => matcher::cookie(view, name),
            (ValueOf::Cookie, ValueTest::Equals(value)) => matcher::cookie_is(view, name, value),
            (ValueOf::Cookie, ValueTest::Matches(pattern)) => matcher::cookie_matches(view, name, regex(pattern)),
        }
    }

    fn path_step(&self, step: &model::PathStep) -> filter::PathStep {
        match step {
            model::PathStep::StripPrefixAnyCase(prefix) => filter::PathStep::StripPrefixAnyCase(prefix.clone().into()),
            model::PathStep::StripPrefix(prefix) => filter::PathStep::StripPrefix(prefix.clone().into()),
            model::PathStep::Replace(regex, replacement) => {
                filter::PathStep::Replace(self.capturing[self.capturing(regex)].1, replacement.clone().into())
            }
            model::PathStep::Path(template) => filter::PathStep::Path(template.clone()),
            model::PathStep::AddPrefix(prefix) => filter::PathStep::AddPrefix(prefix.clone().into()),
        }
    }

    fn header_op(&self, op: &model::HeaderOp) -> filter::HeaderOp {
        let name = |name: &str| proxy_runtime::site::Text::from(name.to_owned());
        match op {
            model::HeaderOp::Set(field, value) => filter::HeaderOp::Set(name(field), value.clone()),
            model::HeaderOp::Add(field, value) => filter::HeaderOp::Add(name(field), value.clone()),
            model::HeaderOp::Default(field, value) => filter::HeaderOp::Default(name(field), value.clone()),
            model::HeaderOp::Remove(field) => filter::HeaderOp::Remove(name(field)),
            model::HeaderOp::Replace(field, regex, replacement) => filter::HeaderOp::Replace(
                name(field),
                self.capturing[self.capturing(regex)].1,
                replacement.clone().into(),
            ),
        }
    }
}

impl SiteRules for Plan<'_> {
    fn tables(&self) -> &Tables {
        &self.tables
    }
    fn normal_form(&self, site: SiteId) -> NormalForm {
        self.model.hosts[site as usize].normal_form
    }
    fn methods(&self, route: RouteId) -> &Methods {
        &self.routes[route as usize].model.methods
    }
    fn matches(&self, route: RouteId, view: &RequestView<'_>, captures: &mut Captures) -> bool {
        self.routes[route as usize].model.expression().1.iter().all(|matcher| self.holds(matcher, view, captures))
    }
    fn filter(&self, route: RouteId, out: &mut Outgoing<'_>, facts: &Facts<'_>) {
        for step in &self.routes[route as usize].model.request {
            match step {
                RequestFilter::Rewrite(rewrite) => {
                    let rewrite = filter::Rewrite {
                        path: rewrite.path.iter().map(|step| self.path_step(step)).collect(),
                        query_remove: rewrite.query_remove.iter().map(|name| name.clone().into()).collect(),
                        query_set: rewrite
                            .query_set
                            .iter()
                            .map(|(name, value)| (name.clone().into(), value.clone()))
                            .collect(),
                        raw: rewrite.raw,
                    };
                    filter::rewrite(out, facts, &rewrite);
                }
                RequestFilter::Headers(ops) => {
                    let ops: Vec<_> = ops.iter().map(|op| self.header_op(op)).collect();
                    filter::request_headers(out, facts, &ops);
                }
            }
        }
    }
    fn respond(&self, route: RouteId, fields: &mut Fields, facts: &Facts<'_>) {
        for ResponseFilter::Headers(ops) in &self.routes[route as usize].model.response {
            let ops: Vec<_> = ops.iter().map(|op| self.header_op(op)).collect();
            filter::response_headers(fields, facts, &ops);
        }
    }
    fn functions(&self, route: RouteId) -> Result<Option<&'static filter::Functions>, NotCompiled> {
        if self.routes[route as usize].functions.is_some() { Err(NotCompiled) } else { Ok(None) }
    }
    fn policy(&self, route: RouteId) -> Option<&Policy> {
        Some(&self.routes[route as usize].model.policy)
    }
    fn site_policy(&self, site: SiteId) -> Option<&Policy> {
        Some(&self.model.hosts[site as usize].policy)
    }
    fn pattern(&self, route: RouteId) -> &str {
        &self.routes[route as usize].model.pattern.text
    }
    fn handler(&self, route: RouteId) -> &Handler {
        &self.routes[route as usize].model.handler
    }
    fn row(&self, route: RouteId) -> &str {
        self.routes[route as usize].row
    }
    fn upstream(&self, index: u16) -> &str {
        &self.model.upstreams[usize::from(index)].name
    }
    fn trusted(&self) -> &Trusted {
        &self.model.trusted
    }
    fn redirect_https(&self, site: SiteId, listener: u32) -> Option<&Setting<Text>> {
        let redirects = self.model.listeners.get(listener as usize)?.speaks.redirect_https;
        let secure = self.model.hosts[site as usize].secure.filter(|_| redirects)?;
        Some(&self.model.listeners[usize::from(secure)].address)
    }
    fn requires_certificate(&self, site: SiteId) -> bool {
        let host = &self.model.hosts[site as usize];
        let default = host.secure.and_then(|secure| self.model.listeners[usize::from(secure)].speaks.default);
        let tls = host.tls.or(default).and_then(|tls| self.model.tls.get(usize::from(tls)));
        tls.and_then(|tls| tls.client.as_ref()).is_some_and(|client| client.required)
    }
}
