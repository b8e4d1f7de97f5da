//! Explains how a checked site handles one request ([`explain`]), or lists all [`routes`].
//!
//! It runs the plan with the runtime's own code, so that the explanation is accurate.

use std::fmt::Write as _;
use std::net::IpAddr;

use proxy_runtime::context::settings::{self, Address};
use proxy_runtime::context::view::RequestVersion;
use proxy_runtime::protocol::canonical;
use proxy_runtime::rehearse::{Rehearsal, rehearse};
use proxy_runtime::site::{Proxy, Setting, Upstream};

use crate::check::matchers::describe;
use crate::handler;
use crate::lower::lower;
use crate::model::{Host, Route, Site};
use crate::policy::{self, ExplainStep, ExplainedRequest};
use crate::{upstream, wording};

/// Explains how a request is handled.
///
/// # Errors
/// The request is invalid.
pub fn explain(
    model: &Site,
    method: &str,
    url: &str,
    headers: Vec<(&str, &str)>,
    from: IpAddr,
) -> Result<String, String> {
    let plan = lower(model);
    let uri: http::Uri = url.parse().map_err(|error| format!("`{url}`: {error}"))?;
    let listener = listener(model, &uri)?;
    let request =
        Rehearsal { method, url, listener: listener as u32, headers, body: 0, from, version: RequestVersion::Http1 };
    let outcome = rehearse(&plan, &request, &crate::testing::build_settings(model))?;
    let mut out = Text(String::new());
    out.line("request", format!("{method} {url} from {from}"));
    out.line("listener", &model.listeners[listener].name);
    out.line("process", process(model));
    if let Some(site) = outcome.site {
        let host = &model.hosts[site as usize];
        out.line("site", names(host));
        out.line("path", normal_path(&uri, host));
    }
    if let Some(id) = outcome.route {
        let route = &plan.routes[id as usize];
        explain_route(&mut out, route.model, model, &outcome);
    }
    out.line("answer", outcome.in_short());
    if outcome.not_asked {
        out.line("", "unless the functions of `filter`, which only the binary calls, change it");
    }
    if let Some(location) = &outcome.location {
        out.line("location", location);
    }
    Ok(out.0)
}

/// Returns the listener for a URL.
fn listener(model: &Site, uri: &http::Uri) -> Result<usize, String> {
    let host = uri.host().ok_or_else(|| format!("`{uri}` has no host"))?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        other => return Err(format!("`{}` is neither http nor https", other.unwrap_or_default())),
    };
    let index = model.listener_for(uri);
    let speaks = |index: usize| {
        let listener = &model.listeners[index];
        let scheme = if listener.speaks.tls { "https" } else { "http" };
        format!("{} ({scheme})", wording::setting(model, &listener.address, ToString::to_string))
    };
    let all = || (0..model.listeners.len()).map(speaks).collect::<Vec<_>>().join(", ");
    if let Some(port) = uri.port_u16() {
        let address = match &model.listeners[index].address {
            Setting::Fixed(address) => Some(address),
            Setting::Param(param) => model.params[usize::from(*param)].default.as_ref(),
        };
        // An address that is given at start may have any port.
        let other = |address: &proxy_runtime::site::Text| !matches!(settings::address(address), Ok(Address::Tcp(_, found)) if found == port);
        if address.is_some_and(other) {
            return Err(format!("no listener has port {port}; there are: {}", all()));
        }
    }
    if model.listeners[index].speaks.tls != tls {
        return Err(format!(
            "no listener there has {} for {host}; there are: {}",
            uri.scheme_str().unwrap_or_default(),
            all()
        ));
    }
    Ok(index)
}

/// Settings of the process, which apply to all routes.
fn process(model: &Site) -> String {
    let limits = &model.root.limits;
    let number = |setting: &Setting<u64>| wording::setting(model, setting, |&number| wording::number(number));
    let mut said = vec![
        format!("connections={}", number(&limits.connections)),
        format!("per-client={}", number(&limits.per_client)),
        format!("memory={}", wording::setting(model, &limits.memory, |&bytes| wording::size(bytes))),
    ];
    if model.listeners.iter().any(|listener| listener.speaks.tls) {
        said.push(format!("handshakes={}", number(&limits.handshakes)));
    }
    if model.listeners.iter().any(|listener| listener.speaks.http2 || listener.speaks.http3) {
        said.push(format!("max-streams={}", number(&model.process.max_streams)));
    }
    said.join(" ")
}

/// Path and query as they are matched, cached and forwarded.
fn normal_path(uri: &http::Uri, host: &Host) -> String {
    let path = match canonical::path(uri.path(), host.normal_form) {
        Ok(path) => path,
        Err(error) => return format!("{} is refused ({error:?})", uri.path()),
    };
    match uri.query().map(canonical::query) {
        Some(Ok(query)) => format!("{path}?{query}"),
        _ => path.into_owned(),
    }
}

fn explain_route(out: &mut Text, route: &Route, model: &Site, outcome: &proxy_runtime::rehearse::RehearsalOutcome) {
    out.line("route", format!("{} ({}:{})", route.pattern.text, route.place.file, route.place.line));
    for matcher in matchers(route) {
        out.line("  matcher", matcher);
    }
    out.0.push_str("phases:\n");
    let explained = ExplainedRequest { site: model, route, outcome };
    let lines: Vec<_> = policy::ALL.iter().flat_map(|kind| kind.explain(&explained)).collect();
    let step = |out: &mut Text, step: ExplainStep, indent: &str| {
        let lines = lines.iter().filter(|line| line.step == step);
        lines.for_each(|line| out.line(&format!("{indent}{}", line.name), &line.text));
    };
    step(out, ExplainStep::Intake, "  ");
    step(out, ExplainStep::Access, "  ");
    if let Some(text) = handler::checked(&route.handler).explain(model) {
        out.line(&format!("  {}", route.handler.name()), text);
    }
    if let Some(proxy) = route.handler.proxy() {
        step(out, ExplainStep::Change, "  ");
        explain_proxy(out, proxy, model, outcome);
        step(out, ExplainStep::Forward, "    ");
    }
    step(out, ExplainStep::Response, "  ");
    step(out, ExplainStep::Finish, "  ");
}

/// Explains where a request is forwarded to, and in which form.
fn explain_proxy(out: &mut Text, proxy: &Proxy, model: &Site, outcome: &proxy_runtime::rehearse::RehearsalOutcome) {
    let total: u64 = proxy.shares.iter().map(|share| share.weight).sum();
    for share in proxy.shares.iter() {
        let upstream = &model.upstreams[usize::from(share.upstream)];
        let place = format!("{}:{}", upstream.place.file, upstream.place.line);
        let part = match proxy.shares.len() {
            1 => String::new(),
            _ => format!("{} of {total} to ", share.weight),
        };
        out.line(
            &format!("  {}", proxy.name()),
            format!("{part}{} -> {} ({place})", upstream.name, servers(model, upstream)),
        );
    }
    for share in proxy.shares.iter() {
        out.line("    balance", balancing(model, &model.upstreams[usize::from(share.upstream)]));
    }
    out.line("    path", outcome.upstream_path.as_deref().unwrap_or("refused"));
    for (name, text) in handler::forwarding::said(proxy) {
        out.line(&format!("    {name}"), text);
    }
}

/// Returns the servers of an upstream, and the source of discovered ones.
fn servers(model: &Site, upstream: &Upstream) -> String {
    upstream::ALL.iter().flat_map(|kind| kind.servers(model, upstream)).collect::<Vec<_>>().join(" ")
}

/// Returns the load balancing of an upstream.
fn balancing(model: &Site, upstream: &Upstream) -> String {
    upstream::ALL.iter().flat_map(|kind| kind.explain(model, upstream)).collect::<Vec<_>>().join(", ")
}

/// Text in two columns.
struct Text(String);

impl Text {
    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        // A write to a String cannot fail.
        let _ = writeln!(self.0, "{}", format!("{name:<20} {value}").trim_end());
    }
}

fn names(host: &Host) -> String {
    host.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

pub(crate) fn matchers(route: &Route) -> Vec<String> {
    let mut all = Vec::new();
    if route.methods.mask != u16::MAX {
        all.push(format!("method {}", route.methods.names().collect::<Vec<_>>().join(" ")));
    }
    all.extend(route.matchers.iter().map(describe));
    all
}

/// Returns all routes, site by site, in order of precedence.
pub fn routes(model: &Site) -> String {
    let mut rows = vec![["HOST", "PATTERN", "MATCHERS", "HANDLER", "PLACE"].map(str::to_owned)];
    for host in &model.hosts {
        for index in in_order(host) {
            let route = &host.routes[index];
            let handler = handler::checked(&route.handler).short(model);
            let place = format!("{}:{}", route.place.file, route.place.line);
            rows.push([names(host), route.pattern.text.clone(), matchers(route).join("; "), handler, place]);
        }
    }
    let widths: Vec<usize> =
        (0..5).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out += cells.join("  ").trim_end();
        out.push('\n');
    }
    out
}

/// Returns the routes of a site in the order of lookup: in each segment, literal before `{name}` before `*`.
pub(crate) fn in_order(host: &Host) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..host.routes.len()).collect();
    indices.sort_by_key(|&index| host.routes[index].rank);
    // Stable: routes of one pattern keep the order of their matchers.
    indices.sort_by_key(|&index| {
        let rank = |segment: &crate::pattern::Segment| match segment {
            crate::pattern::Segment::Literal(text) => (0, text.clone()),
            crate::pattern::Segment::AnyCase(text) => (1, text.clone()),
            crate::pattern::Segment::Capture(_) => (2, String::new()),
            crate::pattern::Segment::Rest => (3, String::new()),
        };
        host.routes[index].pattern.segments.iter().map(rank).collect::<Vec<_>>()
    });
    indices
}
