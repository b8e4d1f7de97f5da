//! The primitives that a route's matchers are composed of. The compiler's output joins them with `&&`, `||` and `!`;
//! the compiler itself joins the same ones when it runs a site's tests.
//!
//! Pure, on the hot path, no allocation. If a field or parameter occurs several times, one match is enough.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::context::view::RequestView;
use crate::protocol::canonical::decodes_to;
use crate::router::regex::Regex;

/// The header field is there.
pub fn header(view: &RequestView<'_>, name: &str) -> bool {
    view.headers.contains(name)
}

/// The header field is there and equals `value`, byte for byte.
pub fn header_is(view: &RequestView<'_>, name: &str, value: &str) -> bool {
    view.headers.all(name).any(|found| found == value.as_bytes())
}

/// The header field is there and `regex` matches within it.
pub fn header_matches(view: &RequestView<'_>, name: &str, regex: &Regex) -> bool {
    view.headers.all(name).any(|found| regex.is_match(found))
}

/// The query parameter is there.
pub fn query(view: &RequestView<'_>, name: &str) -> bool {
    view.query_values(name).next().is_some()
}

/// The query parameter is there and means `value`, however it is spelt in the URL.
pub fn query_is(view: &RequestView<'_>, name: &str, value: &str) -> bool {
    view.query_values(name).any(|found| decodes_to(found, value))
}

/// The query parameter is there and `regex` matches within it.
pub fn query_matches(view: &RequestView<'_>, name: &str, regex: &Regex) -> bool {
    view.query_values(name).any(|found| regex.is_match(found.as_bytes()))
}

/// The cookie is there.
pub fn cookie(view: &RequestView<'_>, name: &str) -> bool {
    view.cookie_values(name).next().is_some()
}

/// The cookie is there and equals `value`.
pub fn cookie_is(view: &RequestView<'_>, name: &str, value: &str) -> bool {
    view.cookie_values(name).any(|found| found == value.as_bytes())
}

/// The cookie is there and `regex` matches within it.
pub fn cookie_matches(view: &RequestView<'_>, name: &str, regex: &Regex) -> bool {
    view.cookie_values(name).any(|found| regex.is_match(found))
}

/// The client's address is in one of `networks`. An IPv4 address in IPv6 clothes counts as IPv4.
pub fn client_ip(view: &RequestView<'_>, networks: &[IpNet]) -> bool {
    contains(networks, view.client)
}

/// Whether one of `networks` contains `address`.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The request asks for a WebSocket.
pub fn websocket(view: &RequestView<'_>) -> bool {
    view.is_websocket()
}

/// The request comes in HTTP/2.
pub fn http2(view: &RequestView<'_>) -> bool {
    view.http2
}

/// The request is a gRPC call.
pub fn grpc(view: &RequestView<'_>) -> bool {
    view.is_grpc()
}
