//! `proxy-protocol`: sends PROXY headers to servers.

use proxy_runtime::site::{self, Upstream};

use super::{OptionSpans, UpstreamOption};
use crate::ast::What;
use crate::check::Check;
use crate::declaration::{Directive, Place};
use crate::report::Diagnostic;
use crate::value;

static PROXY_PROTOCOL: Directive = Directive {
    name: "proxy-protocol",
    places: &[Place::Upstream],
    args: "v1|v2",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sends a PROXY header with the client's address to servers.",
    details: "\
The header of HAProxy's PROXY protocol, as text (`v1`) or binary (`v2`), comes before the first byte of a connection. The connection then
belongs to one client, so it is not reused for other exchanges. The proxy's own connections, for health checks and keys, are marked as such:
`LOCAL` (`v2`), `UNKNOWN` (`v1`). Servers must expect the header.",
    example: r#"
upstream mail {
    server "10.0.0.25:8080"
    proxy-protocol v2
}
site example.com {
    proxy mail
}
"#,
    read: |r| {
        let version = r.arg("a version", value::word(value::PROXY_PROTOCOLS))?;
        Some(What::in_upstream(ProxyProtocol(version.value)))
    },
};

/// `proxy-protocol`.
#[derive(Debug)]
pub(super) struct ProxyProtocol(site::ProxyProtocol);

impl UpstreamOption for ProxyProtocol {
    const DIRECTIVES: &'static [&'static Directive] = &[&PROXY_PROTOCOL];
    const MEMBER: &'static str = "proxy_protocol";

    fn check(&self, _: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        upstream.proxy_protocol = Some(self.0);
    }

    fn finish(&self, check: &mut Check<'_>, at: OptionSpans, upstream: &mut Upstream) {
        if upstream.http2 {
            let message = "a PROXY header is for the connections of one client, and these are shared";
            check
                .report
                .add(Diagnostic::error("contradiction", message, at.option).help("leave out `http h2`, or this"));
        }
    }
}
