//! `listen`: the sockets to accept from.

use super::{Directive, Place};
use crate::ast::{ListenWord, What};
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

pub(super) static LISTEN: Directive = Directive {
    name: "listen",
    places: &[Place::Root, Place::Site],
    args: "NAME? ADDR...",
    props: &[],
    body: None,
    repeats: true,
    summary: "Accepts connections on these addresses.",
    details: "\
`ADDR` is `:8080` (all of the machine's addresses, IPv6 and IPv4), `\"127.0.0.1:8080\"`, `\"[::1]:8080\"`,
`\"unix:/run/site.sock\"` or `(param)NAME`. At the top level a listener may have a name, and serves every site that
says no `listen` itself. In a site, `listen` takes names of listeners, or addresses, and the site is served there alone.
Without any `listen` a site is served on `[::]:8080` (on `0.0.0.0:8080` where the machine has no IPv6).",
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
site status.example.com {
    listen "127.0.0.1:9000"
    respond 200 "ok\n"
}
"#,
    read: |r| Some(What::Listen(r.some("an ADDR", listen_word))),
};

fn listen_word(leaf: &Leaf) -> Parsed<ListenWord> {
    match (&leaf.value, &leaf.ty) {
        (Scalar::Text(text), None) if !text.contains(':') => value::name(leaf).map(ListenWord::Name),
        (Scalar::Integer(port, _), None) => Err(value::Problem {
            code: "bad-address",
            message: "a port alone is no address".to_owned(),
            help: Some(format!("write \":{port}\" for all of the machine's addresses")),
            part: None,
        }),
        _ => value::setting(value::listen_address)(leaf).map(ListenWord::Address),
    }
}
