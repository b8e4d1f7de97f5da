//! Handlers that answer without I/O: `respond` and `redirect`. Pure.
//!
//! The compiler's output wraps them in one function per route, whose data is a `static` beside it.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};

use crate::facts::Facts;
use crate::site::{self, Redirect, Respond, RespondBody};
use crate::template::{self, Piece, Template};

/// Answers with a status and a body.
pub fn respond(facts: &Facts<'_>, respond: &'static Respond) -> Response<Bytes> {
    let body = match &respond.body {
        RespondBody::Bytes(bytes) => body(facts, bytes),
        RespondBody::Template(template) => {
            let mut out = String::new();
            template.render(facts, &mut out);
            Bytes::from(out)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status(respond.code);
    if !respond.content_type.is_empty()
        && let Ok(value) = HeaderValue::from_str(&respond.content_type)
    {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// Sends the client elsewhere.
pub fn redirect(facts: &Facts<'_>, redirect: &Redirect) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    // A target that takes the host from the request goes to listed hosts only: no open redirects.
    if !redirect.allow_hosts.is_empty() && !redirect.allow_hosts.iter().any(|host| host == facts.host) {
        *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
        return response;
    }
    *response.status_mut() = status(redirect.code);
    response.headers_mut().insert(LOCATION, location(facts, &redirect.to));
    response
}

/// The target. What placeholders put behind a leading slash must not make it two: `//evil.test/` is another host (RFC 3986
/// section 4.2).
fn location(facts: &Facts<'_>, to: &Template) -> HeaderValue {
    let value = to.header_value(facts);
    let meant = matches!(to.pieces.first(), Some(Piece::Text(text)) if text.starts_with("//"));
    match value.to_str() {
        Ok(text) if text.starts_with("//") && !meant => {
            template::header_value(format!("/{}", text.trim_start_matches('/')))
        }
        _ => value,
    }
}

/// The bytes of a body that is compiled in (not copied) or read at start (copied).
pub fn body(facts: &Facts<'_>, bytes: &'static site::Bytes) -> Bytes {
    match bytes {
        site::Bytes::Fixed(bytes) => Bytes::from_static(bytes),
        site::Bytes::File(index) => Bytes::copy_from_slice(&facts.settings.file(*index)),
    }
}

/// The compiler lets only 200 to 599 through, so the fallback is never taken.
fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
