//! The client for an authority: [`HttpsClient`], hyper's client with limits on time and memory of a response.
//!
//! It turns refusals into [`AcmeError`]s with the value of `Retry-After`, which instant-acme ignores. instant-acme itself handles only
//! `badNonce`. The value of `Retry-After` is bounded, because times are added to it.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient, Problem};
use rustls::ClientConfig;

use super::error::AcmeError;
use super::schedule::LONGEST_RETRY_AFTER;
use crate::context::settings::Settings;
use crate::net::tls::client;
use crate::net::tls::provider::provider;

/// The time-out of a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest response, in bytes.
const LARGEST: usize = 1 << 20;

/// The default interval between requests for renewal information (RFC 9773 section 4.3.3).
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);

/// A client for HTTPS, and for HTTP if a URL says so.
#[derive(Clone)]
pub(super) struct HttpsClient(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl HttpsClient {
    /// Creates a client that verifies servers with the root certificates in this file, or with the system's.
    ///
    /// # Errors
    /// There are no root certificates.
    pub(super) fn new(ca: Option<u16>, settings: &Settings) -> Result<HttpsClient, String> {
        let config = ClientConfig::builder_with_provider(provider(&[]))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(client::roots(ca, settings)?)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
        Ok(HttpsClient(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Sends a request, and returns the complete response.
    ///
    /// # Errors
    /// The reason for the failure, as text.
    pub(super) async fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, String> {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let received = async {
            let response = self.0.request(request).await.map_err(|error| reason(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LARGEST).collect().await.map_err(|error| reason(&*error))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        match tokio::time::timeout(PATIENCE, received).await {
            Ok(outcome) => outcome.map_err(|reason: String| format!("`{host}` can't be asked: {reason}")),
            Err(_) => Err(format!("`{host}` does not respond within {PATIENCE:?}")),
        }
    }
}

impl HttpClient for HttpsClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.clone();
        let asks = request.method() == Method::GET;
        Box::pin(async move {
            let response = client.send(request).await.map_err(AcmeError::from)?;
            let (mut head, body) = response.into_parts();
            let retry_after = retry_after(&head.headers, SystemTime::now());
            if head.status.is_client_error() || head.status.is_server_error() {
                let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
                    return Err(AcmeError::status(head.status, retry_after).into());
                };
                let error = AcmeError::refused(&problem, retry_after);
                if asks || !error.is("badNonce") {
                    return Err(error.into());
                }
            }
            head.headers.remove(RETRY_AFTER);
            if let Some(wait) = retry_after.or(asks.then_some(ASK_AGAIN)) {
                head.headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
            }
            Ok(Response::from_parts(head, BodyWrapper::from(body.to_vec())).into())
        })
    }
}

/// Returns an error with its causes, because hyper's own message says little.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        reason.push_str(&format!(": {error}"));
        source = error.source();
    }
    reason
}

/// Parses `Retry-After` (RFC 9110 section 10.2.3). A date is relative to the server's `Date`, if there is one.
fn retry_after(fields: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| fields.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    let said = text(RETRY_AFTER)?;
    let wait = if !said.is_empty() && said.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(said.parse().unwrap_or(u64::MAX))
    } else {
        let until = httpdate::parse_http_date(said).ok()?;
        let now = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
        until.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_values() {
        let check = |said: &str, date: Option<&str>, expected: Option<u64>| {
            let mut fields = HeaderMap::new();
            fields.insert(RETRY_AFTER, HeaderValue::from_str(said).expect("a value"));
            if let Some(date) = date {
                fields.insert(DATE, HeaderValue::from_str(date).expect("a value"));
            }
            let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:00:00 GMT").expect("a date");
            assert_eq!(retry_after(&fields, now), expected.map(Duration::from_secs), "{said}");
        };
        check("120", None, Some(120));
        check("0", None, Some(0));
        check("Sun, 06 Nov 1994 09:00:00 GMT", None, Some(3600));
        check("Sun, 06 Nov 1994 09:00:00 GMT", Some("Sun, 06 Nov 1994 08:59:30 GMT"), Some(30));
        check("Sun, 06 Nov 1994 07:00:00 GMT", None, Some(0));
        check("99999999999999999999999999", None, Some(7 * 24 * 3600));
        check("Fri, 31 Dec 9999 23:59:59 GMT", None, Some(7 * 24 * 3600));
        check("-1", None, None);
        check("soon", None, None);
        check("", None, None);
    }
}
