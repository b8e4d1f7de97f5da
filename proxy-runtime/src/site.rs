//! THE CONTRACT between a compiled site and the runtime: plain data, and the few functions that a site's output names.
//!
//! The compiler builds these very types (with owned storage) to run a site's tests during the build; its output spells
//! them as `static`s (with borrowed storage). Hence [`Text`] and [`List`]: one type, two kinds of storage.
//! Nothing here does I/O and nothing decides: see `route`, `filter` and `serve` for what is done with it.
//!
//! Whoever changes the meaning or shape of a type here raises [`VERSION`]; the output asserts it at compile time.

mod auth;
mod block;
mod cache;
mod compress;
mod cookies;
mod door;
mod files;
mod handler;
mod replace;
mod routes;
mod test;
mod tls;
mod trust;
mod upstream;

use std::borrow::Cow;
use std::time::Duration;

use http::Method;
pub use ipnet::IpNet;

pub use self::auth::{Algorithm, Auth, AuthScheme, ForwardAuth, Jwt, KeySource, KeyUrl, RequiredClaim};
pub use self::block::{Block, Blocks, Where};
pub use self::cache::{Cache, ControlField, DiskStore, Key, Mark, Override, Part, Stale, Store, Ttl};
pub use self::compress::{Coding, Compress};
pub use self::cookies::CookieRule;
pub use self::door::{
    By, ClientCertificateRules, Cors, Door, InFlight, Listed, Maintenance, NetworkRule, Networks, Origin, RateLimit,
};
pub use self::files::{Files, SendFile};
pub use self::handler::{Handler, Redirect, Respond, RespondBody};
pub use self::replace::BodyReplace;
pub use self::routes::{Matches, Request, Response, Route, Routes};
pub use self::test::{Expect, ExpectField, Side, Test};
pub use self::tls::{
    Acme, Certificate, Certificates, Challenge, ClientCertificates, DnsProvider, DnsUpdate, Group, ProxyProtocolIn,
    Speaks, Stream, Tls, TlsVersion, TsigAlgorithm, Tunnel, UpstreamTls,
};
pub use self::trust::{FieldRules, Trusted, TrustedHeader};
pub use self::upstream::{
    BalancePolicy, CircuitBreaker, Discover, DiscoverFrom, Discovered, Fault, HealthCheck, HostField, Mirror, Outlier,
    Pool, Proxy, ProxyProtocol, Resolve, Resolved, Retry, Server, Share, Sticky, Upstream,
};
pub use crate::addresses::Addresses;
use crate::canonical;
pub use crate::files::bundle::Bundle;
use crate::route::Tables;
use crate::template::Template;

/// The version of this contract. The output of the compiler contains `const _: () = assert!(VERSION == ...)`.
pub const VERSION: u32 = 21;

/// A string that is `'static` in a compiled site and owned inside the compiler.
pub type Text = Cow<'static, str>;

/// A list that is `'static` in a compiled site and owned inside the compiler.
pub type List<T> = Cow<'static, [T]>;

/// Where the words came from: file (as the user named it) and line (from 1). Printed in messages at start and in logs.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's path as written on the command line or in an `include`.
    pub file: Text,
    /// The line, counted from 1.
    pub line: u32,
}

/// A whole compiled site.
#[derive(Clone)]
pub struct Site {
    /// The path of the main site file as the compiler was given it.
    pub name: &'static str,
    /// SHA-256 over all source files, in hexadecimal.
    pub digest: &'static str,
    /// The compiler's version and the profile it was built for.
    pub built: &'static str,
    /// Every file the site was built from, for `--config`.
    pub sources: &'static [SourceFile],
    /// Every file that was compiled in as bytes.
    pub assets: &'static [Asset],
    /// What may differ between two starts.
    pub params: &'static [Param],
    /// Files that are read at start and again on SIGHUP.
    pub files: &'static [FileRef],
    /// Workers and drain.
    pub process: &'static Process,
    /// Sockets to accept from.
    pub listeners: &'static [Listener],
    /// How connections are encrypted.
    pub tls: &'static [Tls],
    /// Who is asked for certificates.
    pub acme: Option<&'static Acme>,
    /// Connections that are passed through.
    pub streams: &'static [Stream],
    /// Networks whose word about the client is taken.
    pub trusted: &'static Trusted,
    /// What holds before a site is known.
    pub root: &'static Policy,
    /// The look-up tables of hosts and paths.
    pub tables: Tables,
    /// One entry per `site` node, indexed by the host table's values.
    pub sites: &'static [Host],
    /// The routes, by the path tables' values.
    pub routes: Routes,
    /// One entry per upstream, named or anonymous.
    pub upstreams: &'static [Upstream],
    /// Where answers are kept.
    pub stores: &'static [Store],
    /// Networks of which some are in files.
    pub listed: &'static [Listed],
    /// Where the keys of tokens come from.
    pub key_sources: &'static [KeySource],
    /// The files of folders that are compiled in.
    pub bundle: Bundle,
    /// Asks by DNS, where an upstream does.
    pub resolve: Option<Resolve>,
    /// The tests of the site file, for `--self-test`.
    pub tests: &'static [Test],
}

impl Site {
    /// What holds where a site is known: for sites, and for routes.
    pub fn policies(&self) -> impl Iterator<Item = &'static Policy> + use<'_> {
        self.sites.iter().map(|host| host.policy).chain(self.routes.policies.iter().copied())
    }
}

/// A file of the site's sources.
pub struct SourceFile {
    /// Its path as the compiler was given it.
    pub path: &'static str,
    /// Its whole text.
    pub text: &'static str,
}

/// A file whose bytes are compiled in.
pub struct Asset {
    /// Its path, as the file that names it has it, from where the compiler was.
    pub path: &'static str,
    /// SHA-256 of its content, in hexadecimal.
    pub digest: &'static str,
}

/// A declared start-up parameter (`param`).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Param {
    /// The name; the flag is `--name`, the variable `NAME`.
    pub name: Text,
    /// How its text is understood.
    pub kind: ParamKind,
    /// Used when neither flag nor variable is there; without one the start fails.
    pub default: Option<Text>,
    /// One line for `--help`.
    pub help: Text,
    /// A number, or a size in bytes, is no less than this;
    pub least: u64,
    /// and no more than this.
    pub most: u64,
    /// Where it was declared.
    pub place: Place,
}

/// The types of `param`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// `host:port`, `[v6]:port`, `:port` or `unix:/path`.
    Addr,
    /// Any text without control characters.
    String,
    /// A whole number from 0.
    Number,
    /// `250ms`, `5s`, `2m`, `1h`.
    Duration,
    /// `512B`, `64KiB`, `10MiB`, `1GiB`.
    Size,
    /// A path; its content is what is used, read again on SIGHUP.
    File,
    /// Like `File`, but never printed.
    Secret,
}

/// A file read at start, again on SIGHUP.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct FileRef {
    /// Where it is.
    pub path: FilePath,
    /// Its content is never printed.
    pub secret: bool,
    /// Where the site names it.
    pub place: Place,
}

/// Whence a [`FileRef`] takes its path.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePath {
    /// Written in the site: `(file)"path"`.
    Fixed(Text),
    /// The value of a `param type=file` or `type=secret`.
    Param(u16),
}

/// A value that is fixed in the site or given at start.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting<T> {
    /// Known at build.
    Fixed(T),
    /// The value of the parameter with this index.
    Param(u16),
}

/// `process`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Process {
    /// Number of workers; `None` is one per core this process may run on.
    pub workers: Option<Setting<u64>>,
    /// How long running exchanges may go on after SIGTERM.
    pub drain: Setting<Duration>,
    /// Exchanges at once on a client's connection in HTTP/2.
    pub max_streams: Setting<u64>,
}

/// A socket to accept from.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name, or its address where it has none.
    pub name: Text,
    /// The address: `host:port`, `:port` or `unix:/path`.
    pub address: Setting<Text>,
    /// Who may connect to a unix socket.
    pub file: SocketFile,
    /// What is spoken there.
    pub speaks: Speaks,
    /// Where it was declared; the built-in default has line 0.
    pub place: Place,
}

/// The file of a unix socket.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketFile {
    /// Its permissions; where there are none, what the process's umask leaves.
    pub mode: Option<u16>,
    /// Its owner, by name or number.
    pub user: Option<Text>,
    /// Its group, by name or number.
    pub group: Option<Text>,
}

/// A `site` node.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its first host, for logs.
    pub name: Text,
    /// How its paths are brought to normal form.
    pub normal_form: NormalForm,
    /// Limits, time-outs, pages and log where no route is known.
    pub policy: PolicyId,
    /// How connections to it are encrypted, by index.
    pub tls: Option<u16>,
    /// The listener that speaks `https` for it, by index.
    pub secure: Option<u16>,
}

/// How paths are brought to canonical form; see [`crate::canonical`].
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormalForm {
    /// `%2F` and `%5C` are let through, still encoded.
    pub encoded_slash: bool,
    /// `//` becomes `/`.
    pub merge_slashes: bool,
    /// Paths with parameters (`;`) are refused.
    pub refuse_parameters: bool,
}

impl NormalForm {
    /// Whether a path that has this form must not be one by this policy.
    pub fn refuses(self, path: &str, policy: &Policy) -> bool {
        self.encoded_slash && !policy.limits.encoded_slash && canonical::has_encoded_slash(path)
    }

    /// The form of paths that this policy lets through.
    #[must_use]
    pub fn of(self, policy: &Policy) -> NormalForm {
        NormalForm { encoded_slash: policy.limits.encoded_slash, ..self }
    }
}

/// An index into the table of policies.
pub type PolicyId = &'static Policy;

/// What surrounds a handler: limits, time-outs, error pages, log, retries.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Sizes and counts.
    pub limits: Limits,
    /// Every wait.
    pub timeouts: Timeouts,
    /// Which of a client's fields are taken in.
    pub fields: FieldRules,
    /// Bodies of the proxy's own error answers.
    pub error_pages: List<ErrorPage>,
    /// The access log.
    pub log: Log,
    /// When a request is sent again.
    pub retry: Option<Retry>,
    /// Who gets a copy.
    pub mirror: Option<Mirror>,
    /// What goes wrong on purpose.
    pub fault: Option<Fault>,
    /// Which answers are kept.
    pub cache: Option<Cache>,
    /// What becomes of the cookies that servers set.
    pub cookies: List<CookieRule>,
    /// What a request passes first.
    pub door: Option<Door>,
    /// Texts in answers that become others.
    pub replace: Option<BodyReplace>,
    /// How answers are compressed.
    pub compress: Option<Compress>,
}

/// `limits`. Sizes in bytes.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The request head, all of it.
    pub headers: Setting<u64>,
    /// The request target.
    pub uri: Setting<u64>,
    /// The request body; `u64::MAX` is no limit.
    pub body: Setting<u64>,
    /// Client connections at once (root only).
    pub connections: Setting<u64>,
    /// Client connections at once from one address (root only).
    pub per_client: Setting<u64>,
    /// TLS handshakes at once (root only).
    pub handshakes: Setting<u64>,
    /// What is held for clients, in the whole process (root only).
    pub memory: Setting<u64>,
    /// The least that a client sends and takes of a body, in bytes a second; 0 is no limit.
    pub min_rate: u64,
    /// A client that has closed its sending side is still served.
    pub half_close: bool,
    /// Paths may have `%2F` and `%5C`. Where only some routes of a site say so, the site's [`NormalForm`] lets them through for all, and
    /// they are refused once the route is known.
    pub encoded_slash: bool,
}

/// `timeouts`. `Duration::MAX` is no time-out.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// Connecting to a server, the TLS handshake included.
    pub connect: Setting<Duration>,
    /// A client's TLS handshake (root only).
    pub handshake: Setting<Duration>,
    /// Receiving the request: the head, and then the body, extended by a second for each KiB received.
    pub request: Setting<Duration>,
    /// Waiting for the response head once the request is on its way.
    pub response: Setting<Duration>,
    /// Waiting for a server to ask for the body, where that is left to it.
    pub proceed: Setting<Duration>,
    /// Silence: a keep-alive connection, a body that does not move, a tunnel.
    pub idle: Setting<Duration>,
    /// The whole exchange.
    pub total: Setting<Duration>,
}

/// `error-page`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ErrorPage {
    /// The statuses it answers for.
    pub codes: List<u16>,
    /// The page.
    pub body: Bytes,
    /// Its `Content-Type`.
    pub content_type: Text,
    /// What stands for something in it is filled in.
    pub placeholders: bool,
    /// It answers for servers, too.
    pub upstream: bool,
}

impl ErrorPage {
    /// What stands for something in a page. What clients send without restraint is not among it: pages are HTML.
    pub const PLACEHOLDERS: [&str; 5] = ["{status}", "{reason}", "{request.id}", "{host}", "{time}"];
}

/// Bytes that are compiled in, or come from a file at start.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bytes {
    /// Compiled in.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_bytes"))]
    Fixed(Cow<'static, [u8]>),
    /// The content of the file with this index.
    File(u16),
}

/// As bytes, not as a list of numbers.
#[cfg(feature = "serde")]
pub(crate) fn as_bytes<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// `log`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Log {
    /// Nothing is written.
    Off,
    /// One JSON object a line.
    Json(List<LogField>),
    /// A line from a template; `combined` is one of them.
    Template(Template),
}

/// A member of a JSON log line, named as in the log.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is explained where it is declared to users: `log` in docs/reference.md")]
pub enum LogField {
    Time,
    Client,
    Method,
    Scheme,
    Host,
    Path,
    Query,
    Protocol,
    Status,
    Bytes,
    Duration,
    Route,
    Upstream,
    Server,
    ServerConnections,
    Tries,
    Reason,
    Detail,
    Cache,
    CacheReason,
    RequestId,
    Referer,
    UserAgent,
    Rule,
    User,
}

impl LogField {
    /// All of them, with their names in `fields` and in the log.
    pub const NAMES: &'static [(&'static str, LogField)] = &[
        ("time", LogField::Time),
        ("client", LogField::Client),
        ("method", LogField::Method),
        ("scheme", LogField::Scheme),
        ("host", LogField::Host),
        ("path", LogField::Path),
        ("query", LogField::Query),
        ("protocol", LogField::Protocol),
        ("status", LogField::Status),
        ("bytes", LogField::Bytes),
        ("duration", LogField::Duration),
        ("route", LogField::Route),
        ("upstream", LogField::Upstream),
        ("server", LogField::Server),
        ("server-connections", LogField::ServerConnections),
        ("tries", LogField::Tries),
        ("reason", LogField::Reason),
        ("detail", LogField::Detail),
        ("cache", LogField::Cache),
        ("cache-reason", LogField::CacheReason),
        ("request-id", LogField::RequestId),
        ("referer", LogField::Referer),
        ("rule", LogField::Rule),
        ("user-agent", LogField::UserAgent),
        ("user", LogField::User),
    ];
}

/// The flags of a compiled proxy, which no parameter can have as its name.
pub const FLAGS: [&str; 7] = ["help", "version", "check", "self-test", "config", "manifest", "licences"];

/// The statuses that the proxy answers with itself; `error-page` takes these.
pub const OWN_ERRORS: [u16; 18] =
    [400, 401, 403, 404, 405, 408, 412, 413, 414, 415, 417, 421, 429, 431, 500, 502, 503, 504];

/// The methods a route takes. `GET` includes `HEAD`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Methods {
    /// Bits of the registered methods, see [`Methods::bit`]; all bits: any method at all.
    pub mask: u16,
    /// Further methods by name.
    pub others: List<Text>,
}

impl Methods {
    /// Any method.
    pub const ANY: Methods = Methods { mask: u16::MAX, others: Cow::Borrowed(&[]) };

    /// No method.
    pub const NONE: Methods = Methods { mask: 0, others: Cow::Borrowed(&[]) };

    /// Files can be asked for, and no more.
    pub const GET_AND_HEAD: Methods = Methods { mask: 0b11, others: Cow::Borrowed(&[]) };

    /// The names behind the bits of `mask`, from bit 0.
    pub const NAMES: [&'static str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

    /// The bit of a registered method, 0 for any other.
    pub fn bit(method: &Method) -> u16 {
        match *method {
            Method::GET => 1,
            Method::HEAD => 1 << 1,
            Method::POST => 1 << 2,
            Method::PUT => 1 << 3,
            Method::DELETE => 1 << 4,
            Method::CONNECT => 1 << 5,
            Method::OPTIONS => 1 << 6,
            Method::TRACE => 1 << 7,
            Method::PATCH => 1 << 8,
            _ => 0,
        }
    }

    /// Whether `method` is one of them. No allocation.
    pub fn contains(&self, method: &Method) -> bool {
        if self.mask == u16::MAX {
            return true;
        }
        let bit = Methods::bit(method);
        if bit != 0 { self.mask & bit != 0 } else { self.others.iter().any(|other| other == method.as_str()) }
    }

    /// Their names, as in `Allow`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let known = Methods::NAMES.iter().enumerate().filter(|(bit, _)| self.mask & (1 << bit) != 0);
        known.map(|(_, name)| *name).chain(self.others.iter().map(AsRef::as_ref))
    }
}
