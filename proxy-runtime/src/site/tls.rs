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
    /// HTTP/3, by UDP on the same port (RFC 9114).
    pub http3: bool,
    /// The port that `Alt-Svc` names, if it is not that of the address.
    pub http3_port: Option<Setting<u64>>,
    /// HTTP/3 accepts early data (RFC 8470).
    pub early_data: bool,
    /// Connections use TLS.
    pub tls: bool,
    /// The index of the [`Tls`] for clients that name an unknown host; `None` rejects them.
    pub default: Option<u16>,
    /// Sites with their own `tls` are not served, but redirected to `https`.
    pub redirect_https: bool,
    /// Each connection begins with a PROXY header.
    pub proxy_protocol: Option<ProxyProtocolIn>,
    /// The index of the `stream` that connections are passed through by.
    pub stream: Option<u16>,
    /// The listener is the admin endpoint.
    pub admin: bool,
}

/// `stream`: connections that are passed through.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub name: Text,
    /// The targets of exact hosts, sorted by host.
    pub exact: List<Tunnel>,
    /// The targets of hosts below a suffix, sorted by suffix.
    pub below: List<Tunnel>,
    /// The index of the upstream for all others.
    pub otherwise: Option<u16>,
    /// The location of the declaration.
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
    /// Returns whether the target depends on the server name.
    pub fn reads_names(&self) -> bool {
        !self.exact.is_empty() || !self.below.is_empty()
    }

    /// Returns the index of the upstream for a host. Costs a binary search, and another one for each label.
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
    /// Version 1, the text form, is accepted.
    pub v1: bool,
    /// Version 2, the binary form, is accepted.
    pub v2: bool,
    /// The networks of peers that may connect.
    pub from: List<IpNet>,
}

/// `tls`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Its name, or the host of the site that it is in.
    pub name: Text,
    /// The source of its certificates.
    pub certificates: Certificates,
    /// The hosts of the sites that use it, which certificates must cover.
    pub hosts: List<Text>,
    /// The oldest accepted version of TLS.
    pub min_version: TlsVersion,
    /// Key exchange groups in the order of preference; empty for the library's default.
    pub groups: List<KeyExchangeGroup>,
    /// The verification of client certificates.
    pub client: Option<ClientCertificates>,
    /// How long a key for session tickets is used; `None` disables resumption.
    pub tickets: Option<Setting<Duration>>,
    /// The location of the declaration.
    pub place: Place,
}

/// The source of the certificates of a [`Tls`].
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificates {
    /// Files that are read at start.
    Files(List<Certificate>),
    /// A self-signed certificate that is created at start.
    Internal,
    /// A certificate from an authority, renewed before it expires.
    Acme,
}

/// `certificate`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The index of the file with the chain: the certificate first, then its issuers.
    pub chain: u16,
    /// The file with its key.
    pub key: u16,
    /// The file with a stapled OCSP response (RFC 6066 section 8).
    pub ocsp: Option<u16>,
    /// The location of the declaration.
    pub place: Place,
}

/// `acme`: the authority that issues certificates (RFC 8555).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The contact address for the authority.
    pub email: Option<Text>,
    /// The folder for the account and the certificates.
    pub state: Setting<Text>,
    /// The URL of the authority's directory.
    pub directory: Setting<Text>,
    /// The index of the file with the root certificate of the authority's own server; `None` for the system's root
    /// certificates.
    pub ca: Option<u16>,
    /// The id of an external account, and the file with its key (RFC 8555 section 7.3.4).
    pub external: Option<(Text, u16)>,
    /// The profile of certificates, as the authority names it.
    pub profile: Option<Text>,
    /// The challenge for hosts; wildcards always use [`Challenge::Dns01`].
    pub challenge: Challenge,
    /// The challenge for IP addresses (RFC 8738), which have no DNS records.
    pub address_challenge: Challenge,
    /// The providers that set records for [`Challenge::Dns01`].
    pub dns: List<DnsProvider>,
    /// The location of the declaration.
    pub place: Place,
}

impl Acme {
    /// Returns the provider for a name: the one with the longest zone that contains the name.
    pub fn dns_provider(&self, name: &str) -> Option<&DnsProvider> {
        let is_in = |zone: &str| name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let zone = |provider: &DnsProvider| provider.zone.as_deref().map_or(0, str::len);
        // The first of equal ones.
        let found = self.dns.iter().rev().filter(|provider| provider.zone.as_deref().is_none_or(is_in));
        found.max_by_key(|provider| zone(provider))
    }
}

/// `dns`: a provider that sets records (RFC 8555 section 8.4).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsProvider {
    /// The zone of its names; `None` for any name.
    pub zone: Option<Text>,
    /// The method.
    pub update: DnsUpdate,
    /// The time between setting a record and telling the authority.
    pub propagation: Setting<Duration>,
    /// The location of the declaration.
    pub place: Place,
}

/// The method of setting records.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsUpdate {
    /// Signed (RFC 8945) dynamic updates (RFC 2136).
    Rfc2136 {
        /// The address of the zone's primary name server.
        server: Setting<Text>,
        /// The key's name on the name server.
        key_name: Text,
        /// The index of the file with the key, in base64.
        key: u16,
        /// The signature algorithm.
        algorithm: TsigAlgorithm,
    },
    /// Requests to a service.
    Webhook {
        /// Its URL.
        url: Setting<Text>,
        /// The index of the file with the token that is sent.
        token: Option<u16>,
        /// The index of the file with the root certificates for the service; `None` for the system's.
        ca: Option<u16>,
    },
    /// A program and its first arguments.
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

/// The method of proving control over a host.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// A response on port 80 (RFC 8555 section 8.3).
    Http01,
    /// A certificate on port 443 (RFC 8737).
    TlsAlpn01,
    /// A DNS record (RFC 8555 section 8.4).
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
    /// Returns the name in `{tls.version}` and in logs.
    pub fn name(self) -> &'static str {
        match self {
            TlsVersion::V12 => "TLSv1.2",
            TlsVersion::V13 => "TLSv1.3",
        }
    }
}

/// Key exchange groups.
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
    /// All groups, with their names in `groups`.
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
    /// The index of the file with the root certificates for client certificates.
    pub ca: u16,
    /// Clients without a certificate are rejected.
    pub required: bool,
}

/// `tls` of an upstream: connections to its servers use TLS.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The server name that is sent and verified; `None` for the server's own host.
    pub sni: Option<Text>,
    /// The index of the file with the root certificates for servers; `None` for the system's.
    pub ca: Option<u16>,
    /// The files with the proxy's own certificate and its key.
    pub certificate: Option<(u16, u16)>,
    /// Whether the server's certificate is verified.
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
