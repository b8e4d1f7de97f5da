//! The syntax tree between `read` and `check`: the site as it was written, every leaf with its span.
//!
//! Names are not looked up yet, includes are spliced in, presets are not. One variant of [`What`] per directive, but for policies, handlers,
//! options of upstreams and their lines, whose types are their own files' ([`WrittenAddress`]): `check` matches all variants, each policy and option is
//! asked for by `policy::ALL` and `upstream::ALL`, and each handler is found by `handler::of`, so nothing that is read can be forgotten.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ipnet::IpNet;
use proxy_runtime::site::{ParamKind, Text, TrustedHeader};

pub use self::access::{NetworkSource, Rate};
pub use self::cache::{
    Cache, CacheStore, DeviceGroup, DiskStore, Ignored, InCache, KeyDevice, KeyQuery, Override, Stale, Ttl, Warm,
    WarmSource,
};
pub use self::file_source::FileSource;
pub use self::proxy_to::ProxyTo;
pub use self::test::{Expect, ExpectField, Request, Test};
pub use self::tls::{Acme, Dns, DnsBy, HttpVersion, InListen, InStream, InTls, Stream, Tls};
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

/// A directive as it was written; the span is that of its name.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where its name stands.
    pub span: Span,
    /// What it says.
    pub what: What,
    /// Something about it was wrong and is in the report; what is missing in it may be missing for that reason.
    pub broken: bool,
}

/// The parsed value of a directive.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the directives, which the reference explains")]
pub enum What {
    /// A directive that was too wrong to be read at all.
    Unread,
    /// What stands at the top level alone.
    Top(Top),
    InListen(InListen),
    Tls(Tls),
    InTls(InTls),
    Dns(Dns),
    InStream(InStream),
    Route(Route),
    /// An option of an upstream, which is its own file's.
    InUpstream(WrittenAddress),
    DiskStore(DiskStore),
    InCache(InCache),
    /// A line in the braces of a policy, a handler or an option, which is that one's own.
    Line(WrittenAddress),
    Use(Spanned<String>),
    /// `max-streams`.
    MaxStreams(Spanned<Setting<u64>>),
    Workers(Option<Spanned<Setting<u64>>>),
    Drain(Spanned<Setting<Duration>>),
    Request(Request),
    RequestField(Spanned<String>, Spanned<String>),
    RequestCookie(Spanned<String>, Spanned<String>),
    RequestBody(Spanned<u64>),
    RequestProtocol(Spanned<Protocol>),
    From(Spanned<IpAddr>),
    ExpectField(ExpectField),
    Expect(Expect),
    Matcher(Matcher),
    /// A handler, which is its own file's.
    Handler(WrittenAddress),
    /// A policy, which is its own file's.
    Policy(WrittenAddress),
}

/// What a directive says that only its own file looks into: a policy, a handler, an option of an upstream, or a line of one. It is taken out
/// again by its type.
#[derive(Debug, Clone)]
pub struct WrittenAddress(Rc<dyn Content>);

/// What can be [`WrittenAddress`].
trait Content: Any + fmt::Debug {}
impl<T: Any + fmt::Debug> Content for T {}

impl WrittenAddress {
    fn get<T: Any>(&self) -> Option<&T> {
        let content: &dyn Any = &*self.0;
        content.downcast_ref()
    }
}

impl What {
    /// A policy.
    pub fn policy(policy: impl Any + fmt::Debug) -> What {
        What::Policy(WrittenAddress(Rc::new(policy)))
    }

    /// An option of an upstream.
    pub fn in_upstream(option: impl Any + fmt::Debug) -> What {
        What::InUpstream(WrittenAddress(Rc::new(option)))
    }

    /// A handler.
    pub fn handler(handler: impl Any + fmt::Debug) -> What {
        What::Handler(WrittenAddress(Rc::new(handler)))
    }

    /// A line of a policy, a handler or an option.
    pub fn line(line: impl Any + fmt::Debug) -> What {
        What::Line(WrittenAddress(Rc::new(line)))
    }
}

impl Item {
    /// The policy that it is, if it is one of this type.
    pub fn policy<T: Any>(&self) -> Option<&T> {
        match &self.what {
            What::Policy(written) => written.get(),
            _ => None,
        }
    }

    /// The option of an upstream that it is, if it is one of this type.
    pub fn in_upstream<T: Any>(&self) -> Option<&T> {
        match &self.what {
            What::InUpstream(written) => written.get(),
            _ => None,
        }
    }

    /// The handler that it is, if it is one of this type.
    pub fn handler<T: Any>(&self) -> Option<&T> {
        match &self.what {
            What::Handler(written) => written.get(),
            _ => None,
        }
    }

    /// The line that it is, if it is one of this type.
    pub fn line<T: Any>(&self) -> Option<&T> {
        match &self.what {
            What::Line(written) => written.get(),
            _ => None,
        }
    }
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
    CacheStore(CacheStore),
    Param(Param),
    Preset(Preset),
    TrustedProxies(TrustedProxies),
    Process(Vec<Item>),
    /// `http2`.
    Http2(Vec<Item>),
    Lint(Lint),
    Test(Test),
}

/// A value that is written, or given at start.
#[derive(Debug, Clone)]
pub enum Setting<T> {
    /// Written.
    Fixed(T),
    /// `(param)NAME`.
    Param(Spanned<String>),
    /// `(param)NAME`, whose value is held to bounds.
    Bounded(Spanned<String>, Bounds),
}

/// The bounds of a number, or of a size in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// This, or more.
    pub least: u64,
    /// This, or less.
    pub most: u64,
}

/// `listen`.
#[derive(Debug, Clone)]
pub struct Listen {
    /// A name, and addresses.
    pub words: Vec<Spanned<ListenWord>>,
    /// `mode=`.
    pub mode: Option<Spanned<u16>>,
    /// `owner=`: user and group.
    pub owner: Option<Spanned<(Option<String>, Option<String>)>>,
    /// What stands in it.
    pub items: Vec<Item>,
}

/// `admin`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where it listens.
    pub address: Spanned<Setting<String>>,
    /// `mode=`.
    pub mode: Option<Spanned<u16>>,
    /// `owner=`: user and group.
    pub owner: Option<Spanned<(Option<String>, Option<String>)>>,
    /// What stands in it.
    pub items: Vec<Item>,
}

/// An argument of `listen`.
#[derive(Debug, Clone)]
pub enum ListenWord {
    /// A listener's name.
    Name(String),
    /// An address.
    Address(Setting<String>),
}

/// `site HOST... { }`.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its hosts.
    pub hosts: Vec<Spanned<HostPattern>>,
    /// What stands in it.
    pub items: Vec<Item>,
}

/// `route PATTERN... { }`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its patterns.
    pub patterns: Vec<Spanned<Pattern>>,
    /// `priority=`.
    pub priority: Option<Spanned<i64>>,
    /// What stands in it.
    pub items: Vec<Item>,
}

/// A matcher.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// `method`.
    Method(Vec<Spanned<String>>),
    /// `header`, `query`, `cookie`.
    Value {
        /// Which of them.
        of: ValueOf,
        /// The name.
        name: Spanned<String>,
        /// What is asked of it.
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

/// The protocol that a request uses, or asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "named as the words of `protocol`")]
pub enum Protocol {
    WebSocket,
    Grpc,
    Http1,
    Http2,
    Http3,
}

/// Text with placeholders, not looked up yet.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its parts.
    pub parts: Vec<Part>,
    /// Where it stands.
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
    /// Its name.
    pub name: Spanned<String>,
    /// `type=`.
    pub kind: Spanned<ParamKind>,
    /// `default=`.
    pub default: Option<Spanned<String>>,
    /// `help=`.
    pub help: Option<Spanned<String>>,
}

/// `preset`.
#[derive(Debug, Clone)]
pub struct Preset {
    /// Its name.
    pub name: Spanned<String>,
    /// Its policies.
    pub items: Vec<Item>,
}

/// `trusted-proxies`.
#[derive(Debug, Clone)]
pub struct TrustedProxies {
    /// Networks.
    pub networks: Vec<Spanned<IpNet>>,
    /// `header=`.
    pub header: Option<Spanned<TrustedHeader>>,
}

/// `lint`.
#[derive(Debug, Clone)]
pub struct Lint {
    /// How serious.
    pub level: Level,
    /// Which.
    pub codes: Vec<Spanned<&'static str>>,
    /// `days=`.
    pub days: Option<Spanned<u64>>,
}
