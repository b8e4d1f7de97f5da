//! The part of the contract for TLS, and for the protocols of listeners.

use std::time::Duration;

use crate::context::param::Setting;
use crate::value::{List, Place, Text};
use ipnet::IpNet;

/// The protocols of a listener.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaks {
    /// HTTP/1.1.
    pub http1: bool,
    /// HTTP/2: by ALPN (RFC 7301), without TLS by prior knowledge (RFC 9113 section 3.3).
    pub http2: bool,
    /// Connections are encrypted.
    pub tls: bool,
    /// The [`Tls`] for clients that name a host nobody has, by index; without one they are turned away.
    pub default: Option<u16>,
    /// Sites with a `tls` of their own are not served, but redirected to `https`.
    pub redirect_https: bool,
    /// Each connection begins with a PROXY header.
    pub proxy_protocol: Option<ProxyProtocolIn>,
    /// Connections are passed through as this stream has it, by index.
    pub stream: Option<u16>,
    /// It is for those who operate the proxy.
    pub admin: bool,
}

/// `stream`: connections that are passed through as they are.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub name: Text,
    /// Where connections for a host go, sorted by host.
    pub exact: List<Tunnel>,
    /// Where connections for hosts below a suffix go, sorted by suffix.
    pub below: List<Tunnel>,
    /// The upstream for all others, by index.
    pub otherwise: Option<u16>,
    /// Where it was declared.
    pub place: Place,
}

/// The target of connections for a host.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// The host, or the suffix.
    pub host: Text,
    /// The index of the upstream.
    pub upstream: u16,
}

impl Stream {
    /// Whether it matters which host a client names.
    pub fn reads_names(&self) -> bool {
        !self.exact.is_empty() || !self.below.is_empty()
    }

    /// The upstream for a host, by index. Cost: a binary search, and one for each label.
    pub fn upstream(&self, host: Option<&str>) -> Option<u16> {
        let find = |list: &[Tunnel], host: &str| {
            let at = list.binary_search_by(|tunnel| (*tunnel.host).cmp(host)).ok()?;
            Some(list[at].upstream)
        };
        let named = host.and_then(|host| {
            let suffixes = host.match_indices('.').map(|(at, _)| &host[at + 1..]);
            find(&self.exact, host).or_else(|| suffixes.into_iter().find_map(|suffix| find(&self.below, suffix)))
        });
        named.or(self.otherwise)
    }
}

/// `proxy-protocol` of a listener.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocolIn {
    /// The text form is taken.
    pub v1: bool,
    /// The binary form is taken.
    pub v2: bool,
    /// From peers in these networks alone; nobody else may connect.
    pub from: List<IpNet>,
}

/// `tls`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Its name, or the host of the site that it is in.
    pub name: Text,
    /// Where its certificates come from.
    pub certificates: Certificates,
    /// The hosts of the sites that use it, as the site has them: what certificates must be for.
    pub hosts: List<Text>,
    /// The oldest version of TLS.
    pub min_version: TlsVersion,
    /// Key exchange groups, the best first; empty for what the library thinks best.
    pub groups: List<KeyExchangeGroup>,
    /// Whether clients show certificates.
    pub client: Option<ClientCertificates>,
    /// How long a key for session tickets is used; without one sessions are not resumed.
    pub tickets: Option<Setting<Duration>>,
    /// Where it was declared.
    pub place: Place,
}

/// The source of the certificates of a [`Tls`].
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificates {
    /// Files, read at start.
    Files(List<Certificate>),
    /// One that the proxy signs itself at start.
    Internal,
    /// One that an authority is asked for, and asked again before it expires.
    Acme,
}

/// `certificate`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The file with the chain, by index: the certificate first, then those that vouch for it.
    pub chain: u16,
    /// The file with its key.
    pub key: u16,
    /// The file with an OCSP response to hand out with it (RFC 6066 section 8).
    pub ocsp: Option<u16>,
    /// Where it was declared.
    pub place: Place,
}

/// `acme`: who is asked for certificates (RFC 8555).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// Whom the authority may write to.
    pub email: Option<Text>,
    /// The folder for the account and the certificates.
    pub state: Setting<Text>,
    /// The URL of the authority's directory.
    pub directory: Setting<Text>,
    /// The file with the certificate that the authority's own server is verified by, by index; the system's where none is said.
    pub ca: Option<u16>,
    /// The id of an account elsewhere, and the file with its key (RFC 8555 section 7.3.4).
    pub external: Option<(Text, u16)>,
    /// The kind of certificate that is asked for, as the authority calls it.
    pub profile: Option<Text>,
    /// How the proxy shows that a host is its own; one with a wildcard by [`Challenge::Dns01`] in any case.
    pub challenge: Challenge,
    /// The same for a host that is an IP address (RFC 8738), of which there are no records.
    pub address_challenge: Challenge,
    /// Who sets records of names, for [`Challenge::Dns01`].
    pub dns: List<DnsProvider>,
    /// Where it was declared.
    pub place: Place,
}

impl Acme {
    /// Who sets records of a name: the one with the longest zone that the name is in.
    pub fn dns_provider(&self, name: &str) -> Option<&DnsProvider> {
        let is_in = |zone: &str| name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let zone = |provider: &DnsProvider| provider.zone.as_deref().map_or(0, str::len);
        // Of two equals, the first.
        let found = self.dns.iter().rev().filter(|provider| provider.zone.as_deref().is_none_or(is_in));
        found.max_by_key(|provider| zone(provider))
    }
}

/// `dns`: who sets records of names (RFC 8555 section 8.4).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsProvider {
    /// For names in this zone; for any name where none is said.
    pub zone: Option<Text>,
    /// How.
    pub update: DnsUpdate,
    /// How long after that the authority is told.
    pub propagation: Setting<Duration>,
    /// Where it was declared.
    pub place: Place,
}

/// The method of setting records.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsUpdate {
    /// By dynamic updates (RFC 2136) that are signed (RFC 8945).
    Rfc2136 {
        /// The address of the zone's primary name server.
        server: Setting<Text>,
        /// The key's name, as the name server has it.
        key_name: Text,
        /// The file with the key, in base64, by index.
        key: u16,
        /// How it signs.
        algorithm: TsigAlgorithm,
    },
    /// By requests to a service.
    Webhook {
        /// Where it is.
        url: Setting<Text>,
        /// The file with the token that it is shown, by index.
        token: Option<u16>,
        /// The file with the certificates that it is verified by, by index; the system's where none is said.
        ca: Option<u16>,
    },
    /// By a program and its first arguments.
    Exec(List<Text>),
}

/// The signature algorithm of messages to name servers.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the registry of TSIG algorithms")]
pub enum TsigAlgorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl TsigAlgorithm {
    /// All of them, by their names.
    pub const NAMES: &'static [(&'static str, TsigAlgorithm)] = &[
        ("hmac-sha256", TsigAlgorithm::HmacSha256),
        ("hmac-sha384", TsigAlgorithm::HmacSha384),
        ("hmac-sha512", TsigAlgorithm::HmacSha512),
    ];
}

/// How it is shown that a host is one's own.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// By a response on port 80 (RFC 8555 section 8.3).
    Http01,
    /// By a certificate on port 443 (RFC 8737).
    TlsAlpn01,
    /// By a record of its name (RFC 8555 section 8.4).
    Dns01,
}

/// Versions of TLS.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V12,
    /// TLS 1.3 (RFC 8446).
    V13,
}

impl TlsVersion {
    /// As in `{tls.version}` and in logs.
    pub fn name(self) -> &'static str {
        match self {
            TlsVersion::V12 => "TLSv1.2",
            TlsVersion::V13 => "TLSv1.3",
        }
    }
}

/// Groups for the key exchange.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the registry of TLS groups")]
pub enum KeyExchangeGroup {
    X25519MlKem768,
    X25519,
    Secp256r1,
    Secp384r1,
}

impl KeyExchangeGroup {
    /// All of them, with the names used in `groups`.
    pub const NAMES: &'static [(&'static str, KeyExchangeGroup)] = &[
        ("x25519mlkem768", KeyExchangeGroup::X25519MlKem768),
        ("x25519", KeyExchangeGroup::X25519),
        ("secp256r1", KeyExchangeGroup::Secp256r1),
        ("secp384r1", KeyExchangeGroup::Secp384r1),
    ];
}

/// `client-certificate`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The file with the certificates that theirs must be signed by, by index.
    pub ca: u16,
    /// A client without one is turned away.
    pub required: bool,
}

/// `tls` of an upstream: connections to its servers are encrypted.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name that is asked for and that the certificate must be for; the server's own host where none is said.
    pub sni: Option<Text>,
    /// The file with the certificates that servers' must be signed by, by index; the system's where none is said.
    pub ca: Option<u16>,
    /// The files with the proxy's own certificate and its key.
    pub certificate: Option<(u16, u16)>,
    /// Whether the server's certificate is looked at at all.
    pub verify: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_by_zone() {
        let place = || Place { file: "site.kdl".into(), line: 1 };
        let provider = |zone: Option<&'static str>| DnsProvider {
            zone: zone.map(Into::into),
            update: DnsUpdate::Exec(Vec::new().into()),
            propagation: Setting::Fixed(Duration::ZERO),
            place: place(),
        };
        let check = |zones: &[Option<&'static str>], name, expected: Option<usize>| {
            let acme = Acme {
                email: None,
                state: Setting::Fixed("".into()),
                directory: Setting::Fixed("".into()),
                ca: None,
                external: None,
                profile: None,
                challenge: Challenge::Dns01,
                address_challenge: Challenge::Http01,
                dns: zones.iter().map(|zone| provider(*zone)).collect::<Vec<_>>().into(),
                place: place(),
            };
            assert_eq!(acme.dns_provider(name), expected.map(|index| &acme.dns[index]), "{name}");
        };
        let zones = [Some("a.test"), Some("b.a.test"), Some("test"), None];
        check(&zones, "a.test", Some(0));
        check(&zones, "x.a.test", Some(0));
        check(&zones, "x.b.a.test", Some(1));
        check(&zones, "xa.test", Some(2));
        check(&zones, "other", Some(3));
        check(&zones[..2], "test", None);
        check(&zones[..2], "xa.test", None);
        check(&[], "a.test", None);
    }

    #[test]
    fn streams_by_name() {
        let tunnels = |hosts: &[(&'static str, u16)]| -> List<Tunnel> {
            hosts.iter().map(|&(host, upstream)| Tunnel { host: host.into(), upstream }).collect::<Vec<_>>().into()
        };
        let stream = Stream {
            name: "s".into(),
            exact: tunnels(&[("a.test", 1), ("b.test", 2)]),
            below: tunnels(&[("sub.test", 3), ("test", 4)]),
            otherwise: Some(5),
            place: Place { file: "site.kdl".into(), line: 1 },
        };
        let check = |host: Option<&str>, expected| assert_eq!(stream.upstream(host), Some(expected), "{host:?}");
        check(Some("a.test"), 1);
        check(Some("b.test"), 2);
        check(Some("x.y.sub.test"), 3);
        check(Some("sub.test"), 4);
        check(Some("test"), 5);
        check(Some("other"), 5);
        check(None, 5);
    }
}
