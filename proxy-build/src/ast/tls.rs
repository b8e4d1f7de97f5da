//! Syntax tree of TLS, of the protocols of listeners, and of streams.

use std::time::Duration;

use ipnet::IpNet;
use proxy_runtime::site::{Challenge, KeyExchangeGroup, ProxyProtocol, TlsVersion, TsigAlgorithm};

use super::{FileSource, HostPattern, Item, ProxyTo, Setting};
use crate::source::{Span, Spanned};

/// The lines of a `listen`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the directives, which the reference explains")]
pub enum InListen {
    Http(HttpLine),
    Tls(Option<Spanned<String>>),
    ProxyProtocol { versions: Vec<Spanned<ProxyProtocol>>, from: Spanned<IpNet> },
    RedirectHttps,
}

/// `http`: of a listener, or of all that use TLS.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct HttpLine {
    /// The directive's name.
    pub span: Span,
    /// Its words.
    pub versions: Vec<Spanned<HttpVersion>>,
    pub public_port: Option<Spanned<Setting<u64>>>,
    pub early_data: Option<Spanned<bool>>,
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the words of `http`")]
pub enum HttpVersion {
    H1,
    H2,
    H3,
}

/// `tls` at the top level, or in a site.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Its name, or the name of another one.
    pub name: Option<Spanned<String>>,
    /// The directive's name.
    pub span: Span,
    /// Its lines.
    pub items: Vec<Item>,
}

/// `acme`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct Acme {
    /// The directive's name.
    pub span: Span,
    pub state: Spanned<Setting<String>>,
    pub email: Option<Spanned<String>>,
    pub directory: Option<Spanned<Setting<String>>>,
    pub challenge: Option<Spanned<Challenge>>,
    pub profile: Option<Spanned<String>>,
    pub ca: Option<Spanned<FileSource>>,
    pub eab_id: Option<Spanned<String>>,
    pub eab_key: Option<Spanned<FileSource>>,
    pub items: Vec<Item>,
}

/// `dns` in `acme`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct Dns {
    /// The directive's name.
    pub span: Span,
    pub by: DnsBy,
    pub zone: Option<Spanned<String>>,
    pub key_name: Option<Spanned<String>>,
    pub key: Option<Spanned<FileSource>>,
    pub algorithm: Option<Spanned<TsigAlgorithm>>,
    pub token: Option<Spanned<FileSource>>,
    pub ca: Option<Spanned<FileSource>>,
    pub propagation: Option<Spanned<Setting<Duration>>>,
}

/// The kind of a `dns`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the words of `dns`")]
pub enum DnsBy {
    Rfc2136(Spanned<Setting<String>>),
    Webhook(Spanned<Setting<String>>),
    Exec(Vec<Spanned<String>>),
}

/// The lines of a `tls`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the directives, which the reference explains")]
pub enum InTls {
    Certificate { chain: Spanned<FileSource>, key: Spanned<FileSource>, ocsp: Option<Spanned<FileSource>> },
    MinVersion(TlsVersion),
    Groups(Vec<Spanned<KeyExchangeGroup>>),
    ClientCa { file: Spanned<FileSource>, required: Option<Spanned<bool>> },
    SessionTickets { off: Option<Spanned<()>>, rotate: Option<Spanned<Setting<Duration>>> },
}

/// `stream`.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its name.
    pub name: Spanned<String>,
    /// Its lines.
    pub items: Vec<Item>,
}

/// The lines of a `stream`, and of a `route` in one.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the directives, which the reference explains")]
pub enum InStream {
    Listen(Vec<Spanned<Setting<String>>>),
    Route { sni: Spanned<HostPattern>, items: Vec<Item> },
    Tunnel(ProxyTo),
}
