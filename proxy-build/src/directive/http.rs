//! `http`: the versions of HTTP that clients may use.

use super::{Directive, Place, Prop};
use crate::ast::{HttpLine, InListen, Top, What};
use crate::declaration::Reading;
use crate::value;

const PROPS: &[Prop] = &[
    Prop::new(
        "public-port",
        "PORT",
        "The port that `Alt-Svc` names, where clients reach UDP by another port than this one: behind NAT, or in a \
         container. Default: the port of the listener's address.",
    ),
    Prop::new("early-data", "BOOL", "HTTP/3 accepts early data (0-RTT). Default `#false`."),
];

fn read(r: &mut Reading<'_, '_>) -> HttpLine {
    HttpLine {
        span: r.span(),
        versions: r.some("a version", value::http_version),
        public_port: r.prop("public-port", value::number(1, 65_535)),
        early_data: r.prop("early-data", value::boolean),
    }
}

pub(super) static HTTP: Directive = Directive {
    name: "http",
    places: &[Place::Listen],
    args: "h1|h2|h3...",
    props: PROPS,
    body: None,
    repeats: false,
    summary: "Sets the HTTP versions of a listener.",
    details: "\
Over TLS the client chooses (ALPN), and `h1 h2` is the default. Without TLS the default is HTTP/1.1 only. With
`h2`, a client has to know that the listener supports HTTP/2 (RFC 9113 section 3.3). Prefer `h1 h2` to
`h2` alone, which rejects all HTTP/1.1 clients.

`h3` adds HTTP/3 (RFC 9114) by UDP on the same port, on a listener with `tls`. Clients learn of it from the field `Alt-Svc`
of responses over TCP, which the proxy sets (RFC 7838), or from an HTTPS record in DNS (RFC 9460). All limits, time-outs and
rules hold as for the other versions, and certificates are chosen in the same way. A firewall has to let UDP pass on this port.

With `early-data=#true`, a client that returns may send requests along with its first packet, which saves it a round trip (0-RTT, RFC 8470).
Whoever records these packets can send them again, so only `GET`, `HEAD` and `OPTIONS` requests without a body are processed at once;
others wait until the handshake has shown that the client is there. Servers get the former with `Early-Data: 1`. **They have to
know that field**, and respond with 425 (Too Early) if they must not process such a request twice; the proxy passes the 425 on, and the client sends
the request again after the handshake. A session is accepted once, from the address that it was issued to, by the process that
issued it, so what was recorded is not accepted again. Sites with `client-ca` or `session-tickets off` get no early data, and HTTP/1.1 and HTTP/2 never do.",
    example: r#"
listen ":8443" {
    tls
    http h1 h2 h3 public-port=443 early-data=#true
}
site example.com {
    tls internal
    respond 200 "hello\n"
}
"#,
    read: |r| Some(What::InListen(InListen::Http(read(r)))),
};

pub(super) static DEFAULT_HTTP: Directive = Directive {
    name: "http",
    places: &[Place::Root],
    args: "h1|h2|h3...",
    props: PROPS,
    body: None,
    repeats: false,
    summary: "Sets the HTTP versions of all listeners with TLS.",
    details: "\
It is the default of listeners with `tls` that have no [`http`](#http) of their own, and of the port 443 that sites with `tls` and
without `listen` are served on. Listeners without TLS are as before. The words and properties are those of
[`http` in `listen`](#http).",
    example: r#"
http h1 h2 h3

site example.com {
    tls internal
    respond 200 "hello\n"
}
"#,
    read: |r| Some(What::Top(Top::Http(read(r)))),
};
