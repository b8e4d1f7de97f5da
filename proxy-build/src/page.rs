//! Draws a site as a page: [`page`] creates one self-contained HTML file.
//!
//! It shows the map (listeners, hosts, routes, handlers), the findings, the routes in order of precedence with their
//! policies, the time-outs along the path of a request, the series of metrics, what the sandbox allows, and the sizes of the tables, all from the model and the plan.

mod map;
mod metrics;
mod sandbox;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use proxy_runtime::router::table::{Table, Words};
use proxy_runtime::site::{Setting, Timeouts};

use crate::explain::{in_order, matchers};
use crate::lower::lower;
use crate::model::{Route, Site};
use crate::plan::Plan;
use crate::{Compiled, handler, policy};

/// The most routes in the table.
const LISTED: usize = 2_000;

/// Renders the page; `None` if the site has errors. Linear in routes.
pub fn page(compiled: &Compiled) -> Option<String> {
    let site = compiled.model.as_ref()?;
    let plan = lower(site);
    let name = compiled.sources.site_files().next().map_or("", |(name, _)| name);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<header><h1>{0}</h1><p>{1}</p></header>\n<main>\n",
        escape(name),
        escape(&summary(compiled, site, &plan))
    );
    section(&mut out, "map", "Map", &map::draw(site));
    section(&mut out, "routes", "Routes, in order of precedence", &routes(site, &plan));
    section(&mut out, "findings", "Findings", &findings(compiled));
    section(&mut out, "timeouts", "Time-outs along the path of a request", &timeouts(site));
    if let Some(admin) = site.admin.as_ref().filter(|admin| admin.metrics) {
        section(&mut out, "metrics", "Metrics, and how many series each can have", &metrics::table(site, admin));
    }
    if let Some(allowed) = &site.process.sandbox {
        section(&mut out, "sandbox", "Sandbox of the process", &sandbox::list(site, allowed));
    }
    section(&mut out, "tables", "Tables in the binary", &tables(&plan));
    out += &format!("</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n");
    Some(out)
}

fn section(out: &mut String, id: &str, title: &str, content: &str) {
    // A write to a String cannot fail.
    let _ = write!(out, "<section id=\"{id}\"><h2>{title}</h2>\n{content}</section>\n");
}

fn summary(compiled: &Compiled, site: &Site, plan: &Plan<'_>) -> String {
    let counts = [
        (site.listeners.len(), "listener"),
        (site.hosts.len(), "site"),
        (plan.routes.len(), "route"),
        (site.upstreams.len(), "upstream"),
        (site.tests.len(), "test"),
    ];
    let counts = counts.map(|(n, one)| format!("{n} {one}{}", if n == 1 { "" } else { "s" }));
    format!("{}; sha256 {}", counts.join(", "), &compiled.digest()[..16])
}

fn findings(compiled: &Compiled) -> String {
    let found = compiled.diagnostics(false);
    if found.is_empty() {
        return "<p>None.</p>\n".to_owned();
    }
    format!("<pre>{}</pre>\n", escape(found.trim_end()))
}

fn routes(site: &Site, plan: &Plan<'_>) -> String {
    let untested: HashSet<*const Route> =
        crate::testing::untested(site, plan).into_iter().map(std::ptr::from_ref).collect();
    let mut out = String::from(
        "<p><input id=\"filter\" type=\"search\" placeholder=\"filter routes\" aria-label=\"filter routes\"></p>\n\
         <div class=\"wide\"><table>\n<thead><tr><th>host</th><th>pattern</th><th>matchers</th><th>access</th><th>handler</th><th>limits</th>\
         <th>tested</th><th>an example</th><th>place</th></tr></thead>\n<tbody>\n",
    );
    let mut left = LISTED;
    for host in &site.hosts {
        let hosts = host.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        for index in in_order(host) {
            if left == 0 {
                break;
            }
            left -= 1;
            let route = &host.routes[index];
            let cells = [
                hosts.clone(),
                route.pattern.text.clone(),
                matchers(route).join("; "),
                policy::ALL.iter().flat_map(|kind| kind.guards(route)).collect::<Vec<_>>().join(", "),
                handler::checked(&route.handler).short(site),
                limits(site, route),
                if untested.contains(&std::ptr::from_ref(route)) { "no" } else { "yes" }.to_owned(),
                route.example.as_ref().map(ToString::to_string).unwrap_or_default(),
                format!("{}:{}", route.place.file, route.place.line),
            ];
            out += "<tr>";
            for cell in cells {
                out += &format!("<td>{}</td>", escape(&cell));
            }
            out += "</tr>\n";
        }
    }
    out += "</tbody></table></div>\n";
    if plan.routes.len() > LISTED {
        out += &format!("<p>and {} more</p>\n", plan.routes.len() - LISTED);
    }
    out
}

fn limits(site: &Site, route: &Route) -> String {
    format!("body {}", size(site, &route.policy.limits.body))
}

fn size(site: &Site, setting: &Setting<u64>) -> String {
    match setting {
        Setting::Fixed(u64::MAX) => "unlimited".to_owned(),
        Setting::Fixed(bytes) => bytes_in_words(*bytes),
        Setting::Param(index) => format!("(param){}", site.params[usize::from(*index)].name),
    }
}

fn bytes_in_words(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| bytes >= 1 << shift);
    match unit {
        Some((shift, unit)) if bytes.is_multiple_of(1 << shift) => format!("{} {unit}", bytes >> shift),
        Some((shift, unit)) => format!("{:.1} {unit}", bytes as f64 / f64::from(1_u32 << shift)),
        None => format!("{bytes} B"),
    }
}

/// Returns each distinct set of time-outs as bars with a common scale.
fn timeouts(site: &Site) -> String {
    let mut distinct: Vec<(&Timeouts, Vec<String>)> = Vec::new();
    for host in &site.hosts {
        for route in &host.routes {
            let name =
                format!("{}{}", host.hosts.first().map(ToString::to_string).unwrap_or_default(), route.pattern.text);
            match distinct.iter_mut().find(|(known, _)| **known == route.policy.timeouts) {
                Some((_, names)) => names.push(name),
                None => distinct.push((&route.policy.timeouts, vec![name])),
            }
        }
    }
    let mut out = String::new();
    for (timeouts, names) in distinct {
        let steps = [
            ("request", "the request arrives", &timeouts.request),
            ("connect", "a connection to the server", &timeouts.connect),
            ("response", "the server's response begins", &timeouts.response),
            ("idle", "silence on either side", &timeouts.idle),
            ("total", "all of it", &timeouts.total),
        ];
        let longest =
            steps.iter().filter_map(|(_, _, setting)| finite(setting)).max().unwrap_or(Duration::from_secs(1));
        let some: Vec<_> = names.iter().take(5).map(|name| escape(name)).collect();
        let more = names.len().checked_sub(5).filter(|more| *more > 0).map(|more| format!(" and {more} more"));
        out += &format!("<h3>{}{}</h3>\n<table class=\"bars\">\n", some.join(", "), more.unwrap_or_default());
        for (name, what, setting) in steps {
            let width = finite(setting).map_or(100.0, |value| 100.0 * value.as_secs_f64() / longest.as_secs_f64());
            let class = if finite(setting).is_some() { "bar" } else { "bar endless" };
            out += &format!(
                "<tr><th>{name}</th><td>{what}</td><td class=\"value\">{}</td>\
                 <td class=\"scale\"><div class=\"{class}\" style=\"width:{:.1}%\"></div></td></tr>\n",
                escape(&duration(site, setting)),
                width.max(0.5)
            );
        }
        out += "</table>\n";
    }
    out
}

fn finite(setting: &Setting<Duration>) -> Option<Duration> {
    match setting {
        Setting::Fixed(Duration::MAX) | Setting::Param(_) => None,
        Setting::Fixed(duration) => Some(*duration),
    }
}

fn duration(site: &Site, setting: &Setting<Duration>) -> String {
    match setting {
        Setting::Fixed(Duration::MAX) => "off".to_owned(),
        Setting::Fixed(duration) => format!("{duration:?}"),
        Setting::Param(index) => format!("(param){}", site.params[usize::from(*index)].name),
    }
}

fn tables(plan: &Plan<'_>) -> String {
    let tables = &plan.tables;
    fn hash<const N: usize>(table: &Table<N>) -> (usize, usize) {
        (table.len(), table.disps.bytes().len() + table.slots.len() + table.long.len())
    }
    let words = |words: &Words, columns| (words.len() / columns, words.bytes().len());
    let (hosts, exact, segments) = (hash(&tables.hosts), hash(&tables.exact), hash(&tables.segments));
    let leaves = words(&tables.leaves, 4);
    let lists = tables.expressions.bytes().len() + tables.plain.bytes().len();
    let mut rows = vec![
        ("hosts".to_owned(), hosts),
        ("exact paths".to_owned(), exact),
        ("segments of patterns".to_owned(), segments),
        ("places for {name} in patterns".to_owned(), words(&tables.captures, 4)),
        ("patterns with several routes".to_owned(), (leaves.0, leaves.1 + lists)),
    ];
    for (number, joint) in tables.joint.iter().enumerate() {
        let expressions = plan.model.joined.places.values().filter(|(table, _)| *table as usize == number).count();
        let kind = if plan.model.joined.anchored[number] { "from the beginning" } else { "anywhere" };
        rows.push((format!("expressions on paths, {kind}"), (expressions, joint.bytes().len())));
    }
    for (pattern, _, bytes) in &plan.regexes {
        rows.push((format!("expression {pattern}"), (1, bytes.len())));
    }
    let mut out = String::from("<table>\n<tr><th>table</th><th>entries</th><th>size</th></tr>\n");
    let total: usize = rows.iter().map(|(_, (_, bytes))| bytes).sum();
    for (name, (entries, bytes)) in rows {
        out += &format!(
            "<tr><td>{}</td><td class=\"value\">{entries}</td><td class=\"value\">{}</td></tr>\n",
            escape(&name),
            bytes_in_words(bytes as u64)
        );
    }
    out + &format!(
        "<tr><th>all</th><td></td><td class=\"value\">{}</td></tr>\n</table>\n",
        bytes_in_words(total as u64)
    )
}

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: light-dark(#1c1b1a, #eceae6); --paper: light-dark(#fbfaf8, #191817);
  --line: light-dark(#d8d4cd, #403d39); --soft: light-dark(#f1eee9, #24221f); --fire: light-dark(#b4451f, #e8835c); }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
header { padding: 24px 32px; border-bottom: 3px solid var(--fire); } h1 { margin: 0; font-size: 24px; } header p { margin: 4px 0 0; }
main { padding: 8px 32px 48px; } h2 { margin: 32px 0 8px; font-size: 18px; } h3 { margin: 16px 0 4px; font-size: 14px; font-weight: 600; }
table { border-collapse: collapse; } th, td { padding: 4px 12px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } td { font-family: ui-monospace, monospace; font-size: 13px; } .value { text-align: right; white-space: nowrap; }
.wide { overflow-x: auto; } pre { padding: 12px; background: var(--soft); overflow-x: auto; font-size: 13px; }
.bars { width: 100%; max-width: 900px; } .scale { width: 50%; } .bar { height: 12px; background: var(--fire); } .endless { opacity: .25; }
input { font: inherit; padding: 4px 8px; width: 280px; } svg { max-width: 100%; height: auto; }
svg text { fill: var(--ink); font: 12px ui-monospace, monospace; } svg .title { font: 600 13px system-ui, sans-serif; }
svg rect { fill: var(--soft); stroke: var(--line); } svg path { fill: none; stroke: var(--fire); stroke-opacity: .55; }
";

const SCRIPT: &str = "
document.getElementById('filter').addEventListener('input', event => {
  const wanted = event.target.value.toLowerCase();
  for (const row of document.querySelectorAll('#routes tbody tr')) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }
});
";
