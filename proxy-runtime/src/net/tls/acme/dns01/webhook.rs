//! Sets records by a service: `POST URL/present` and `POST URL/cleanup` with `{"fqdn": NAME, "value": VALUE}`, the form of lego's `httpreq`.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, Uri};
use instant_acme::BodyWrapper;

use super::txt_record::{Action, TxtRecord};
use crate::context::settings::Settings;
use crate::net::tls::acme::client::HttpsClient;

/// Sends a request to the service.
///
/// # Errors
/// Fails if the service can't be reached, or does not respond with a 2xx.
pub(super) async fn ask(
    action: Action,
    url: &str,
    token: Option<&[u8]>,
    ca: Option<u16>,
    record: &TxtRecord,
    settings: &Settings,
) -> Result<(), String> {
    let body = serde_json::json!({ "fqdn": record.name, "value": record.value }).to_string();
    let mut request = Request::post(format!("{}/{action}", url.trim_end_matches('/')))
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, "kiln");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, bearer(token)?);
    }
    let request = request.body(BodyWrapper::from(body.into_bytes())).map_err(|error| error.to_string())?;
    let response = HttpsClient::new(ca, settings)?.send(request).await?;
    if response.status().is_success() {
        return Ok(());
    }
    Err(format!("`{url}` responds {}", response.status().as_u16()))
}

/// Checks the service's settings.
///
/// # Errors
/// The URL is invalid, or the token can't be sent.
pub(super) fn check(url: &str, token: Option<&[u8]>) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|error| format!("`{url}` is not a URL: {error}"))?;
    let host = uri.host().unwrap_or_default();
    let stays_here = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if uri.query().is_some() {
        return Err(format!("`{url}`: the proxy appends a path to it, so it must not have a query"));
    }
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if stays_here => {}
        _ => return Err(format!("`{url}`: https is needed, but for this machine's own addresses")),
    }
    token.map_or(Ok(()), |token| bearer(token).map(|_| ()))
}

/// Returns the value of `Authorization` (RFC 6750 section 2.1).
fn bearer(token: &[u8]) -> Result<HeaderValue, String> {
    let token = token.trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err("the token is one word of letters, digits and signs".to_owned());
    }
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_urls_and_tokens() {
        let check = |url, token: Option<&[u8]>, expected| assert_eq!(check(url, token).is_ok(), expected, "{url}");
        check("https://dns.test/hook", Some(b"secret\n"), true);
        check("http://127.0.0.1:8080", None, true);
        check("http://[::1]:8080/x/", None, true);
        check("http://localhost/x", None, true);
        check("http://dns.test/hook", None, false);
        check("http://localhost.test/hook", None, false);
        check("ftp://127.0.0.1/", None, false);
        check("dns.test", None, false);
        check("https://dns.test/hook?x=1", None, false);
        check("https://dns.test/", Some(b"two words"), false);
        check("https://dns.test/", Some(b"two\r\nlines"), false);
        check("https://dns.test/", Some(b"\n"), false);
    }
}
