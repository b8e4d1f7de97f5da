//! The thread that exports spans as JSON by OTLP over HTTP ([`run`]): batches, retries with growing pauses, and notices.
//!
//! If the collector can't accept a batch now (429, 502, 503, 504, or no response), the batch is sent again for up to [`PERSISTENCE`]; a batch
//! that it rejects is dropped (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>). Meanwhile the queue fills up, and spans without
//! room are dropped.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use super::collector::{Collector, CollectorResponse, Endpoint};
use super::encode::{self, EncodedSpans};
use super::ids::SpanIds;
use super::queue::SpanQueue;
use crate::context::facts::Facts;
use crate::context::settings::Settings;
use crate::observe::notice;
use crate::protocol::fields::Fields;
use crate::site::{Site, Trace, TraceHeader};

/// How long a batch is retried.
const PERSISTENCE: Duration = Duration::from_secs(60);

/// The first pause before a retry, which doubles each time, and the longest one, which also limits `Retry-After`.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The shortest time between two reports of losses.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// The exporter of a site: the collector, and what is sent to it.
pub(super) struct Exporter {
    endpoint: Endpoint,
    headers: &'static [TraceHeader],
    settings: &'static Settings,
    resource: Vec<(&'static str, String)>,
}

/// The time at which exporting must end; `None` until the process stops.
type Closing = watch::Receiver<Option<Instant>>;

/// The outcome of sending a batch.
#[derive(Debug, PartialEq, Eq)]
enum Delivery {
    /// The collector accepted it, except for this many spans, for this reason.
    Taken(u64, String),
    /// The collector may accept it later: after this many seconds, if it says so; with the reason.
    Later(Option<u64>, String),
    /// The collector rejected it, for this reason.
    Refused(String),
}

impl Exporter {
    /// Creates the exporter of a site.
    ///
    /// # Errors
    /// Fails if the URL is not valid, or a header field can't be sent.
    pub(super) fn new(site: &Site, trace: &'static Trace, settings: &'static Settings) -> Result<Exporter, String> {
        let url = trace.url.get(settings);
        let endpoint = Endpoint::new(url, settings).map_err(|error| format!("`trace`: {error}"))?;
        let instance = format!("{}", SpanIds::new().trace());
        let resource = vec![
            ("service.name", trace.service.to_string()),
            ("service.version", site.digest.get(..12).unwrap_or(site.digest).to_owned()),
            ("service.instance.id", instance),
            ("telemetry.sdk.name", "kiln".to_owned()),
            ("telemetry.sdk.language", "rust".to_owned()),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        let exporter = Exporter { endpoint, headers: &trace.headers, settings, resource };
        exporter.headers()?;
        Ok(exporter)
    }

    /// Returns the site's header fields. Their files are read again while the proxy runs, so that values may change.
    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let fields = Fields::new();
        for header in self.headers {
            let mut text = Vec::new();
            header.value.render(&Facts::nothing(&Method::POST, &fields, self.settings), &mut text);
            let refused = || format!("`trace`: the value of `{}` can't be the value of a field", header.name);
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| refused())?;
            let mut value = HeaderValue::from_bytes(&text).map_err(|_| refused())?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(headers)
    }

    #[cfg(test)]
    pub(super) fn nowhere() -> Exporter {
        let settings: &'static Settings = Box::leak(Box::default());
        let endpoint = Endpoint::new("http://127.0.0.1:1/", settings).expect("a URL");
        Exporter { endpoint, headers: &[], settings, resource: Vec::new() }
    }
}

/// Exports spans until the queue is closed and empty, or the time for that is over.
pub(super) fn run(exporter: &Exporter, queue: &SpanQueue, closing: Closing) {
    match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => {
            runtime.block_on(export(exporter, queue, closing));
            // The end does not wait for a DNS lookup that hangs.
            runtime.shutdown_background();
        }
        Err(error) => notice(&format!("traces can't be exported: {error}")),
    }
}

async fn export(exporter: &Exporter, queue: &SpanQueue, mut closing: Closing) {
    let mut collector = Collector::new(&exporter.endpoint);
    let mut losses = Losses::default();
    while let Some(batch) = queue.next().await {
        let count: usize = batch.iter().map(|spans| spans.count).sum();
        match deliver(exporter, &mut collector, &batch, &mut closing).await {
            Ok((refused, reason)) => {
                let refused = usize::try_from(refused).unwrap_or(usize::MAX).min(count);
                queue.export(count - refused);
                queue.drop(refused);
                if refused > 0 {
                    losses.reason = format!("it has rejected some: {reason}");
                }
            }
            Err(reason) => {
                queue.drop(count);
                losses.reason = reason;
            }
        }
        losses.report(exporter, queue, false);
    }
    losses.report(exporter, queue, true);
}

/// Sends a batch until it is accepted or dropped. Returns how many of its spans were rejected, and why.
async fn deliver(
    exporter: &Exporter,
    collector: &mut Collector<'_>,
    batch: &[EncodedSpans],
    closing: &mut Closing,
) -> Result<(u64, String), String> {
    let headers = exporter.headers()?;
    let resource: Vec<_> = exporter.resource.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = Bytes::from(encode::request(&resource, batch));
    let (began, mut pause) = (Instant::now(), PAUSE);
    loop {
        let sent = until_closed(closing, collector.post(&headers, body.clone())).await;
        let (wait, reason) = match sent.map(outcome) {
            Some(Delivery::Taken(rejected, reason)) => return Ok((rejected, reason)),
            Some(Delivery::Refused(reason)) => return Err(reason),
            Some(Delivery::Later(wait, reason)) => (wait, reason),
            None => return Err("the process ends".to_owned()),
        };
        let wait = wait.map_or(pause, Duration::from_secs).min(LONGEST_PAUSE);
        pause = (pause * 2).min(LONGEST_PAUSE);
        if began.elapsed() + wait > PERSISTENCE || closing.borrow().is_some() {
            return Err(reason);
        }
        let collector = exporter.endpoint.shown();
        notice(&format!("traces wait for the collector `{collector}`: {reason}"));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // The last attempt is made at once.
            _ = closing.changed() => {}
        }
    }
}

/// Waits for a future, but no longer than exporting may continue.
async fn until_closed<T>(closing: &Closing, work: impl Future<Output = T>) -> Option<T> {
    let mut closing = closing.clone();
    let over = async move {
        let until = match closing.wait_for(Option::is_some).await {
            Ok(until) => until.unwrap_or_else(Instant::now),
            // Exporting has no end.
            Err(_) => return std::future::pending().await,
        };
        tokio::time::sleep_until(until.into()).await;
    };
    tokio::select! {
        done = work => Some(done),
        () = over => None,
    }
}

/// Returns the meaning of a response.
fn outcome(sent: Result<CollectorResponse, String>) -> Delivery {
    let response = match sent {
        Ok(response) => response,
        Err(reason) => return Delivery::Later(None, reason),
    };
    match response.status {
        status if status.is_success() => {
            let (rejected, reason) = partial_success(&response.body);
            Delivery::Taken(rejected, reason)
        }
        status @ (StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT) => {
            Delivery::Later(response.retry_after, format!("it answers {}", status.as_u16()))
        }
        status => Delivery::Refused(format!("it answers {}", status.as_u16())),
    }
}

/// Returns how many spans were rejected, and why. A body that can't be parsed rejects none.
fn partial_success(body: &[u8]) -> (u64, String) {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = &said["partialSuccess"];
    let rejected = &said["rejectedSpans"];
    let rejected = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0);
    let reason = said["errorMessage"].as_str().unwrap_or("no reason is given");
    (rejected, reason.chars().take(200).collect())
}

/// How many spans were dropped, and how many of them were reported.
#[derive(Default)]
struct Losses {
    reported: u64,
    last: Option<Instant>,
    reason: String,
}

impl Losses {
    fn report(&mut self, exporter: &Exporter, queue: &SpanQueue, at_once: bool) {
        let (dropped, _) = queue.counts();
        let is_due = self.last.is_none_or(|last| last.elapsed() >= REPORT_EVERY);
        if dropped == self.reported || !(is_due || at_once) {
            return;
        }
        let lost = dropped - std::mem::replace(&mut self.reported, dropped);
        self.last = Some(Instant::now());
        let why = match std::mem::take(&mut self.reason) {
            why if why.is_empty() => "it is too slow".to_owned(),
            why => why,
        };
        let collector = exporter.endpoint.shown();
        notice(&format!("{lost} spans were lost on their way to the collector `{collector}`: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meaning_of_responses() {
        let check = |status: u16, retry_after, body: &'static str, expected| {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(outcome(Ok(CollectorResponse { status, retry_after, body: body.into() })), expected, "{body}");
        };
        let taken = |rejected, reason: &str| Delivery::Taken(rejected, reason.to_owned());
        let none = "no reason is given";
        check(200, None, "{}", taken(0, none));
        check(200, None, "", taken(0, none));
        check(204, None, "<html>", taken(0, none));
        check(
            200,
            None,
            "{\"partialSuccess\":{\"rejectedSpans\":\"3\",\"errorMessage\":\"too old\"}}",
            taken(3, "too old"),
        );
        check(200, None, "{\"partialSuccess\":{\"rejectedSpans\":2}}", taken(2, none));
        check(200, None, "{\"partialSuccess\":{\"rejectedSpans\":-2}}", taken(0, none));
        check(200, None, "[1]", taken(0, none));
        check(200, None, "{\"partialSuccess\":{\"errorMessage\":\"a\\nb\"}}", taken(0, "a\nb"));
        let later = |wait, status: u16| Delivery::Later(wait, format!("it answers {status}"));
        check(503, Some(7), "", later(Some(7), 503));
        check(429, None, "", later(None, 429));
        for refused in [301, 400, 401, 404, 500, 501] {
            check(refused, Some(7), "", Delivery::Refused(format!("it answers {refused}")));
        }
    }
}
