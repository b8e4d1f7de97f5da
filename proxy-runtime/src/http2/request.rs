//! Builds the head of an HTTP/2 request ([`head`]).

use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Uri, Version};

use super::fields::to_send;
use crate::failure::Failure;
use crate::http1::Framing;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;

/// Builds the head of a request to send.
///
/// # Errors
/// [`Failure::BadPath`] or [`Failure::BadHost`]: HTTP/1.1 allows some values that the library rejects.
pub(crate) fn head(
    (method, target): (&Method, &str),
    scheme: &str,
    host: Option<&str>,
    fields: &Fields,
    framing: Framing,
) -> Result<Request<()>, Failure> {
    let host = host.map(str::as_bytes).or_else(|| fields.get(KnownField::HOST)).unwrap_or_default();
    let authority = Authority::try_from(host).map_err(|_| Failure::BadHost)?;
    let path = PathAndQuery::try_from(target).map_err(|_| Failure::BadPath)?;
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    let mut request = Request::new(());
    *request.uri_mut() = uri.map_err(|_| Failure::BadPath)?;
    (*request.method_mut(), *request.version_mut()) = (method.clone(), Version::HTTP_2);
    *request.headers_mut() = to_send(fields);
    if let Framing::Length(length) = framing {
        request.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    Ok(request)
}
