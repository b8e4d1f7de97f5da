//! `trusted-proxies`: the peers whose forwarding fields are trusted.

use proxy_runtime::filter::intake::{ANNOUNCED, is_odd};
use proxy_runtime::protocol::fields::of_message;
use proxy_runtime::site::TrustedHeader;

use super::{Directive, Place, Prop};
use crate::ast::{Top, TrustedProxies, What};
use crate::syntax::Leaf;
use crate::value::{self, Parsed, Problem};

pub(super) static TRUSTED_PROXIES: Directive = Directive {
    name: "trusted-proxies",
    places: &[Place::Root],
    args: "CIDR...",
    props: &[Prop::new(
        "header",
        "x-forwarded-for|forwarded|NAME",
        "The field with the client's address: one of these lists, or a field with a single address, as in \
         `header=\"CF-Connecting-IP\"`. Default `x-forwarded-for`.",
    )],
    body: None,
    repeats: false,
    summary: "Trusts these peers' fields about the client (X-Forwarded-For).",
    details: "\
A list is read from its end, where the nearest proxy writes: the client is the last address that is not itself a trusted one. Empty elements
are ignored; an element that is not an address ends the list. A field of another `NAME` must have one line with one address; otherwise the
client is the peer.

Such a peer is also trusted about the scheme: `X-Forwarded-Proto`, or with `header=forwarded` the `proto` of the element with the
client's address. Of several schemes in `X-Forwarded-Proto`, the one at the position of the client's address, counted from the end, is used,
or else the first. `{scheme}` is this value, `http` or `https`, in matchers, templates, cache keys and logs, and `redirect-https`
does not redirect requests that arrived by `https`. If the site's [`client-ca`](#client-ca) requires certificates, they get a 421 there, as a
certificate was not shown to this proxy.

The proxy appends to the list for servers: in `X-Forwarded-For`, and with `proxy forwarded=#true` in `Forwarded`, in either form. Of
`X-Forwarded-For` and `Forwarded` the one that is not named in `header` is replaced, with `header=forwarded` also `X-Forwarded-Proto`. The
other fields of proxies pass from trusted peers; from all other peers they are dropped (see [`pass`](#pass)). Trusting everybody is an
error.",
    example: r#"
trusted-proxies "10.0.0.0/8" "2001:db8::/32" header=x-forwarded-for

site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::Top(Top::TrustedProxies(TrustedProxies {
            networks: r.some("a CIDR", value::network),
            header: r.prop("header", header),
        })))
    },
};

/// Parses a field that can carry an address, and has no other meaning.
fn header(leaf: &Leaf) -> Parsed<TrustedHeader> {
    let name = value::header_name(leaf)?;
    let wrong = |message: String| Err(Problem { code: "bad-header-name", message, help: Vec::new(), part: None });
    match name.as_str() {
        "x-forwarded-for" => Ok(TrustedHeader::XForwardedFor),
        "forwarded" => Ok(TrustedHeader::Forwarded),
        name if of_message(name.as_bytes()) || ANNOUNCED.contains(&name) || name == "via" => {
            wrong(format!("`{name}` tells no client's address"))
        }
        name if is_odd(name.as_bytes()) => {
            wrong(format!("servers read `{name}` as another name: one with `-` is needed"))
        }
        name => Ok(TrustedHeader::Field(name.to_owned().into())),
    }
}
