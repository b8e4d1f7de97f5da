//! The tests of a site file: requests, and the expected results. Run by the compiler and, with `--self-test`, by the binary.

use std::net::IpAddr;

use crate::context::view::RequestVersion;
use crate::value::{List, Place, Text};

/// `test`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Test {
    /// Its name.
    pub name: Text,
    /// The location of the declaration.
    pub place: Place,
    /// The request's method.
    pub method: Text,
    /// `http` or `https`, host and port, path and query.
    pub url: Text,
    /// The index of the listener it arrives at.
    pub listener: u16,
    /// The request's header fields.
    pub headers: List<(Text, Text)>,
    /// The size of the request's body, in bytes.
    pub body: u64,
    /// The client's address.
    pub from: IpAddr,
    /// The version of HTTP.
    pub version: RequestVersion,
    /// The expected result.
    pub expect: Expect,
}

/// The expectations of a test; `None` accepts any value.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expect {
    /// The status of a response of the proxy's own.
    pub status: Option<u16>,
    /// The pattern of the route.
    pub route: Option<Text>,
    /// `proxy`, `respond`, `redirect`, `echo` or `abort`.
    pub handler: Option<Text>,
    /// The upstream's name.
    pub upstream: Option<Text>,
    /// Path and query as the upstream receives them.
    pub upstream_path: Option<Text>,
    /// `lookup`, `pass` or `off`.
    pub cache: Option<Text>,
    /// The cache key.
    pub cache_key: Option<Text>,
    /// `Location` of a redirect.
    pub location: Option<Text>,
    /// Header fields.
    pub fields: List<ExpectField>,
}

/// A header field that a test expects.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectField {
    /// Whether it is in the forwarded request, or in the response.
    pub side: Side,
    /// Its name, in lower case.
    pub name: Text,
    /// Its value; `None` for any.
    pub value: Option<Text>,
    /// Whether it must be present or absent.
    pub there: bool,
}

/// The message with a header field.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The forwarded request.
    Upstream,
    /// The response.
    Response,
}
