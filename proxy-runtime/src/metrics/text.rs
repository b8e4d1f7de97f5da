//! Metrics as text: the format of Prometheus (version 0.0.4) and OpenMetrics 1.0 ([`Exposition`]). Pure.

use std::fmt::Write as _;

use super::exemplars::Exemplar;
use super::sums::Histogram;
use super::{Metric, MetricKind};

/// The format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// Returns the format that a client prefers, by its `Accept`.
    pub(crate) fn of(accept: &[u8]) -> Format {
        let wanted = b"application/openmetrics-text";
        if accept.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted)) {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The text of an exposition while it is written: one family after another, each with all of its samples.
pub(crate) struct Exposition {
    out: String,
    format: Format,
}

/// A metric family whose samples are being written.
pub(crate) struct Family<'e> {
    out: &'e mut String,
    metric: &'static Metric,
    format: Format,
}

/// The upper bounds of a histogram's buckets as they are written in samples: `le="0.005"} `.
pub(crate) struct Bounds(Vec<String>);

impl Bounds {
    /// Creates the bounds from microseconds, with one for all values above.
    pub(crate) fn new(micros: &[u64]) -> Bounds {
        let all = micros.iter().map(|bound| seconds(*bound)).chain(["+Inf".to_owned()]);
        Bounds(all.map(|bound| format!("le=\"{bound}\"}} ")).collect())
    }
}

impl Exposition {
    /// Creates an empty text, with `room` bytes of capacity.
    pub(crate) fn new(format: Format, room: usize) -> Exposition {
        Exposition { out: String::with_capacity(room), format }
    }

    /// Begins a metric family.
    pub(crate) fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        // In the Prometheus format, a family has the name of its samples.
        let suffix = match (self.format, metric.kind) {
            (Format::Prometheus, MetricKind::Counter) => "_total",
            _ => "",
        };
        for (word, text) in [("HELP", metric.help), ("TYPE", kind)] {
            self.out.extend(["# ", word, " ", metric.name, suffix, " ", text, "\n"]);
        }
        Family { out: &mut self.out, metric, format: self.format }
    }

    /// Ends the text.
    pub(crate) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

impl Family<'_> {
    /// Writes a sample, with a value for each label.
    pub(crate) fn sample(&mut self, labels: &[&str], value: impl std::fmt::Display) {
        let suffix = if self.metric.kind == MetricKind::Counter { "_total" } else { "" };
        self.start(suffix, labels);
        self.value(value);
    }

    /// Writes the samples of a histogram. A site may have ten thousand of them: the beginning that all samples share is made once, and `itoa`
    /// writes the numbers. Only OpenMetrics has exemplars.
    pub(crate) fn histogram(&mut self, labels: &[&str], bounds: &Bounds, histogram: &Histogram) {
        debug_assert_eq!(histogram.buckets.len(), bounds.0.len(), "a bucket has a bound");
        let (mut digits, mut below) = (itoa::Buffer::new(), 0);
        let begins = self.out.len();
        self.start("_bucket", labels);
        // The beginning of the first sample is copied for the others.
        let beginning = self.out.split_off(begins);
        let beginning = match beginning.strip_suffix('}') {
            Some(labelled) => format!("{labelled},"),
            None => format!("{beginning}{{"),
        };
        for (index, (count, bound)) in histogram.buckets.iter().zip(&bounds.0).enumerate() {
            below += count;
            self.out.extend([&beginning, bound, digits.format(below)]);
            if let Some(exemplar) = histogram.exemplars.get(index).copied().flatten()
                && self.format == Format::OpenMetrics
            {
                let _ = write!(self.out, " # {}", shown(&exemplar));
            }
            self.out.push('\n');
        }
        self.start("_sum", labels);
        self.value(seconds(histogram.sum));
        self.start("_count", labels);
        self.value(below);
    }

    fn start(&mut self, suffix: &str, labels: &[&str]) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "{}", self.metric.name);
        self.out.extend([self.metric.name, suffix]);
        let mut separator = '{';
        for (name, value) in self.metric.labels.iter().zip(labels) {
            self.out.push(separator);
            self.out.extend([name, "=\""]);
            escaped(value, self.out);
            self.out.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.out.push('}');
        }
    }

    fn value(&mut self, value: impl std::fmt::Display) {
        use std::fmt::Write as _;
        // A write to a String cannot fail.
        let _ = writeln!(self.out, " {value}");
    }
}

/// Returns an exemplar as text: labels, value, and time in seconds.
fn shown(exemplar: &Exemplar) -> impl std::fmt::Display {
    let Exemplar { trace, value, at } = *exemplar;
    let value = seconds(u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
    std::fmt::from_fn(move |f| write!(f, "{{trace_id=\"{trace}\"}} {value} {}", seconds(at.0)))
}

/// Escapes the value of a label: `\\`, `\"` and `
/// `.
fn escaped(value: &str, out: &mut String) {
    if !value.contains(['\\', '"', '\n']) {
        return out.push_str(value);
    }
    for char in value.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

/// Returns microseconds as seconds, without trailing zeros: `0.0025`, `10`.
pub(crate) fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::context::facts::Timestamp;
    use crate::metrics::{CONNECTIONS, DURATION, REQUESTS};
    use crate::protocol::trace_context::TraceId;

    fn histogram(exemplars: Vec<Option<Exemplar>>) -> Histogram {
        Histogram { buckets: vec![1, 0, 2], sum: 61_000_500, exemplars }
    }

    #[test]
    fn exemplars() {
        let exemplar =
            Exemplar { trace: TraceId(0xAB), value: Duration::from_millis(61_000), at: Timestamp(1_500_000) };
        let write = |format| {
            let mut text = Exposition::new(format, 0);
            let histogram = histogram(vec![None, None, Some(exemplar)]);
            text.family(&DURATION).histogram(&["a", "/"], &Bounds::new(&[1_000, 2_500_000]), &histogram);
            text.end()
        };
        let bucket = "kiln_request_duration_seconds_bucket{site=\"a\",route=\"/\",le=\"+Inf\"} 3";
        let with = format!("{bucket} # {{trace_id=\"{:032x}\"}} 61 1.5\n", 0xAB);
        assert!(write(Format::OpenMetrics).contains(&with), "{}", write(Format::OpenMetrics));
        assert!(write(Format::Prometheus).contains(&format!("{bucket}\n")));
    }

    #[test]
    fn both_formats() {
        let write = |format| {
            let mut text = Exposition::new(format, 0);
            text.family(&REQUESTS).sample(&["a\"b\\c\nd", "/x", "2xx"], 7);
            text.family(&CONNECTIONS).sample(&[], 2);
            text.family(&DURATION).histogram(&["a", "/"], &Bounds::new(&[1_000, 2_500_000]), &histogram(Vec::new()));
            text.end()
        };
        let expected = "\
# HELP kiln_requests Requests by the class of the response's status, as in 2xx; `none` where there was no response.
# TYPE kiln_requests counter
kiln_requests_total{site=\"a\\\"b\\\\c\\nd\",route=\"/x\",code=\"2xx\"} 7
# HELP kiln_connections Client connections now.
# TYPE kiln_connections gauge
kiln_connections 2
# HELP kiln_request_duration_seconds Time from the request's first byte to the response's last.
# TYPE kiln_request_duration_seconds histogram
kiln_request_duration_seconds_bucket{site=\"a\",route=\"/\",le=\"0.001\"} 1
kiln_request_duration_seconds_bucket{site=\"a\",route=\"/\",le=\"2.5\"} 1
kiln_request_duration_seconds_bucket{site=\"a\",route=\"/\",le=\"+Inf\"} 3
kiln_request_duration_seconds_sum{site=\"a\",route=\"/\"} 61.0005
kiln_request_duration_seconds_count{site=\"a\",route=\"/\"} 3
";
        assert_eq!(write(Format::OpenMetrics), format!("{expected}# EOF\n"));
        let older = ["# HELP kiln_requests ", "# TYPE kiln_requests "]
            .iter()
            .fold(expected.to_owned(), |text, line| text.replace(line, &format!("{}_total ", line.trim_end())));
        assert_eq!(write(Format::Prometheus), older);
    }

    #[test]
    fn format_by_accept() {
        let check = |accept: &str, expected| assert_eq!(Format::of(accept.as_bytes()), expected, "{accept}");
        check("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2", Format::OpenMetrics);
        check("text/plain", Format::Prometheus);
        check("", Format::Prometheus);
    }
}
