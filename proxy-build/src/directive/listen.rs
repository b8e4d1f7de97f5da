//! `listen`: the sockets to accept from, and what is spoken there.

use super::{Directive, Place, Prop};
use crate::ast::{InListen, Listen, ListenWord, Top, What};
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed, problem};

const IN_LISTEN: &[Place] = &[Place::Listen];

pub(super) static LISTEN: Directive = Directive {
    name: "listen",
    places: &[Place::Root, Place::Site],
    args: "NAME? ADDR...",
    props: &[
        Prop::new("mode", "MODE", "The permissions of a unix socket's file, in octal, as in `\"0660\"`: who may write to it may connect. Default: what the umask leaves, `0755` as a rule."),
        Prop::new("owner", "USER:GROUP", "Whose file it is, by name or number: `\"www-data\"`, `\"www-data:www-data\"` or `\":www-data\"`."),
    ],
    body: Some(Place::Listen),
    repeats: true,
    summary: "Accepts connections on these addresses.",
    details: "\
`ADDR` is `:8080` (all of the machine's addresses, IPv6 and IPv4), `\"127.0.0.1:8080\"`, `\"[::1]:8080\"`,
`\"unix:/run/site.sock\"` or `(param)NAME`. At the top level a listener may have a name, and serves every site that
says no `listen` itself. In a site, `listen` takes names of listeners, or addresses, and the site is served there alone.

A unix socket's file has its permissions (`mode`) and owner (`owner`) from the moment others could connect; one that a parent process hands over gets them as
well. Names of users and groups are looked up in `/etc/passwd` and `/etc/group` at start; one that is not there, or can't be set, ends the start.

Without any `listen` a site is served on `[::]:8080` (on `0.0.0.0:8080` where the machine has no IPv6); one with `tls`
on `[::]:443`, and requests that come to `[::]:80` are redirected there.

What is read in two ways by two programs is refused. In HTTP/1.1 that is, among others, a bare LF for a line end, a blank or
anything that is no extension behind the size of a chunk, and a URL for a target without a `Host` field: 400. In HTTP/2, so is
a field value with a blank at either end (RFC 9113 section 8.2.1). Versions 1.2 to 1.9 are read as 1.1; another major version in
a request line is answered with 505. An `https` URL over a connection that is not encrypted is answered with 421 (RFC 9110
section 7.4), unless the peer is one of [`trusted-proxies`](#trusted-proxies) or the listener expects a PROXY header; an `http`
URL is taken on any listener, and other schemes on none (400). `Upgrade` means nothing in HTTP/1.0.

`OPTIONS *` is answered by the proxy, without any site. So is an `OPTIONS` with `Max-Forwards: 0` that would be forwarded; a
larger number is counted down (RFC 9110 section 7.6.2). `TRACE` and `CONNECT` are refused (405).",
    example: r#"
listen public ":8080"
listen "127.0.0.1:8081"

site example.com {
    listen public
    respond 200 "hello\n"
}
site "localhost" {
    respond 200 "on both\n"
}
site behind.example.com {
    listen "unix:/run/site/http.sock" mode="0660" owner=":www-data"
    respond 200 "for nginx on this machine\n"
}
site status.example.com {
    listen "127.0.0.1:9000"
    respond 200 "ok\n"
}
"#,
    read: |r| {
        Some(What::Top(Top::Listen(Listen {
            words: r.some("an ADDR", listen_word),
            mode: r.prop("mode", value::socket::mode),
            owner: r.prop("owner", value::socket::owner),
            items: r.body(),
        })))
    },
};

fn listen_word(leaf: &Leaf) -> Parsed<ListenWord> {
    match (&leaf.value, &leaf.ty) {
        (Scalar::Text(text), None) if text.parse::<u16>().is_ok_and(|port| port > 0) => {
            Err(problem("bad-address", "a port alone is no address").write_text(&format!(":{text}")))
        }
        (Scalar::Text(text), None) if !text.contains(':') && text.parse::<std::net::IpAddr>().is_err() => {
            value::name(leaf).map(ListenWord::Name)
        }
        (Scalar::Integer(port @ 1..=65535, _), None) => {
            Err(problem("bad-address", "a port alone is no address").write_text(&format!(":{port}")))
        }
        _ => value::setting(value::listen_address)(leaf).map(ListenWord::Address),
    }
}

pub(super) static HTTP: Directive = Directive {
    name: "http",
    places: IN_LISTEN,
    args: "h1|h2...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Which versions of HTTP a listener speaks.",
    details: "\
Over TLS the client chooses (ALPN), and both are spoken where nothing is said. Without TLS it is HTTP/1.1 alone, unless
`h2` is written; a client then has to know that HTTP/2 is spoken (RFC 9113 section 3.3). Prefer `h1 h2` to
`h2` alone, which turns away all who speak HTTP/1.1.",
    example: r#"
listen ":8080" {
    http h1 h2
}
site example.com {
    respond 200 "hello\n"
}
"#,
    read: |r| Some(What::InListen(InListen::Http(r.some("a version", value::http_version)))),
};

pub(super) static LISTEN_TLS: Directive = Directive {
    name: "tls",
    places: IN_LISTEN,
    args: "NAME?",
    props: &[],
    body: None,
    repeats: false,
    summary: "Connections to a listener are encrypted.",
    details: "\
The client says which host it wants, and sees the certificate of the site's [`tls`](#tls-in-a-site). With `NAME`, a `tls` of
the top level, it sees that one if it wants a host that no site here has; without it, it gets the alert
`unrecognized_name`. Sites without a `tls` of their own are served here if there is a `NAME`.

A plain request is answered with a 400 that says so. Handshakes are bounded by `timeouts handshake` and
`limits handshakes` of the top level.",
    example: r#"
tls fallback {
    certificate "/etc/site/default.pem" key="/etc/site/default.key"
}
listen ":8443" {
    tls fallback
}
site example.com {
    respond 200 "hello\n"
}
"#,
    read: |r| Some(What::InListen(InListen::Tls(r.opt_arg(value::name)))),
};

pub(super) static LISTEN_PROXY_PROTOCOL: Directive = Directive {
    name: "proxy-protocol",
    places: IN_LISTEN,
    args: "v1|v2...",
    props: &[Prop::new("from", "CIDR", "Peers in this network send it. Must be given.")],
    body: None,
    repeats: true,
    summary: "Each connection to a listener begins with a PROXY header, which tells who the client is.",
    details: "\
As HAProxy and cloud balancers send it, as text (`v1`) or binary (`v2`). The address it tells is the client's from then
on: in `client-ip`, in limits, in logs, and for `trusted-proxies`. Whoever is not in a `from` network, or does not send it, is turned away.
It may stand several times, for several networks.",
    example: r#"
listen ":8080" {
    proxy-protocol v1 v2 from="10.0.0.0/8"
}
site example.com {
    respond 200 "{client.ip}\n"
}
"#,
    read: |r| {
        Some(What::InListen(InListen::ProxyProtocol {
            versions: r.some("a version", value::word(value::PROXY_PROTOCOLS)),
            from: r.required("from", value::network)?,
        }))
    },
};

pub(super) static REDIRECT_HTTPS: Directive = Directive {
    name: "redirect-https",
    places: IN_LISTEN,
    args: "",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sites with `tls` are redirected to `https` here.",
    details: "\
With a 308, to the same host and path, at the port of the listener with `tls` that serves the site. Sites without `tls`
are served.",
    example: r#"
listen ":8080" {
    redirect-https
}
listen ":8443" {
    tls
}
site example.com {
    tls internal
    respond 200 "hello\n"
}
"#,
    read: |_| Some(What::InListen(InListen::RedirectHttps)),
};
