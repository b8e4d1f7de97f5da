//! The primitives of a route's matchers. The compiler's output combines them with `&&`, `||` and `!`; the compiler
//! itself combines the same ones when it runs a site's tests.
//!
//! Pure, on the hot path, no allocation. If a field or parameter occurs several times, one match suffices.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::context::view::{RequestVersion, RequestView};
use crate::protocol::canonical::decodes_to;
use crate::router::regex::Regex;

/// Returns whether the header field is present.
pub fn header(view: &RequestView<'_>, name: &str) -> bool {
    view.headers.contains(name)
}

/// Returns whether the header field is present and equals `value`, byte for byte.
pub fn header_is(view: &RequestView<'_>, name: &str, value: &str) -> bool {
    view.headers.all(name).any(|found| found == value.as_bytes())
}

/// Returns whether the header field is present and `regex` matches within it.
pub fn header_matches(view: &RequestView<'_>, name: &str, regex: &Regex) -> bool {
    view.headers.all(name).any(|found| regex.is_match(found))
}

/// Returns whether the query parameter is present.
pub fn query(view: &RequestView<'_>, name: &str) -> bool {
    view.query_values(name).next().is_some()
}

/// Returns whether the query parameter is present and equals `value` after decoding.
pub fn query_is(view: &RequestView<'_>, name: &str, value: &str) -> bool {
    view.query_values(name).any(|found| decodes_to(found, value))
}

/// Returns whether the query parameter is present and `regex` matches within it.
pub fn query_matches(view: &RequestView<'_>, name: &str, regex: &Regex) -> bool {
    view.query_values(name).any(|found| regex.is_match(found.as_bytes()))
}

/// Returns whether the cookie is present.
pub fn cookie(view: &RequestView<'_>, name: &str) -> bool {
    view.cookie_values(name).next().is_some()
}

/// Returns whether the cookie is present and equals `value`.
pub fn cookie_is(view: &RequestView<'_>, name: &str, value: &str) -> bool {
    view.cookie_values(name).any(|found| found == value.as_bytes())
}

/// Returns whether the cookie is present and `regex` matches within it.
pub fn cookie_matches(view: &RequestView<'_>, name: &str, regex: &Regex) -> bool {
    view.cookie_values(name).any(|found| regex.is_match(found))
}

/// Returns whether the client's address is in one of `networks`. An IPv4-mapped IPv6 address counts as IPv4.
pub fn client_ip(view: &RequestView<'_>, networks: &[IpNet]) -> bool {
    contains(networks, view.client)
}

/// Returns whether one of `networks` contains `address`.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Returns whether the request asks for a WebSocket.
pub fn websocket(view: &RequestView<'_>) -> bool {
    view.is_websocket()
}

/// Returns whether the request uses HTTP/2.
pub fn http2(view: &RequestView<'_>) -> bool {
    view.version == RequestVersion::Http2
}

/// Returns whether the request uses HTTP/3.
pub fn http3(view: &RequestView<'_>) -> bool {
    view.version == RequestVersion::Http3
}

/// Returns whether the request is a gRPC call.
pub fn grpc(view: &RequestView<'_>) -> bool {
    view.is_grpc()
}
