//! `warm` of a `cache-store`: URLs to fetch after a start.

use proxy_runtime::cache::warm::Url;

use crate::ast::{InCache, Warm, WarmSource, What};
use crate::declaration::{Directive, Place, Prop};
use crate::syntax::Leaf;
use crate::value::{self, Parsed, file_at_start};

pub(in crate::directive) static WARM: Directive = Directive {
    name: "warm",
    places: &[Place::CacheStore],
    args: "URL|(file)PATH...",
    props: &[
        Prop::new("rate", "RATE", "The maximum request rate. Default `\"50/s\"`."),
        Prop::new("concurrency", "N", "The number of concurrent requests, 1 to 64. Default 4."),
    ],
    body: None,
    repeats: false,
    summary: "Fetches URLs after each start, so that they are cached before clients request them.",
    details: "\
The proxy handles a GET request for each URL like a client's request: by the routes, limits and access control of its site, from 127.0.0.1,
with the `Accept-Encoding` of browsers. Responses that are cached already, as on a `disk`, are not fetched again. Clients' requests do not
wait for it; a notice lists URLs that could not be cached, and another one says how many were. A URL of the site file whose route does not
cache it in this store is an error. A list in a file has one URL per line, and `#` for comments; it is read at start.",
    example: r#"
cache-store main memory="256MiB" {
    warm "http://example.com/" "http://example.com/news?page=1" rate="10/s"
}
site example.com {
    cache main
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let rate = r.prop("rate", value::rate);
        let concurrency = r.prop("concurrency", value::integer(1, 64));
        let sources = r.some("a URL", source);
        Some(What::InCache(InCache::Warm(Warm { sources, rate, concurrency })))
    },
};

fn source(leaf: &Leaf) -> Parsed<WarmSource> {
    if leaf.ty.is_some() {
        return file_at_start(leaf).map(WarmSource::File);
    }
    let found = value::text(leaf)?;
    if Url::of(&found).is_some() {
        return Ok(WarmSource::Url(found));
    }
    let problem = value::problem("bad-url", format!("`{found}` is not the URL of a request"));
    Err(problem.help("as in: \"https://example.com/news?page=1\""))
}
