//! `trusted-proxies`: whose word about the client is taken.

use proxy_runtime::site::TrustedHeader;

use super::{Directive, Place, Prop};
use crate::ast::{TrustedProxies, What};
use crate::value;

pub(super) static TRUSTED_PROXIES: Directive = Directive {
    name: "trusted-proxies",
    places: &[Place::Root],
    args: "CIDR...",
    props: &[Prop::new(
        "header",
        "x-forwarded-for|forwarded",
        "Where they tell the client's address. Default `x-forwarded-for`.",
    )],
    body: None,
    repeats: false,
    summary: "Believes what these peers say about the client.",
    details: "\
The client is then the last address of the list that is not itself a trusted one, and `X-Forwarded-*` and `Forwarded`
of such a peer are continued. From all other peers they are replaced. To trust everybody is an error.",
    example: r#"
trusted-proxies "10.0.0.0/8" "2001:db8::/32" header=x-forwarded-for

site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::TrustedProxies(TrustedProxies {
            networks: r.some("a CIDR", value::network),
            header: r.prop(
                "header",
                value::word(&[
                    ("x-forwarded-for", TrustedHeader::XForwardedFor),
                    ("forwarded", TrustedHeader::Forwarded),
                ]),
            ),
        }))
    },
};
