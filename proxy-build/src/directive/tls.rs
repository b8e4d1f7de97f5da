//! `tls`: certificates, and what is asked of handshakes.

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
    summary: "Encrypts connections, with these certificates.",
    details: "\
At the top level it has a name, and sites use it by that; in a site it may also stand with its own braces and without a
name. `tls internal` makes a certificate that nobody else has signed, a new one at each start: for development. `tls acme` has
an authority sign one; see [`acme`](#acme).

TLS 1.3 and 1.2 are spoken, with the cipher suites and groups that are held to be safe today, X25519MLKEM768 first. Sessions
are resumed by tickets; there is no early data, which could be replayed.

Certificates and keys are files that are read at start, and again on SIGHUP and when they change: connections go on with
what they began with. Keys are never compiled in. Files that are there when the site is built are checked then: a
certificate that is expired, is not for the site's hosts or has another key is an error. `--check` looks at the same.",
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
        Prop::new("key", "PATH", "The file with its key. Must be given."),
        Prop::new("ocsp", "PATH", "A file with an OCSP response, which clients get with it. Default: none."),
    ],
    body: None,
    repeats: true,
    summary: "A certificate and its key.",
    details: "\
PEM: the certificate, then those that vouch for it. The key is PKCS #8, PKCS #1 or SEC 1, and not encrypted. Instead of a path
`(param)NAME` may stand, of a `param` of type file or secret. Of several, a client sees the first that is for its host and
that it can verify, those with elliptic curves before RSA.",
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
    summary: "The oldest version of TLS that is spoken.",
    details: "\
`\"1.2\"` where nothing is said. All that is older is broken (RFC 8996), and not to be had. A request for this site on
a connection that was made for another, with an older version, is answered with 421.",
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
    summary: "Groups for the key exchange, the best first.",
    details: "\
`x25519mlkem768` (safe from quantum computers, RFC 9794's hybrid), `x25519`, `secp256r1`, `secp384r1`: this is also what is
offered where nothing is said. A request for this site on a connection that was made for another, with none of these groups, is
answered with 421.",
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
        "A client without a certificate is turned away in the handshake. Default `#true`.",
    )],
    body: None,
    repeats: false,
    summary: "Asks clients for certificates, which these have signed.",
    details: "\
Whose certificate a client has shown is in `{client.cert.subject}` (as in `CN=alice,O=Example`, RFC 4514) and
`{client.cert.fingerprint}` (SHA-256, hexadecimal); both are empty for a client that has shown none. A client that has
shown one that is not signed by these is turned away in either case.

A request for this site on a connection that was made for another with other rules is answered with 421: the client
has to make a connection of its own.",
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
    props: &[Prop::new("rotate", "DURATION", "How long a key is used before there is a new one, up to `\"6h\"`. Default `\"6h\"`.")],
    body: None,
    repeats: false,
    summary: "How sessions are resumed.",
    details: "\
A client that comes again shows a ticket (RFC 8446 section 2.2) and saves the server the signature. Tickets are good for
up to twice `rotate`; the keys are in memory alone, and new with each start. `off`: no tickets, and full handshakes always.",
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
