//! `admin`: the endpoint for those who operate the proxy.

use super::{Directive, Place};
use crate::ast::{Top, What};
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

pub(super) static ADMIN: Directive = Directive {
    name: "admin",
    places: &[Place::Root],
    args: "ADDR|unix:PATH",
    props: &[],
    body: None,
    repeats: false,
    summary: "Where those listen to who operate the proxy.",
    details: "\
Whoever can connect may do all that there is to do, so it should be a unix socket or a loopback address: others are found by the
lint `open-admin`. No site is served there.

- `PURGE` of any site's URL, as in `curl --unix-socket /run/site.sock -X PURGE http://example.com/x`: as `purge` in `cache`
  describes it, whatever `purge` there says; `Purge-Tags`, `Purge-Groups`, `Purge-Pattern` and `Purge-Mode: all` are about all stores.
- `GET /stores`: what is in the stores, as JSON: `name`, `entries`, `bytes` and `capacity` of what is in memory, `files` and
  `disk-bytes` of what is on disk, and of each `folder` in `disks` whether it `works`; `fetching`: fetches that are under way; and what has been since the process began: `requests` by the words of the log
  (`hit`, `stale`, `revalidated`, `joined`, `miss`, `pass`), responses that were `stored`, `evicted` from memory and `disk-evicted`.
- `GET /entry?url=URL`: what is cached under a URL, as JSON. All behind `url=` is the URL, as in
  `curl --unix-socket /run/site.sock 'http://admin/entry?url=http://example.com/x?y=1'`; it is taken for whichever scheme and port, as `PURGE` does. `responses` has up to 64, with
  `url` as it is keyed, `on` (`memory` or `disk`), `status`, `bytes`, `age`, `ttl`, `stale-while-revalidate` and `stale-if-error` in seconds,
  `purged-softly`, the names in `vary`, `tags`, `groups`, and some of their `fields`. Of a URL with variants those are shown that are in memory.",
    example: r#"
admin "unix:/run/site/admin.sock"
cache-store main memory="256MiB"
site example.com {
    cache main
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::Top(Top::Admin(r.arg("an ADDR", value::setting(address))?))),
};

fn address(leaf: &Leaf) -> Parsed<String> {
    match &leaf.value {
        Scalar::Integer(port @ 1..=65535, _) => Err(value::problem("bad-address", "a port alone is no address")
            .write_text(&format!("127.0.0.1:{port}"))
            .write_text("unix:/run/site/admin.sock")),
        _ => value::listen_address(leaf),
    }
}
