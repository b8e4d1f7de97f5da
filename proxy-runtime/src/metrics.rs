//! Metrics: their list ([`ALL`], pure), the workers' counters (`counters`), and the text for Prometheus (`text`, pure).
//!
//! Names, labels and units follow OpenMetrics: a counter's samples end in `_total`, times are in seconds.

#[cfg(feature = "serve")]
pub(crate) mod counters;
#[cfg(feature = "serve")]
mod exemplars;
#[cfg(feature = "admin")]
pub(crate) mod sums;
#[cfg(feature = "admin")]
pub(crate) mod text;

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only increases, from 0 at the start of the process.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Counts values by size: `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// A metric, for the documentation and the exposition.
#[derive(Debug)]
pub struct Metric {
    /// The name, without the `_total` of a counter's samples.
    pub name: &'static str,
    /// The type.
    pub kind: MetricKind,
    /// The names of the labels.
    pub labels: &'static [&'static str],
    /// The description.
    pub help: &'static str,
}

impl Metric {
    /// Returns the name of the metric's samples; for a histogram, the prefix of their names.
    pub fn sample(&self) -> String {
        format!("{}{}", self.name, if self.kind == MetricKind::Counter { "_total" } else { "" })
    }
}

macro_rules! metrics {
    ($($id:ident: $kind:ident $name:literal $labels:tt $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub const $id: Metric =
                Metric { name: $name, kind: MetricKind::$kind, labels: &$labels, help: $help };
        )*

        /// All metrics, in the order in which they are written.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    BUILD: Gauge "kiln_build_info" ["version", "site", "digest"] "Always 1; the labels say what was built from which site.";
    REQUESTS: Counter "kiln_requests" ["site", "route", "code"] "Requests by the class of the response's status, as in 2xx; `none` where there was no response.";
    RESPONSE_BYTES: Counter "kiln_response_body_bytes" ["site", "route"] "Bytes of responses' bodies.";
    DURATION: Histogram "kiln_request_duration_seconds" ["site", "route"] "Time from the request's first byte to the response's last.";
    FIRST_BYTE: Histogram "kiln_request_first_byte_seconds" ["site", "route"] "Time from the request's first byte to the response's head.";
    FAILURES: Counter "kiln_failures" ["reason"] "Exchanges and connections that went wrong, by the reason in the access log.";
    TASKS: Gauge "kiln_worker_tasks" ["worker"] "Client connections, fetches of the cache and tunnels that a worker has now.";
    UPSTREAM_RESPONSES: Counter "kiln_upstream_responses" ["upstream", "server", "code"] "Responses of servers by the class of their status.";
    UPSTREAM_FAILURES: Counter "kiln_upstream_failures" ["upstream", "server", "kind"] "Attempts that got no response: `unreachable`, `reset`, `timeout`, `unprocessed` or `other`.";
    UPSTREAM_RETRIES: Counter "kiln_upstream_retries" ["upstream"] "Attempts after the first.";
    UPSTREAM_DURATION: Histogram "kiln_upstream_response_seconds" ["upstream"] "Time from the attempt's beginning to the head of the server's response.";
    UPSTREAM_WAITING: Gauge "kiln_upstream_waiting" ["upstream"] "Requests that wait for a server to have room.";
    UPSTREAM_ACTIVE: Gauge "kiln_upstream_active" ["upstream"] "Exchanges with servers of the upstream now, of which `circuit-breaker` limits the number.";
    UPSTREAM_PANICKING: Gauge "kiln_upstream_panicking" ["upstream"] "1 while so few servers are healthy that all are asked (`panic-threshold`).";
    SERVER_HEALTHY: Gauge "kiln_server_healthy" ["upstream", "server"] "1 while requests are sent to the server, 0 while checks or `outlier` keep them from it.";
    SERVER_EJECTED: Gauge "kiln_server_ejected" ["upstream", "server"] "1 while `outlier` has ejected the server.";
    SERVER_ACTIVE: Gauge "kiln_server_active" ["upstream", "server"] "Exchanges with the server now.";
    SERVER_CONNECTIONS: Gauge "kiln_server_connections" ["upstream", "server", "state"] "Open connections to the server, `active` or `idle`, counted each second.";
    SERVER_WEIGHT: Gauge "kiln_server_weight" ["upstream", "server"] "The server's weight.";
    SERVER_DRAINED: Gauge "kiln_server_drained" ["upstream", "server"] "1 while an operator keeps new requests from the server; only where `admin` has `servers`.";
    CACHE_REQUESTS: Counter "kiln_cache_requests" ["store", "result"] "Requests by what the cache did: the words of the access log.";
    CACHE_STORED: Counter "kiln_cache_stored" ["store"] "Responses that were stored.";
    CACHE_EVICTED: Counter "kiln_cache_evicted" ["store", "from"] "Responses that made room for others, in `memory` or on `disk`.";
    CACHE_ENTRIES: Gauge "kiln_cache_entries" ["store"] "Responses in memory, and notes about others.";
    CACHE_BYTES: Gauge "kiln_cache_bytes" ["store", "in"] "Bytes in use, in `memory` or on `disk`.";
    CACHE_CAPACITY: Gauge "kiln_cache_capacity_bytes" ["store"] "Bytes of memory that the store may use.";
    CACHE_FETCHING: Gauge "kiln_cache_fetching" ["store"] "Fetches under way.";
    CONNECTIONS: Gauge "kiln_connections" [] "Client connections now.";
    ACCEPTED: Counter "kiln_connections_accepted" ["worker"] "Client connections that were accepted.";
    HANDSHAKES: Counter "kiln_tls_handshakes" ["version"] "TLS handshakes with clients that succeeded.";
    CERTIFICATE: Gauge "kiln_tls_certificate_not_after_seconds" ["tls", "name"] "When a certificate that clients are shown expires, in seconds since 1970; `name` is its first host.";
    CLIENT_MEMORY: Gauge "kiln_client_memory_bytes" [] "Memory that is held for clients, of what `limits memory` allows.";
    LOG_LOST: Counter "kiln_log_lost_lines" ["log", "output"] "Lines of the `access` log or the log of `errors` that an output did not take: it was too slow, full or gone.";
    LAG: Gauge "kiln_worker_lag_seconds" ["worker"] "How late a worker's last timer of a second was: time in which it was busy with something else.";
    SPANS_EXPORTED: Counter "kiln_trace_spans_exported" [] "Spans that the collector of `trace` has taken.";
    SPANS_DROPPED: Counter "kiln_trace_spans_dropped" [] "Spans that were lost on their way to the collector: the queue was full, or they were refused.";
    CPU: Counter "process_cpu_seconds" [] "CPU time of the process, in user mode and in the kernel.";
    RESIDENT: Gauge "process_resident_memory_bytes" [] "Memory of the process that is in RAM.";
    VIRTUAL: Gauge "process_virtual_memory_bytes" [] "Address space of the process.";
    OPEN_FDS: Gauge "process_open_fds" [] "Open file descriptors.";
    MAX_FDS: Gauge "process_max_fds" [] "File descriptors that the process may have open.";
    START: Gauge "process_start_time_seconds" [] "When the process began, in seconds since 1970.";
}

/// The default bounds of histogram buckets, in microseconds.
pub const BUCKETS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// The most buckets that a site can configure.
pub const MAX_BUCKETS: usize = 32;

/// The classes of statuses, for the label `code`; `none` stands for an exchange without a response.
pub const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_valid() {
        for (index, metric) in ALL.iter().enumerate() {
            let name = metric.name;
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(ALL[..index].iter().all(|other| other.name != name), "{name} occurs twice");
            assert!(!name.ends_with("_total"), "{name}: only the samples of counters end in `_total`");
            assert!(metric.help.ends_with('.'), "{name}: a sentence");
        }
        assert!(BUCKETS.is_sorted());
    }
}
