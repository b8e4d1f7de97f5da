//! The model between `check` and `lower`: the checked site. Names are looked up, defaults filled in, presets and outer
//! policies merged; every route has all of its policies.
//!
//! It is plain data. If the runtime has a type for a thing, the model uses it. Spans stay, for messages of later passes.

mod example;

use std::borrow::Cow;
use std::time::Duration;

use ipnet::IpNet;
use proxy_runtime::context::template::Template;
use proxy_runtime::site::{
    self, Acme, FileRef, Limits, Listener, NormalForm, Param, Policy, Process, Setting, Speaks, Stream, Timeouts, Tls,
    Trusted, Upstream,
};
use serde::Serialize;

pub(crate) use self::example::{ANYBODY, Example, HTTP_VERSION};
use crate::joint::JointTables;
use crate::pattern::{HostPattern, Pattern, ValueOf};
use crate::source::Span;

/// A checked site.
#[derive(Debug, Serialize)]
pub struct Site {
    /// Start-up parameters.
    pub params: Vec<Param>,
    /// Files that are read at start.
    pub files: Vec<FileRef>,
    /// The process settings: workers and drain.
    pub process: Process,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The TLS settings for clients.
    pub tls: Vec<Tls>,
    /// The ACME settings.
    pub acme: Option<Acme>,
    /// The admin endpoint.
    pub admin: Option<site::Admin>,
    /// Where traces are exported to.
    pub trace: Option<site::Trace>,
    /// Connections that are passed through.
    pub streams: Vec<Stream>,
    /// The trusted proxies.
    pub trusted: Trusted,
    /// The policy for requests whose site is unknown.
    pub root: Policy,
    /// The joint tables of the routes' expressions on paths.
    #[serde(skip)]
    pub joined: JointTables,
    /// The sites.
    pub hosts: Vec<Host>,
    /// The cache stores.
    pub stores: Vec<site::Store>,
    /// Network rules with lists in files.
    pub listed: Vec<site::Listed>,
    /// The upstreams.
    pub upstreams: Vec<Upstream>,
    /// The sources of token keys.
    pub key_sources: Vec<site::KeySource>,
    /// Where access logs go.
    pub outputs: Vec<site::LogOutput>,
    /// `log errors`.
    pub errors: Option<site::ErrorLog>,
    /// The embedded folders.
    #[serde(skip)]
    pub bundle: Vec<Folder>,
    /// The tests, with the spans of their expectations.
    pub tests: Vec<Test>,
    /// The requests after start.
    #[serde(skip)]
    pub warmed: Vec<Warmed>,
}

/// A URL of a `warm`, which its store must cache.
#[derive(Debug)]
pub struct Warmed {
    /// The URL.
    pub url: String,
    /// The index of the store.
    pub store: usize,
    /// Its span.
    pub span: Span,
}

/// An optional part of the runtime.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// Its name in `Cargo.toml`.
    pub name: &'static str,
    /// The runtime's constant that tells whether it is enabled.
    pub constant: &'static str,
    /// Its purpose in sites.
    pub does: &'static str,
}

/// An embedded folder.
#[derive(Debug, PartialEq)]
pub struct Folder {
    /// Its rules.
    pub files: site::Files,
    /// Its files, by their paths below it, in order.
    pub content: Vec<(String, &'static [u8])>,
}

/// A site of the file.
#[derive(Debug, Serialize)]
pub struct Host {
    /// Its hosts; the first is its name.
    pub hosts: Vec<HostPattern>,
    /// The span of its name.
    #[serde(skip)]
    pub span: Span,
    /// The indices of its listeners.
    pub listeners: Vec<usize>,
    /// The normal form of its paths.
    pub normal_form: NormalForm,
    /// The policy for requests without a route.
    pub policy: Policy,
    /// The index of its TLS settings.
    pub tls: Option<u16>,
    /// The index of the listener for its `https` URLs.
    pub secure: Option<u16>,
    /// Its routes, one per pattern.
    pub routes: Vec<Route>,
}

/// A route with one pattern.
#[derive(Debug, Serialize)]
pub struct Route {
    /// The pattern.
    pub pattern: Pattern,
    /// The span of the pattern (or of the handler that stands for `/*`).
    #[serde(skip)]
    pub span: Span,
    /// Its location for messages at run time.
    pub place: site::Place,
    /// Decides ties.
    pub priority: i64,
    /// The order among the routes of one pattern: the lowest is matched first.
    pub rank: u32,
    /// The methods it takes.
    pub methods: site::Methods,
    /// Its other matchers, all of which must match.
    pub matchers: Vec<Matcher>,
    /// The request filters, in the order of phases.
    pub request: Vec<RequestFilter>,
    /// The response filters, in the order of phases.
    pub response: Vec<ResponseFilter>,
    /// The user's functions.
    pub functions: Functions,
    /// Its handler.
    pub handler: site::Handler,
    /// The span of the handler.
    #[serde(skip)]
    pub handler_span: Span,
    /// Its policy.
    pub policy: Policy,
    /// An example of its requests.
    #[serde(skip)]
    pub(crate) example: Option<Example>,
    /// The directives that contributed to it, with their locations; for `explain`.
    pub origins: Vec<(&'static str, site::Place)>,
}

impl Host {
    /// Returns its first host.
    pub fn name(&self) -> String {
        self.hosts.first().map(ToString::to_string).unwrap_or_default()
    }
}

impl Route {
    /// Returns the expression on its path that joint tables match, and the matchers that remain: all others, and the
    /// expression itself if it has captures.
    pub fn expression(&self) -> (Option<&str>, &[Matcher]) {
        match self.matchers.split_first() {
            Some((Matcher::PathRegex(pattern, None), others)) => (Some(pattern), others),
            Some((Matcher::PathRegex(pattern, Some(_)), _)) => (Some(pattern), &self.matchers),
            _ => (None, &self.matchers),
        }
    }
}

/// A matcher.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Matcher {
    /// One of these methods; only within `not` and `any`.
    Method(Vec<String>),
    /// A header field, parameter or cookie.
    Value(ValueOf, String, crate::pattern::ValueTest),
    /// A client in one of these networks.
    ClientIp(Vec<IpNet>),
    /// An upgrade to WebSocket.
    WebSocket,
    /// A gRPC call.
    Grpc,
    /// A request that uses HTTP/2.
    Http2,
    /// A request that uses HTTP/3.
    Http3,
    /// Any request: HTTP/1, if no other version is used.
    Always,
    /// The path, and the first slot of its captures (if it has any).
    PathRegex(String, Option<u8>),
    /// Not all of these match.
    Not(Vec<Matcher>),
    /// At least one of these matches.
    Any(Vec<Matcher>),
}

/// `filter`: the paths of functions, each list in the order of calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Functions {
    /// The functions for requests.
    pub request: Vec<String>,
    /// The functions for responses.
    pub response: Vec<String>,
}

impl Functions {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}

/// A request filter with its data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum RequestFilter {
    /// `rewrite`.
    Rewrite(Rewrite),
    /// `request-headers`.
    Headers(Vec<HeaderOp>),
}

/// A response filter with its data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum ResponseFilter {
    /// `response-headers`.
    Headers(Vec<HeaderOp>),
}

/// `rewrite`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Rewrite {
    /// Changes to the path, in order.
    pub path: Vec<PathStep>,
    /// Query parameters to remove.
    pub query_remove: Vec<String>,
    /// Query parameters to set.
    pub query_set: Vec<(String, Template)>,
    /// Path and query are sent as received.
    pub raw: bool,
}

/// A change to the path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[allow(missing_docs, reason = "named as the properties of `rewrite`")]
pub enum PathStep {
    StripPrefix(String),
    /// Removes a prefix, ignoring case.
    StripPrefixAnyCase(String),
    Replace(String, String),
    Path(Template),
    AddPrefix(String),
}

/// An operation on a header field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[allow(missing_docs, reason = "named as the lines of `request-headers`")]
pub enum HeaderOp {
    Set(String, Template),
    Add(String, Template),
    Default(String, Template),
    Remove(String),
    Replace(String, String, String),
}

impl HeaderOp {
    /// Returns the field that it changes.
    pub fn name(&self) -> &str {
        match self {
            HeaderOp::Set(name, _)
            | HeaderOp::Add(name, _)
            | HeaderOp::Default(name, _)
            | HeaderOp::Remove(name)
            | HeaderOp::Replace(name, ..) => name,
        }
    }
}

/// A test with the spans of its expectations.
#[derive(Debug, Serialize)]
pub struct Test {
    /// The test.
    pub test: site::Test,
    /// The span of its name.
    #[serde(skip)]
    pub span: Span,
    /// The spans of the expectations, by property.
    #[serde(skip)]
    pub expectations: Vec<(String, Span)>,
}

/// The default limits.
pub const LIMITS: Limits = Limits {
    headers: Setting::Fixed(16 << 10),
    uri: Setting::Fixed(8 << 10),
    body: Setting::Fixed(16 << 20),
    connections: Setting::Fixed(10_000),
    per_client: Setting::Fixed(u64::MAX),
    handshakes: Setting::Fixed(1000),
    memory: Setting::Fixed(10 << 20),
    min_rate: 0,
    half_close: false,
    encoded_slash: false,
};

/// The default time-outs.
pub const TIMEOUTS: Timeouts = Timeouts {
    connect: Setting::Fixed(Duration::from_secs(5)),
    handshake: Setting::Fixed(Duration::from_secs(10)),
    request: Setting::Fixed(Duration::from_secs(10)),
    response: Setting::Fixed(Duration::from_secs(60)),
    proceed: Setting::Fixed(Duration::from_secs(1)),
    idle: Setting::Fixed(Duration::from_secs(60)),
    total: Setting::Fixed(Duration::MAX),
};

/// The default of `max-streams`.
pub const MAX_STREAMS: u64 = 100;

/// How long running exchanges may continue after SIGTERM, by default.
pub const DRAIN: Duration = Duration::from_secs(30);

/// How long a new process serves before the old one ends, by default.
pub const CANARY: Duration = Duration::from_secs(10);

/// The default listener of a site.
pub const LISTEN: &str = "[::]:8080";

/// The default listener of a site with `tls`; plain requests on port 80 are redirected to it.
pub const LISTEN_TLS: &str = "[::]:443";
/// See [`LISTEN_TLS`].
pub const LISTEN_PLAIN: &str = "[::]:80";

/// The default protocols of a listener.
pub const PLAIN: Speaks = Speaks {
    http1: true,
    http2: false,
    http3: false,
    http3_port: None,
    early_data: false,
    tls: false,
    default: None,
    redirect_https: false,
    proxy_protocol: None,
    stream: None,
    admin: false,
};

impl Site {
    /// Returns the optional features of the runtime, and whether the site needs them.
    pub fn features(&self) -> [(Feature, bool); 11] {
        let policies =
            || self.hosts.iter().flat_map(|host| host.routes.iter().map(|route| &route.policy).chain([&host.policy]));
        let feature = |name, constant, does| Feature { name, constant, does };
        let needs_more =
            |output: &site::LogOutput| !matches!(output.target, site::LogTarget::Stdout | site::LogTarget::Stderr);
        let looks_up = |scheme: &_| matches!(scheme, site::AuthScheme::Basic(_) | site::AuthScheme::ApiKey(..));
        let mut schemes = policies().filter_map(|policy| Some(&policy.access.as_ref()?.auth.as_ref()?.scheme));
        [
            (feature("acme", "SPEAKS_ACME", "gets certificates from an authority"), self.acme.is_some()),
            (feature("admin", "HAS_ADMIN", "is operated by `admin`"), self.admin.is_some()),
            (
                feature("auth", "CHECKS_CREDENTIALS", "looks credentials up"),
                schemes.any(looks_up) || self.admin.as_ref().is_some_and(|admin| admin.auth.is_some()),
            ),
            (
                feature("compress", "COMPRESSES", "compresses answers"),
                policies().any(|policy| policy.compress.is_some()),
            ),
            (feature("dns", "ASKS_DNS", "finds servers by DNS"), self.upstreams.iter().any(Upstream::asks_dns)),
            (
                feature("h3", "SPEAKS_HTTP3", "speaks HTTP/3"),
                self.listeners.iter().any(|listener| listener.speaks.http3),
            ),
            (feature("jwt", "CHECKS_TOKENS", "verifies tokens"), !self.key_sources.is_empty()),
            (feature("logs", "WRITES_LOGS", "writes logs to files or sockets"), self.outputs().any(needs_more)),
            (feature("takeover", "TAKES_OVER", "hands its sockets over"), self.process.takeover.is_some()),
            (feature("tls", "SPEAKS_TLS", "speaks TLS"), self.speaks_tls() || self.exports_by_tls()),
            (feature("trace", "EXPORTS_TRACES", "exports traces"), self.trace.is_some()),
        ]
    }

    /// Where all logs go.
    fn outputs(&self) -> impl Iterator<Item = &site::LogOutput> {
        self.outputs.iter().chain(self.errors.iter().flat_map(|errors| errors.outputs.iter()))
    }

    /// Returns whether the site uses TLS, for clients or for servers.
    pub fn speaks_tls(&self) -> bool {
        self.listeners.iter().any(|listener| listener.speaks.tls)
            || self.upstreams.iter().any(|upstream| upstream.tls.is_some())
            || self.streams.iter().any(Stream::reads_names)
    }

    /// Whether traces are exported by TLS, or may be.
    pub(crate) fn exports_by_tls(&self) -> bool {
        self.trace.as_ref().is_some_and(|trace| match &trace.url {
            Setting::Fixed(url) => url.starts_with("https:"),
            Setting::Param(_) => true,
        })
    }

    /// Determines the listener of each test's request.
    pub fn place_tests(&mut self) {
        for index in 0..self.tests.len() {
            let Ok(url) = self.tests[index].test.url.parse::<http::Uri>() else { continue };
            self.tests[index].test.listener = self.listener_for(&url) as u16;
        }
    }

    /// Returns the listener for a URL's request: the first with its port that serves its host, else the first with its
    /// scheme that serves its host, else the first that serves its host, else the first of all.
    pub fn listener_for(&self, url: &http::Uri) -> usize {
        let (host, port) = (url.host().unwrap_or_default().to_ascii_lowercase(), url.port_u16());
        let tls = url.scheme_str() == Some("https");
        let port = port.or_else(|| self.speaks_tls().then_some(if tls { 443 } else { 80 }));
        let serving = |index: &usize| {
            self.hosts
                .iter()
                .any(|site| site.listeners.contains(index) && site.hosts.iter().any(|pattern| pattern.matches(&host)))
        };
        let with_port = |index: &usize| {
            let address = match &self.listeners[*index].address {
                Setting::Fixed(address) => Some(address.as_ref()),
                Setting::Param(param) => self.params[usize::from(*param)].default.as_deref(),
            };
            match address.map(proxy_runtime::context::settings::address) {
                Some(Ok(proxy_runtime::context::settings::Address::Tcp(_, found))) => Some(found) == port,
                _ => false,
            }
        };
        let indices = || 0..self.listeners.len();
        indices()
            .find(|index| with_port(index) && (serving(index) || url.port_u16().is_some()))
            .or_else(|| indices().find(|index| self.listeners[*index].speaks.tls == tls && serving(index)))
            .or_else(|| indices().find(serving))
            .unwrap_or(0)
    }
}

/// Returns an owned list of the contract.
pub fn list<T: Clone>(items: Vec<T>) -> Cow<'static, [T]> {
    Cow::Owned(items)
}
