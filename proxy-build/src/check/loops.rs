//! Requests that would come back to where they were: a route that forwards to a listener of this very site.
//!
//! Only what is certain is an error: a server with a loopback address (or the listener's own) and the listener's port,
//! and a `Host` that the listener gives to a site whose route forwards on in a circle.

use std::net::IpAddr;

use proxy_runtime::settings::{self, Address};
use proxy_runtime::site::{Handler, HostField, Listener, Proxy, Setting};

use super::Check;
use super::listeners::normal_host;
use crate::ast::HostPattern;
use crate::model::Host;
use crate::report::Diagnostic;

impl Check<'_> {
    pub(super) fn loops(&mut self, hosts: &[Host], listeners: &[Listener]) {
        for (index, host) in hosts.iter().enumerate() {
            for route in &host.routes {
                let Handler::Proxy(proxy) = &route.handler else { continue };
                let mut seen = vec![false; hosts.len()];
                if let Some(via) = self.returns(index, host, proxy, hosts, listeners, &mut seen) {
                    let message = format!(
                        "this forwards to the site's own listener `{}`: requests would go round for ever",
                        listeners[via].name
                    );
                    self.report.add(
                        Diagnostic::error("proxy-loop", message, route.handler_span)
                            .label(format!("answered by `{}` again", host.hosts[0]))
                            .help("give the upstream's port, or send another `Host` with `host=`"),
                    );
                }
            }
        }
    }

    /// The listener through which `proxy` leads back to the site `origin`.
    fn returns(
        &self,
        origin: usize,
        from: &Host,
        proxy: &Proxy,
        hosts: &[Host],
        listeners: &[Listener],
        seen: &mut [bool],
    ) -> Option<usize> {
        let upstream = &self.upstreams.entries[usize::from(proxy.upstream)].value;
        for server in upstream.servers.iter() {
            let Setting::Fixed(address) = &server.address else { continue };
            for listener in (0..listeners.len()).filter(|&listener| reaches(address, &listeners[listener].address)) {
                for next in next_sites(from, proxy, address, listener, hosts) {
                    if next == origin {
                        return Some(listener);
                    }
                    if std::mem::replace(&mut seen[next], true) {
                        continue;
                    }
                    for route in &hosts[next].routes {
                        if let Handler::Proxy(onward) = &route.handler
                            && self.returns(origin, &hosts[next], onward, hosts, listeners, seen).is_some()
                        {
                            return Some(listener);
                        }
                    }
                }
            }
        }
        None
    }
}

/// Whether connecting to `server` is certain to reach `listener`.
fn reaches(server: &str, listener: &Setting<proxy_runtime::site::Text>) -> bool {
    let Setting::Fixed(listener) = listener else { return false };
    match (settings::address(server), settings::address(listener)) {
        (Ok(Address::Tcp(host, port)), Ok(Address::Tcp(listen, listen_port))) if port == listen_port => {
            let (Some(host), Some(listen)) = (normal_host(host), normal_host(listen)) else { return false };
            let loopback = |address: IpAddr| address.to_canonical().is_loopback();
            host == listen || (listen.is_unspecified() && loopback(host))
        }
        (Ok(Address::Unix(server)), Ok(Address::Unix(listener))) => server == listener,
        _ => false,
    }
}

/// The sites that a forwarded request is given to at `listener`.
fn next_sites(from: &Host, proxy: &Proxy, server: &str, listener: usize, hosts: &[Host]) -> Vec<usize> {
    let fixed = match &proxy.host {
        HostField::Client => None,
        HostField::Upstream => Some(server),
        HostField::Fixed(host) => Some(host.as_ref()),
    };
    let site_of = |name: &str| {
        let candidates = || hosts.iter().enumerate().filter(|(_, host)| host.listeners.contains(&listener));
        let by = |wanted: &dyn Fn(&HostPattern) -> bool| {
            candidates().find(|(_, host)| host.hosts.iter().any(wanted)).map(|(index, _)| index)
        };
        by(&|pattern| *pattern == HostPattern::Exact(name.to_owned()))
            .or_else(|| by(&|pattern| matches!(pattern, HostPattern::Wildcard(_)) && pattern.matches(name)))
            .or_else(|| by(&|pattern| *pattern == HostPattern::Any))
    };
    if let Some(host) = fixed {
        let name = proxy_runtime::target::split_port(host).unwrap_or(host).to_ascii_lowercase();
        return site_of(&name).into_iter().collect();
    }
    let mut next = Vec::new();
    for pattern in &from.hosts {
        let name = match pattern {
            HostPattern::Exact(host) => host.clone(),
            HostPattern::Wildcard(suffix) => format!("any-name-at-all.{suffix}"),
            HostPattern::Any => "any-name-at-all.invalid".to_owned(),
        };
        next.extend(site_of(&name));
    }
    next.dedup();
    next
}
