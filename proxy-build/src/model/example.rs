//! An example request of a class, which messages show after "for example".

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use proxy_runtime::context::view::RequestVersion;
use proxy_runtime::protocol::canonical::encoded_parameter;

use crate::pattern::ValueOf;

/// The client of an example, if any will do: TEST-NET-1 (RFC 5737).
pub(crate) const ANYBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The version of HTTP in the form of a header field, whose name is not a valid one.
pub(crate) const HTTP_VERSION: &str = "(version)";

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Example {
    /// Its method.
    pub(crate) method: String,
    /// Its host.
    pub(crate) host: String,
    /// Its normalized path.
    pub(crate) path: String,
    /// The client's address.
    pub(crate) client: IpAddr,
    /// Its fields, parameters and cookies that matter.
    pub(crate) values: Vec<(ValueOf, String, String)>,
}

impl Example {
    fn of(&self, of: ValueOf) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().filter(move |value| value.0 == of).map(|(_, name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns its URL.
    pub(crate) fn url(&self) -> String {
        let pairs: Vec<_> =
            self.of(ValueOf::Query).map(|(name, value)| format!("{}={value}", encoded_parameter(name))).collect();
        let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
        format!("http://{}{}{query}", self.host, self.path)
    }

    /// Returns its version of HTTP.
    pub(crate) fn version(&self) -> RequestVersion {
        match self.of(ValueOf::Header).find(|(name, _)| *name == HTTP_VERSION) {
            Some((_, "HTTP/2")) => RequestVersion::Http2,
            Some((_, "HTTP/3")) => RequestVersion::Http3,
            _ => RequestVersion::Http1,
        }
    }

    /// Returns its header fields, including cookies.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let cookies: Vec<_> = self.of(ValueOf::Cookie).map(|(name, value)| format!("{name}={value}")).collect();
        let fields = self.of(ValueOf::Header).filter(|(name, _)| *name != HTTP_VERSION);
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let cookies = (!cookies.is_empty()).then(|| ("cookie".to_owned(), cookies.join("; ")));
        fields.chain(cookies).collect()
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url())?;
        let mut with: Vec<_> = self.headers().iter().map(|(name, value)| format!("{name}: {value}")).collect();
        if self.client != ANYBODY {
            with.push(format!("client {}", self.client));
        }
        match self.version() {
            RequestVersion::Http1 => {}
            RequestVersion::Http2 => with.push("HTTP/2".to_owned()),
            RequestVersion::Http3 => with.push("HTTP/3".to_owned()),
        }
        if with.is_empty() { Ok(()) } else { write!(f, " with {}", with.join(", ")) }
    }
}
