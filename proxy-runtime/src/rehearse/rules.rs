//! The interface of a site's rules for simulations: [`SiteRules`], which the compiler implements with a plan, and the binary
//! with tables and functions.

use crate::context::facts::Facts;
use crate::context::view::RequestView;
use crate::filter::{Functions, Outgoing};
use crate::protocol::fields::Fields;
use crate::router::route::{Captures, RouteId, SiteId, Tables};
use crate::site::{Access, Handler, Methods, NormalForm, Policy, Setting, Site, Text, Trusted};

/// The rules of a site, compiled or not.
pub trait SiteRules {
    /// Returns the lookup tables.
    fn tables(&self) -> &Tables;
    /// Returns the normal form of a site's paths.
    fn normal_form(&self, site: SiteId) -> NormalForm;
    /// Returns the methods of a route.
    fn methods(&self, route: RouteId) -> &Methods;
    /// Evaluates the other matchers of a route.
    fn matches(&self, route: RouteId, view: &RequestView<'_>, captures: &mut Captures) -> bool;
    /// Applies a route's request filters.
    fn filter(&self, route: RouteId, out: &mut Outgoing<'_>, facts: &Facts<'_>);
    /// Applies a route's response filters.
    fn respond(&self, route: RouteId, fields: &mut Fields, facts: &Facts<'_>);
    /// Returns the user's functions on a route.
    ///
    /// # Errors
    /// Fails if the functions are not compiled yet.
    fn functions(&self, route: RouteId) -> Result<Option<&'static Functions>, NotCompiled>;
    /// Returns the policy of a route.
    fn policy(&self, route: RouteId) -> Option<&Policy>;
    /// Access control of a route.
    fn access(&self, route: RouteId) -> Option<&Access> {
        self.policy(route)?.access.as_ref()
    }
    /// Returns the policy for a site's requests without a route.
    fn site_policy(&self, site: SiteId) -> Option<&Policy>;
    /// Returns a route's pattern.
    fn pattern(&self, route: RouteId) -> &str;
    /// Returns the handler of a route.
    fn handler(&self, route: RouteId) -> &Handler;
    /// Returns the route's own text.
    fn row(&self, route: RouteId) -> &str;
    /// Returns the name of an upstream.
    fn upstream(&self, index: u16) -> &str;
    /// Returns the trusted proxies.
    fn trusted(&self) -> &Trusted;
    /// Returns the target of HTTPS redirects for a site on a plain listener: the address of the listener for `https`.
    fn redirect_https(&self, site: SiteId, listener: u32) -> Option<&Setting<Text>>;
    /// Returns whether the handshake for a site requires a certificate of the client.
    fn requires_certificate(&self, site: SiteId) -> bool;
}

/// The site has user functions, which only the binary can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotCompiled;

impl SiteRules for Site {
    fn tables(&self) -> &Tables {
        &self.tables
    }
    fn normal_form(&self, site: SiteId) -> NormalForm {
        self.sites[site as usize].normal_form
    }
    fn methods(&self, route: RouteId) -> &Methods {
        self.routes.methods(route)
    }
    fn matches(&self, route: RouteId, view: &RequestView<'_>, captures: &mut Captures) -> bool {
        self.routes.matches(route, view, captures)
    }
    fn filter(&self, route: RouteId, out: &mut Outgoing<'_>, facts: &Facts<'_>) {
        if let Some(filter) = self.routes.get(route).and_then(|route| route.request) {
            filter(out, facts);
        }
    }
    fn respond(&self, route: RouteId, fields: &mut Fields, facts: &Facts<'_>) {
        if let Some(filter) = self.routes.get(route).and_then(|route| route.response) {
            filter(fields, facts);
        }
    }
    fn functions(&self, route: RouteId) -> Result<Option<&'static Functions>, NotCompiled> {
        Ok(self.routes.get(route).and_then(|route| route.functions))
    }
    fn policy(&self, route: RouteId) -> Option<&Policy> {
        self.routes.get(route).map(|route| route.policy)
    }
    fn site_policy(&self, site: SiteId) -> Option<&Policy> {
        self.sites.get(site as usize).map(|host| host.policy)
    }
    fn pattern(&self, route: RouteId) -> &str {
        self.routes.get(route).map_or("", |route| route.pattern)
    }
    fn handler(&self, route: RouteId) -> &Handler {
        self.routes.get(route).map_or(&Handler::Abort, |route| route.handler)
    }
    fn row(&self, route: RouteId) -> &str {
        self.routes.get(route).map_or("", |route| route.row)
    }
    fn upstream(&self, index: u16) -> &str {
        &self.upstreams[usize::from(index)].name
    }
    fn trusted(&self) -> &Trusted {
        self.trusted
    }
    fn redirect_https(&self, site: SiteId, listener: u32) -> Option<&Setting<Text>> {
        let redirects = self.listeners.get(listener as usize)?.speaks.redirect_https;
        let secure = self.sites[site as usize].secure.filter(|_| redirects)?;
        Some(&self.listeners[usize::from(secure)].address)
    }
    fn requires_certificate(&self, site: SiteId) -> bool {
        let host = &self.sites[site as usize];
        let default = host.secure.and_then(|secure| self.listeners[usize::from(secure)].speaks.default);
        let tls = host.tls.or(default).and_then(|tls| self.tls.get(usize::from(tls)));
        tls.and_then(|tls| tls.client.as_ref()).is_some_and(|client| client.required)
    }
}
