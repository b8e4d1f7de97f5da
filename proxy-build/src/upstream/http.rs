//! `http` of an upstream: the version of HTTP that its servers use.

use proxy_runtime::site::Upstream;

use super::{OptionSpans, UpstreamOption};
use crate::ast::{HttpVersion, What};
use crate::check::Check;
use crate::declaration::{Directive, Place};
use crate::value;

static HTTP: Directive = Directive {
    name: "http",
    places: &[Place::Upstream],
    args: "h1|h2",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the HTTP version for connections to servers.",
    details: "\
The default is `h1`. With `h2`, exchanges share connections, as many on each as the server allows; without `tls` the
server has to expect HTTP/2 (RFC 9113 section 3.3). gRPC needs `h2`.",
    example: r#"
upstream greeter {
    server "10.0.0.11:50051"
    http h2
}
site grpc.example.com {
    proxy greeter
}
"#,
    read: |r| {
        let version = r.arg("a version", value::upstream_http_version)?;
        Some(What::in_upstream(Http(version.value)))
    },
};

/// `http`.
#[derive(Debug)]
pub(super) struct Http(HttpVersion);

impl UpstreamOption for Http {
    const DIRECTIVES: &'static [&'static Directive] = &[&HTTP];
    const MEMBER: &'static str = "http2";

    fn check(&self, _: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        upstream.http2 = self.0 == HttpVersion::H2;
    }
}
