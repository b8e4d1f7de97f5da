//! `site`: a group of routes under one or more hosts.

use super::{Directive, Place};
use crate::ast::{Site, Top, What};
use crate::value;

pub(super) static SITE: Directive = Directive {
    name: "site",
    places: &[Place::Root],
    args: "HOST...",
    props: &[],
    body: Some(Place::Site),
    repeats: true,
    summary: "Serves one or more hosts (a virtual host).",
    details: "\
`HOST` is `example.com` (this host), `*.example.com` (all hosts below it, one or more labels) or `*` (any host).
Hosts are compared in lower case, without port and trailing dot; write names outside ASCII as they are;
Kiln converts them to punycode. An exact host goes before a wildcard, a longer wildcard before a shorter one, `*` last; only the host
decides which site serves a request. A request for a host that no site has gets a 421.

A handler directly in a site is a `route \"/*\"`. Policies in a site apply to all its routes.",
    example: r#"
site example.com www.example.com {
    proxy "http://127.0.0.1:3000"
}
site *.example.com {
    respond 404 "no such shop\n"
}
"#,
    read: |r| Some(What::Top(Top::Site(Site { hosts: r.some("a HOST", value::host), items: r.body() }))),
};
