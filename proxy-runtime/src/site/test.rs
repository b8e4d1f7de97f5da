//! The tests of a site file: requests, and the expected results. Run by the compiler and, with `--self-test`, by the binary.

use std::net::IpAddr;

use crate::value::{List, Place, Text};

/// `test`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Test {
    /// What it is about.
    pub name: Text,
    /// Where it was declared.
    pub place: Place,
    /// The request's method.
    pub method: Text,
    /// `http` or `https`, host and port, path and query.
    pub url: Text,
    /// The index of the listener it arrives at.
    pub listener: u16,
    /// Its header fields.
    pub headers: List<(Text, Text)>,
    /// The size of its body, in bytes.
    pub body: u64,
    /// The client's address.
    pub from: IpAddr,
    /// It comes in HTTP/2.
    pub http2: bool,
    /// What must come out.
    pub expect: Expect,
}

/// The expectations of a test; `None` accepts any value.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expect {
    /// The status of a response that the proxy gives itself.
    pub status: Option<u16>,
    /// The pattern of the route.
    pub route: Option<Text>,
    /// `proxy`, `respond`, `redirect`, `echo` or `abort`.
    pub handler: Option<Text>,
    /// The upstream's name.
    pub upstream: Option<Text>,
    /// Path and query as the upstream sees them.
    pub upstream_path: Option<Text>,
    /// `lookup`, `pass` or `off`.
    pub cache: Option<Text>,
    /// What the response would be kept under.
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
    /// Of the request that the upstream sees, or of the response.
    pub side: Side,
    /// Its name, in lower case.
    pub name: Text,
    /// Its value; any value where there is none.
    pub value: Option<Text>,
    /// It must be there; or else, it must not.
    pub there: bool,
}

/// Where a header field is looked for.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// In the request that the upstream sees.
    Upstream,
    /// In the response.
    Response,
}
