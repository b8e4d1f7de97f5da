//! `proxy-protocol`: servers are told the client's address.

use proxy_runtime::site::{self, Upstream};

use super::{At, UpstreamOption};
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
    summary: "Tells servers the client's address before the first byte of a connection.",
    details: "\
As HAProxy's PROXY protocol has it, as text (`v1`) or binary (`v2`). A connection is one client's then, so it is not kept
for other exchanges. The proxy's own connections, for health checks and keys, say that they are its own: `LOCAL` (`v2`), `UNKNOWN` (`v1`).
Servers must expect it.",
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

    fn check(&self, _: &mut Check<'_>, _: At, upstream: &mut Upstream) {
        upstream.proxy_protocol = Some(self.0);
    }

    fn finish(&self, check: &mut Check<'_>, at: At, upstream: &mut Upstream) {
        if upstream.http2 {
            let message = "a connection that many share can't be announced as one client's";
            check
                .report
                .add(Diagnostic::error("contradiction", message, at.option).help("leave out `http h2`, or this"));
        }
    }
}
