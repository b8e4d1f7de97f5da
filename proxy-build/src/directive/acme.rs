//! `acme`: who is asked for certificates.

use proxy_runtime::site::Challenge;

use super::{Directive, Place, Prop};
use crate::ast::{Acme, What};
use crate::value;

/// Authorities by name.
const AUTHORITIES: &[(&str, &str)] = &[
    ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
    ("zerossl", "https://acme.zerossl.com/v2/DV90"),
];

pub(super) static ACME: Directive = Directive {
    name: "acme",
    places: &[Place::Root],
    args: "",
    props: &[
        Prop::new("state", "PATH", "The folder where the account and the certificates are kept. Must be given."),
        Prop::new("email", "ADDRESS", "Whom the authority may write to. Default: nobody."),
        Prop::new("directory", "NAME|URL", "The authority: `letsencrypt` (default), `letsencrypt-staging`, `zerossl`, or the URL of another one's directory."),
        Prop::new("challenge", "http-01|tls-alpn-01", "How hosts are shown to be one's own. Default: `http-01` if some listener is plain, else `tls-alpn-01`."),
        Prop::new("ca", "PATH", "The certificate that the authority's own server is verified by. Default: those that the machine trusts."),
        Prop::new("eab-id", "TEXT", "The id of an account elsewhere that the authority asks for."),
        Prop::new("eab-key", "PATH", "A file with its key, best a `(param)` of type secret."),
    ],
    body: None,
    repeats: false,
    summary: "Gets certificates for sites with `tls acme` from an authority, and renews them.",
    details: "\
RFC 8555. Writing it agrees to the authority's terms of service. A certificate is ordered when there is none in `state`, and again
when two thirds of its life are over, or half of a life of less than ten days; each site has one of its own, for all its hosts. All
share one account with the authority. `state` is the one folder that a proxy writes to: it must survive a new start, and be
readable by the proxy alone.

An order that fails is logged on standard error, with what the authority says about each host. The next one is after a minute, then after
twice as long each time, up to six hours, and never sooner than `Retry-After` says, up to a week; meanwhile the certificate that is there
is served, and so are all other sites. That pause is kept in `state`, and a new start waits for the rest of it (to order at once, remove
the certificate's `.pause`). A certificate that can't be written is served from memory, and writing it is tried again every few minutes. If the authority does not
know the account any more, another one is registered.

With `http-01` the authority asks on port 80 of each host, with `tls-alpn-01` on port 443: these have to lead here, whatever
the listeners' own ports are. Hosts with a wildcard can be shown by neither, and need a `certificate`.",
    example: r#"
acme email="ops@example.com" state="/var/lib/site" directory=letsencrypt-staging

site example.com www.example.com {
    tls acme
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let state = r.required("state", value::setting(value::text));
        let acme = Acme {
            span: r.span(),
            email: r.prop("email", value::text),
            directory: r.prop("directory", value::setting(directory)),
            challenge: r.prop(
                "challenge",
                value::word(&[("http-01", Challenge::Http01), ("tls-alpn-01", Challenge::TlsAlpn01)]),
            ),
            ca: r.prop("ca", super::tls::file),
            eab_id: r.prop("eab-id", value::text),
            eab_key: r.prop("eab-key", super::tls::file),
            state: state?,
        };
        Some(What::Acme(acme))
    },
};

fn directory(leaf: &crate::syntax::Leaf) -> value::Parsed<String> {
    let found = value::text(leaf)?;
    if let Some((_, url)) = AUTHORITIES.iter().find(|(name, _)| *name == found) {
        return Ok((*url).to_owned());
    }
    let is_url = found.parse::<http::Uri>().is_ok_and(|url| url.scheme_str() == Some("https") && url.host().is_some());
    if is_url {
        return Ok(found);
    }
    let names: Vec<_> = AUTHORITIES.iter().map(|(name, _)| *name).collect();
    Err(value::Problem {
        code: "bad-url",
        message: format!("`{found}` is neither the name of an authority nor a URL with https"),
        help: Some(format!("there are: {}", names.join(" "))),
        part: None,
    })
}
