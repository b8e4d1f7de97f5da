//! The syntax tree between `read` and `check`: the site as written, every leaf with its span.
//!
//! Names are not looked up yet; includes are spliced in, presets are not. There is one variant of [`What`] per directive, except for policies,
//! handlers, options of upstreams and their lines, whose types belong to their own files ([`WrittenAddress`]): `check` matches all variants,
//! `policy::ALL` and `upstream::ALL` list each policy and option, and `handler::of` finds each handler, so nothing that is read can be forgotten.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ipnet::IpNet;
use proxy_runtime::site::{LogLevel, ParamKind, Text, TraceTrust, TrustedHeader};

pub use self::access::{NetworkSource, Rate};
pub use self::cache::{
    Cache, CacheStore, DeviceGroup, DiskStore, Ignored, InCache, KeyDevice, KeyQuery, Override, Stale, Ttl, Warm,
    WarmSource,
};
pub use self::file_source::FileSource;
pub use self::proxy_to::ProxyTo;
pub use self::test::{Expect, ExpectField, Request, Test};
pub use self::tls::{Acme, Dns, DnsBy, HttpLine, HttpVersion, InListen, InStream, InTls, Stream, Tls};
pub use self::upstream::{RetryOn, Upstream};
use crate::code::Level;
pub use crate::pattern::{HostPattern, Pattern, Segment, ValueOf, ValueTest};
use crate::source::{Span, Spanned};

mod access;
mod cache;
mod file_source;
mod proxy_to;
mod test;
mod tls;
mod upstream;

/// A directive as written; the span is that of its name.
#[derive(Debug, Clone)]
pub struct Item {
    /// The span of the name.
    pub span: Span,
    /// The content.
    pub what: What,
    /// Whether it has an error in the report; parts of it may be missing for that reason.
    pub broken: bool,
}

/// The parsed value of a directive.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the directives, which the reference explains")]
pub enum What {
    /// A directive that could not be read at all.
    Unread,
    /// A directive of the top level.
    Top(Top),
    InListen(InListen),
    Tls(Tls),
    InTls(InTls),
    Dns(Dns),
    InStream(InStream),
    Route(Route),
    /// An option of an upstream, with the type of its own file.
    InUpstream(WrittenAddress),
    DiskStore(DiskStore),
    InCache(InCache),
    /// A line in the braces of a policy, a handler or an option, with the type of its own file.
    Line(WrittenAddress),
    Use(Spanned<String>),
    /// `max-streams`.
    MaxStreams(Spanned<Setting<u64>>),
    Workers(Option<Spanned<Setting<u64>>>),
    Drain(Spanned<Setting<Duration>>),
    /// `memory-limit`: `None` for `auto`.
    MemoryLimit(Option<Spanned<Setting<u64>>>),
    Request(Request),
    RequestField(Spanned<String>, Spanned<String>),
    RequestCookie(Spanned<String>, Spanned<String>),
    RequestBody(Spanned<u64>),
    RequestProtocol(Spanned<Protocol>),
    From(Spanned<IpAddr>),
    ExpectField(ExpectField),
    Expect(Expect),
    Matcher(Matcher),
    /// A handler, with the type of its own file.
    Handler(WrittenAddress),
    /// A policy, with the type of its own file.
    Policy(WrittenAddress),
}

/// The content of a directive that only its own file looks into: a policy, a handler, an option of an upstream, or a line of one. It is
/// retrieved by its type.
#[derive(Debug, Clone)]
pub struct WrittenAddress(Rc<dyn Content>);

/// The requirements for a [`WrittenAddress`].
trait Content: Any + fmt::Debug {}
impl<T: Any + fmt::Debug> Content for T {}

impl WrittenAddress {
    fn get<T: Any>(&self) -> Option<&T> {
        let content: &dyn Any = &*self.0;
        content.downcast_ref()
    }
}

impl What {
    /// Returns a policy.
    pub fn policy(policy: impl Any + fmt::Debug) -> What {
        What::Policy(WrittenAddress(Rc::new(policy)))
    }

    /// Returns an option of an upstream.
    pub fn in_upstream(option: impl Any + fmt::Debug) -> What {
        What::InUpstream(WrittenAddress(Rc::new(option)))
    }

    /// Returns a handler.
    pub fn handler(handler: impl Any + fmt::Debug) -> What {
        What::Handler(WrittenAddress(Rc::new(handler)))
    }

    /// Returns a line of a policy, a handler or an option.
    pub fn line(line: impl Any + fmt::Debug) -> What {
        What::Line(WrittenAddress(Rc::new(line)))
    }
}

impl Item {
    /// Returns the policy, if it is of this type.
    pub fn policy<T: Any>(&self) -> Option<&T> {
        match &self.what {
            What::Policy(written) => written.get(),
            _ => None,
        }
    }

    /// Returns the option of an upstream, if it is of this type.
    pub fn in_upstream<T: Any>(&self) -> Option<&T> {
        match &self.what {
            What::InUpstream(written) => written.get(),
            _ => None,
        }
    }

    /// Returns the handler, if it is of this type.
    pub fn handler<T: Any>(&self) -> Option<&T> {
        match &self.what {
            What::Handler(written) => written.get(),
            _ => None,
        }
    }

    /// Returns the line, if it is of this type.
    pub fn line<T: Any>(&self) -> Option<&T> {
        match &self.what {
            What::Line(written) => written.get(),
            _ => None,
        }
    }
}

/// A line of `process` about privileges, the sandbox and takeovers.
#[derive(Debug)]
pub enum ProcessLine {
    /// `user`.
    User(Spanned<String>),
    /// `group`.
    Group(Spanned<String>),
    /// `capabilities none`.
    NoCapabilities,
    /// `sandbox`: `None` for `sandbox off`, otherwise whether it is required.
    Sandbox(Option<bool>),
    /// `takeover`.
    Takeover(Takeover),
}

/// `takeover` of `process`.
#[derive(Debug)]
#[allow(missing_docs, reason = "named as the properties, which the reference explains")]
pub struct Takeover {
    pub path: Spanned<Setting<String>>,
    pub canary: Option<Spanned<Setting<Duration>>>,
    pub max_error_percent: Option<Spanned<u64>>,
}

/// A directive of the top level.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the directives, which the reference explains")]
pub enum Top {
    Listen(Listen),
    Acme(Box<Acme>),
    Stream(Stream),
    Site(Site),
    Upstream(Upstream),
    Admin(Admin),
    /// `log errors`.
    ErrorLog(ErrorLog),
    Trace(Box<Trace>),
    CacheStore(CacheStore),
    Param(Param),
    Preset(Preset),
    TrustedProxies(TrustedProxies),
    Process(Vec<Item>),
    Http(HttpLine),
    /// `http2`.
    Http2(Vec<Item>),
    Lint(Lint),
    Test(Test),
}

/// A value that is fixed or given at start.
#[derive(Debug, Clone)]
pub enum Setting<T> {
    /// A fixed value.
    Fixed(T),
    /// `(param)NAME`.
    Param(Spanned<String>),
    /// `(param)NAME`, with bounds for its value.
    Bounded(Spanned<String>, Bounds),
}

/// The bounds of a number, or of a size in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The smallest value.
    pub least: u64,
    /// The largest value.
    pub most: u64,
}

/// `listen`.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The name and the addresses.
    pub words: Vec<Spanned<ListenWord>>,
    /// The value of `mode=`.
    pub mode: Option<Spanned<u16>>,
    /// The user and the group of `owner=`.
    pub owner: Option<Spanned<(Option<String>, Option<String>)>>,
    /// The lines in the braces.
    pub items: Vec<Item>,
}

/// `admin`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The address of the endpoint.
    pub address: Spanned<Setting<String>>,
    /// The value of `mode=`.
    pub mode: Option<Spanned<u16>>,
    /// The user and the group of `owner=`.
    pub owner: Option<Spanned<(Option<String>, Option<String>)>>,
    /// The lines in the braces.
    pub items: Vec<Item>,
}

/// `log errors`.
#[derive(Debug, Clone)]
pub struct ErrorLog {
    /// Whether `format=` is JSON.
    pub json: Option<Spanned<bool>>,
    /// The value of `level=`.
    pub level: Option<Spanned<LogLevel>>,
    /// The lines in the braces.
    pub items: Vec<Item>,
}

/// `trace`.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The span of the directive.
    pub span: Span,
    /// The URL that spans are sent to.
    pub url: Spanned<Setting<String>>,
    /// The value of `sample=`.
    pub sample: Option<Spanned<Sample>>,
    /// The value of `else=`.
    pub otherwise: Option<Spanned<u64>>,
    /// The value of `trust=`.
    pub trust: Option<Spanned<TraceTrust>>,
    /// The lines in the braces.
    pub items: Vec<Item>,
}

/// The value of `sample=` in `trace`.
#[derive(Debug, Clone, Copy)]
pub enum Sample {
    /// The sender's decision applies.
    Parent,
    /// The share of all traces, out of `site::Trace::ALL`.
    Share(u64),
}

/// An argument of `listen`.
#[derive(Debug, Clone)]
pub enum ListenWord {
    /// The listener's name.
    Name(String),
    /// An address.
    Address(Setting<String>),
}

/// `site HOST... { }`.
#[derive(Debug, Clone)]
pub struct Site {
    /// The hosts.
    pub hosts: Vec<Spanned<HostPattern>>,
    /// The lines in the braces.
    pub items: Vec<Item>,
}

/// `route PATTERN... { }`.
#[derive(Debug, Clone)]
pub struct Route {
    /// The patterns.
    pub patterns: Vec<Spanned<Pattern>>,
    /// The value of `priority=`.
    pub priority: Option<Spanned<i64>>,
    /// The lines in the braces.
    pub items: Vec<Item>,
}

/// A matcher.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// `method`.
    Method(Vec<Spanned<String>>),
    /// `header`, `query`, `cookie`.
    Value {
        /// The part of the request.
        of: ValueOf,
        /// The name.
        name: Spanned<String>,
        /// The condition.
        test: ValueTest,
    },
    /// `client-ip`.
    ClientIp(Vec<Spanned<IpNet>>),
    /// `protocol`.
    Protocol(Vec<Spanned<Protocol>>),
    /// `path-regex`.
    PathRegex(Spanned<String>),
    /// `not { }`.
    Not(Vec<Item>),
    /// `any { }`.
    Any(Vec<Item>),
}

/// The protocol of a request, or the one that it upgrades to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "named as the words of `protocol`")]
pub enum Protocol {
    WebSocket,
    Grpc,
    Http1,
    Http2,
    Http3,
}

/// A text with placeholders, which are not looked up yet.
#[derive(Debug, Clone)]
pub struct Template {
    /// The parts of the text.
    pub parts: Vec<Part>,
    /// The span of the text.
    pub span: Span,
}

/// A part of a [`Template`].
#[derive(Debug, Clone)]
pub enum Part {
    /// Literal text.
    Text(Text),
    /// `{name}`.
    Placeholder(Spanned<String>),
    /// `(param)NAME`.
    Param(Spanned<String>),
    /// `(file)"path"`.
    File(Spanned<String>),
}

/// `param`.
#[derive(Debug, Clone)]
pub struct Param {
    /// The name.
    pub name: Spanned<String>,
    /// The value of `type=`.
    pub kind: Spanned<ParamKind>,
    /// The value of `default=`.
    pub default: Option<Spanned<String>>,
    /// The value of `help=`.
    pub help: Option<Spanned<String>>,
}

/// `preset`.
#[derive(Debug, Clone)]
pub struct Preset {
    /// The name.
    pub name: Spanned<String>,
    /// The policies.
    pub items: Vec<Item>,
}

/// `trusted-proxies`.
#[derive(Debug, Clone)]
pub struct TrustedProxies {
    /// The networks.
    pub networks: Vec<Spanned<IpNet>>,
    /// The value of `header=`.
    pub header: Option<Spanned<TrustedHeader>>,
}

/// `lint`.
#[derive(Debug, Clone)]
pub struct Lint {
    /// The level.
    pub level: Level,
    /// The lints.
    pub codes: Vec<Spanned<&'static str>>,
    /// The value of `days=`.
    pub days: Option<Spanned<u64>>,
}
