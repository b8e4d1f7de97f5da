//! `tls`: certificates, and requirements for handshakes.

use proxy_runtime::site::{KeyExchangeGroup, TlsVersion};

use super::{Directive, Place, Prop};
use crate::ast::{InTls, Tls, What};
use crate::value;

const IN_TLS: &[Place] = &[Place::Tls];

pub(super) static TLS: Directive = Directive {
    name: "tls",
    places: &[Place::Root, Place::Site],
    args: "NAME|internal|acme",
    props: &[],
    body: Some(Place::Tls),
    repeats: true,
    summary: "Configures TLS (HTTPS) for sites: certificates and handshakes.",
    details: "\
At the top level it has a name, which sites refer to; in a site it may instead have its own braces and no
name. `tls internal` makes a self-signed certificate, a new one at each start, for development. `tls acme` orders
a certificate from an authority; see [`acme`](#acme).

TLS 1.3 and 1.2 are supported, with the cipher suites and groups that are considered safe today, X25519MLKEM768 first. Sessions
are resumed by tickets. Early data, which could be replayed, is only for HTTP/3, and off: see [`http`](#http).

Certificates and keys are files that are read at start, and again on SIGHUP and when they change: open connections continue with
the certificate that they began with. Keys are never compiled in. Files that exist when the site is built are checked then: a
certificate that is expired, is not for the site's hosts or has another key is an error. `--check` does the same checks.",
    example: r#"
tls company {
    certificate "/etc/site/ecdsa.pem" key="/etc/site/ecdsa.key"
    certificate "/etc/site/rsa.pem" key="/etc/site/rsa.key"
    min-version "1.3"
}
site example.com www.example.com {
    tls company
    proxy "http://127.0.0.1:3000"
}
site dev.example.com {
    tls internal
    proxy "http://127.0.0.1:3001"
}
"#,
    read: |r| Some(What::Tls(Tls { name: r.opt_arg(value::name), span: r.span(), items: r.body() })),
};

pub(super) static CERTIFICATE: Directive = Directive {
    name: "certificate",
    places: IN_TLS,
    args: "PATH",
    props: &[
        Prop::new("key", "PATH", "The file with its key. Required."),
        Prop::new("ocsp", "PATH", "A file with an OCSP response, which is stapled to the certificate. Default: none."),
    ],
    body: None,
    repeats: true,
    summary: "Adds a certificate and its key.",
    details: "\
The files are PEM: the certificate first, then its intermediate certificates (the chain). The key is PKCS #8, PKCS #1 or SEC 1, and not
encrypted. Instead of a path, `(param)NAME` can refer to a `param` of type file or secret. Of several certificates, a client gets the first that
is for its host and that it can verify, elliptic curves before RSA.",
    example: r#"
param key type=secret

site example.com {
    tls {
        certificate "/etc/site/cert.pem" key=(param)key ocsp="/etc/site/cert.ocsp"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::InTls(InTls::Certificate {
            chain: r.arg("a PATH", value::own_file)?,
            key: r.required("key", value::own_file)?,
            ocsp: r.prop("ocsp", value::own_file),
        }))
    },
};

pub(super) static MIN_VERSION: Directive = Directive {
    name: "min-version",
    places: IN_TLS,
    args: "\"1.2\"|\"1.3\"",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the oldest TLS version that is accepted.",
    details: "\
The default is `\"1.2\"`. Older versions are broken (RFC 8996) and not supported. A request for this site on
a connection that was opened for another site, with an older version, gets a 421.",
    example: r#"
site example.com {
    tls {
        certificate "/etc/site/cert.pem" key="/etc/site/cert.key"
        min-version "1.3"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let version = r.arg("a version", value::word(&[("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)]))?;
        Some(What::InTls(InTls::MinVersion(version.value)))
    },
};

pub(super) static GROUPS: Directive = Directive {
    name: "groups",
    places: IN_TLS,
    args: "GROUP...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the key exchange groups, the preferred one first.",
    details: "\
`x25519mlkem768` (safe from quantum computers, RFC 9794's hybrid), `x25519`, `secp256r1`, `secp384r1`: this is also the
default. A request for this site on a connection that was opened for another site, with none of these groups, gets
a 421.",
    example: r#"
site example.com {
    tls {
        certificate "/etc/site/cert.pem" key="/etc/site/cert.key"
        groups x25519mlkem768 x25519
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InTls(InTls::Groups(r.some("a GROUP", value::word(KeyExchangeGroup::NAMES))))),
};

pub(super) static CLIENT_CA: Directive = Directive {
    name: "client-ca",
    places: IN_TLS,
    args: "PATH",
    props: &[Prop::new(
        "required",
        "BOOL",
        "The handshake fails for a client without a certificate. Default `#true`.",
    )],
    body: None,
    repeats: false,
    summary: "Asks clients for certificates of this authority (mTLS).",
    details: "\
The client's certificate is in `{client.cert.subject}` (as in `CN=alice,O=Example`, RFC 4514) and
`{client.cert.fingerprint}` (SHA-256, hexadecimal); both are empty for a client without a certificate. The handshake fails in either case
for a client with a certificate that this authority has not signed, or that has expired, also since the session began that the client
resumes.

A request for this site on a connection that was opened for another site with other rules gets a 421: the client
has to open another connection.",
    example: r#"
site example.com {
    tls {
        certificate "/etc/site/cert.pem" key="/etc/site/cert.key"
        client-ca "/etc/site/clients.pem" required=#false
    }
    request-headers {
        set X-Client "{client.cert.subject}"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::InTls(InTls::ClientCa {
            file: r.arg("a PATH", value::own_file)?,
            required: r.prop("required", value::boolean),
        }))
    },
};

pub(super) static SESSION_TICKETS: Directive = Directive {
    name: "session-tickets",
    places: IN_TLS,
    args: "off?",
    props: &[Prop::new("rotate", "DURATION", "How long a key is used before it is replaced, up to `\"6h\"`. Default `\"6h\"`.")],
    body: None,
    repeats: false,
    summary: "Configures session resumption by tickets.",
    details: "\
A returning client presents a ticket (RFC 8446 section 2.2), which saves the server the signature. Tickets are valid for
up to twice `rotate`; the keys are in memory only, and new at each start. With `off`, there are no tickets, and all handshakes are full.",
    example: r#"
site example.com {
    tls {
        certificate "/etc/site/cert.pem" key="/etc/site/cert.key"
        session-tickets rotate="1h"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let off = r.opt_arg(value::word(&[("off", ())]));
        Some(What::InTls(InTls::SessionTickets { off, rotate: r.prop("rotate", value::setting(value::duration)) }))
    },
};
