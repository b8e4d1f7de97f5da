//! THE CONTRACT between a compiled site and the runtime: plain data, and the few functions that a site's output names.
//!
//! The compiler builds the same types (with owned storage) to run a site's tests during the build; its output has
//! them as `static`s (with borrowed storage). Hence [`Text`] and [`List`]: one type, two kinds of storage.
//! This module does no I/O and makes no decisions: see `route`, `filter` and `serve` for its use.
//!
//! A change of the meaning or shape of a type here must raise [`VERSION`]; the output asserts it at compile time.

mod access;
mod admin;
mod auth;
mod block;
pub mod bundle;
mod cache;
mod compress;
mod cookies;
mod handler;
mod listen;
mod log;
mod log_field;
mod policy;
mod process;
mod replace;
mod routes;
mod test;
mod tls;
mod trace;
mod trust;
mod upstream;

pub use ipnet::IpNet;

pub use self::access::{
    Access, By, ClientCertificateRules, Cors, InFlight, Listed, Maintenance, NetworkRule, Networks, Origin, RateLimit,
};
pub use self::admin::{Admin, AdminAuth, AdminScheme};
pub use self::auth::{Auth, AuthScheme, ForwardAuth, Jwt, KeySource, KeyUrl, RequiredClaim};
pub use self::block::{Block, Blocks, Where};
pub use self::bundle::Bundle;
pub use self::cache::{
    Cache, ControlField, Device, DeviceGroup, DiskStore, Key, Mark, Override, Part, Query, Stale, Store, Ttl, Warm,
    WarmSource,
};
pub use self::compress::{Coding, Compress};
pub use self::cookies::CookieRule;
pub use self::handler::{Files, Handler, HostField, Proxy, Readiness, Redirect, Respond, RespondBody, SendFile, Share};
pub use self::listen::{Listener, SocketFile};
pub use self::log::{
    EVERY, ErrorLog, FACILITIES, JOURNAL, Log, LogCondition, LogFile, LogFormat, LogLevel, LogMembers, LogOutput,
    LogTarget, Syslog, SyslogAddress, log_path, syslog_address,
};
pub use self::log_field::{LogField, LogFieldDeclaration, LogMember, SECRET_FIELDS};
pub use self::policy::{ErrorPage, Limits, Policy, PolicyId, Timeouts};
pub use self::process::{Privileges, Process, Sandbox, Takeover};
pub use self::replace::ResponseBody;
pub use self::routes::{Matches, RequestFilters, ResponseFilters, Route, Routes};
pub use self::test::{Expect, ExpectField, Side, Test};
pub use self::tls::{
    Acme, Certificate, Certificates, Challenge, ClientCertificates, DnsProvider, DnsUpdate, KeyExchangeGroup,
    ProxyProtocolIn, Speaks, Stream, Tls, TlsVersion, TsigAlgorithm, Tunnel, UpstreamTls,
};
pub use self::trace::{Trace, TraceFormat, TraceHeader, TraceTrust};
pub use self::trust::Trusted;
pub use self::upstream::*;
pub use crate::context::addresses::Addresses;
pub use crate::context::claims::Algorithm;
pub use crate::context::param::{FilePath, FileRef, Param, ParamKind, Setting};
pub use crate::context::view::RequestVersion;
pub use crate::filter::intake::{FieldRules, TrustedHeader};
pub use crate::protocol::canonical::NormalForm;
pub use crate::protocol::methods::Methods;
use crate::router::route::Tables;
pub use crate::value::{Bytes, List, Place, Text};

/// The version of this contract. The output of the compiler contains `const _: () = assert!(VERSION == ...)`.
pub const VERSION: u32 = 26;

/// A compiled site.
#[derive(Clone)]
pub struct Site {
    /// The path of the main site file, as it was given to the compiler.
    pub name: &'static str,
    /// SHA-256 over all source files, in hexadecimal.
    pub digest: &'static str,
    /// The compiler's version and the profile it was built for.
    pub built: &'static str,
    /// All files that the site was built from, for `--config`.
    pub sources: &'static [SourceFile],
    /// All embedded files.
    pub assets: &'static [Asset],
    /// The parameters, which may change between two starts.
    pub params: &'static [Param],
    /// Files that are read at start and again on SIGHUP.
    pub files: &'static [FileRef],
    /// The process settings: workers and drain.
    pub process: &'static Process,
    /// The listeners.
    pub listeners: &'static [Listener],
    /// The TLS settings for clients.
    pub tls: &'static [Tls],
    /// The ACME settings.
    pub acme: Option<&'static Acme>,
    /// The admin endpoint.
    pub admin: Option<&'static Admin>,
    /// Where access logs go.
    pub outputs: &'static [LogOutput],
    /// `log errors`.
    pub errors: Option<&'static ErrorLog>,
    /// Where traces are exported to.
    pub trace: Option<&'static Trace>,
    /// Connections that are passed through.
    pub streams: &'static [Stream],
    /// The trusted proxies.
    pub trusted: &'static Trusted,
    /// The policy for requests whose site is unknown.
    pub root: &'static Policy,
    /// The lookup tables of hosts and paths.
    pub tables: Tables,
    /// One entry per `site` node, indexed by the host table's values.
    pub sites: &'static [Host],
    /// The routes, indexed by the path tables' values.
    pub routes: Routes,
    /// One entry per upstream, named or anonymous.
    pub upstreams: &'static [Upstream],
    /// The cache stores.
    pub stores: &'static [Store],
    /// Network rules with lists in files.
    pub listed: &'static [Listed],
    /// The sources of token keys.
    pub key_sources: &'static [KeySource],
    /// The embedded folders.
    pub bundle: Bundle,
    /// Resolves servers by DNS, if an upstream uses it.
    pub resolve: Option<Resolve>,
    /// The tests of the site file, for `--self-test`.
    pub tests: &'static [Test],
}

impl Site {
    /// Returns the policies of sites and routes.
    pub fn policies(&self) -> impl Iterator<Item = &'static Policy> + use<'_> {
        self.sites.iter().map(|host| host.policy).chain(self.routes.policies.iter().copied())
    }

    /// Returns the indices of files with certificates and keys.
    pub fn certificate_files(&self) -> Vec<u16> {
        let mut files = Vec::new();
        for tls in self.tls {
            if let Certificates::Files(certificates) = &tls.certificates {
                for certificate in certificates.iter() {
                    files.extend([certificate.chain, certificate.key]);
                    files.extend(certificate.ocsp);
                }
            }
            files.extend(tls.client.as_ref().map(|client| client.ca));
        }
        for tls in self.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref()) {
            files.extend(tls.ca);
            files.extend(tls.certificate.iter().flat_map(|&(chain, key)| [chain, key]));
        }
        files
    }
}

/// A source file of the site.
pub struct SourceFile {
    /// Its path, as it was given to the compiler.
    pub path: &'static str,
    /// Its whole text.
    pub text: &'static str,
}

/// An embedded file.
pub struct Asset {
    /// Its path relative to the compiler's working directory, as the file that names it has it.
    pub path: &'static str,
    /// SHA-256 of its content, in hexadecimal.
    pub digest: &'static str,
}

/// A `site` node.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its first host, for logs.
    pub name: Text,
    /// The normal form of its paths.
    pub normal_form: NormalForm,
    /// The policy for requests without a route.
    pub policy: PolicyId,
    /// The index of its TLS settings.
    pub tls: Option<u16>,
    /// The index of the listener for its `https` URLs.
    pub secure: Option<u16>,
    /// Its first route; the ones up to the next site's first are its own.
    pub first_route: u32,
}

/// The flags of a compiled proxy, which are not allowed as names of parameters.
pub const FLAGS: [&str; 9] =
    ["help", "version", "check", "self-test", "config", "manifest", "licences", "sbom", "upgrade"];

/// The statuses of the proxy's own error responses, which `error-page` accepts.
pub const OWN_ERRORS: [u16; 18] =
    [400, 401, 403, 404, 405, 408, 412, 413, 414, 415, 417, 421, 429, 431, 500, 502, 503, 504];
