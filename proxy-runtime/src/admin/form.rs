//! The parameters of a change, from its query and its body ([`read`]).

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

/// A refusal: the status and the reason.
pub(super) type Refused = (StatusCode, String);

/// The largest body, in bytes.
const LARGEST: usize = 4 << 10;

/// The time-out of a body.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns the parameters of a request in the form `a=b&c=d`.
///
/// # Errors
/// Fails if the body is too large, too slow, malformed, or not text.
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
            // A file may end with a line end after the form.
            parameters.push_str(body.trim_end());
            Ok(parameters)
        }
        Err(_) => refused(StatusCode::BAD_REQUEST, "the body is not a form: write state=drain"),
    }
}
