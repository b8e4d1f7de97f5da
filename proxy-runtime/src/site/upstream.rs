//! The part of the contract for upstreams and their servers.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use super::handler::SendFile;
use super::tls::UpstreamTls;
use crate::context::param::Setting;
use crate::context::template::Template;
use crate::protocol::methods::Methods;
use crate::value::{List, Place, Text};

/// `upstream`, or the servers of an inline `proxy`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name, or its first server's address.
    pub name: Text,
    /// Its servers.
    pub servers: List<Server>,
    /// The source of discovered servers.
    pub discover: Option<Discover>,
    /// The load-balancing policy.
    pub balance: BalancePolicy,
    /// The key for `hash` and `maglev`.
    pub key: Option<Template>,
    /// How long a recovered server takes to get its full share.
    pub slow_start: Setting<Duration>,
    /// The percentage of healthy servers below which health is ignored.
    pub panic_threshold: u64,
    /// The limits of concurrent and waiting exchanges.
    pub circuit_breaker: CircuitBreaker,
    /// The settings for idle connections.
    pub pool: Pool,
    /// The active health checks.
    pub health_check: Option<HealthCheck>,
    /// The passive health checks, by failed exchanges.
    pub outlier: Option<Outlier>,
    /// The cookie that names a server.
    pub sticky: Option<Sticky>,
    /// The PROXY header that servers receive on each connection.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The TLS settings of connections to servers.
    pub tls: Option<UpstreamTls>,
    /// Servers are connected to with HTTP/2.
    pub http2: bool,
    /// The folders with files that servers may name.
    pub send_files: List<SendFile>,
    /// The location of the declaration.
    pub place: Place,
}

impl Upstream {
    /// Creates an upstream with default settings.
    pub fn new(name: Text, servers: Vec<Server>, place: Place) -> Upstream {
        Upstream {
            name,
            servers: Cow::Owned(servers),
            discover: None,
            balance: BalancePolicy::RoundRobin,
            key: None,
            slow_start: Setting::Fixed(Duration::ZERO),
            panic_threshold: 1,
            circuit_breaker: CircuitBreaker::default(),
            pool: Pool::default(),
            health_check: None,
            outlier: None,
            sticky: None,
            proxy_protocol: None,
            tls: None,
            http2: false,
            send_files: Cow::Borrowed(&[]),
            place,
        }
    }

    /// Returns whether its servers are discovered by DNS.
    pub fn asks_dns(&self) -> bool {
        self.discover.as_ref().is_some_and(|discover| !matches!(discover.from, DiscoverFrom::File(_)))
    }
}

/// `discover`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Discover {
    /// The source.
    pub from: DiscoverFrom,
    /// The refresh interval; `None` for the TTL of the response.
    pub refresh: Option<Setting<Duration>>,
    /// The name servers, as `IP` or `IP:port`; empty for the system's.
    pub resolvers: List<Text>,
    /// The most servers.
    pub max: u64,
    /// The location of the declaration.
    pub place: Place,
}

/// Resolves servers by DNS. Only sites with DNS discovery refer to this function, so that it is not linked into others.
pub type Resolve = fn(&'static Discover) -> Pin<Box<dyn Future<Output = Resolved>>>;

/// Servers, and how long the result is valid; or the reason for the failure.
pub type Resolved = Result<(Vec<Discovered>, Duration), String>;

/// A discovered server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Discovered {
    /// Its address.
    pub address: SocketAddr,
    /// Its weight, relative to the others', up to 1000.
    pub weight: u32,
    /// Used only if no primary server is available.
    pub backup: bool,
}

/// The source of discovered servers.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub enum DiscoverFrom {
    /// A file with one server per line.
    File(Text),
    /// The addresses of a name, and a port.
    Dns(Text, u64),
    /// The targets of a service (SRV, RFC 2782).
    Srv(Text),
}

/// `server`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Server {
    /// `host:port`, `[v6]:port` or `unix:/path`.
    pub address: Setting<Text>,
    /// Its weight, relative to the others'.
    pub weight: Setting<u64>,
    /// Used only if no primary server is available.
    pub backup: bool,
    /// The most concurrent exchanges.
    pub max_connections: Setting<u64>,
    /// The location of the declaration.
    pub place: Place,
}

impl Server {
    /// Creates a server with default settings.
    pub fn new(address: Setting<Text>, place: Place) -> Server {
        Server { address, weight: Setting::Fixed(1), backup: false, max_connections: Setting::Fixed(u64::MAX), place }
    }
}

/// `balance`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the site; see the modules of `balance`")]
pub enum BalancePolicy {
    RoundRobin,
    LeastConn,
    P2c,
    Random,
    Hash,
    Maglev,
    Ewma,
    First,
}

/// `circuit-breaker`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct CircuitBreaker {
    /// The most concurrent exchanges of the whole upstream.
    pub max_connections: Setting<u64>,
    /// The most exchanges that wait for one of these, or for a server with capacity.
    pub max_pending: Setting<u64>,
    /// How long they wait.
    pub pending_timeout: Setting<Duration>,
}

impl Default for CircuitBreaker {
    fn default() -> CircuitBreaker {
        CircuitBreaker {
            max_connections: Setting::Fixed(u64::MAX),
            max_pending: Setting::Fixed(100),
            pending_timeout: Setting::Fixed(Duration::from_secs(1)),
        }
    }
}

/// `pool`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Pool {
    /// The most idle connections per server and worker.
    pub max_idle: Setting<u64>,
    /// How long a connection may be idle.
    pub idle_timeout: Setting<Duration>,
    /// The largest age of a connection that is reused.
    pub max_age: Setting<Duration>,
    /// The idle time after which TCP keep-alive probes are sent; `Duration::MAX` for never.
    pub tcp_keepalive: Setting<Duration>,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            max_idle: Setting::Fixed(1024),
            // Most servers close idle connections after 60 seconds or more.
            idle_timeout: Setting::Fixed(Duration::from_secs(60)),
            max_age: Setting::Fixed(Duration::MAX),
            tcp_keepalive: Setting::Fixed(Duration::MAX),
        }
    }
}

/// `health-check`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// The path of a GET; `None` if connecting is enough.
    pub path: Option<Text>,
    /// The service to check by gRPC (grpc.health.v1); "" for the server as a whole.
    pub grpc: Option<Text>,
    /// The `Host` to send; `None` for the server's address.
    pub host: Option<Text>,
    /// Another port than the server's own.
    pub port: Option<u64>,
    /// The interval between checks, plus or minus a tenth.
    pub interval: Setting<Duration>,
    /// The time-out of a check.
    pub timeout: Setting<Duration>,
    /// The number of consecutive successful checks after which a server is healthy.
    pub rise: u64,
    /// The number of consecutive failed checks after which it is unhealthy.
    pub fall: u64,
    /// The ranges of successful statuses, inclusive.
    pub statuses: List<(u16, u16)>,
    /// The text that the first 64 KiB of the body must contain.
    pub body: Option<Text>,
}

/// `outlier`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Outlier {
    /// The number of consecutive failures, including 5xx responses, after which a server is ejected.
    pub consecutive_5xx: u64,
    /// The first ejection time; it doubles with each further ejection, up to 16 times.
    pub eject: Setting<Duration>,
    /// The largest percentage of servers that may be ejected, but always one.
    pub max_ejected_percent: u64,
}

/// `sticky`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: Text,
    /// The secret that its values depend on; `None` for the upstream's name.
    pub secret: Option<Template>,
    /// The attributes after the value in `Set-Cookie`.
    pub attributes: Text,
}

/// `proxy-protocol`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the site")]
pub enum ProxyProtocol {
    V1,
    V2,
}

/// `retry`: when a request is sent to another server.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retry {
    /// The most retries.
    pub times: u64,
    /// Whether to retry if the connection ends before the response.
    pub on_reset: bool,
    /// Whether to retry after a time-out.
    pub on_timeout: bool,
    /// The statuses that cause a retry.
    pub on_statuses: List<u16>,
    /// The gRPC statuses that cause a retry if the call fails before any response message.
    pub on_grpc_statuses: List<u8>,
    /// The methods of requests that may be retried.
    pub methods: Methods,
    /// The largest body that is buffered for a retry, in bytes.
    pub body: Setting<u64>,
    /// The response time-out of each attempt.
    pub per_try: Setting<Duration>,
    /// The most concurrent retries, as a percentage of the exchanges of the upstream; three are always allowed.
    pub budget: u64,
    /// The time without a response after which a second server is tried in parallel; `Duration::MAX` for never.
    pub hedge: Setting<Duration>,
}

/// `mirror`: an upstream that receives copies of requests; its responses are discarded.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mirror {
    /// The index of the upstream.
    pub upstream: u16,
    /// The percentage of requests that are copied.
    pub percent: u64,
    /// The largest body of a copied request, in bytes.
    pub body: Setting<u64>,
}

/// `fault`: injected faults.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The delay of requests.
    pub delay: Setting<Duration>,
    /// The percentage of delayed requests.
    pub delay_percent: Setting<u64>,
    /// The status of the error responses.
    pub abort: u16,
    /// The percentage of rejected requests.
    pub abort_percent: Setting<u64>,
}
