//! How many series the metrics of a site can have, which Prometheus stores for each proxy ([`table`]).

use std::collections::BTreeSet;

use proxy_runtime::metrics::{ALL, BUCKETS, CLASSES, Metric, MetricKind};
use proxy_runtime::site::{Admin, Setting};

use crate::code::reasons::{self, ReasonKind};
use crate::model::Site;

/// The number of kinds of failures at servers, of cache results, and of TLS versions.
const KINDS: usize = 5;
const RESULTS: usize = 6;
const VERSIONS: usize = 2;

/// Returns a table of the metric families, each with the most series that it can have.
pub(super) fn table(site: &Site, admin: &Admin) -> String {
    let mut out = String::from("<table>\n<tr><th>metric</th><th>series at most</th></tr>\n");
    let (mut total, mut per_worker) = (0, 0);
    for metric in ALL {
        let series = most(metric, site, admin);
        let by_worker = metric.labels == ["worker"] && workers(site).is_none();
        *if by_worker { &mut per_worker } else { &mut total } += series;
        let each = if by_worker { " for each worker" } else { "" };
        out += &row("td", &metric.sample(), &format!("{series}{each}"));
    }
    let each = if per_worker > 0 { format!(", and {per_worker} for each worker") } else { String::new() };
    out + &row("th", "all", &format!("{total}{each}")) + "</table>\n"
}

fn row(cell: &str, name: &str, value: &str) -> String {
    format!("<tr><{cell}>{name}</{cell}><td class=\"value\">{value}</td></tr>\n")
}

/// Returns the most series of a family: one for each combination of labels, and for a histogram, for each bucket, too.
fn most(metric: &Metric, site: &Site, admin: &Admin) -> usize {
    let of_server = metric.labels.contains(&"server");
    let combinations: usize = metric
        .labels
        .iter()
        .map(|label| match *label {
            "route" => routes(site),
            "code" => CLASSES.len(),
            "reason" => reasons::all().filter(|reason| reason.kind == ReasonKind::Log).count(),
            "worker" => workers(site).unwrap_or(1),
            "upstream" if !of_server => site.upstreams.len(),
            "server" => servers(site),
            "kind" => KINDS,
            "store" => site.stores.len(),
            "result" => RESULTS,
            "from" | "in" => 2,
            "version" if metric.labels.len() == 1 => VERSIONS,
            // These labels follow from another one: the site from the route, the upstream from the server.
            _ => 1,
        })
        .product();
    let buckets = if admin.buckets.is_empty() { BUCKETS.len() } else { admin.buckets.len() };
    // The bucket of values above all bounds, the sum, the count.
    combinations * if metric.kind == MetricKind::Histogram { buckets + 3 } else { 1 }
}

/// Returns the number of series by route: routes of a site with the same pattern share one, and one is for requests
/// without a route.
fn routes(site: &Site) -> usize {
    let of_site = |(index, host): (usize, &crate::model::Host)| {
        host.routes.iter().map(|route| (index, route.pattern.text.clone())).collect::<Vec<_>>()
    };
    site.hosts.iter().enumerate().flat_map(of_site).collect::<BTreeSet<_>>().len() + 1
}

fn servers(site: &Site) -> usize {
    let of_upstream = |upstream: &proxy_runtime::site::Upstream| match &upstream.discover {
        Some(discover) => usize::try_from(discover.max).unwrap_or(usize::MAX),
        None => upstream.servers.len(),
    };
    site.upstreams.iter().map(of_upstream).sum()
}

/// Returns the number of workers, if it is known at build.
fn workers(site: &Site) -> Option<usize> {
    match site.process.workers {
        Some(Setting::Fixed(workers)) => usize::try_from(workers).ok(),
        Some(Setting::Param(_)) | None => None,
    }
}
