//! Finds loops: redirects and forwards that lead back to the same route.
//!
//! Each route that could begin a loop is followed with a request that is known to reach it, through the tables that
//! will be compiled in: a reported loop will happen, and the message shows it step by step. A scheme that no listener
//! has ends the search, and so does a port that is not a listener's. Error pages are bytes, so they can't lead
//! anywhere.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};

use http::Method;
use proxy_runtime::context::settings::{self, Address, Settings};
use proxy_runtime::context::view::RequestVersion;
use proxy_runtime::rehearse::{Rehearsal, RehearsalOutcome, rehearse};
use proxy_runtime::router::route::RouteId;
use proxy_runtime::site::{HostField, Proxy, Server, Setting, Text};

use crate::check::listeners::normal_host;
use crate::handler::{self, Leads};
use crate::model::Site;
use crate::plan::Plan;
use crate::report::{Diagnostic, Report};

/// The number of steps after which clients give up; a chain of this length counts as a loop.
const STEPS: usize = 20;

/// The most requests that are followed for one route: upstreams of several own listeners branch at every step.
const FOLLOWED: usize = 1_000;

/// A step of a chain of requests.
#[derive(Clone)]
struct Hop {
    listener: usize,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    from: IpAddr,
    /// The chain so far, such as `/a -> /b`.
    said: String,
}

impl Hop {
    /// Returns the chain with one more step; a long chain is shown by its beginning.
    fn said(&self, next: &str) -> String {
        match self.said.matches(" -> ").count() {
            0..4 => format!("{} -> {next}", self.said),
            4 => format!("{} -> ...", self.said),
            _ => self.said.clone(),
        }
    }
}

/// Reports the loops of a site.
pub(crate) fn report(site: &Site, plan: &Plan<'_>, report: &mut Report) {
    let walk = Walk { site, plan, settings: crate::testing::build_settings(site), left: Cell::new(0) };
    for (id, route) in plan.routes.iter().enumerate() {
        let host = &site.hosts[route.site as usize];
        let (Some(example), Some(&listener)) = (&route.model.example, host.listeners.first()) else { continue };
        let (mut example, mut handler) = (example.clone(), &route.model.handler);
        // Whether a file ends a loop is unknown; a POST certainly bypasses the folder.
        let past = handler.for_method(&Method::POST);
        if past != handler && route.model.methods.contains(&Method::POST) {
            handler = past;
            example.method = Method::POST.to_string();
        }
        let leads = handler::checked(handler).leads();
        if !walk.leads_on(&leads) {
            continue;
        }
        // On a site with TLS, only HTTPS requests reach its handlers.
        let over_tls = |url: String| match host.secure {
            Some(_) => url.replacen("http://", "https://", 1),
            None => url,
        };
        let first = Hop {
            listener: host.secure.map_or(listener, usize::from),
            method: example.method.clone(),
            url: over_tls(example.url()),
            headers: example.headers(),
            from: example.client,
            said: over_tls(example.to_string()),
        };
        let mut path = Vec::new();
        walk.left.set(FOLLOWED);
        let Some(round) = walk.round(id as RouteId, &first, &mut path) else { continue };
        let diagnostic = match leads {
            Leads::Elsewhere { .. } => Diagnostic::error(
                "redirect-loop",
                "this redirect leads back to itself: clients would loop until they give up",
                route.model.handler_span,
            ),
            _ => Diagnostic::error(
                "proxy-loop",
                "this forwards to a listener of the same site: requests would loop",
                route.model.handler_span,
            )
            .help("give the upstream's port, or send another `Host` with `host=`"),
        };
        report.add(diagnostic.help(format!("for example: {round}")));
    }
}

struct Walk<'a> {
    site: &'a Site,
    plan: &'a Plan<'a>,
    settings: Settings,
    /// How many more requests may be followed.
    left: Cell<usize>,
}

impl Walk<'_> {
    /// Returns whether a request may come to this site again.
    fn leads_on(&self, leads: &Leads<'_>) -> bool {
        match leads {
            Leads::Elsewhere { .. } => true,
            Leads::To(proxy) => self.servers(proxy).any(|server| self.reached(&server.address).next().is_some()),
            Leads::Nowhere => false,
        }
    }

    /// Returns all servers of a handler.
    fn servers(&self, proxy: &Proxy) -> impl Iterator<Item = &Server> {
        let upstreams = proxy.shares.iter().map(|share| &self.site.upstreams[usize::from(share.upstream)]);
        upstreams.collect::<Vec<_>>().into_iter().flat_map(|upstream| upstream.servers.iter())
    }

    /// Finds a loop that returns to the route `origin`, and describes it from its beginning. `path` is the chain so
    /// far.
    fn round(&self, origin: RouteId, step: &Hop, path: &mut Vec<(Option<RouteId>, String)>) -> Option<String> {
        self.left.set(self.left.get().checked_sub(1)?);
        let request = Rehearsal {
            method: &step.method,
            url: &step.url,
            listener: step.listener as u32,
            headers: step.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            body: 0,
            from: step.from,
            version: RequestVersion::Http1,
        };
        let outcome = rehearse(self.plan, &request, &self.settings).ok()?;
        if outcome.route.is_none() && outcome.handler != Some("redirect-https") {
            return None;
        }
        let route = outcome.route;
        let here = format!("{} {} at {}", step.method, step.url, self.site.listeners[step.listener].name);
        let again = path.iter().any(|(_, before)| *before == here);
        if again || path.len() >= STEPS {
            let here = usize::from(route == Some(origin));
            let passed = path.iter().filter(|(passed, _)| *passed == Some(origin)).count() + here;
            return (passed > 1).then(|| step.said.clone());
        }
        path.push((route, here));
        let found = self.next(step, route, &outcome).into_iter().find_map(|next| self.round(origin, &next, path));
        path.pop();
        found
    }

    fn next(&self, step: &Hop, route: Option<RouteId>, outcome: &RehearsalOutcome) -> Vec<Hop> {
        let follow = |location: &str, method: String| {
            let (listener, url) = self.target(step, location)?;
            Some(Hop { listener, method, url, said: step.said(location), ..step.clone() })
        };
        let Some(route) = route else {
            // The 308 of a listener's `redirect-https`.
            return outcome.location.iter().filter_map(|location| follow(location, step.method.clone())).collect();
        };
        let Ok(method) = step.method.parse() else { return Vec::new() };
        match handler::checked(self.plan.routes[route as usize].model.handler.for_method(&method)).leads() {
            Leads::Elsewhere { by_get } => {
                let get = by_get && step.method != "HEAD";
                let method = if get { "GET".to_owned() } else { step.method.clone() };
                outcome.location.iter().filter_map(|location| follow(location, method.clone())).collect()
            }
            Leads::To(proxy) => {
                let Some(path) = &outcome.upstream_path else { return Vec::new() };
                let shares = proxy.shares.iter().map(|share| &self.site.upstreams[usize::from(share.upstream)]);
                let servers = shares.flat_map(|upstream| {
                    let tls = upstream.tls.is_some();
                    let speaks = move |listener: usize| self.site.listeners[listener].speaks.tls == tls;
                    let reached = upstream.servers.iter().flat_map(|server| self.reached(&server.address));
                    let fitting = reached.filter(move |(listener, _)| speaks(*listener));
                    fitting.map(move |(listener, address)| (listener, address.to_owned(), tls))
                });
                let authority = step.url.split("://").nth(1).and_then(|rest| rest.split('/').next());
                servers
                    .map(|(listener, address, tls)| {
                        let host = match &proxy.host {
                            HostField::Client => authority.unwrap_or_default().to_owned(),
                            HostField::Upstream => address.clone(),
                            HostField::Fixed(host) => host.to_string(),
                        };
                        let fields = outcome.upstream_headers.iter().filter(|(name, _)| name != "host");
                        Hop {
                            listener,
                            url: format!("{}://{host}{path}", if tls { "https" } else { "http" }),
                            headers: fields.cloned().collect(),
                            from: Ipv4Addr::LOCALHOST.into(),
                            said: step.said(&format!("{address} as {host}{path}")),
                            method: step.method.clone(),
                        }
                    })
                    .collect()
            }
            Leads::Nowhere => Vec::new(),
        }
    }

    /// Returns the listener that a client reaches by following `location`, and the URL.
    fn target(&self, step: &Hop, location: &str) -> Option<(usize, String)> {
        let (scheme, rest) = step.url.split_once("://")?;
        if location.starts_with('/') && !location.starts_with("//") {
            let authority = rest.split('/').next()?;
            return Some((step.listener, format!("{scheme}://{authority}{location}")));
        }
        let url = location.strip_prefix("//").map_or_else(|| location.to_owned(), |rest| format!("{scheme}://{rest}"));
        let parsed: http::Uri = url.parse().ok()?;
        let tls = match parsed.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let speaks = |index: usize| self.site.listeners[index].speaks.tls == tls;
        let listener = match parsed.port_u16() {
            // Without a port it is the one in front of this listener, as for the first request.
            None if speaks(step.listener) && self.serves(step.listener, parsed.host()?) => step.listener,
            None => self.site.listener_for(&parsed),
            Some(port) => (0..self.site.listeners.len()).find(|&index| {
                let Setting::Fixed(address) = &self.site.listeners[index].address else { return false };
                matches!(settings::address(address), Ok(Address::Tcp(_, found)) if found == port)
            })?,
        };
        speaks(listener).then_some((listener, url))
    }

    /// Returns whether a host has a site on a listener.
    fn serves(&self, listener: usize, host: &str) -> bool {
        let mut hosts = self.site.hosts.iter().filter(|site| site.listeners.contains(&listener));
        hosts.any(|site| site.hosts.iter().any(|pattern| pattern.matches(&host.to_ascii_lowercase())))
    }

    /// Returns the listeners that a connection to a server certainly reaches.
    fn reached<'s>(&self, server: &'s Setting<Text>) -> impl Iterator<Item = (usize, &'s str)> {
        let address = match server {
            Setting::Fixed(address) => Some(address.as_ref()),
            Setting::Param(_) => None,
        };
        let listeners = self.site.listeners.iter().enumerate();
        let found =
            listeners.filter(move |(_, listener)| address.is_some_and(|address| reaches(address, &listener.address)));
        found.filter_map(move |(index, _)| Some((index, address?)))
    }
}

/// Returns whether a connection to `server` certainly reaches `listener`.
fn reaches(server: &str, listener: &Setting<Text>) -> bool {
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
