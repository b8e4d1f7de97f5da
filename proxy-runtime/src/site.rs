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
mod policy;
mod replace;
mod routes;
mod test;
mod tls;
mod trust;
mod upstream;

pub use ipnet::IpNet;

pub use self::access::{
    Access, By, ClientCertificateRules, Cors, InFlight, Listed, Maintenance, NetworkRule, Networks, Origin, RateLimit,
};
pub use self::admin::Admin;
pub use self::auth::{Auth, AuthScheme, ForwardAuth, Jwt, KeySource, KeyUrl, RequiredClaim};
pub use self::block::{Block, Blocks, Where};
pub use self::bundle::Bundle;
pub use self::cache::{
    Cache, ControlField, Device, DeviceGroup, DiskStore, Key, Mark, Override, Part, Query, Stale, Store, Ttl, Warm,
    WarmSource,
};
pub use self::compress::{Coding, Compress};
pub use self::cookies::CookieRule;
pub use self::handler::{Files, Handler, HostField, Proxy, Redirect, Respond, RespondBody, SendFile, Share};
pub use self::listen::{Listener, Process, SocketFile};
pub use self::policy::{ErrorPage, Limits, Log, LogField, Policy, PolicyId, Timeouts};
pub use self::replace::ResponseBody;
pub use self::routes::{Matches, RequestFilters, ResponseFilters, Route, Routes};
pub use self::test::{Expect, ExpectField, Side, Test};
pub use self::tls::{
    Acme, Certificate, Certificates, Challenge, ClientCertificates, DnsProvider, DnsUpdate, KeyExchangeGroup,
    ProxyProtocolIn, Speaks, Stream, Tls, TlsVersion, TsigAlgorithm, Tunnel, UpstreamTls,
};
pub use self::trust::Trusted;
pub use self::upstream::*;
pub use crate::context::addresses::Addresses;
pub use crate::context::claims::Algorithm;
pub use crate::context::param::{FilePath, FileRef, Param, ParamKind, Setting};
pub use crate::filter::intake::{FieldRules, TrustedHeader};
pub use crate::protocol::canonical::NormalForm;
pub use crate::protocol::methods::Methods;
use crate::router::route::Tables;
pub use crate::value::{Bytes, List, Place, Text};

/// The version of this contract. The output of the compiler contains `const _: () = assert!(VERSION == ...)`.
pub const VERSION: u32 = 23;

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
    /// Where those listen to who operate the proxy.
    pub admin: Option<&'static Admin>,
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

    /// The files that certificates and keys are in, by index.
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
    /// The first of its routes; all up to the next one's are its own.
    pub first_route: u32,
}

/// The flags of a compiled proxy, which no parameter can have as its name.
pub const FLAGS: [&str; 7] = ["help", "version", "check", "self-test", "config", "manifest", "licences"];

/// The statuses that the proxy answers with itself; `error-page` takes these.
pub const OWN_ERRORS: [u16; 18] =
    [400, 401, 403, 404, 405, 408, 412, 413, 414, 415, 417, 421, 429, 431, 500, 502, 503, 504];
