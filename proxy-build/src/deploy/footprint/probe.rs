//! How others find out whether a site is ready, and whether its process lives ([`HealthProbe`]).

use std::net::{IpAddr, Ipv4Addr};

use http::Method;
use proxy_runtime::site::{Admin, Handler};

use super::{Endpoint, Footprint};
use crate::model::{Host, Route};
use crate::pattern::{HostPattern, Segment};

/// How others find out whether the proxy is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthProbe {
    /// By a request: to this port, for this path, with this host if the site needs one.
    Http {
        /// The port.
        port: u16,
        /// Whether the port uses TLS.
        tls: bool,
        /// The path.
        path: String,
        /// The value of `Host`.
        host: Option<String>,
    },
    /// By the command `ctl ready` of the binary.
    Ctl,
    /// By connecting to this port.
    Connect(u16),
}

/// The paths of `admin` for probes.
const READY: &str = "/readyz";
const ALIVE: &str = "/healthz";

/// The address that a machine reaches itself by.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Footprint<'_> {
    /// Returns whether `ctl ready` of the binary reaches `admin` from the machine itself, without credentials.
    pub fn is_checked_by_ctl(&self) -> bool {
        self.open_admin().is_some_and(|admin| {
            let by_tcp = self.endpoints.iter().any(|endpoint| endpoint.admin);
            !by_tcp || admin.allow.is_empty() || admin.allow.iter().any(|network| network.contains(&LOCAL))
        })
    }

    /// Returns `admin`, unless its clients need credentials or the name in a certificate.
    fn open_admin(&self) -> Option<&Admin> {
        let admin = self.site.admin.as_ref().filter(|admin| admin.auth.is_none())?;
        let listener = self.site.listeners.get(usize::from(admin.listener))?;
        (!listener.speaks.tls).then_some(admin)
    }

    /// Returns how others find out whether the proxy is ready for requests; `None` if it listens on no port.
    pub fn ready(&self) -> Option<HealthProbe> {
        if self.is_checked_by_ctl() {
            return Some(HealthProbe::Ctl);
        }
        if let (Some(endpoint), Some(_)) = (self.reachable().find(|endpoint| endpoint.admin), self.open_admin()) {
            return Some(HealthProbe::Http { port: endpoint.port, tls: false, path: READY.to_owned(), host: None });
        }
        self.health_route().or_else(|| Some(HealthProbe::Connect(self.public().next()?.port)))
    }

    /// Returns how others find out whether the process lives, whatever becomes of its upstreams.
    pub fn alive(&self) -> Option<HealthProbe> {
        match self.ready() {
            Some(HealthProbe::Http { port, .. })
                if self.endpoints.iter().any(|other| other.admin && other.port == port) =>
            {
                Some(HealthProbe::Http { port, tls: false, path: ALIVE.to_owned(), host: None })
            }
            _ => Some(HealthProbe::Connect(self.public().next()?.port)),
        }
    }

    /// Returns a request to a route with `health`, which whoever comes from outside gets a response to.
    fn health_route(&self) -> Option<HealthProbe> {
        self.site.hosts.iter().find_map(|host| {
            let route = host.routes.iter().find(|route| answers_probes(route))?;
            let endpoint = self.public().find(|endpoint| self.takes_probes(endpoint, host))?;
            let name = host.hosts.iter().find_map(|host| match host {
                HostPattern::Exact(name) => Some(Some(name.clone())),
                HostPattern::Any => Some(None),
                HostPattern::Wildcard(_) => None,
            })?;
            Some(HealthProbe::Http {
                port: endpoint.port,
                tls: endpoint.tls,
                path: route.pattern.text.clone(),
                host: name,
            })
        })
    }

    /// Returns whether a request of HTTP/1.1 to an address of the machine, without anything before it, reaches a site by this endpoint.
    fn takes_probes(&self, endpoint: &Endpoint, host: &Host) -> bool {
        let speaks = &self.site.listeners[endpoint.listener].speaks;
        let redirects = speaks.redirect_https && host.secure.is_some();
        host.listeners.contains(&endpoint.listener)
            && speaks.http1
            && speaks.proxy_protocol.is_none()
            && !redirects
            && (!endpoint.tls || self.is_served_without_name(endpoint, host))
    }

    /// Returns whether a client that sends no server name, and has no certificate, gets through to a site with TLS.
    fn is_served_without_name(&self, endpoint: &Endpoint, host: &Host) -> bool {
        let default = self.site.listeners[endpoint.listener].speaks.default;
        let here =
            |other: &&Host| other.listeners.contains(&endpoint.listener) && other.hosts.contains(&HostPattern::Any);
        let only = (self.site.tls.len() == 1).then_some(0);
        let chosen = self.site.hosts.iter().find(here).and_then(|any| any.tls).or(default).or(only);
        let rules = |tls: u16| self.site.tls.get(usize::from(tls));
        let (Some(wanted), Some(chosen)) = (host.tls.or(default).or(chosen).and_then(rules), chosen.and_then(rules))
        else {
            return false;
        };
        // A connection that was made by the rules of one site is not taken for another that has different ones.
        let fits = chosen.client == wanted.client
            && chosen.min_version == wanted.min_version
            && chosen.groups == wanted.groups;
        let asks = chosen.client.as_ref().is_some_and(|client| client.required);
        fits && !asks
    }
}

/// Returns whether a route says how the site is to anybody who asks.
fn answers_probes(route: &Route) -> bool {
    let literal = |segment: &Segment| matches!(segment, Segment::Literal(_) | Segment::AnyCase(_));
    let refuses = route.policy.access.as_ref().is_some_and(|access| {
        access.auth.is_some()
            || access.networks.is_some()
            || access.certificate.is_some()
            || access.maintenance.is_some()
    });
    matches!(route.handler, Handler::Health(_))
        && route.matchers.is_empty()
        && route.methods.contains(&Method::GET)
        && route.pattern.segments.iter().all(literal)
        && !refuses
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn probes() {
        let probe = |top: &str, route: &str, ready: HealthProbe, alive: HealthProbe| {
            let text = format!("{top}\nsite a.test {{\n {route}\n route \"/*\" {{\n respond 200\n }}\n}}");
            check(&text, |footprint| {
                assert_eq!(
                    (footprint.ready(), footprint.alive()),
                    (Some(ready.clone()), Some(alive.clone())),
                    "{text}"
                );
            });
        };
        let http = |port, path: &str, host: Option<&str>| HealthProbe::Http {
            port,
            tls: false,
            path: path.to_owned(),
            host: host.map(str::to_owned),
        };
        let connect = HealthProbe::Connect(8080);
        probe("", "", connect.clone(), connect.clone());
        probe(
            "admin \"0.0.0.0:9000\" {\n allow \"10.0.0.0/8\"\n}",
            "",
            http(9000, "/readyz", None),
            http(9000, "/healthz", None),
        );
        probe("admin \"127.0.0.1:9000\"", "", HealthProbe::Ctl, connect.clone());
        probe("admin \"0.0.0.0:9000\" {\n allow \"127.0.0.1\"\n}", "", HealthProbe::Ctl, connect.clone());
        probe("admin \"unix:/run/a/admin.sock\"", "", HealthProbe::Ctl, connect.clone());
        let health = "route \"/readyz\" {\n health\n }";
        probe("", health, http(8080, "/readyz", Some("a.test")), connect.clone());
        // Its clients need a key.
        probe("admin \"0.0.0.0:9000\" {\n auth bearer (file)\"/k\"\n}", "", connect.clone(), connect);
    }

    /// Requests of a probe come by an address, without a server name, a key or a PROXY header.
    #[test]
    fn health_routes_that_probes_reach() {
        let http = |port, tls, host: Option<&str>| {
            let (path, host) = ("/readyz".to_owned(), host.map(str::to_owned));
            HealthProbe::Http { port, tls, path, host }
        };
        let probe = |text: &str, expected: HealthProbe| {
            check(text, |footprint| assert_eq!(footprint.ready(), Some(expected.clone()), "{text}"));
        };
        let health = "route \"/readyz\" {\n health\n }\n route \"/*\" {\n respond 200\n }";
        let site = |top: &str, host: &str, more: &str| format!("{top}\nsite {host} {{\n {more}\n {health}\n}}");
        let proxied = "listen \":8080\" {\n proxy-protocol v1 v2 from=\"10.0.0.0/8\"\n}";
        probe(&site("", "a.test", ""), http(8080, false, Some("a.test")));
        probe(&site("", "*", ""), http(8080, false, None));
        probe(&site(proxied, "a.test", ""), HealthProbe::Connect(8080));
        probe(&site(&format!("{proxied}\nlisten \":8081\""), "a.test", ""), http(8081, false, Some("a.test")));
        probe(&site("listen \":8080\" {\n http h2\n}", "a.test", ""), HealthProbe::Connect(8080));
        for rule in ["auth api-key (file)\"/k/keys\"", "allow \"10.0.0.0/8\"", "deny \"10.0.0.0/8\""] {
            probe(&site("", "a.test", rule), HealthProbe::Connect(8080));
        }
        // A route of its own may have none of them.
        let open = "site a.test {\n auth api-key (file)\"/k/keys\"\n route \"/readyz\" {\n auth off\n health\n }\n\
            route \"/*\" {\n respond 200\n }\n}";
        probe(open, http(8080, false, Some("a.test")));
        // A listener redirects the sites that have another one with TLS.
        let redirecting = "listen \":8080\" {\n redirect-https\n}\nlisten \":8443\" {\n tls\n}";
        let text = site(redirecting, "*", "") + "\nsite b.test {\n tls internal\n respond 200\n}";
        probe(&text, http(8080, false, None));
        probe(&site(redirecting, "a.test", "tls internal"), http(8443, true, Some("a.test")));
        // TLS: plain requests are redirected, and names are not sent.
        probe(&site("", "a.test", "tls internal"), http(443, true, Some("a.test")));
        let own = |more: &str| format!("tls {{\n certificate \"/k/cert.pem\" key=\"/k/cert.key\"\n {more}\n }}");
        let other = |host: &str| format!("site {host} {{\n {}\n respond 200\n}}", own(""));
        probe(&site(&other("b.test"), "a.test", "tls internal"), HealthProbe::Connect(443));
        // Two names get their own handshakes, and a name for all gets those without one.
        probe(&site(&other("b.test"), "*", "tls internal"), http(443, true, None));
        probe(&site(&other("*"), "a.test", "tls internal"), http(443, true, Some("a.test")));
        let newest = own("min-version \"1.3\"");
        probe(&site(&other("*"), "a.test", &newest), HealthProbe::Connect(443));
        let asked = own("client-ca \"/k/ca.pem\"");
        probe(&site("", "a.test", &asked), HealthProbe::Connect(443));
        let may = own("client-ca \"/k/ca.pem\" required=#false");
        probe(&site("", "a.test", &may), http(443, true, Some("a.test")));
    }
}
