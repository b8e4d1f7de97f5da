//! `proxy`: the handler that forwards to an upstream.

use std::cell::Cell;

use proxy_runtime::site::{self, Share};

use super::{Forwarding, HandlerContext, WrittenHandler};
use crate::ast::{Item, ProxyTo};
use crate::check::Check;
use crate::declaration::{Directive, HANDLER, Prop};
use crate::source::Spanned;
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

pub(super) static PROXY: Directive = Directive {
    name: "proxy",
    places: HANDLER,
    args: "NAME|URL...",
    props: &[
        Prop::new(
            "host",
            "client|upstream|HOST",
            "The `Host` for the server: the client's (default), the server's own address, or this one.",
        ),
        Prop::new("forwarded", "BOOL", "Sends `Forwarded` (RFC 7239) beside `X-Forwarded-*`. Default `#false`."),
        Prop::new(
            "forwarded-port",
            "BOOL",
            "Sends `X-Forwarded-Port`: the port in the client's `Host`, else that of its scheme. Default \
             `#false`.",
        ),
        Prop::new("real-ip", "BOOL", "Sends `X-Real-IP`: the client's address. Default `#false`."),
        Prop::new(
            "continue",
            "proxy|upstream",
            "Which side tells a waiting client (`Expect: 100-continue`) to send its body: the proxy, at once \
             (default), or the server.",
        ),
    ],
    body: None,
    repeats: true,
    summary: "Forwards the request to an upstream.",
    details: "\
The argument is either the name of an `upstream`, or one or more URLs (`http://host:port`, `https://host`, `unix:/path`, `(param)NAME`) that
form an upstream. With `https` the server's certificate is verified, and must be for its host; for more, see `tls` of an `upstream`. Bodies
of any size stream both ways with back-pressure. Fields that belong to a connection are not forwarded (RFC 9110 section 7.6.1); `Via` is
added, and `X-Forwarded-For`, `-Proto` and `-Host` are set. If the client sends these fields, or others that only proxies have a reason to
send, they are dropped (see [`pass`](#pass)), unless the peer is in `trusted-proxies`; then its list is continued. Upgrades (WebSocket and
any other) become a tunnel.

A server that can't be reached is skipped for the next one, as nothing was sent yet. A pooled connection that turns out to
be closed is replaced by a fresh one, once, if nothing was sent, or the method is idempotent and its body has at most 64 KiB. When
no server is left, the response is 502, or 504 after a time-out.

With `continue=upstream` a request with `Expect: 100-continue` goes to the server without its body: the server's
`100 Continue` or response (a 401 before a large upload) goes to the client, and the body is sent only after a 100. A server that sends
neither gets the body after `timeouts continue`. Such a body is not buffered for `retry`: the request is retried only while
none of it has been requested. If `mirror` or `block` need the body before, the proxy itself asks for it.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    server "10.0.0.12:8080"
}
site example.com {
    proxy app forwarded=#true
}
site files.example.com {
    proxy "http://10.0.0.21:9000" "http://10.0.0.22:9000" host=upstream
}
site sock.example.com {
    proxy "unix:/run/app/app.sock" host="app.internal"
}
"#,
    read: |r| {
        let to = if r.peek().is_some_and(is_name) {
            ProxyTo::Name(r.arg("a NAME or URL", value::name)?)
        } else {
            let (plain, secure) = (Cell::new(0), Cell::new(0));
            let servers = r.some("a NAME or URL", value::setting(|leaf| server_url(leaf, &plain, &secure)));
            ProxyTo::Servers(servers, secure.get() > 0)
        };
        let forwarding = Forwarding::read(r);
        if matches!(&to, ProxyTo::Servers(servers, _) if servers.is_empty()) {
            return None;
        }
        Some(super::written(Proxy { to, forwarding }))
    },
};

/// `proxy`.
#[derive(Debug)]
struct Proxy {
    to: ProxyTo,
    forwarding: Forwarding,
}

impl WrittenHandler for Proxy {
    fn forwarding(&self) -> Option<&Forwarding> {
        Some(&self.forwarding)
    }

    fn check(&self, check: &mut Check<'_>, around: &HandlerContext<'_>) -> Option<site::Handler> {
        let upstream = match &self.to {
            ProxyTo::Name(name) => check.upstreams.look_up("upstream", name, check.report)?,
            ProxyTo::Servers(urls, tls) => check.anonymous_upstream(urls, *tls, around.at)?,
        };
        let share = Share { upstream: check.upstream_index(upstream, around.at), weight: 1 };
        Some(self.forwarding.to(vec![share], None, None))
    }
}

/// Parses a `proxy` without properties, as the value of another directive's property: an upstream's name, or one URL.
pub(super) fn plain(leaf: &Leaf) -> Parsed<Item> {
    let span = leaf.span;
    let to = if is_name(leaf) {
        ProxyTo::Name(Spanned { value: value::name(leaf)?, span })
    } else {
        let secure = Cell::new(0);
        let server = value::setting(|leaf| server_url(leaf, &Cell::new(0), &secure))(leaf)?;
        ProxyTo::Servers(vec![Spanned { value: server, span }], secure.get() > 0)
    };
    let what = super::written(Proxy { to, forwarding: Forwarding::default() });
    Ok(Item { span, what, broken: false })
}

fn is_name(leaf: &Leaf) -> bool {
    matches!((&leaf.value, &leaf.ty), (Scalar::Text(text), None) if !text.contains([':', '/']))
}

/// Parses the URL of a server; counts `https` and `http` ones, which can't be mixed.
fn server_url(leaf: &Leaf, plain: &Cell<u32>, secure: &Cell<u32>) -> Parsed<String> {
    let (address, tls) = value::server_url(leaf)?;
    let (this, other) = if tls { (secure, plain) } else { (plain, secure) };
    this.set(this.get() + 1);
    if other.get() > 0 {
        return Err(value::Problem {
            code: "bad-url",
            message: "either all servers are `https`, or none is".to_owned(),
            help: vec!["declare an `upstream` for each, and give each a route".into()],
            part: None,
        });
    }
    Ok(address)
}
