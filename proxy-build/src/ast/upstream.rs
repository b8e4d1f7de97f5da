//! What is written about upstreams, their servers, and retries.

use std::time::Duration;

use proxy_runtime::site::{BalancePolicy, DiscoverFrom, ProxyProtocol};

use super::{FileSource, Forwarding, HostChoice, HttpVersion, Item, Setting, Template};
use crate::source::{Span, Spanned};

/// `upstream`.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name.
    pub name: Spanned<String>,
    /// What stands in it.
    pub items: Vec<Item>,
}

/// `server`.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its address.
    pub address: Spanned<Setting<String>>,
    /// `weight=`.
    pub weight: Option<Spanned<Setting<u64>>>,
    /// `backup=`.
    pub backup: Option<Spanned<bool>>,
    /// `max-connections=`.
    pub max_connections: Option<Spanned<Setting<u64>>>,
}

/// What stands in an `upstream`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the directives, which the reference explains")]
pub enum InUpstream {
    Server(Server),
    Balance { policy: Spanned<BalancePolicy>, key: Option<Spanned<Template>> },
    SlowStart(Spanned<Setting<Duration>>),
    PanicThreshold(u64),
    CircuitBreaker(CircuitBreaker),
    Pool(Pool),
    HealthCheck(HealthCheck),
    Outlier(Outlier),
    Sticky(Sticky),
    Discover(Discover),
    ProxyProtocol(ProxyProtocol),
    Tls(UpstreamTls),
    Http(Spanned<HttpVersion>),
    SendFile(SendFile),
}

/// `send-file`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the argument and the properties")]
pub struct SendFile {
    pub folder: Spanned<Setting<String>>,
    pub prefix: Option<Spanned<String>>,
    pub dotfiles: Option<Spanned<bool>>,
    pub symlinks: Option<Spanned<bool>>,
}

/// `tls` of an upstream.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct UpstreamTls {
    pub sni: Option<Spanned<String>>,
    pub ca: Option<Spanned<FileSource>>,
    pub certificate: Option<Spanned<FileSource>>,
    pub key: Option<Spanned<FileSource>>,
    pub verify: Option<Spanned<bool>>,
}

/// `discover`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct Discover {
    /// Where.
    pub from: Spanned<DiscoverFrom>,
    /// The directive's name.
    pub span: Span,
    pub refresh: Option<Spanned<Setting<Duration>>>,
    pub max: Option<Spanned<u64>>,
    pub items: Vec<Item>,
}

/// `circuit-breaker`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct CircuitBreaker {
    pub max_connections: Option<Spanned<Setting<u64>>>,
    pub max_pending: Option<Spanned<Setting<u64>>>,
    pub pending_timeout: Option<Spanned<Setting<Duration>>>,
}

/// `pool`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct Pool {
    pub max_idle: Option<Spanned<Setting<u64>>>,
    pub idle_timeout: Option<Spanned<Setting<Duration>>>,
    pub max_age: Option<Spanned<Setting<Duration>>>,
    pub tcp_keepalive: Option<Spanned<Setting<Duration>>>,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// To be connected to.
    Tcp,
    /// gRPC's own question.
    Grpc,
    /// This path.
    Path(String),
}

/// `health-check`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    pub service: Option<Spanned<String>>,
    pub host: Option<Spanned<String>>,
    pub port: Option<Spanned<u64>>,
    pub interval: Option<Spanned<Setting<Duration>>>,
    pub timeout: Option<Spanned<Setting<Duration>>>,
    pub rise: Option<Spanned<u64>>,
    pub fall: Option<Spanned<u64>>,
    pub items: Vec<Item>,
}

/// What stands in a `health-check`.
#[derive(Debug, Clone)]
pub enum InHealthCheck {
    /// `expect-status`.
    Statuses(Vec<Spanned<(u16, u16)>>),
    /// `expect-body`.
    Body(Spanned<String>),
}

/// `outlier`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct Outlier {
    pub consecutive_5xx: Option<Spanned<u64>>,
    pub eject: Option<Spanned<Setting<Duration>>>,
    pub max_ejected_percent: Option<Spanned<u64>>,
}

/// `sticky`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct Sticky {
    pub cookie: Spanned<String>,
    pub secret: Option<Spanned<Template>>,
    pub max_age: Option<Spanned<Duration>>,
    pub path: Option<Spanned<String>>,
    pub domain: Option<Spanned<String>>,
    pub same_site: Option<Spanned<&'static str>>,
    pub secure: Option<Spanned<bool>>,
    pub http_only: Option<Spanned<bool>>,
}

/// What a retry follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// The connection ended before the answer.
    Reset,
    /// No answer in time.
    Timeout,
    /// An answer of this status.
    Status(u16),
    /// A call of gRPC that has failed with this status.
    Grpc(u8),
}

/// `split`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct Split {
    pub by: Option<Spanned<Template>>,
    pub sticky: Option<Spanned<String>>,
    pub host: Option<Spanned<HostChoice>>,
    pub forwarding: Forwarding,
    pub items: Vec<Item>,
}

/// `to`.
#[derive(Debug, Clone)]
pub struct To {
    /// The upstream.
    pub upstream: Spanned<String>,
    /// `weight=`.
    pub weight: Option<Spanned<u64>>,
}
