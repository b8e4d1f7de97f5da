//! Responses of the proxy itself: errors with their pages.

use bytes::Bytes;
use http::StatusCode;

use crate::client::record::Record;
use crate::content::respond::{self, Answer};
use crate::context::facts::Timestamp;
use crate::failure::{Failure, RateLimited};
use crate::http1;
use crate::protocol::fields::Fields;
use crate::protocol::grpc;
use crate::protocol::names::KnownField;
use crate::protocol::transformed;
use crate::serve::body::Body;
use crate::site::{ErrorPage, Policy};

/// The value of `Retry-After` where memory is used up, in seconds.
const MEMORY_RETURNS: &[u8] = b"5";

/// Returns the error response for a failure.
pub(crate) fn failure(record: &Record, failure: Failure) -> Answer<Bytes> {
    let mut answer = page(record, record.policy(), failure.status());
    if failure == Failure::PlainHttp {
        answer.body = Bytes::from_static(b"400 Bad Request: this port speaks HTTPS, and this is plain HTTP\n");
    }
    if let Failure::MethodNotAllowed(methods) = failure {
        // RFC 9110 section 15.5.6: a 405 has `Allow`.
        answer.fields.add(b"allow", methods.allow().as_bytes());
    }
    match failure {
        // RFC 9110 section 11.6.1: a 401 has `WWW-Authenticate`.
        Failure::Unauthenticated | Failure::WrongCredentials => challenge(record, "", &mut answer.fields),
        // RFC 6750 section 3.1.
        Failure::InvalidToken | Failure::UnknownKey | Failure::ExpiredToken => {
            challenge(record, ", error=\"invalid_token\"", &mut answer.fields);
        }
        Failure::InsufficientToken => challenge(record, ", error=\"insufficient_scope\"", &mut answer.fields),
        Failure::Maintenance(Some(wait)) => answer.fields.add(b"retry-after", wait.to_string().as_bytes()),
        Failure::MemoryFull | Failure::MemoryLimit => answer.fields.add(b"retry-after", MEMORY_RETURNS),
        // RFC 9110 section 10.2.3, and draft-ietf-httpapi-ratelimit-headers-10.
        Failure::RateLimited(RateLimited { wait, quota, window, .. }) => {
            answer.fields.add(b"retry-after", wait.to_string().as_bytes());
            answer.fields.add(b"ratelimit-policy", format!("\"default\";q={quota};w={window}").as_bytes());
            answer.fields.add(b"ratelimit", format!("\"default\";r=0;t={wait}").as_bytes());
        }
        _ => {}
    }
    answer
}

/// Adds `WWW-Authenticate`.
fn challenge(record: &Record, error: &str, fields: &mut Fields) {
    let auth = record.policy().access.as_ref().and_then(|access| access.auth.as_ref());
    if let Some(auth) = auth.filter(|auth| !auth.challenge.is_empty()) {
        fields.add(b"www-authenticate", format!("{}{error}", auth.challenge).as_bytes());
    }
}

/// Returns the error response to a gRPC call: a status in the fields, without a body ("Trailers-Only").
pub(crate) fn grpc_failure(failure: Failure) -> Answer<Body> {
    let code = match failure {
        // The server may have processed the call, so `UNAVAILABLE` would be wrong.
        Failure::TotalTimeout | Failure::ResponseTimeout | Failure::BodyIdleTimeout => grpc::DEADLINE_EXCEEDED,
        // A retry would be as large.
        Failure::UpstreamHeadTooLarge => grpc::RESOURCE_EXHAUSTED,
        _ => grpc::code(failure.status().as_u16()),
    };
    let mut answer = Answer::new(StatusCode::OK, Body::None(None));
    answer.fields.add_known(KnownField::CONTENT_TYPE, b"application/grpc");
    answer.fields.add_known(KnownField::GRPC_STATUS, code.to_string().as_bytes());
    answer.fields.add(b"grpc-message", failure.reason().as_bytes());
    answer
}

/// Returns a server's response, or the site's error page if it has one for server errors.
pub(crate) fn or_page(record: &mut Record, answer: Answer<Body>) -> Answer<Body> {
    if !answer.status.is_client_error() && !answer.status.is_server_error() {
        return answer;
    }
    let code = answer.status.as_u16();
    let mut pages = record.policy().error_pages.iter().filter(|page| page.upstream && page.codes.contains(&code));
    let Some(page) = pages.next().filter(|_| !grpc::is_call(&record.fields)) else { return answer };
    record.answered(code);
    let mut fields = answer.fields;
    transformed::replace(&mut fields);
    fields.add_known(KnownField::CONTENT_TYPE, page.content_type.as_bytes());
    Answer { status: answer.status, fields, body: Body::Bytes(filled(record, page)) }
}

/// Renders an error page.
fn filled(record: &Record, page: &'static ErrorPage) -> Bytes {
    let facts = record.facts();
    let body = respond::body(&facts, &page.body);
    if !page.placeholders {
        return body;
    }
    let mut out = Vec::with_capacity(body.len() + 128);
    let mut rest = &*body;
    while let Some(at) = memchr::memchr(b'{', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let known = ErrorPage::PLACEHOLDERS.iter().find(|known| rest.starts_with(known.as_bytes()));
        match known {
            Some(&"{status}") => out.extend_from_slice(facts.status.to_string().as_bytes()),
            Some(&"{reason}") => out.extend_from_slice(facts.reason.as_bytes()),
            Some(&"{request.id}") => out.extend_from_slice(facts.request_id.to_string().as_bytes()),
            Some(&"{host}") => out.extend_from_slice(facts.host.as_bytes()),
            Some(_) => out.extend_from_slice(Timestamp::now().rfc3339().to_string().as_bytes()),
            None => out.push(b'{'),
        }
        rest = &rest[known.map_or(1, |known| known.len())..];
    }
    out.extend_from_slice(rest);
    out.into()
}

/// Returns the site's error page for a status, or a line of text.
fn page(record: &Record, policy: &'static Policy, status: StatusCode) -> Answer<Bytes> {
    let page = policy.error_pages.iter().find(|page| page.codes.contains(&status.as_u16()));
    let (body, content_type) = match page {
        Some(page) => (filled(record, page), &*page.content_type),
        None => {
            let reason = Some(http1::usual_reason(status)).filter(|reason| !reason.is_empty()).unwrap_or("Error");
            let line = format!("{} {reason}\n", status.as_str());
            (Bytes::from(line), "text/plain; charset=utf-8")
        }
    };
    let mut answer = Answer::new(status, body);
    answer.fields.add_known(KnownField::CONTENT_TYPE, content_type.as_bytes());
    answer
}
