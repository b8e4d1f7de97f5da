//! Monitoring of a site: alert rules for Prometheus ([`alerts`]) and a dashboard for Grafana ([`dashboard`]).
//!
//! Both are generated, because the site defines the names of hosts, upstreams, queues and caches, and which metrics exist. Names
//! of metrics are the runtime's own constants.

mod alerts;
mod dashboard;

use std::fmt::Write as _;

use proxy_runtime::metrics::Metric;
use proxy_runtime::site::{Admin, Setting};

use crate::model::Site;

/// Returns the alert rules of a site, as a YAML file for Prometheus. `job` is the `job_name` of its scrape
/// configuration.
///
/// # Errors
/// Fails if the site has no `metrics`.
pub fn alerts(site: &Site, job: &str) -> Result<String, String> {
    let admin = admin(site)?;
    Ok(alerts::write(site, admin, &Job(job)))
}

/// Returns the dashboard of a site, as JSON for Grafana. `job` is as for [`alerts`].
///
/// # Errors
/// Fails if the site has no `metrics`.
pub fn dashboard(site: &Site, job: &str) -> Result<String, String> {
    admin(site)?;
    Ok(format!("{:#}\n", dashboard::write(site, &Job(job))))
}

fn admin(site: &Site) -> Result<&Admin, String> {
    site.admin
        .as_ref()
        .filter(|admin| admin.metrics)
        .ok_or_else(|| "the site has no metrics: write `admin \"127.0.0.1:9000\" { metrics; }` at its top".to_owned())
}

/// The `job_name` of a site's scrape configuration in Prometheus.
struct Job<'a>(&'a str);

impl Job<'_> {
    /// Returns the series of a metric, or of a part of a histogram such as `_bucket`, whose labels have these values.
    fn series(&self, metric: &Metric, part: &str, labels: &[(&str, &str)]) -> String {
        let mut text = format!("{}{part}{{job={}", metric.sample(), quoted(self.0));
        for (label, value) in labels {
            let _ = write!(text, ",{label}={}", quoted(value));
        }
        text + "}"
    }
}

/// Returns a string of PromQL.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Returns a value that is known at build; `None` for a parameter's.
fn known<T: Copy>(setting: Setting<T>) -> Option<T> {
    match setting {
        Setting::Fixed(value) => Some(value),
        Setting::Param(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_promql() {
        let check = |labels: &[(&str, &str)], expected: &str| {
            assert_eq!(Job("a\"b").series(&proxy_runtime::metrics::DURATION, "_bucket", labels), expected);
        };
        check(&[], r#"kiln_request_duration_seconds_bucket{job="a\"b"}"#);
        check(
            &[("route", r"/\d"), ("site", "a\nb")],
            r#"kiln_request_duration_seconds_bucket{job="a\"b",route="/\\d",site="a\nb"}"#,
        );
    }
}
