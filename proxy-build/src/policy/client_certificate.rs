//! `client-certificate`: the client certificates that a route requires.

use proxy_runtime::site::{self, ClientCertificateRules};

use super::{ExplainStep, ExplainedRequest, Layer, Policy, PolicyDescription, words};
use crate::ast::{Item, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Place};
use crate::model::Route;
use crate::model::Site;
use crate::model::list;
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};
use crate::syntax::Leaf;
use crate::value::{self, Parsed};
use crate::wording;

const BRACES: Place = Place::Within("in `client-certificate`");

pub(crate) static CLIENT_CERTIFICATE: Directive = Directive {
    name: "client-certificate",
    places: POLICY,
    args: "required|off",
    props: &[],
    body: Some(BRACES),
    repeats: false,
    summary: "Requires a client certificate (mTLS).",
    details: "\
The site's `tls` has to ask for a certificate ([`client-ca`](#client-ca)), and verifies it in the handshake; if it is optional there, single
routes can require it here. Without lines any certificate is accepted. Other requests get 403, `no-certificate` or `certificate-denied`.",
    example: r#"
site example.com {
    tls {
        certificate "/etc/site/cert.pem" key="/etc/site/cert.key"
        client-ca "/etc/site/clients.pem" required=#false
    }
    route "/admin/*" {
        client-certificate required {
            subject "CN=alice,O=Example" "CN=bob,O=Example"
        }
        proxy "http://127.0.0.1:3000"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let required = r.arg("`required` or `off`", value::word(&[("required", true), ("off", false)]))?;
        Some(What::policy(ClientCertificate { required, items: r.body() }))
    },
};

pub(crate) static SUBJECT: Directive = Directive {
    name: "subject",
    places: &[BRACES],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Accepts certificates with these subjects.",
    details: "The whole subject, as in `CN=alice,O=Example` (RFC 4514), as in `{client.cert.subject}`.",
    example: r#"
site example.com {
    tls {
        certificate "/etc/site/cert.pem" key="/etc/site/cert.key"
        client-ca "/etc/site/clients.pem"
    }
    client-certificate required {
        subject "CN=alice,O=Example"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(CertificateLine::Subject(r.some("a NAME", value::text)))),
};

pub(crate) static FINGERPRINT: Directive = Directive {
    name: "fingerprint",
    places: &[BRACES],
    args: "HASH...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Accepts certificates with these fingerprints.",
    details: "SHA-256 of the certificate in 64 hexadecimal digits, with or without colons, as `openssl x509 -fingerprint -sha256` prints it.",
    example: r#"
site example.com {
    tls {
        certificate "/etc/site/cert.pem" key="/etc/site/cert.key"
        client-ca "/etc/site/clients.pem"
    }
    client-certificate required {
        fingerprint "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(CertificateLine::Fingerprint(r.some("a HASH", fingerprint)))),
};

fn fingerprint(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?.replace(':', "").to_ascii_lowercase();
    match found.len() == 64 && found.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(found),
        false => Err(value::Problem {
            code: "bad-fingerprint",
            message: "this is not the SHA-256 of a certificate: 64 hexadecimal digits".to_owned(),
            help: vec!["openssl x509 -in client.pem -noout -fingerprint -sha256 prints it".into()],
            part: None,
        }),
    }
}

/// `client-certificate`.
#[derive(Debug, Clone)]
pub(crate) struct ClientCertificate {
    /// Whether it is `required`, not `off`.
    required: Spanned<bool>,
    /// Its lines.
    items: Vec<Item>,
}

/// A line in `client-certificate`.
#[derive(Debug)]
enum CertificateLine {
    Subject(Vec<Spanned<String>>),
    Fingerprint(Vec<Spanned<String>>),
}

impl Policy for ClientCertificate {
    const NAME: &'static str = "client-certificate";

    fn is_off(&self) -> bool {
        !self.required.value
    }

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        if let Some(rules) = layer.one::<ClientCertificate>().and_then(|rules| rules.value.made(check, rules.span)) {
            policy.access.get_or_insert_default().certificate = Some(rules);
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<words::ExplainLine> {
        of.lines(ExplainStep::Access, Self::NAME, said(&of.route.policy))
    }

    fn guards(route: &Route) -> Vec<String> {
        let any = route.policy.access.as_ref().is_some_and(|access| access.certificate.is_some());
        any.then(|| Self::NAME.to_owned()).into_iter().collect()
    }

    fn diff(_: &Site, policy: &site::Policy) -> PolicyDescription {
        PolicyDescription::lines("access", Self::NAME, said(policy))
    }
}

/// Returns the description of the policy.
fn said(policy: &site::Policy) -> Vec<String> {
    let rules = policy.access.iter().filter_map(|access| access.certificate.as_ref());
    let named = |rules: &ClientCertificateRules| {
        let named: Vec<_> = rules.subjects.iter().chain(rules.fingerprints.iter()).collect();
        if named.is_empty() { "any".to_owned() } else { wording::list(&named) }
    };
    rules.map(named).collect()
}

impl ClientCertificate {
    fn made(&self, check: &mut Check<'_>, span: Span) -> Option<ClientCertificateRules> {
        let (mut subjects, mut fingerprints) = (Vec::new(), Vec::new());
        for item in &self.items {
            if !self.required.value {
                check.error("no-effect", "this has no effect beside `off`", item.span);
                continue;
            }
            match item.line::<CertificateLine>()? {
                CertificateLine::Subject(all) => {
                    subjects.extend(all.iter().map(|subject| subject.value.clone().into()))
                }
                CertificateLine::Fingerprint(all) => {
                    fingerprints.extend(all.iter().map(|found| found.value.clone().into()))
                }
            }
        }
        if !self.required.value {
            return None;
        }
        if !check.site_tls.is_some_and(|tls| check.tls.entries[tls].value.asks_clients()) {
            check.report.add(
                Diagnostic::error(
                    "contradiction",
                    "the site's `tls` asks no client for a certificate: all requests would be refused",
                    span,
                )
                .help("to make it ask, write in the site's `tls`: client-ca (file)\"clients.pem\""),
            );
        }
        Some(ClientCertificateRules { subjects: list(subjects), fingerprints: list(fingerprints) })
    }
}
