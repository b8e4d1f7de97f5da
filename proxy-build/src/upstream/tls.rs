//! `tls` of an upstream: TLS for connections to servers.

use proxy_runtime::site::{Discover, DiscoverFrom, Upstream, UpstreamTls};

use super::{OptionSpans, UpstreamOption};
use crate::ast::{FileSource, What};
use crate::check::Check;
use crate::declaration::{Directive, Place, Prop};
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::value;

static TLS: Directive = Directive {
    name: "tls",
    places: &[Place::Upstream],
    args: "",
    props: &[
        Prop::new(
            "sni",
            "HOST",
            "The host name in the handshake, which the certificate must match. Default: the server's own, or the \
             name of `discover dns`.",
        ),
        Prop::new(
            "ca",
            "PATH",
            "The CA certificates to verify the server with. Default: those that the machine trusts.",
        ),
        Prop::new("certificate", "PATH", "The proxy's own client certificate. Default: none."),
        Prop::new("key", "PATH", "Its key."),
        Prop::new(
            "verify",
            "BOOL",
            "`#false` accepts any certificate, so that anybody can pose as the server. Default `#true`.",
        ),
    ],
    body: None,
    repeats: false,
    summary: "Encrypts connections to servers.",
    details: "\
Servers' certificates are verified. Sessions are resumed. Files are read at start, and again on SIGHUP and when they change. A
server whose handshake fails is skipped like one that can't be connected to; a notice on standard error has the reason.
`health-check` uses TLS, too.",
    example: r#"
upstream api {
    server "10.0.0.11:8443"
    server "10.0.0.12:8443"
    tls sni=api.internal ca="/etc/site/ca.pem" certificate="/etc/site/proxy.pem" key="/etc/site/proxy.key"
}
site example.com {
    proxy api
}
"#,
    read: |r| {
        Some(What::in_upstream(TlsOption {
            sni: r.prop("sni", value::server_name),
            ca: r.prop("ca", value::own_file),
            certificate: r.prop("certificate", value::own_file),
            key: r.prop("key", value::own_file),
            verify: r.prop("verify", value::boolean),
        }))
    },
};

/// `tls`.
#[derive(Debug)]
pub(super) struct TlsOption {
    sni: Option<Spanned<String>>,
    ca: Option<Spanned<FileSource>>,
    certificate: Option<Spanned<FileSource>>,
    key: Option<Spanned<FileSource>>,
    verify: Option<Spanned<bool>>,
}

impl UpstreamOption for TlsOption {
    const DIRECTIVES: &'static [&'static Directive] = &[&TLS];
    const MEMBER: &'static str = "tls";

    fn check(&self, check: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        upstream.tls = self.made(check);
    }

    fn finish(&self, _: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        if let (Some(tls), Some(Discover { from: DiscoverFrom::Dns(name, _), .. })) =
            (&mut upstream.tls, &upstream.discover)
        {
            // Discovered servers are addresses, but their certificates are for the name.
            tls.sni.get_or_insert_with(|| name.clone());
        }
    }
}

impl TlsOption {
    fn made(&self, check: &mut Check<'_>) -> Option<UpstreamTls> {
        let verify = self.verify.as_ref().is_none_or(|verify| verify.value);
        if let (false, Some(written)) = (verify, &self.verify) {
            check.report.add(
                Diagnostic::lint("unverified-upstream", "anybody could pose as these servers", written.span)
                    .help("name the CA of their certificates: ca=\"ca.pem\""),
            );
            if let Some(ca) = &self.ca {
                check.error("no-effect", "`ca` has no effect: nothing is verified", ca.span);
            }
        }
        let own = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some((check.file_of(certificate, false)?, check.file_of(key, true)?)),
            (Some(alone), None) => {
                check.error("missing-property", "`certificate` needs `key=` beside it", alone.span);
                None
            }
            (None, Some(alone)) => {
                check.error("missing-property", "`key` needs `certificate=` beside it", alone.span);
                None
            }
            (None, None) => None,
        };
        Some(UpstreamTls {
            sni: self.sni.as_ref().map(|sni| sni.value.clone().into()),
            ca: match &self.ca {
                Some(ca) => Some(check.file_of(ca, false)?),
                None => None,
            },
            certificate: own,
            verify,
        })
    }
}
