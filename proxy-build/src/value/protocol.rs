//! Leaf parsers of protocol versions.

use proxy_runtime::site::ProxyProtocol;

use super::{Parsed, problem, word};
use crate::ast::HttpVersion;
use crate::syntax::{Leaf, Scalar};

/// The versions of the PROXY protocol.
pub const PROXY_PROTOCOLS: &[(&str, ProxyProtocol)] = &[("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];

const HTTP_VERSIONS: &[(&str, HttpVersion)] =
    &[("h1", HttpVersion::H1), ("h2", HttpVersion::H2), ("h3", HttpVersion::H3)];

/// Parses a version of HTTP for servers, by its ALPN name.
pub fn upstream_http_version(leaf: &Leaf) -> Parsed<HttpVersion> {
    match http_version(leaf)? {
        HttpVersion::H3 => {
            Err(problem("unknown-value", "HTTP/3 is spoken with clients only, not with servers").write("h2"))
        }
        version => Ok(version),
    }
}

/// Parses a version of HTTP for clients, by its ALPN name.
pub fn http_version(leaf: &Leaf) -> Parsed<HttpVersion> {
    let written = match &leaf.value {
        Scalar::Text(text) => text.to_ascii_lowercase(),
        Scalar::Float(number) => number.to_string(),
        Scalar::Integer(_, repr) => repr.clone(),
        _ => String::new(),
    };
    match written.trim_start_matches("http").trim_start_matches('/') {
        "3" | "3.0" => Err(problem("unknown-value", "HTTP/3 is called h3").write("h3")),
        "1" | "1.0" | "1.1" => Err(problem("unknown-value", "HTTP/1.1 is called h1").write("h1")),
        "2" | "2.0" | "h2c" => Err(problem("unknown-value", "HTTP/2 is called h2, with TLS and without").write("h2")),
        _ => word(HTTP_VERSIONS)(leaf),
    }
}
