//! A dashboard for Grafana ([`write`]), in the schema of its classic dashboards (version 39): requests and failures first, then
//! upstreams, caches and the process. It has no panel that stays empty for this site.

use proxy_runtime::metrics::{
    ACCEPTED, CACHE_BYTES, CACHE_CAPACITY, CACHE_EVICTED, CACHE_REQUESTS, CLIENT_MEMORY, CONNECTIONS, CPU, DURATION,
    FAILURES, FIRST_BYTE, HANDSHAKES, LAG, MAX_FDS, Metric, OPEN_FDS, REQUESTS, RESIDENT, RESPONSE_BYTES,
    SERVER_ACTIVE, SERVER_HEALTHY, UPSTREAM_DURATION, UPSTREAM_FAILURES, UPSTREAM_RESPONSES, UPSTREAM_RETRIES,
    UPSTREAM_WAITING,
};
use serde_json::{Value, json};

use super::Job;
use crate::model::Site;

/// The columns of a dashboard, and the height of a panel in its rows.
const COLUMNS: u64 = 24;
const HEIGHT: u64 = 8;

/// The data source of all queries: the variable by which the user selects a Prometheus.
const SOURCE: &str = "${datasource}";

/// A graph.
struct Graph {
    title: &'static str,
    unit: &'static str,
    /// The PromQL queries, with the names of their series.
    queries: Vec<(String, &'static str)>,
}

/// Returns the dashboard.
pub(super) fn write(site: &Site, job: &Job<'_>) -> Value {
    let query = Query(job);
    let mut rows = vec![("Requests", of_requests(&query))];
    if !site.upstreams.is_empty() {
        rows.push(("Upstreams", of_upstreams(&query)));
    }
    if !site.stores.is_empty() {
        rows.push(("Caches", of_caches(&query)));
    }
    rows.push(("Process", of_process(site, &query)));
    let mut variables = vec![
        json!({"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}),
        json!({
            "name": "instance", "label": "Instance", "type": "query", "multi": true, "includeAll": true, "allValue": ".*",
            "datasource": {"type": "prometheus", "uid": SOURCE}, "refresh": 2, "sort": 1,
            "query": format!("label_values({}, instance)", job.series(&CONNECTIONS, "", &[])),
        }),
        choice("site", "Site", site.hosts.iter().map(crate::model::Host::name)),
    ];
    if !site.upstreams.is_empty() {
        variables.push(choice("upstream", "Upstream", site.upstreams.iter().map(|upstream| upstream.name.to_string())));
    }
    json!({
        "title": format!("Kiln: {}", job.0), "tags": ["kiln"], "schemaVersion": 39, "editable": true,
        "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "templating": {"list": variables}, "panels": panels(rows),
    })
}

/// Returns a variable whose values the site defines. A comma would separate two values, so it is escaped.
fn choice(name: &str, label: &str, values: impl Iterator<Item = String>) -> Value {
    let values: Vec<_> = values.map(|value| value.replace(',', "\\,")).collect();
    json!({
        "name": name, "label": label, "type": "custom", "query": values.join(","), "multi": true, "includeAll": true,
        "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    })
}

/// Returns the graphs of all rows, each row below its title.
fn panels(rows: Vec<(&str, Vec<Graph>)>) -> Vec<Value> {
    let (mut panels, mut y) = (Vec::new(), 0);
    for (title, graphs) in rows {
        panels.push(json!({
            "type": "row", "title": title, "collapsed": false, "panels": [], "id": panels.len() + 1,
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }));
        y += 1;
        let across = if graphs.len() % 3 == 0 { 3 } else { 2 };
        let width = COLUMNS / across;
        for (x, graph) in (0..across).cycle().zip(&graphs) {
            let position = json!({"x": x * width, "y": y, "w": width, "h": HEIGHT});
            panels.push(panel(graph, panels.len() + 1, &position));
            y += if x + 1 == across { HEIGHT } else { 0 };
        }
        y += if (graphs.len() as u64).is_multiple_of(across) { 0 } else { HEIGHT };
    }
    panels
}

fn panel(graph: &Graph, id: usize, position: &Value) -> Value {
    let source = json!({"type": "prometheus", "uid": SOURCE});
    let targets =
        graph.queries.iter().zip('A'..).map(
            |((query, legend), id)| json!({"refId": id, "expr": query, "legendFormat": legend, "datasource": source}),
        );
    json!({
        "type": "timeseries", "title": graph.title, "id": id, "gridPos": position, "datasource": source,
        "targets": targets.collect::<Vec<_>>(),
        "fieldConfig": {"defaults": {"unit": graph.unit, "min": 0, "custom": {"fillOpacity": 8}}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    })
}

/// Writes queries for the variables that the user selects.
struct Query<'a>(&'a Job<'a>);

impl Query<'_> {
    /// Returns the series of a metric, limited to the selected sites, upstreams and instances.
    fn series(&self, metric: &Metric, part: &str) -> String {
        let mut text = self.0.series(metric, part, &[]);
        text.pop();
        text.push_str(",instance=~\"$instance\"");
        for label in ["site", "upstream"].into_iter().filter(|label| metric.labels.contains(label)) {
            text.push_str(&format!(",{label}=~\"${label}\""));
        }
        text + "}"
    }

    /// Returns the rate of counters, summed by some of their labels.
    fn rate(&self, metric: &Metric, by: &str) -> String {
        format!("sum by ({by}) (rate({}[$__rate_interval]))", self.series(metric, ""))
    }

    /// Returns gauges, summed by some of their labels.
    fn sum(&self, metric: &Metric, by: &str) -> String {
        format!("sum by ({by}) ({})", self.series(metric, ""))
    }

    /// Returns three quantiles of a histogram.
    fn quantiles(&self, metric: &Metric) -> Vec<(String, &'static str)> {
        let rate = format!("sum by (le) (rate({}[$__rate_interval]))", self.series(metric, "_bucket"));
        let quantile = |quantile: &str| format!("histogram_quantile({quantile}, {rate})");
        vec![(quantile("0.5"), "median"), (quantile("0.95"), "95 %"), (quantile("0.99"), "99 %")]
    }
}

fn of_requests(query: &Query<'_>) -> Vec<Graph> {
    let slowest = format!(
        "topk(10, histogram_quantile(0.99, sum by (site, route, le) (rate({}[$__rate_interval]))))",
        query.series(&DURATION, "_bucket")
    );
    vec![
        graph("Requests by class of status", "reqps", vec![(query.rate(&REQUESTS, "code"), "{{code}}")]),
        graph("Duration of requests", "s", query.quantiles(&DURATION)),
        graph("Failures by reason", "ops", vec![(query.rate(&FAILURES, "reason"), "{{reason}}")]),
        graph(
            "Busiest routes",
            "reqps",
            vec![(format!("topk(10, {})", query.rate(&REQUESTS, "site, route")), "{{site}}{{route}}")],
        ),
        graph("Slowest routes, 99 %", "s", vec![(slowest, "{{site}}{{route}}")]),
        graph("Bytes sent by site", "Bps", vec![(query.rate(&RESPONSE_BYTES, "site"), "{{site}}")]),
        graph("Time to the first byte", "s", query.quantiles(&FIRST_BYTE)),
        graph("Connections", "short", vec![(query.sum(&CONNECTIONS, "instance"), "{{instance}}")]),
        graph(
            "Connections accepted",
            "ops",
            vec![
                (query.rate(&ACCEPTED, "instance"), "{{instance}}"),
                (query.rate(&HANDSHAKES, "version"), "TLS {{version}}"),
            ],
        ),
    ]
}

fn of_upstreams(query: &Query<'_>) -> Vec<Graph> {
    let healthy = format!("min by (upstream, server) ({})", query.series(&SERVER_HEALTHY, ""));
    vec![
        graph(
            "Responses of servers by class of status",
            "reqps",
            vec![(query.rate(&UPSTREAM_RESPONSES, "upstream, code"), "{{upstream}} {{code}}")],
        ),
        graph("Time to the server's response", "s", query.quantiles(&UPSTREAM_DURATION)),
        graph(
            "Attempts without a response, and retries",
            "ops",
            vec![
                (query.rate(&UPSTREAM_FAILURES, "upstream, kind"), "{{upstream}} {{kind}}"),
                (query.rate(&UPSTREAM_RETRIES, "upstream"), "{{upstream}} retries"),
            ],
        ),
        graph("Healthy servers (0 is down)", "short", vec![(healthy, "{{upstream}} {{server}}")]),
        graph(
            "Exchanges with servers",
            "short",
            vec![(query.sum(&SERVER_ACTIVE, "upstream, server"), "{{upstream}} {{server}}")],
        ),
        graph(
            "Requests that wait for a server",
            "short",
            vec![(query.sum(&UPSTREAM_WAITING, "upstream"), "{{upstream}}")],
        ),
    ]
}

fn of_caches(query: &Query<'_>) -> Vec<Graph> {
    vec![
        graph(
            "Requests by result",
            "reqps",
            vec![(query.rate(&CACHE_REQUESTS, "store, result"), "{{store}} {{result}}")],
        ),
        graph(
            "Bytes in use",
            "bytes",
            vec![
                (query.sum(&CACHE_BYTES, "store, in"), "{{store}} {{in}}"),
                (query.sum(&CACHE_CAPACITY, "store"), "{{store}} memory at most"),
            ],
        ),
        graph("Responses evicted", "ops", vec![(query.rate(&CACHE_EVICTED, "store, from"), "{{store}} {{from}}")]),
    ]
}

fn of_process(site: &Site, query: &Query<'_>) -> Vec<Graph> {
    let late = format!("max by (instance) ({})", query.series(&LAG, ""));
    let mut graphs = vec![
        graph("CPU (1 is a core)", "short", vec![(query.rate(&CPU, "instance"), "{{instance}}")]),
        graph("Memory", "bytes", vec![(query.sum(&RESIDENT, "instance"), "{{instance}}")]),
        graph(
            "File descriptors",
            "short",
            vec![
                (query.sum(&OPEN_FDS, "instance"), "{{instance}}"),
                (query.sum(&MAX_FDS, "instance"), "{{instance}} at most"),
            ],
        ),
        graph("How late the latest worker is", "s", vec![(late, "{{instance}}")]),
    ];
    if super::known(site.root.limits.memory).is_none_or(|bytes| bytes < u64::MAX) {
        let memory = query.sum(&CLIENT_MEMORY, "instance");
        graphs.push(graph("Memory held for clients", "bytes", vec![(memory, "{{instance}}")]));
    }
    graphs
}

fn graph(title: &'static str, unit: &'static str, queries: Vec<(String, &'static str)>) -> Graph {
    Graph { title, unit, queries }
}
