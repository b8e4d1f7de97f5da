//! Encodes spans as OTLP in JSON ([`exchange`], [`request`]): IDs in hexadecimal, 64-bit numbers as strings, enumerations as numbers
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>). Pure, apart from its callers' clocks.
//!
//! A worker writes the spans of an exchange into one buffer, without copying any value first. Values of clients are cut at
//! [`LONGEST`] bytes and escaped as in the access log.

use http::Method;
use tokio::time::Instant;

use super::declared::{self, DeclaredAttribute, DeclaredSpan};
use super::exchange::{AttemptEnd, AttemptSpan, ExchangeTrace, Phase};
use crate::context::facts::{Facts, push_number};
use crate::context::settings::{self, Address};
use crate::context::template::display;
use crate::failure::Failure;
use crate::protocol::escape;
use crate::protocol::trace_context::{TRACESTATE, TraceContext, digits, flags};

/// The longest value of an attribute, in bytes.
const LONGEST: usize = 1024;

/// Spans as objects with commas between them.
pub(super) struct EncodedSpans {
    pub(super) json: Vec<u8>,
    pub(super) count: usize,
}

/// The wall clock at a point of the monotonic clock.
#[derive(Clone, Copy)]
pub(super) struct WallClock {
    pub(super) now: Instant,
    /// The time in nanoseconds since 1970.
    pub(super) nanos: u64,
}

impl WallClock {
    /// Returns the wall clock's time at another point.
    fn at(self, then: Instant) -> u64 {
        let since = self.now.saturating_duration_since(then).as_nanos();
        self.nanos.saturating_sub(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

/// Returns whether an exchange has failed through the proxy or a server. Failures that a client causes do not count: clients can cause
/// them at will.
pub(super) fn has_failed(status: u16, failure: Option<Failure>) -> bool {
    let is_ours = |failure: Failure| failure != Failure::ClientDisconnected && failure.status().is_server_error();
    status >= 500 || failure.is_some_and(is_ours)
}

/// Returns the spans of a completed exchange.
pub(super) fn exchange(
    trace: &ExchangeTrace,
    facts: &Facts<'_>,
    (failure, began): (Option<Failure>, Instant),
    clock: WallClock,
) -> EncodedSpans {
    let mut spans = SpanWriter { out: Vec::with_capacity(2048), count: 0, clock, context: trace.context };
    if !trace.beside {
        let end = clock.nanos;
        let began = clock.at(began);
        let method = usual(facts.method);
        let mut name = method.unwrap_or("HTTP").as_bytes().to_vec();
        if !facts.route.is_empty() {
            name.push(b' ');
            name.extend_from_slice(facts.route.as_bytes());
        }
        let span =
            OpenSpan { declared: declared::EXCHANGE, id: trace.context.span, parent: trace.parent, remote: true };
        spans.begin(span, &name, (began, end));
        if let Some(state) = facts.header(TRACESTATE) {
            spans.member("traceState", state);
        }
        let mut attributes = spans.attributes(declared::EXCHANGE);
        of_exchange(&mut attributes, facts, failure);
        spans.end(has_failed(facts.status, failure));
    }
    for phase in &trace.phases {
        let declared = match phase.phase {
            Phase::Auth => declared::AUTH,
            Phase::Cache => declared::CACHE,
        };
        let end = phase.took.map_or(clock.nanos, |took| clock.at(phase.began + took));
        let span = OpenSpan { declared, id: phase.id, parent: phase.parent, remote: false };
        spans.begin(span, declared.name.as_bytes(), (clock.at(phase.began), end));
        let mut attributes = spans.attributes(declared);
        if phase.phase == Phase::Cache {
            of_cache(&mut attributes, facts);
        }
        spans.end(false);
    }
    for (number, attempt) in trace.attempts().iter().enumerate() {
        of_attempt(&mut spans, facts.method, attempt, number);
    }
    EncodedSpans { json: spans.out, count: spans.count }
}

fn of_exchange(attributes: &mut Attributes<'_>, facts: &Facts<'_>, failure: Option<Failure>) {
    of_method(attributes, facts.method);
    attributes.text(declared::SCHEME, facts.scheme.as_bytes());
    attributes.text(declared::PATH, facts.path.as_bytes());
    attributes.text(declared::ROUTE, facts.route.as_bytes());
    if facts.status != 0 {
        attributes.number(declared::STATUS, u64::from(facts.status));
    }
    attributes.number(declared::SIZE, facts.bytes);
    match failure {
        Some(failure) => attributes.text(declared::ERROR, failure.reason().as_bytes()),
        None if facts.status >= 500 => attributes.display(declared::ERROR, facts.status),
        None => {}
    }
    attributes.text(declared::SERVER, facts.host.as_bytes());
    let port = facts.authority.strip_prefix(facts.host).and_then(|rest| rest.strip_prefix(':'));
    if let Some(port) = port.and_then(|port| port.parse().ok()) {
        attributes.number(declared::PORT, port);
    }
    attributes.display(declared::CLIENT, facts.client);
    let version = match facts.protocol {
        "HTTP/2.0" => "2",
        "HTTP/3.0" => "3",
        other => other.trim_start_matches("HTTP/"),
    };
    attributes.text(declared::VERSION, version.as_bytes());
    attributes.text(declared::USER_AGENT, facts.header("user-agent").unwrap_or_default());
    attributes.display(declared::REQUEST_ID, facts.request_id);
    attributes.text(declared::UPSTREAM, facts.upstream.as_bytes());
    of_cache(attributes, facts);
}

fn of_cache(attributes: &mut Attributes<'_>, facts: &Facts<'_>) {
    attributes.text(declared::CACHE_RESULT, facts.cache.as_bytes());
    attributes.text(declared::CACHE_REASON, facts.cache_reason.as_bytes());
}

fn of_attempt(spans: &mut SpanWriter, method: &Method, attempt: &AttemptSpan, number: usize) {
    let end = attempt.end.map_or(spans.clock.nanos, |(end, _)| spans.clock.at(end));
    let began = spans.clock.at(attempt.began);
    let span = OpenSpan { declared: declared::ATTEMPT, id: attempt.id, parent: attempt.parent, remote: false };
    spans.begin(span, usual(method).unwrap_or("HTTP").as_bytes(), (began, end));
    let mut attributes = spans.attributes(declared::ATTEMPT);
    of_method(&mut attributes, method);
    let failed = match attempt.end {
        Some((_, AttemptEnd::Status(status))) => {
            attributes.number(declared::STATUS, u64::from(status));
            if status >= 400 {
                attributes.display(declared::ERROR, status);
            }
            status >= 400
        }
        Some((_, AttemptEnd::Failed(reason))) => {
            attributes.text(declared::ERROR, reason.as_bytes());
            true
        }
        None => {
            attributes.text(declared::ERROR, b"abandoned");
            true
        }
    };
    match settings::address(attempt.server) {
        Ok(Address::Tcp(host, port)) => {
            attributes.text(declared::SERVER, host.as_bytes());
            attributes.number(declared::PORT, u64::from(port));
        }
        _ => attributes.text(declared::SERVER, attempt.server.as_bytes()),
    }
    if number > 0 {
        attributes.number(declared::RESEND, number as u64);
    }
    attributes.text(declared::UPSTREAM, attempt.upstream.as_bytes());
    spans.end(failed);
}

fn of_method(attributes: &mut Attributes<'_>, method: &Method) {
    match usual(method) {
        Some(usual) => attributes.text(declared::METHOD, usual.as_bytes()),
        None => {
            attributes.text(declared::METHOD, b"_OTHER");
            attributes.text(declared::METHOD_ORIGINAL, method.as_str().as_bytes());
        }
    }
}

/// Returns a method that OpenTelemetry knows. Others are chosen by clients, without a limit to their number.
fn usual(method: &Method) -> Option<&str> {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
    Some(method.as_str()).filter(|method| known.contains(method))
}

/// Returns the body of a request to a collector with these spans.
pub(super) fn request(resource: &[(&str, &str)], spans: &[EncodedSpans]) -> Vec<u8> {
    let length: usize = spans.iter().map(|some| some.json.len() + 1).sum();
    let mut out = Vec::with_capacity(length + 1024);
    out.extend_from_slice(b"{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    for (index, (name, value)) in resource.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        text_attribute(name, value.as_bytes(), &mut out);
    }
    out.extend_from_slice(b"]},\"scopeSpans\":[{\"scope\":{\"name\":\"kiln\",\"version\":");
    escape::json(env!("CARGO_PKG_VERSION").as_bytes(), &mut out);
    out.extend_from_slice(b"},\"spans\":[");
    for (index, some) in spans.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&some.json);
    }
    out.extend_from_slice(b"]}]}]}");
    out
}

/// The IDs of a span that begins.
struct OpenSpan {
    declared: &'static DeclaredSpan,
    id: u64,
    parent: u64,
    /// Whether the parent is a sender's span.
    remote: bool,
}

struct SpanWriter {
    out: Vec<u8>,
    count: usize,
    clock: WallClock,
    context: TraceContext,
}

/// The bits of `flags`: whether `REMOTE` is known, and whether the parent is remote.
const HAS_REMOTE: u32 = 0x100;
const REMOTE: u32 = 0x200;

impl SpanWriter {
    fn begin(&mut self, span: OpenSpan, name: &[u8], (began, end): (u64, u64)) {
        let first = self.count == 0;
        self.count += 1;
        self.out.extend_from_slice(if first { b"{\"traceId\":\"" } else { b",{\"traceId\":\"" });
        self.hexadecimal(&self.context.trace.0.to_be_bytes());
        self.out.extend_from_slice(b"\",\"spanId\":\"");
        self.hexadecimal(&span.id.to_be_bytes());
        if span.parent != 0 {
            self.out.extend_from_slice(b"\",\"parentSpanId\":\"");
            self.hexadecimal(&span.parent.to_be_bytes());
        }
        let remote = if span.remote && span.parent != 0 { REMOTE } else { 0 };
        for (key, number) in [
            ("\",\"flags\":", u64::from(u32::from(flags(&self.context)) | HAS_REMOTE | remote)),
            (",\"kind\":", span.declared.kind as u64),
            (",\"startTimeUnixNano\":\"", began),
            ("\",\"endTimeUnixNano\":\"", end.max(began)),
        ] {
            self.out.extend_from_slice(key.as_bytes());
            push_number(&mut self.out, number);
        }
        self.out.push(b'"');
        self.member("name", name);
    }

    fn member(&mut self, name: &str, value: &[u8]) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        escape::json(cut(value), &mut self.out);
    }

    fn attributes(&mut self, of: &'static DeclaredSpan) -> Attributes<'_> {
        self.out.extend_from_slice(b",\"attributes\":[");
        Attributes { out: &mut self.out, of, first: true }
    }

    /// Ends the attributes and the span.
    fn end(&mut self, failed: bool) {
        self.out.extend_from_slice(if failed { b"],\"status\":{\"code\":2}}" } else { b"]}" });
    }

    fn hexadecimal(&mut self, id: &[u8]) {
        let start = self.out.len();
        self.out.resize(start + 2 * id.len(), b'0');
        digits(id, &mut self.out[start..]);
    }
}

struct Attributes<'o> {
    out: &'o mut Vec<u8>,
    of: &'static DeclaredSpan,
    first: bool,
}

impl Attributes<'_> {
    /// Writes an attribute, unless its value is empty.
    fn text(&mut self, attribute: &DeclaredAttribute, value: &[u8]) {
        if !value.is_empty() {
            self.begins(attribute);
            text_attribute(attribute.name, value, self.out);
        }
    }

    fn display(&mut self, attribute: &DeclaredAttribute, value: impl std::fmt::Display) {
        let mut text = Vec::with_capacity(40);
        display(&mut text, value);
        self.text(attribute, &text);
    }

    fn number(&mut self, attribute: &DeclaredAttribute, value: u64) {
        self.begins(attribute);
        key(attribute.name, self.out);
        self.out.extend_from_slice(b"\"intValue\":\"");
        push_number(self.out, value);
        self.out.extend_from_slice(b"\"}}");
    }

    fn begins(&mut self, attribute: &DeclaredAttribute) {
        debug_assert!(attribute.spans.contains(&self.of), "{} of {}", attribute.name, self.of.name);
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
    }
}

fn text_attribute(name: &str, value: &[u8], out: &mut Vec<u8>) {
    key(name, out);
    out.extend_from_slice(b"\"stringValue\":");
    escape::json(cut(value), out);
    out.extend_from_slice(b"}}");
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\",\"value\":{");
}

/// Returns a value, or the beginning of one that is too long, without a partial character.
fn cut(value: &[u8]) -> &[u8] {
    let Some(cut) = value.get(..LONGEST).filter(|_| value.len() > LONGEST) else { return value };
    let broken = cut.utf8_chunks().last().map_or(0, |last| last.invalid().len());
    &cut[..LONGEST - broken]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::ids::SpanIds;
    use super::*;
    use crate::context::settings::Settings;
    use crate::protocol::fields::Fields;
    use crate::protocol::trace_context::TraceId;

    const CONTEXT: TraceContext = TraceContext { trace: TraceId(0xABC), span: 0x12, sampled: Some(true), random: true };

    fn spans(encoded: &[EncodedSpans]) -> Value {
        let request = request(&[("service.name", "a \"b\"")], encoded);
        let found: Value = serde_json::from_slice(&request).expect("JSON");
        assert_eq!(
            found["resourceSpans"][0]["resource"]["attributes"],
            json!([{ "key": "service.name", "value": { "stringValue": "a \"b\"" } }])
        );
        found["resourceSpans"][0]["scopeSpans"][0]["spans"].clone()
    }

    #[test]
    fn an_exchange_with_attempts() {
        let mut trace = ExchangeTrace::new(CONTEXT, 0x34);
        let ids = SpanIds::new();
        let began = Instant::now();
        trace.enter(&ids, Phase::Cache);
        let first = trace.attempt(&ids, "app", "10.0.0.1:80", began + Duration::from_micros(10));
        trace.attempted(first, AttemptEnd::Failed("connect-failed"));
        let second = trace.attempt(&ids, "app", "unix:/a", began + Duration::from_micros(20));
        trace.attempted(second, AttemptEnd::Status(200));
        trace.leave();
        trace.attempt(&ids, "app", "[::1]:80", began + Duration::from_micros(30));
        let (method, settings) = (Method::GET, Settings::default());
        let fields: Fields = [("tracestate", "a=1"), ("user-agent", "x\"y")].into_iter().collect();
        let nothing = Facts::nothing(&method, &fields, &settings);
        let facts =
            Facts { route: "/a/{id}", path: "/a/1", host: "a.test", authority: "a.test:81", status: 200, ..nothing };
        let clock = WallClock { now: began + Duration::from_micros(100), nanos: 1_000_000 };
        let found = spans(&[exchange(&trace, &facts, (None, began), clock)]);
        let found = found.as_array().expect("spans");
        assert_eq!(found.len(), 5);
        let of = |span: &Value, name: &str| {
            let all = span["attributes"].as_array().expect("attributes").clone();
            all.into_iter().find(|one| one["key"] == name).map(|one| one["value"].clone()).unwrap_or_default()
        };
        let server = &found[0];
        assert_eq!(server["name"], "GET /a/{id}");
        assert_eq!(server["traceId"], "00000000000000000000000000000abc");
        assert_eq!(server["spanId"], "0000000000000012");
        assert_eq!(server["parentSpanId"], "0000000000000034");
        assert_eq!(server["flags"], 0x303);
        assert_eq!((&server["kind"], &server["traceState"]), (&json!(2), &json!("a=1")));
        assert_eq!(server["startTimeUnixNano"], "900000");
        assert_eq!(server["endTimeUnixNano"], "1000000");
        assert_eq!(of(server, "http.response.status_code"), json!({ "intValue": "200" }));
        assert_eq!(of(server, "server.port"), json!({ "intValue": "81" }));
        assert_eq!(of(server, "user_agent.original"), json!({ "stringValue": "x\"y" }));
        assert_eq!(server["status"], Value::Null);
        let cache = &found[1];
        assert_eq!((&cache["name"], &cache["parentSpanId"]), (&json!("cache"), &server["spanId"]));
        let errors: Vec<_> = found[2..].iter().map(|attempt| of(attempt, "error.type")).collect();
        assert_eq!(
            errors,
            [json!({ "stringValue": "connect-failed" }), Value::Null, json!({ "stringValue": "abandoned" })]
        );
        let parents: Vec<_> = found[2..].iter().map(|attempt| attempt["parentSpanId"].clone()).collect();
        assert_eq!(parents, [cache["spanId"].clone(), cache["spanId"].clone(), server["spanId"].clone()]);
        assert_eq!(of(&found[3], "server.address"), json!({ "stringValue": "unix:/a" }));
        assert_eq!(of(&found[3], "http.request.resend_count"), json!({ "intValue": "1" }));
        assert_eq!(found[2]["startTimeUnixNano"], "910000");
    }

    #[test]
    fn failures_of_the_proxy_and_servers() {
        let check = |status, failure, expected| assert_eq!(has_failed(status, failure), expected, "{status}");
        check(200, None, false);
        check(404, Some(Failure::NoRoute), false);
        check(200, Some(Failure::ClientDisconnected), false);
        check(200, Some(Failure::UpstreamTruncated), true);
        check(502, Some(Failure::ConnectFailed), true);
        check(500, None, true);
        check(0, Some(Failure::ClientDisconnected), false);
    }

    proptest! {
        /// Whatever a client sends, the output is JSON, and its values have limits.
        #[test]
        fn any_bytes(agent: Vec<u8>, path in ".{0,2000}") {
            let trace = ExchangeTrace::new(CONTEXT, 0);
            let (method, settings) = (Method::from_bytes(b"X-ODD").expect("a method"), Settings::default());
            let fields: Fields = [("user-agent", &agent)].into_iter().collect();
            let facts = Facts { path: &path, ..Facts::nothing(&method, &fields, &settings) };
            let clock = WallClock { now: Instant::now(), nanos: 5 };
            let found = spans(&[exchange(&trace, &facts, (None, clock.now), clock)]);
            prop_assert_eq!(&found[0]["name"], "HTTP");
            prop_assert!(cut(path.as_bytes()).len() <= LONGEST && std::str::from_utf8(cut(path.as_bytes())).is_ok());
        }
    }
}
