//! Writes a tapped exchange as a line of JSON ([`line`]). Values of clients and servers are masked, cut and escaped.

use std::time::Duration;

use serde::Serialize;

use super::mask::Masks;
use crate::context::facts::Facts;
use crate::protocol::escape;
use crate::protocol::fields::Fields;

/// How many bytes of a value are shown.
const LONGEST: usize = 1024;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line<'a> {
    time: String,
    request_id: String,
    client: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    tls: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    route: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    upstream: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    server: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    attempts: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    cache: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cache_reason: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: &'a str,
    /// The duration in seconds.
    duration: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte: Option<f64>,
    request: RequestHead<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ResponseHead>,
}

#[derive(Serialize)]
struct RequestHead<'a> {
    method: String,
    scheme: &'static str,
    host: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    protocol: &'a str,
    fields: Vec<(String, String)>,
}

#[derive(Serialize)]
struct ResponseHead {
    status: u16,
    bytes: u64,
    fields: Vec<(String, String)>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Returns the line for an exchange that is over, with its response's header fields.
pub(super) fn line(
    facts: &Facts<'_>,
    response: Option<&Fields>,
    first_byte: Option<Duration>,
    masks: &Masks,
) -> Vec<u8> {
    let none = Fields::new();
    let responds = facts.status != 0;
    let line = Line {
        time: facts.time.rfc3339().to_string(),
        request_id: facts.request_id.to_string(),
        client: facts.client.to_string(),
        tls: facts.tls,
        route: facts.route,
        upstream: facts.upstream,
        server: facts.server,
        attempts: facts.attempts,
        cache: facts.cache,
        cache_reason: facts.cache_reason,
        reason: facts.reason,
        detail: facts.detail,
        rule: facts.rule,
        duration: facts.duration.as_secs_f64(),
        first_byte: first_byte.map(|until| until.as_secs_f64()),
        request: RequestHead {
            method: shown(facts.method.as_str().as_bytes()),
            scheme: facts.scheme,
            host: shown(facts.host.as_bytes()),
            path: shown(facts.path.as_bytes()),
            query: facts.query.map(|query| shown(&masks.query(query.as_bytes()))),
            protocol: facts.protocol,
            fields: shown_fields(facts.fields, masks),
        },
        response: responds.then(|| ResponseHead {
            status: facts.status,
            bytes: facts.bytes,
            fields: shown_fields(response.unwrap_or(&none), masks),
        }),
    };
    // All of it can be written as JSON.
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Returns header fields in order, with their names as written.
fn shown_fields(fields: &Fields, masks: &Masks) -> Vec<(String, String)> {
    fields.raw().map(|(name, value)| (shown(name), shown(&masks.value(name, value)))).collect()
}

/// Returns the beginning of a value as text.
fn shown(value: &[u8]) -> String {
    let mut text = escape::shown(&value[..value.len().min(LONGEST)]).into_owned();
    if value.len() > LONGEST {
        text += &format!("... ({} more bytes)", value.len() - LONGEST);
    }
    text
}
