//! The parameters of a change: those of the query, and those of the body ([`read`]).

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

/// A refusal: the status, and why.
pub(super) type Refused = (StatusCode, String);

/// No larger body is read, in bytes.
const LARGEST: usize = 4 << 10;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The parameters of a request as those of a form, `a=b&c=d`.
///
/// # Errors
/// The body is too large, too slow, or not text.
pub(super) async fn read(request: Request<Incoming>) -> Result<String, Refused> {
    let mut parameters = request.uri().query().unwrap_or_default().to_owned();
    let body = Limited::new(request.into_body(), LARGEST).collect();
    let refused = |status, why: &str| Err((status, why.to_owned()));
    let body = match tokio::time::timeout(PATIENCE, body).await {
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT, "the body does not arrive"),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 4 KiB");
        }
        Ok(Err(_)) => return refused(StatusCode::BAD_REQUEST, "the body is malformed"),
        Ok(Ok(body)) => body.to_bytes(),
    };
    match str::from_utf8(&body) {
        Ok(body) => {
            parameters.push('&');
            // What programs put behind a form in a file.
            parameters.push_str(body.trim_end());
            Ok(parameters)
        }
        Err(_) => refused(StatusCode::BAD_REQUEST, "the body is not a form: write state=drain"),
    }
}
