//! `stream`: TCP connections that are passed through.

use super::{Directive, Place, Prop};
use crate::ast::{InStream, ProxyTo, Stream, Top, What};
use crate::syntax::Scalar;
use crate::value;

pub(super) static STREAM: Directive = Directive {
    name: "stream",
    places: &[Place::Root],
    args: "NAME",
    props: &[],
    body: Some(Place::Stream),
    repeats: true,
    summary: "Passes TCP connections through, for any protocol.",
    details: "\
The proxy decrypts nothing and looks only at the host that a client names in its TLS handshake, if there are
routes. Servers are chosen by the upstream's `balance` and `health-check`; a server that can't be connected to is skipped
for the next one. The access log of the top level has a line for each connection, when it ends.",
    example: r#"
stream databases {
    listen "127.0.0.1:5432"
    tunnel "10.0.0.5:5432" "10.0.0.6:5432"
}
stream names {
    listen ":8443"
    route sni="mail.example.com" {
        tunnel "10.0.0.7:443"
    }
    tunnel "10.0.0.8:443"
}
site example.com {
    respond 200 "hello\n"
}
"#,
    read: |r| Some(What::Top(Top::Stream(Stream { name: r.arg("a NAME", value::name)?, items: r.body() }))),
};

pub(super) static STREAM_LISTEN: Directive = Directive {
    name: "listen",
    places: &[Place::Stream],
    args: "ADDR...",
    props: &[],
    body: None,
    repeats: true,
    summary: "Accepts the connections of a stream on these addresses.",
    details: "It works like a `listen` of the top level; no site is served there.",
    example: STREAM.example,
    read: |r| {
        let addresses = r.some("an ADDR", value::setting(value::listen_address));
        Some(What::InStream(InStream::Listen(addresses)))
    },
};

pub(super) static STREAM_ROUTE: Directive = Directive {
    name: "route",
    places: &[Place::Stream],
    args: "",
    props: &[Prop::new("sni", "HOST", "The host that the client names, exact or as `*.example.com`. Required.")],
    body: Some(Place::StreamRoute),
    repeats: true,
    summary: "Selects connections by the TLS host name (SNI).",
    details: "\
The name is that of the client's TLS handshake (RFC 6066 section 3); an exact host goes before a wildcard, a longer wildcard before
a shorter one. Connections for other hosts, or without TLS, use the stream's own `tunnel`; without one they are closed.",
    example: STREAM.example,
    read: |r| {
        let sni = r.required("sni", value::host);
        let items = r.body();
        Some(What::InStream(InStream::Route { sni: sni?, items }))
    },
};

pub(super) static TUNNEL: Directive = Directive {
    name: "tunnel",
    places: &[Place::Stream, Place::StreamRoute],
    args: "NAME|ADDR...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Forwards a connection to a server, in both directions.",
    details: "\
The server is one of an `upstream`, or one of these. A connection ends when both sides have ended, or both have been idle for
`timeouts idle` of the top level. With `proxy-protocol` in the upstream, the server gets the client's address.",
    example: STREAM.example,
    read: |r| {
        let named = r.peek().is_some_and(
            |leaf| matches!((&leaf.value, &leaf.ty), (Scalar::Text(text), None) if !text.contains([':', '/', '.'])),
        );
        let to = if named {
            ProxyTo::Name(r.arg("a NAME or ADDR", value::name)?)
        } else {
            ProxyTo::Servers(r.some("a NAME or ADDR", value::setting(value::server_address)), false)
        };
        if matches!(&to, ProxyTo::Servers(servers, _) if servers.is_empty()) {
            return None;
        }
        Some(What::InStream(InStream::Tunnel(to)))
    },
};
