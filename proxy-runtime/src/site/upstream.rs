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
    /// Where it finds them, if they are not written.
    pub discover: Option<Discover>,
    /// How they take turns.
    pub balance: BalancePolicy,
    /// What `hash` and `maglev` go by.
    pub key: Option<Template>,
    /// How long a server that comes back takes to get its full share.
    pub slow_start: Setting<Duration>,
    /// Below this percentage of servers that are healthy, all are taken to be.
    pub panic_threshold: u64,
    /// How many exchanges there may be, and how many may wait.
    pub circuit_breaker: CircuitBreaker,
    /// Kept connections.
    pub pool: Pool,
    /// What is asked of servers all the time.
    pub health_check: Option<HealthCheck>,
    /// What failing exchanges lead to.
    pub outlier: Option<Outlier>,
    /// The cookie that names a server.
    pub sticky: Option<Sticky>,
    /// What servers are told of the client before each connection's first byte.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How connections to servers are encrypted.
    pub tls: Option<UpstreamTls>,
    /// Servers are spoken to in HTTP/2.
    pub http2: bool,
    /// The folders whose files they may have sent.
    pub send_files: List<SendFile>,
    /// Where it was declared.
    pub place: Place,
}

impl Upstream {
    /// An upstream of which nothing is said but its servers.
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

    /// Whether its servers are found by DNS.
    pub fn asks_dns(&self) -> bool {
        self.discover.as_ref().is_some_and(|discover| !matches!(discover.from, DiscoverFrom::File(_)))
    }
}

/// `discover`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Discover {
    /// Where.
    pub from: DiscoverFrom,
    /// How often it is looked for changes; `None` is as long as the response is good.
    pub refresh: Option<Setting<Duration>>,
    /// Name servers, as `IP` or `IP:port`; the system's where none is said.
    pub resolvers: List<Text>,
    /// No more servers than this.
    pub max: u64,
    /// Where it was declared.
    pub place: Place,
}

/// Asks by DNS. A site that does not ask does not name the function that does, so that it is not linked.
pub type Resolve = fn(&'static Discover) -> Pin<Box<dyn Future<Output = Resolved>>>;

/// Servers, and how long the response is good; or why there is none.
pub type Resolved = Result<(Vec<Discovered>, Duration), String>;

/// A server that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Discovered {
    /// Its address.
    pub address: SocketAddr,
    /// Its share, relative to the others', up to 1000.
    pub weight: u32,
    /// Asked only when no other can be.
    pub backup: bool,
}

/// The source of discovered servers.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub enum DiscoverFrom {
    /// A file with a server on each line.
    File(Text),
    /// The addresses of a name, and a port.
    Dns(Text, u64),
    /// The servers of a service (RFC 2782).
    Srv(Text),
}

/// `server`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Server {
    /// `host:port`, `[v6]:port` or `unix:/path`.
    pub address: Setting<Text>,
    /// Its share of the requests, relative to the others'.
    pub weight: Setting<u64>,
    /// Asked only when no other can be.
    pub backup: bool,
    /// Exchanges at once.
    pub max_connections: Setting<u64>,
    /// Where it was declared.
    pub place: Place,
}

impl Server {
    /// A server of which nothing is said but its address.
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
    /// Exchanges at once, in the whole upstream.
    pub max_connections: Setting<u64>,
    /// Exchanges that wait for one of these, or for a server with room.
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
    /// Idle connections per server and worker.
    pub max_idle: Setting<u64>,
    /// How long a connection may be idle.
    pub idle_timeout: Setting<Duration>,
    /// How old a connection may be when it is used again.
    pub max_age: Setting<Duration>,
    /// After how much silence TCP asks whether the other side is there; `Duration::MAX` for never.
    pub tcp_keepalive: Setting<Duration>,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            max_idle: Setting::Fixed(64),
            // Most servers close theirs after 60 seconds or more.
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
    /// The path to GET; `None` if connecting is enough.
    pub path: Option<Text>,
    /// The service to ask about by gRPC (grpc.health.v1); "" for the server as a whole.
    pub grpc: Option<Text>,
    /// The `Host` to send; the server's address where none is said.
    pub host: Option<Text>,
    /// Another port than the server's own.
    pub port: Option<u64>,
    /// From one check to the next, give or take a tenth.
    pub interval: Setting<Duration>,
    /// How long a check may take.
    pub timeout: Setting<Duration>,
    /// So many good checks make a server healthy.
    pub rise: u64,
    /// So many bad ones make it unhealthy.
    pub fall: u64,
    /// The statuses that are good, from and to.
    pub statuses: List<(u16, u16)>,
    /// What must be in the body's first 64 KiB.
    pub body: Option<Text>,
}

/// `outlier`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Outlier {
    /// So many failures in a row, 5xx answers included, and a server is ejected.
    pub consecutive_5xx: u64,
    /// For how long the first time; each time after that twice as long, up to 16 times.
    pub eject: Setting<Duration>,
    /// No more of the servers than this percentage, but always one.
    pub max_ejected_percent: u64,
}

/// `sticky`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: Text,
    /// What its values depend on; the upstream's name where none is said.
    pub secret: Option<Template>,
    /// What follows the value in `Set-Cookie`.
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
    /// How often, at most.
    pub times: u64,
    /// If the connection ends before the response.
    pub on_reset: bool,
    /// If there is no response in time.
    pub on_timeout: bool,
    /// If the response has one of these statuses.
    pub on_statuses: List<u16>,
    /// If a call of gRPC ends with one of these statuses before it has answered anything.
    pub on_grpc_statuses: List<u8>,
    /// Requests with these methods alone.
    pub methods: Methods,
    /// The largest body that is kept to be sent again, in bytes.
    pub body: Setting<u64>,
    /// How long each try may wait for a response.
    pub per_try: Setting<Duration>,
    /// How many retries there may be at once, as a percentage of the exchanges of the upstream; three are always allowed.
    pub budget: u64,
    /// After how long a second server is asked while the first still has not answered; `Duration::MAX` for never.
    pub hedge: Setting<Duration>,
}

/// `mirror`: an upstream that gets a copy of requests; what it answers is thrown away.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mirror {
    /// The index of the upstream.
    pub upstream: u16,
    /// So many of a hundred requests.
    pub percent: u64,
    /// Requests with larger bodies are not copied, in bytes.
    pub body: Setting<u64>,
}

/// `fault`: what goes wrong on purpose.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fault {
    /// How long requests are held back.
    pub delay: Setting<Duration>,
    /// So many of a hundred.
    pub delay_percent: Setting<u64>,
    /// The status that requests are refused with.
    pub abort: u16,
    /// So many of a hundred.
    pub abort_percent: Setting<u64>,
}
