//! `listen`: the sockets of a listener, and its protocols.

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
        Prop::new(
            "mode",
            "MODE",
            "The permissions of a unix socket's file, in octal, as in `\"0660\"`: users with write permission may \
             connect. Default: by the umask, usually `0755`.",
        ),
        Prop::new(
            "owner",
            "USER:GROUP",
            "The owner of the file, by name or number: `\"www-data\"`, `\"www-data:www-data\"` or \
             `\":www-data\"`.",
        ),
    ],
    body: Some(Place::Listen),
    repeats: true,
    summary: "Accepts connections on these addresses.",
    details: "\
`ADDR` is `:8080` (all of the machine's addresses, IPv6 and IPv4), `\"127.0.0.1:8080\"`, `\"[::1]:8080\"`,
`\"unix:/run/proxy/site.sock\"` or `(param)NAME`. At the top level a listener may have a name, and serves every site
without a `listen` of its own. In a site, `listen` takes names of listeners, or addresses, and the site is served only there.

A unix socket's file gets its permissions (`mode`) and owner (`owner`) before others can connect; a socket from a parent process gets them as
well. Names of users and groups are looked up in `/etc/passwd` and `/etc/group` at start; the start fails if one is unknown or can't be set.

Without any `listen` a site is served on `[::]:8080` (on `0.0.0.0:8080` if the machine has no IPv6). A site with `tls` is served
on `[::]:443`, and requests to `[::]:80` are redirected there.

Requests that two programs may read in two ways are refused. In HTTP/1.1 these are, among others, a bare LF as a line end, a blank or
anything that is not an extension after a chunk size, and a URL as the target without a `Host` field: 400. In HTTP/2, it is
a field value with a blank at either end (RFC 9113 section 8.2.1). Versions 1.2 to 1.9 are read as 1.1; another major version in
a request line gets a 505. An `https` URL over an unencrypted connection gets a 421 (RFC 9110
section 7.4), unless the peer is one of [`trusted-proxies`](#trusted-proxies) or the listener expects a PROXY header; an `http`
URL is accepted on any listener, and other schemes on none (400). `Upgrade` is ignored in HTTP/1.0.

The proxy itself responds to `OPTIONS *`, without any site, and to an `OPTIONS` with `Max-Forwards: 0` that would be forwarded; a
larger number is decremented (RFC 9110 section 7.6.2). `TRACE` and `CONNECT` are refused (405).",
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
            Err(problem("bad-address", "a port alone is not an address").write_text(&format!(":{text}")))
        }
        (Scalar::Text(text), None) if !text.contains(':') && text.parse::<std::net::IpAddr>().is_err() => {
            value::name(leaf).map(ListenWord::Name)
        }
        (Scalar::Integer(port @ 1..=65535, _), None) => {
            Err(problem("bad-address", "a port alone is not an address").write_text(&format!(":{port}")))
        }
        _ => value::setting(value::listen_address)(leaf).map(ListenWord::Address),
    }
}

pub(super) static LISTEN_TLS: Directive = Directive {
    name: "tls",
    places: IN_LISTEN,
    args: "NAME?",
    props: &[],
    body: None,
    repeats: false,
    summary: "Encrypts the connections to a listener (HTTPS).",
    details: "\
The client names a host (SNI), and gets the certificate of the site's [`tls`](#tls-in-a-site). If no site here has that host, it
gets the certificate of `NAME`, a `tls` of the top level, or, without a `NAME`, the alert
`unrecognized_name`. Sites without a `tls` of their own are served here if there is a `NAME`.

A plain request gets a 400 with an explanation. Handshakes are limited by `timeouts handshake` and
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
    props: &[Prop::new("from", "CIDR", "The network of the peers that send the header. Required.")],
    body: None,
    repeats: true,
    summary: "Expects a PROXY header with the client's address at the beginning of each connection.",
    details: "\
HAProxy and cloud load balancers send it, as text (`v1`) or binary (`v2`). Its address is then used as the client's
in `client-ip`, in limits, in logs, and for `trusted-proxies`. Connections from outside the `from` networks, or without the header, are closed.
Repeat the directive for several networks.",
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
    summary: "Redirects sites with `tls` to `https`.",
    details: "\
The redirect is a 308 to the same host and path, at the port of the listener with `tls` that serves the site. Sites without `tls`
are served here.",
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
