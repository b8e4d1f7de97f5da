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
    summary: "Large responses are fetched and stored in slices of this size.",
    details: "\
The server is sent a `Range` for each slice that is wanted and not stored, whatever the client asks for; what the client wants, a range or the whole, is put together of slices while it is sent. So a range far
into a film costs one or two slices, each is fetched once for all who want it, and what the store takes of a response at most (`max-object`, `disk`) is about a slice: the whole may be of any
length. From `\"64KiB\"` to `\"1GiB\"`; each slice is a request to the server, and an entry of the store. `max-object` is that much at least, or there is a `disk`.

A slice is stored, judged, revalidated and purged as a response is. Slices of different versions are never mixed: they are told by a strong `ETag`, or a `Last-Modified` that is strong
(RFC 9111 section 3.4), and later slices are fetched with `If-Range`. Where the server has another version by then, the response ends (`upstream-changed` in the log), what is stored of the URL is discarded, and the
next request gets the new one. Without such a validator, only what lies within one slice is served from it; for more the server is asked as the client asks, or for the whole.

A server that ignores `Range` has its response stored whole, if it is not too large. Where a slice can't be cached, requests for that URL go to the server as they are for ten seconds. A slice that is stale is revalidated before
it is used: `stale if-error` holds for slices, `while-revalidate` and `refresh-ahead` for what is stored whole. A request for several ranges gets the whole.",
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
