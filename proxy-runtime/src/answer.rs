//! Answers that the proxy gives itself: errors with their pages, and `echo`.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::body::{Body, Ended, RequestBody};
use crate::failure::Failure;
use crate::handler;
use crate::observe::{Record, json_string};
use crate::site::Policy;

/// How much of a body `echo` shows, in bytes.
const ECHO_LIMIT: usize = 64 << 10;

/// The answer to something that went wrong.
pub(crate) fn failure(record: &Record, failure: Failure) -> Response<Bytes> {
    let status = failure.status();
    let mut response = page(record, record.policy(), status);
    *response.status_mut() = status;
    if let Failure::MethodNotAllowed(methods) = failure
        && let Ok(allow) = HeaderValue::from_str(&methods.allow())
    {
        // RFC 9110 section 15.5.6: a 405 comes with Allow.
        response.headers_mut().insert(ALLOW, allow);
    }
    if failure.closes() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The site's page for a status, or a line of text.
fn page(record: &Record, policy: &'static Policy, status: StatusCode) -> Response<Bytes> {
    let page = policy.error_pages.iter().find(|page| page.codes.contains(&status.as_u16()));
    let (body, content_type) = match page {
        Some(page) => (handler::body(&record.facts_kept(), &page.body), HeaderValue::from_str(&page.content_type).ok()),
        None => {
            let line = format!("{} {}\n", status.as_str(), status.canonical_reason().unwrap_or("Error"));
            (Bytes::from(line), Some(HeaderValue::from_static("text/plain; charset=utf-8")))
        }
    };
    let mut response = Response::new(body);
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

/// `echo`: what arrived, as JSON.
pub(crate) async fn echo(
    record: &Record,
    headers: &HeaderMap,
    incoming: Incoming,
    limit: u64,
    patience: std::time::Duration,
    silence: std::time::Duration,
) -> Result<Response<Body>, Failure> {
    use std::fmt::Write as _;
    let (mut body, _) = RequestBody::new(incoming, limit, patience, silence, record.began);
    let (mut size, mut shown, mut trailers) = (0_u64, Vec::new(), HeaderMap::new());
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|Ended(failure)| failure)?;
        match frame.into_data() {
            Ok(data) => {
                size += data.len() as u64;
                shown.extend_from_slice(&data[..data.len().min(ECHO_LIMIT - shown.len())]);
            }
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    let facts = record.facts_kept();
    let mut out = String::from("{");
    for (name, value) in [
        ("method", facts.method.as_str()),
        ("host", facts.host),
        ("path", facts.path),
        ("query", facts.query.unwrap_or_default()),
        ("protocol", facts.protocol),
        ("client", &facts.client.to_string()),
    ] {
        json_string(name, &mut out);
        out.push(':');
        json_string(value, &mut out);
        out.push(',');
    }
    for (name, fields) in [("headers", headers), ("trailers", &trailers)] {
        json_string(name, &mut out);
        out.push_str(":{");
        fields_as_json(fields, &mut out);
        out.push_str("},");
    }
    // Writing to a String cannot fail.
    let _ = write!(out, "\"body-size\":{size},\"body\":");
    json_string(&String::from_utf8_lossy(&shown), &mut out);
    out.push_str("}\n");
    let mut response = Response::new(Body::bytes(Bytes::from(out)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn fields_as_json(fields: &HeaderMap, out: &mut String) {
    for (index, name) in fields.keys().enumerate() {
        if index > 0 {
            out.push(',');
        }
        json_string(name.as_str(), out);
        out.push(':');
        let values: Vec<_> =
            fields.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        json_string(&values.join(", "), out);
    }
}
