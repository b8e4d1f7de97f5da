//! Monitoring of a site by other programs: alert rules for Prometheus ([`alerts`]) and a dashboard for Grafana ([`dashboard`]).
//!
//! Both are generated, as the site knows the names: of its hosts, upstreams, queues and caches, and which metrics there will be.
//! Names of metrics are the runtime's own constants.

mod alerts;
mod dashboard;

use std::fmt::Write as _;

use proxy_runtime::metrics::Metric;
use proxy_runtime::site::{Admin, Setting};

use crate::model::Site;

/// The alert rules of a site, as a YAML file for Prometheus. `job` is the `job_name` by which Prometheus scrapes it.
///
/// # Errors
/// The site has no `metrics`.
pub fn alerts(site: &Site, job: &str) -> Result<String, String> {
    let admin = admin(site)?;
    Ok(alerts::write(site, admin, &Job(job)))
}

/// The dashboard of a site, as JSON for Grafana. `job` is as for [`alerts`].
///
/// # Errors
/// The site has no `metrics`.
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

/// The `job_name` by which Prometheus scrapes a site.
struct Job<'a>(&'a str);

impl Job<'_> {
    /// The series of a metric, or of a part of a histogram such as `_bucket`, whose labels have these values.
    fn series(&self, metric: &Metric, part: &str, labels: &[(&str, &str)]) -> String {
        let mut text = format!("{}{part}{{job={}", metric.sample(), quoted(self.0));
        for (label, value) in labels {
            let _ = write!(text, ",{label}={}", quoted(value));
        }
        text + "}"
    }
}

/// A string of PromQL.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// A value that is known at build; not that of a parameter.
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
