//! `acme`: the certificate authority, and its `dns`: the program or server that sets DNS records.

use proxy_runtime::site::{Challenge, TsigAlgorithm};

use super::{Directive, Place, Prop};
use crate::ast::{Acme, Dns, DnsBy, HostPattern, Top, What};
use crate::syntax::Leaf;
use crate::value::{self, Advice, Parsed, Problem};

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
        Prop::new("state", "PATH", "The folder of the account and the certificates. Required."),
        Prop::new("email", "ADDRESS", "The e-mail address for the authority's messages. Default: none."),
        Prop::new(
            "directory",
            "NAME|URL",
            "The authority: `letsencrypt` (default), `letsencrypt-staging`, `zerossl`, or the directory URL of \
             another one.",
        ),
        Prop::new(
            "challenge",
            "http-01|tls-alpn-01|dns-01",
            "How control over hosts is proved. Default: `dns-01` if there is a `dns`, else `http-01` if all sites \
             have a plain listener, else `tls-alpn-01`.",
        ),
        Prop::new(
            "profile",
            "NAME",
            "The certificate profile, by the authority's name for it: Let's Encrypt has `shortlived`, for six \
             days. Default: the authority's default.",
        ),
        Prop::new(
            "ca",
            "PATH",
            "The CA certificate to verify the authority's own server with. Default: those that the machine \
             trusts.",
        ),
        Prop::new("eab-id", "TEXT", "The key id of the external account that the authority requires."),
        Prop::new("eab-key", "PATH", "A file with the external account's key, best a `(param)` of type secret."),
    ],
    body: Some(Place::Acme),
    repeats: false,
    summary: "Orders and renews certificates for sites with `tls acme` (automatic HTTPS).",
    details: "\
The protocol is ACME (RFC 8555). By writing this directive, you agree to the authority's terms of service. The proxy orders a certificate
when there is none in `state`, and again after two thirds of its lifetime, or half of a lifetime of less than ten days. Each site has its
own certificate, for all its hosts. All share one account with the authority. `state` is the only folder that a proxy writes to: it must
survive restarts, and only the proxy should be able to read it.

If the authority suggests when to renew a certificate (RFC 9773), the proxy asks for that as often as the authority says, and renews the
certificate at a random time within the window; it logs the authority's reason, if there is one. An order with a `profile` that the
authority does not offer fails, and the log lists the profiles that it offers.

An order that fails is logged on standard error, with the authority's message about each host. The next one follows after a minute, then
after twice as long each time, up to six hours, and never sooner than `Retry-After` says, up to a week. Meanwhile the existing certificate
stays in use, and other sites are not affected. The pause is stored in `state`, and a restarted proxy waits for the rest of it (to order at
once, remove the certificate's `.pause`). A certificate that can't be written is served from memory, and the proxy tries to write it every
few minutes. If the authority no longer knows the account, the proxy registers another one.

With `http-01` the authority connects to port 80 of each host, with `tls-alpn-01` to port 443: these ports must lead to the proxy, whatever
the listeners' own ports are. With `dns-01` it looks for a TXT record of the name, which [`dns`](#dns) sets. Hosts with a wildcard always use
`dns-01`, and their certificates are for names one label below; no certificate covers `*`. A host that is an IP address
(RFC 8738) uses one of the first two, and the authority connects to that address; Let's Encrypt signs certificates for addresses only with
`profile=shortlived`. Clients that connect to an address send no host name: they get the certificate of the site that has this address as its
host.",
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
                value::word(&[
                    ("http-01", Challenge::Http01),
                    ("tls-alpn-01", Challenge::TlsAlpn01),
                    ("dns-01", Challenge::Dns01),
                ]),
            ),
            profile: r.prop("profile", value::name),
            ca: r.prop("ca", value::own_file),
            eab_id: r.prop("eab-id", value::text),
            eab_key: r.prop("eab-key", value::own_file),
            state: state?,
            items: r.body(),
        };
        Some(What::Top(Top::Acme(Box::new(acme))))
    },
};

#[derive(Clone, Copy)]
enum DnsMethod {
    Rfc2136,
    Webhook,
    Exec,
}

pub(super) static DNS: Directive = Directive {
    name: "dns",
    places: &[Place::Acme],
    args: "rfc2136|webhook|exec ADDR|URL|PROGRAM ARG...",
    props: &[
        Prop::new(
            "zone",
            "NAME",
            "Only for names in this zone; of several `dns`, the one with the longest zone is used. Required for \
             `rfc2136`. Default: any name.",
        ),
        Prop::new(
            "propagation",
            "DURATION",
            "How long the proxy waits after it has set the records, up to an hour. Default `\"10s\"`.",
        ),
        Prop::new("key-name", "NAME", "`rfc2136`: the name of the key on the name server. Required."),
        Prop::new(
            "key",
            "PATH",
            "`rfc2136`: a file with the key in base64, best a `(param)` of type secret. Required.",
        ),
        Prop::new("algorithm", "NAME", "`rfc2136`: `hmac-sha256` (default), `hmac-sha384` or `hmac-sha512`."),
        Prop::new(
            "token",
            "PATH",
            "`webhook`: a file with the bearer token for the service, best a `(param)` of type secret. Default: \
             none.",
        ),
        Prop::new(
            "ca",
            "PATH",
            "`webhook`: the CA certificates to verify the service with. Default: those that the machine trusts.",
        ),
    ],
    body: None,
    repeats: true,
    summary: "Sets the TXT records of `dns-01`, and removes them.",
    details: "\
While a certificate for `example.com` is ordered, there must be a TXT record at `_acme-challenge.example.com`; for `*.example.com` the name
is the same, and a certificate for both needs two records there at once. Each is set (`present`), and removed after the order (`cleanup`),
whether it succeeded or not.

- `rfc2136 ADDR`: signed updates (RFC 2136 and 8945) over TCP to the zone's primary name server, an IP address and perhaps a port. The name
  server must allow the key to add and delete TXT records, and must sign its response with the key.
- `webhook URL`: `POST URL/present` and `POST URL/cleanup` with `Content-Type: application/json` and `{\"fqdn\":
  \"_acme-challenge.example.com.\", \"value\": \"...\"}`, as in lego's provider `httpreq`; with `Authorization: Bearer ...` if there is a
  `token`. A 2xx response means success. `http` is allowed for loopback addresses only.
- `exec PROGRAM ARG...`: `PROGRAM ARG... present|cleanup _acme-challenge.example.com. VALUE`, as in lego's provider `exec`, without a shell,
  with the environment and the rights of the proxy. `PROGRAM` is an absolute path. Status 0 means success; for another status, the log has
  the program's standard error.

Each call may take a minute. `present` must add to the existing records, and `cleanup` must remove only this value. The authority asks all
name servers of the zone: set `propagation` to the time that its secondaries need. An error in a key, a URL or a program stops the start.",
    example: r#"
param dns-key type=secret
param dns-token type=secret

acme email="ops@example.com" state="/var/lib/site" {
    dns rfc2136 "10.0.0.53" zone="example.com" key-name="kiln" key=(param)dns-key propagation="30s"
    dns webhook "https://dns.example.net/acme" zone="example.org" token=(param)dns-token
    dns exec "/usr/local/bin/set-record" "--provider" "other"
}
site example.com *.example.com {
    tls acme
    proxy "http://127.0.0.1:3000"
}
site example.org example.net {
    tls acme
    proxy "http://127.0.0.1:3001"
}
"#,
    read: |r| {
        let kinds = &[("rfc2136", DnsMethod::Rfc2136), ("webhook", DnsMethod::Webhook), ("exec", DnsMethod::Exec)];
        let by = match r.arg("`rfc2136`, `webhook` or `exec`", value::word(kinds))?.value {
            DnsMethod::Rfc2136 => DnsBy::Rfc2136(r.arg("an ADDR", value::setting(value::name_server))?),
            DnsMethod::Webhook => DnsBy::Webhook(r.arg("a URL", value::setting(webhook))?),
            DnsMethod::Exec => {
                let program = r.arg("a PROGRAM", program)?;
                DnsBy::Exec([program].into_iter().chain(r.rest(value::text)).collect())
            }
        };
        Some(What::Dns(Dns {
            span: r.span(),
            by,
            zone: r.prop("zone", zone),
            key_name: r.prop("key-name", value::text),
            key: r.prop("key", value::own_file),
            algorithm: r.prop("algorithm", value::word(TsigAlgorithm::NAMES)),
            token: r.prop("token", value::own_file),
            ca: r.prop("ca", value::own_file),
            propagation: r.prop("propagation", value::setting(value::duration)),
        }))
    },
};

fn zone(leaf: &Leaf) -> Parsed<String> {
    match value::host(leaf)? {
        HostPattern::Exact(name) => Ok(name),
        other => Err(Problem {
            code: "bad-host",
            message: format!("`{other}` is no zone"),
            help: vec!["leave `*.` out: a zone includes all names below it".into()],
            part: None,
        }),
    }
}

/// The runtime checks it again, as a parameter can have any value.
fn webhook(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    let (_, tls, path) = value::service_url(leaf)?;
    let host = found.parse::<http::Uri>().ok().and_then(|url| url.host().map(str::to_owned)).unwrap_or_default();
    let here =
        host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().map_or(host == "localhost", |ip| ip.is_loopback());
    let wrong = |message: &str, write: String| Problem {
        code: "bad-url",
        message: message.to_owned(),
        help: vec![Advice::Write(format!("{write:?}"))],
        part: None,
    };
    if let Some((url, _)) = found.split_once('?').filter(|_| path.contains('?')) {
        return Err(wrong("the proxy appends a path to it, so it must not have a query", url.to_owned()));
    }
    if !tls && !here {
        let url = format!("https://{}", found.trim_start_matches("http://"));
        return Err(wrong("a webhook needs https, except at a loopback address", url));
    }
    Ok(found)
}

fn program(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    if found.starts_with('/') {
        return Ok(found);
    }
    Err(Problem {
        code: "bad-path",
        message: format!("`{found}` is no absolute path"),
        help: vec!["name it by its whole path, as in \"/usr/local/bin/set-record\"".into()],
        part: None,
    })
}

fn directory(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    if let Some((_, url)) = AUTHORITIES.iter().find(|(name, _)| *name == found) {
        return Ok((*url).to_owned());
    }
    let is_url = found.parse::<http::Uri>().is_ok_and(|url| url.scheme_str() == Some("https") && url.host().is_some());
    if is_url {
        return Ok(found);
    }
    let names: Vec<_> = AUTHORITIES.iter().map(|(name, _)| *name).collect();
    Err(Problem {
        code: "bad-url",
        message: format!("`{found}` is neither the name of an authority nor a URL with https"),
        help: vec![format!("there are: {}", names.join(" ")).into()],
        part: None,
    })
}
