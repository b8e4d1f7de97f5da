//! `slice`: ranges of large responses, fetched and stored in parts of one size.

use crate::ast::{InCache, What};
use crate::declaration::{Directive, Place};
use crate::value;
use proxy_runtime::site;

pub(in crate::directive) static SLICE: Directive = Directive {
    name: "slice",
    places: &[Place::Cache],
    args: "SIZE",
    props: &[],
    body: None,
    repeats: false,
    summary: "Fetches and stores large responses in slices of this size.",
    details: "\
The proxy requests each missing slice from the server with a `Range`, whatever range the client asks for, and assembles the client's range,
or the whole response, from slices while it sends it. A range far into a film therefore costs one or two slices, each slice is fetched once
for all clients, and the size limits of the store (`max-object`, `disk`) apply to slices: the whole response may be of any length. The size
is from `\"64KiB\"` to `\"1GiB\"`; each slice is a request to the server, and an entry of the store. `max-object` must be at least as large,
or there must be a `disk`.

A slice is stored, checked for freshness, revalidated and purged like a response. Slices of different versions are never mixed: versions are
identified by a strong `ETag`, or a `Last-Modified` that is strong (RFC 9111 section 3.4), and later slices are fetched with `If-Range`. If
the server has another version by then, the response ends (`upstream-changed` in the log), everything stored for the URL is discarded, and
the next request gets the new version. Without such a validator, only ranges within one slice are served from it; for larger ranges the
proxy requests the client's range, or the whole response.

If a server ignores `Range`, its response is stored as a whole, if it is not too large. If a slice can't be cached, requests for that URL
are forwarded unchanged for ten seconds. A stale slice is revalidated before it is used: `stale if-error` applies to slices,
`while-revalidate` and `refresh-ahead` only to responses that are stored as a whole. A request for several ranges gets the whole response.",
    example: r#"
cache-store films memory="256MiB" max-object="4MiB" {
    disk "/var/cache/films" size="100GiB"
}
site example.com {
    cache films {
        slice "1MiB"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let size = value::size_within(site::Cache::LEAST_SLICE, site::Cache::MOST_SLICE);
        Some(What::InCache(InCache::Slice(r.arg("a SIZE", size)?)))
    },
};
