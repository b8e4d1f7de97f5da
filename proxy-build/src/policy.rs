//! Policies: the settings that apply to the requests of a route. Each has a file with all of its code in the compiler: its directives
//! and their readers, the merging of nested scopes, its checks, and its value for the runtime.
//!
//! [`ALL`] lists them in the order in which they act on a request, and [`DIRECTIVES`] lists their directives. A new policy needs a file, and
//! a line in each of these.

pub(crate) mod auth;
pub(crate) mod block;
mod cache;
pub(crate) mod client_certificate;
pub(crate) mod compress;
pub(crate) mod cors;
mod counted;
pub(crate) mod error_page;
pub(crate) mod fault;
pub(crate) mod filter;
pub(crate) mod headers;
pub(crate) mod in_flight;
mod layer;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod maintenance;
pub(crate) mod media_types;
pub(crate) mod mirror;
pub(crate) mod networks;
pub(crate) mod rate_limit;
pub(crate) mod request_types;
pub(crate) mod response_body;
pub(crate) mod response_cookies;
pub(crate) mod retry;
pub(crate) mod rewrite;
pub(crate) mod timeouts;
mod words;

use std::fmt::Debug;
use std::marker::PhantomData;

use proxy_runtime::site;

pub(crate) use self::layer::{Layer, Merge};
pub(crate) use self::words::{ExplainLine, ExplainStep, ExplainedRequest, PolicyDescription};
use crate::ast::{self, Item, Pattern};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::Directive;
use crate::handler::WrittenHandler;
use crate::model::{self, Functions, HeaderOp, RequestFilter, ResponseFilter, Route, Site, list};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

/// A policy, as written.
pub(crate) trait Policy: Clone + Debug + 'static {
    /// The name of its directive.
    const NAME: &'static str;

    /// How instances in nested scopes are merged.
    const MERGE: Merge<Self> = Merge::Inner;

    /// Whether it only affects forwarded requests.
    const NEEDS_UPSTREAM: bool = false;

    /// Whether an instance with an error is ignored, because a missing part may be the cause.
    const NEEDS_ALL: bool = false;

    /// Returns the directive that it was written as, if there are several.
    fn name(&self) -> &'static str {
        Self::NAME
    }

    /// Returns whether it only removes those of outer scopes.
    fn is_off(&self) -> bool {
        false
    }

    /// Checks the instances of one place by themselves.
    fn check_place(_: &mut Check<'_>, _: &[Spanned<Self>]) {}

    /// Checks the policies of the top level, given the listeners.
    fn check_root(_: &mut Check<'_>, _: &Layer, _: &[site::Listener]) {}

    /// Reports that it has no effect on a route with this handler.
    fn idle(&self, at: Span, answer: &RouteHandler<'_>) -> Vec<Diagnostic> {
        match Self::NEEDS_UPSTREAM && answer.handler.forwarding().is_none() {
            true => vec![answer.idle(&format!("`{}`", self.name()), "this route forwards nothing", at)],
            false => Vec::new(),
        }
    }

    /// Checks it, and fills in the runtime's policy: for a route, or without one.
    fn check(_: &mut Check<'_>, _: &Layer, _: &Scope, _: &mut site::Policy) {}

    /// Checks the filters for requests and responses of a route, and adds them.
    fn filter(_: &mut Check<'_>, _: &Layer, _: &RouteContext<'_>, _: &mut Filters) {}

    /// Checks what depends on the rest of a route, and completes it.
    fn finish(_: &mut Check<'_>, _: &Layer, _: &mut Route) {}

    /// For `explain`: its effect on a request.
    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine>;

    /// For `report`: the checks that requests must pass, in a word or two each.
    fn guards(_: &Route) -> Vec<String> {
        Vec::new()
    }

    /// For `diff`: its settings, for comparison.
    fn diff(site: &Site, policy: &site::Policy) -> PolicyDescription;
}

/// The handler of a route, as written.
pub(crate) struct RouteHandler<'a> {
    pub(crate) handler: &'a dyn WrittenHandler,
    pub(crate) at: Span,
    /// The methods of the route, as bits; `None` if they are not known.
    pub(crate) methods: Option<u16>,
}

impl RouteHandler<'_> {
    /// Returns the diagnostic for a setting without effect.
    pub(crate) fn idle(&self, what: &str, why: &str, at: Span) -> Diagnostic {
        let message = format!("{what} has no effect: {why}");
        Diagnostic::error("no-effect", message, at).also(self.at, "this handler responds itself")
    }

    /// A change of the response's body has no effect if there is no body.
    fn has_no_body(&self, name: &str, at: Span) -> Vec<Diagnostic> {
        match self.handler.has_body() {
            true => Vec::new(),
            false => vec![self.idle(&format!("`{name}`"), "the response has no body", at)],
        }
    }
}

/// The route whose policies are checked.
pub(crate) struct RouteContext<'a> {
    pub(crate) pattern: &'a Spanned<Pattern>,
    pub(crate) scope: &'a Scope,
    pub(crate) handler: &'a dyn WrittenHandler,
}

impl RouteContext<'_> {
    /// Returns whether it forwards requests.
    pub(crate) fn forwards(&self) -> bool {
        self.scope.upstream
    }
}

/// The filters for requests and responses of a route, in the order of phases.
#[derive(Default)]
pub(crate) struct Filters {
    pub(crate) request: Vec<RequestFilter>,
    pub(crate) response: Vec<ResponseFilter>,
    pub(crate) functions: Functions,
}

impl Filters {
    /// Adds operations on request fields.
    pub(crate) fn request_headers(&mut self, ops: impl IntoIterator<Item = HeaderOp>) {
        let mut ops = ops.into_iter().peekable();
        match self.request.last_mut() {
            Some(RequestFilter::Headers(before)) => before.extend(ops),
            _ if ops.peek().is_some() => self.request.push(RequestFilter::Headers(ops.collect())),
            _ => {}
        }
    }
}

/// The object-safe form of [`Policy`].
pub(crate) trait AnyPolicy: Sync {
    /// Returns the name of its directive.
    fn name(&self) -> &'static str;
    /// Returns whether an item is of this policy.
    fn is(&self, item: &Item) -> bool;
    /// Adds an item to a layer, if it is of this policy; returns the name of its directive.
    fn add(&self, item: &Item, layer: &mut Layer) -> Option<&'static str>;
    /// Merges an inner layer into an outer one.
    fn merge(&self, outer: &mut Layer, inner: &Layer);
    /// Returns whether an item is an `off` without effect.
    fn turns_nothing_off(&self, item: &Item, around: &[&Layer]) -> bool;
    /// See [`Policy::check_place`].
    fn check_place(&self, check: &mut Check<'_>, layer: &Layer);
    /// See [`Policy::check_root`].
    fn check_root(&self, check: &mut Check<'_>, layer: &Layer, listeners: &[site::Listener]);
    /// See [`Policy::NEEDS_UPSTREAM`].
    fn needs_upstream(&self) -> bool;
    /// See [`Policy::idle`].
    fn idle(&self, item: &Item, answer: &RouteHandler<'_>) -> Vec<Diagnostic>;
    /// See [`Policy::check`].
    fn check(&self, check: &mut Check<'_>, layer: &Layer, scope: &Scope, policy: &mut site::Policy);
    /// See [`Policy::filter`].
    fn filter(&self, check: &mut Check<'_>, layer: &Layer, route: &RouteContext<'_>, filters: &mut Filters);
    /// See [`Policy::finish`].
    fn finish(&self, check: &mut Check<'_>, layer: &Layer, route: &mut Route);
    /// See [`Policy::explain`].
    fn explain(&self, of: &ExplainedRequest<'_>) -> Vec<ExplainLine>;
    /// See [`Policy::guards`].
    fn guards(&self, route: &Route) -> Vec<String>;
    /// See [`Policy::diff`].
    fn diff(&self, site: &Site, policy: &site::Policy) -> PolicyDescription;
}

/// All policies, in the order in which they act on a request.
pub(crate) static ALL: &[&dyn AnyPolicy] = &[
    &of::<limits::Limits>(),
    &of::<fault::Fault>(),
    &of::<maintenance::Maintenance>(),
    &of::<networks::Networks>(),
    &of::<request_types::RequestTypes>(),
    &of::<rate_limit::RateLimit>(),
    &of::<in_flight::InFlight>(),
    &of::<cors::Cors>(),
    &of::<client_certificate::ClientCertificate>(),
    &of::<auth::Auth>(),
    &of::<block::Block>(),
    &of::<filter::Filter>(),
    &of::<rewrite::Rewrite>(),
    &of::<headers::RequestHeaders>(),
    &of::<timeouts::Timeouts>(),
    &of::<retry::Retry>(),
    &of::<ast::Cache>(),
    &of::<mirror::Mirror>(),
    &of::<response_cookies::ResponseCookies>(),
    &of::<response_body::ResponseBody>(),
    &of::<compress::Compress>(),
    &of::<headers::ResponseHeaders>(),
    &of::<error_page::ErrorPage>(),
    &of::<log::Log>(),
];

/// All directives, in the order of the manual.
pub(crate) const DIRECTIVES: &[&Directive] = &[
    &rewrite::REWRITE,
    &rewrite::QUERY_SET,
    &rewrite::QUERY_REMOVE,
    &headers::directives::REQUEST_HEADERS,
    &headers::directives::RESPONSE_HEADERS,
    &headers::directives::SET,
    &headers::directives::ADD,
    &headers::directives::DEFAULT,
    &headers::directives::REMOVE,
    &headers::directives::REPLACE,
    &headers::directives::PASS,
    &limits::LIMITS,
    &timeouts::TIMEOUTS,
    &maintenance::MAINTENANCE,
    &networks::ALLOW,
    &networks::DENY,
    &rate_limit::RATE_LIMIT,
    &in_flight::IN_FLIGHT,
    &cors::CORS,
    &cors::CORS_METHODS,
    &cors::CORS_HEADERS,
    &cors::EXPOSE,
    &response_body::RESPONSE_BODY,
    &response_body::REPLACE,
    &response_cookies::RESPONSE_COOKIES,
    &client_certificate::CLIENT_CERTIFICATE,
    &client_certificate::SUBJECT,
    &client_certificate::FINGERPRINT,
    &auth::directives::AUTH,
    &auth::directives::ALGORITHMS,
    &auth::directives::REQUIRE,
    &auth::directives::SEND,
    &auth::directives::COPY,
    &auth::directives::COPY_RESPONSE,
    &block::BLOCK,
    &block::BLOCK_PATH,
    &block::BLOCK_QUERY,
    &block::BLOCK_HEADER,
    &block::BLOCK_HEADERS,
    &block::BLOCK_COOKIE,
    &block::BLOCK_USER_AGENT,
    &block::BLOCK_BODY,
    &request_types::REQUEST_TYPES,
    &filter::FILTER,
    &retry::RETRY,
    &retry::ON,
    &retry::METHODS,
    &compress::COMPRESS,
    &media_types::TYPES,
    &mirror::MIRROR,
    &fault::FAULT,
    &error_page::ERROR_PAGE,
    &log::directives::LOG,
    &log::members::FIELDS,
    &log::members::RENAME,
    &log::outputs::TO,
    &log::conditions::WHEN,
    &log::conditions::SAMPLE,
];

/// Returns the default policy.
pub(crate) fn defaults() -> site::Policy {
    site::Policy {
        limits: model::LIMITS,
        timeouts: model::TIMEOUTS,
        fields: site::FieldRules::default(),
        error_pages: list(Vec::new()),
        log: None,
        retry: None,
        mirror: None,
        fault: None,
        cache: None,
        cookies: list(Vec::new()),
        access: None,
        replace: None,
        compress: None,
    }
}

/// Adapts a policy to [`AnyPolicy`].
struct PolicyOf<P>(PhantomData<fn() -> P>);

const fn of<P>() -> PolicyOf<P> {
    PolicyOf(PhantomData)
}

impl<P: Policy> AnyPolicy for PolicyOf<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn is(&self, item: &Item) -> bool {
        item.policy::<P>().is_some()
    }

    fn add(&self, item: &Item, layer: &mut Layer) -> Option<&'static str> {
        let written = item.policy::<P>().filter(|_| !(item.broken && P::NEEDS_ALL))?;
        layer.push(Spanned { value: written.clone(), span: item.span });
        Some(written.name())
    }

    fn merge(&self, outer: &mut Layer, inner: &Layer) {
        let said = inner.all::<P>();
        if !said.is_empty() {
            outer.set(P::MERGE.merge(outer.all(), said));
        }
    }

    fn turns_nothing_off(&self, item: &Item, around: &[&Layer]) -> bool {
        let says = |layer: &&Layer| layer.all::<P>().iter().any(|said| !said.value.is_off());
        item.policy::<P>().is_some_and(P::is_off) && !around.iter().any(says)
    }

    fn check_place(&self, check: &mut Check<'_>, layer: &Layer) {
        P::check_place(check, layer.all());
    }

    fn check_root(&self, check: &mut Check<'_>, layer: &Layer, listeners: &[site::Listener]) {
        P::check_root(check, layer, listeners);
    }

    fn needs_upstream(&self) -> bool {
        P::NEEDS_UPSTREAM
    }

    fn idle(&self, item: &Item, answer: &RouteHandler<'_>) -> Vec<Diagnostic> {
        item.policy::<P>().map_or_else(Vec::new, |policy| policy.idle(item.span, answer))
    }

    fn check(&self, check: &mut Check<'_>, layer: &Layer, scope: &Scope, policy: &mut site::Policy) {
        P::check(check, layer, scope, policy);
    }

    fn filter(&self, check: &mut Check<'_>, layer: &Layer, route: &RouteContext<'_>, filters: &mut Filters) {
        P::filter(check, layer, route, filters);
    }

    fn finish(&self, check: &mut Check<'_>, layer: &Layer, route: &mut Route) {
        P::finish(check, layer, route);
    }

    fn explain(&self, of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        P::explain(of)
    }

    fn guards(&self, route: &Route) -> Vec<String> {
        P::guards(route)
    }

    fn diff(&self, site: &Site, policy: &site::Policy) -> PolicyDescription {
        P::diff(site, policy)
    }
}
